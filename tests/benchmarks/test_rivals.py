"""Comparisons with other learners: tuned on training images alone, run once, shown as they are."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch

from supsup_bridge import Experiment, RunSettings, Task
from supsup_bridge.continual.baselines.named import baseline_named
from supsup_bridge.networks.registry import build
from supsup_bridge.runs.presets import preset
from supsup_bridge.training.data import TensorData

Script = Callable[[str], Any]
KEYS = ("benchmark", "learner", "scenario", "seed")


@pytest.fixture
def rivals(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs `rivals.py` on two tasks of digits, four steps each; returns its module."""
    module = script("rivals")
    digits = {"split-digits": {"tasks": 2, "batches": 4}}
    monkeypatch.setattr(module, "BENCHMARKS", digits)
    monkeypatch.setattr(module, "TUNED_ON", {"split-digits": (2, 4)})
    monkeypatch.setattr(module, "STREAMS", {"split-digits": "split-digits"})
    monkeypatch.setattr(module, "BATCH", 16)
    files = ("--out", tmp_path / "rivals.json", "--tuning", tmp_path / "tuning.json")

    def run(*options: object) -> Any:
        monkeypatch.setattr(sys, "argv", ["rivals", *map(str, (*options, *files))])
        module.main()
        return module

    return run


def task_of(images: torch.Tensor, labels: torch.Tensor) -> Task:
    return Task(
        name="one",
        train_images=images,
        train_labels=labels,
        inference_images=images,
        scored_images=images,
        scored_labels=labels,
    )


def rows_of(path: Path) -> list[Any]:
    return json.loads(path.read_text()) if path.exists() else []


def test_rivals_are_tuned_and_run_once(
    rivals: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    names = ("lower-bound", "piggyback", "supsup")
    learners = ("--learners", *names)
    rivals(*learners)
    ran = rows_of(tmp_path / "rivals.json")
    assert {row["run"]["learner"] for row in ran} == {"supsup"}  # the others are not tuned
    assert "not tuned, and so not run" in capsys.readouterr().out
    module = rivals("--tune", *learners)
    tuned = rows_of(tmp_path / "tuning.json")
    assert [(row["run"]["learner"], row["run"]["boundless"]) for row in tuned] == [
        ("lower-bound", False),
        ("lower-bound", True),
        ("piggyback", False),
    ]
    for row in tuned:
        assert len(row["tried"]) == 6
        assert row["best"]["accuracy"] == max(one["accuracy"] for one in row["tried"])
    rivals(*learners)
    rows = rows_of(tmp_path / "rivals.json")
    assert rows[: len(ran)] == ran
    scenarios = {
        learner: {row["run"]["scenario"] for row in rows if row["run"]["learner"] == learner}
        for learner in names
    }
    assert scenarios == {
        "lower-bound": {"GG", "GNs", "GNu", "NNs"},
        "piggyback": {"GG", "GNu"},
        "supsup": {"GG", "GNu", "NNs"},
    }
    for row in rows:
        run, of_batches = row["run"], set(row["by_batch"])
        if run["learner"] == "lower-bound" or run["scenario"] == "GG":
            assert not of_batches
        else:
            assert of_batches == ({"NNs"} if run["scenario"] == "NNs" else {"GNs", "GNu"})
        if run["learner"] != "supsup":
            assert row["config"]["preset"]["training"]["rate"] == run["tuned"]["rate"]
    for row in rows:  # a run that infers so from the start scores the same
        if row["by_batch"]:
            run = row["run"]
            settings = replace(
                module.settings_of(*(run[name] for name in KEYS)),
                protocol="batch",
                infer_samples=module.BATCH,
            )
            how = run["tuned"] or {"rate": 1.0, "options": {}}
            chosen = module.Tuned(rate=how["rate"], options=how["options"])
            result = module.finished(settings, None, chosen).result()
            assert row["by_batch"][run["scenario"]] == result["accuracy"]
            if run["scenario"] == "GNu":
                assert row["by_batch"]["GNs"] == result["accuracy_label"]
    monkeypatch.setattr(module, "finished", None)  # nothing is run again
    rivals(*learners)
    rivals("--tune", "--learners", "piggyback")
    assert rows_of(tmp_path / "rivals.json") == rows
    rivals("--table")
    assert "| piggyback |" in capsys.readouterr().out
    rivals("--plot", tmp_path / "rivals.png")
    assert (tmp_path / "rivals.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("benchmark", "inputs", "tasks", "classes"),
    [
        ("split-mnist", 784, 5, 2),
        ("permuted-mnist", 784, 20, 10),
        ("split-cifar100", (3, 32, 32), 5, 5),
        ("split-cifar100-resnet", (3, 32, 32), 5, 5),
    ],
)
def test_a_task_of_batche_takes_about_as_many_bytes_as_a_packed_mask(
    script: Script, benchmark: str, inputs: Any, tasks: int, classes: int
) -> None:
    module = script("rivals")
    for name in ("batche", "batche-trained"):
        tries = module.tries_of(benchmark, name, "GG")
        assert len(tries) == 6
        assert {str(one["options"]) for one in tries} == {str({"rank": module.RANK[benchmark]})}
    settings = preset(module.STREAMS[benchmark], "weight")
    network = module.BENCHMARKS[benchmark].get("network", settings.network)
    learner = baseline_named(
        "batche",
        network=network,
        inputs=inputs,
        classes=classes,
        tasks=tasks,
        scenario="GG",
        training=replace(settings.training, max_batches=1),
        seed=0,
        **tries[0]["options"],
    )
    masked = build(
        network,
        masks="weight",
        inputs=inputs,
        outputs=settings.outputs,
        bits=0,
        weights=torch.Generator(),
        spread=torch.Generator(),
    )
    shape = (inputs,) if isinstance(inputs, int) else inputs
    images = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    sizes = []
    for _ in range(3):
        learner.learn(TensorData(images, torch.arange(4) % classes))
        sizes.append(learner.nbytes)
    packed = sum(prod(size) for size in masked.mask_sizes.values()) / 8
    assert sizes[2] - sizes[1] == pytest.approx(packed, rel=0.1)


@pytest.mark.parametrize(
    ("benchmark", "scenarios"),
    [
        ("split-mnist", {"GG", "GNu", "NNs"}),
        ("permuted-mnist", {"GNu", "NNs"}),
        ("split-cifar100", {"GNu", "NNs"}),
        ("split-cifar100-resnet", {"GG"}),
    ],
)
def test_every_run_of_supsup_can_be_made(
    script: Script, benchmark: str, scenarios: set[str]
) -> None:
    module = script("rivals")
    shape = (3, 32, 32) if "cifar100" in benchmark else (784,)
    images, labels = torch.zeros(130, *shape), torch.arange(130) % 2
    task = task_of(images, labels)
    tasks = [task] * module.BENCHMARKS[benchmark]["tasks"]
    made = [
        Experiment(module.settings_of(benchmark, "supsup", scenario, 0), tasks=tasks)
        for scenario in module.runs_of("supsup", benchmark)
    ]
    assert {run.settings.scenario for run in made} == scenarios


def test_one_run_gives_every_scenario_in_which_a_learner_learns_the_same(script: Script) -> None:
    module = script("rivals")
    benchmark = "permuted-mnist"
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(130, 784, generator=generator)
    labels = (images[:, 0] > 0).long()
    task = task_of(images, labels)
    learner = "supsup"
    assert list(module.runs_of(learner, benchmark)) == ["GNu", "NNs"]
    assert list(module.runs_of("piggyback", benchmark)) == ["GG", "GNu"]  # fewer outputs in GG
    found = {}
    for scenario in ("GG", "GNs", "GNu"):
        settings = module.settings_of(benchmark, learner, scenario, 0, tasks=2, batches=4)
        assert settings.train_in == "float32"
        settings = replace(settings, evaluate_every=2)
        found[scenario] = module.accuracies(module.finished(settings, None, None, [task] * 2))
    assert found["GNu"] == {name: found[name][name] for name in ("GNu", "GNs", "GG")}


def test_rivals_are_tuned_on_training_images_alone(
    rivals: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = rivals("--table")
    given: list[Any] = []
    finish = module.finished

    def watched(settings: RunSettings, data: Any, chosen: Any, tasks: Any) -> Any:
        given.extend(tasks)
        return finish(settings, data, chosen, tasks)

    monkeypatch.setattr(module, "finished", watched)
    rivals("--tune", "--learners", "piggyback")
    own = module.task_stream("split-digits", seed=module.TUNING_SEED, tasks=2, data=None)
    taught = {tuple(image.flatten().tolist()) for task in own for image in task.train_images}
    used = {
        tuple(image.flatten().tolist())
        for task in given
        for images in (task.train_images, task.inference_images, task.scored_images)
        for image in images
    }
    assert used
    assert used <= taught


def test_wsn_setting_keeps_what_it_chooses_by_out_of_training(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("wsn_setting")
    images = torch.arange(50.0)[:, None].expand(50, 784)
    labels = torch.arange(50) % 10
    task = Task(
        name="one",
        train_images=images,
        train_labels=labels,
        inference_images=-images,
        scored_images=-images,
        scored_labels=labels,
    )
    monkeypatch.setattr(module, "HELD_OUT", 5)
    cut = module.held_out(task, 0)
    numbers = torch.cat([cut.train_images[:, 0], cut.scored_images[:, 0]])
    assert len(cut.scored_images) == 5
    assert numbers.sort().values.tolist() == images[:, 0].tolist()  # each once, no test image
    monkeypatch.setattr(module, "BASE", replace(module.BASE, epochs=1))
    row = module.row_of("signed", [cut, cut], 0)
    entries = 784 * 100 + 100 * 100 + 100 * 10
    assert row["packed_bytes"] == 2 * entries // 8
    assert row["share_of_dense"] == row["packed_bytes"] / (4 * entries)
    assert len(row["accuracy_per_task"]) == 2
