"""Every benchmark script runs, small, to its JSON; its rows are of what was really run."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hopmask import MaskMemory
from supsup_bridge import Experiment, MaskBank, RunSettings, SupSup, split_digits
from supsup_bridge.runs.presets import preset

FOLDER = Path(__file__).parents[2] / "benchmarks"
DIGITS = ("--benchmark", "split-digits")
Run = Callable[..., Any]
Script = Callable[[str], Any]


@pytest.fixture
def run(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a script; returns what its JSON file holds."""

    def ran(name: str, *options: object) -> Any:
        out = tmp_path / f"{name}.json"
        command = [name, *map(str, options), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", command)
        script(name).main()
        return json.loads(out.read_text())

    return ran


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """By what the memory recalled from data before each row was written."""
    rows: list[set[str]] = []
    ways: set[str] = set()
    recall = MaskMemory.recall

    def watched(memory: MaskMemory, *given: Any, **options: Any) -> Any:
        by = tuple(options.get(name) is not None for name in ("signature", "penalty"))
        if any(by):
            ways.add({(1, 1): "both", (1, 0): "address", (0, 1): "entropy"}[by])
        return recall(memory, *given, **options)

    monkeypatch.setattr(MaskMemory, "recall", watched)
    monkeypatch.syspath_prepend(FOLDER)
    common = importlib.import_module("common")
    write = common.write_json

    def noted(path: Path, content: Any) -> None:
        rows.append(set(ways))
        ways.clear()
        write(path, content)

    monkeypatch.setattr(common, "write_json", noted)
    return rows


def bank_file(folder: Path, *, tasks: int, masks: dict[str, int]) -> Path:
    """Random masks in a bank's file."""
    generator = torch.Generator().manual_seed(0)
    bank = MaskBank(masks)
    for _ in range(tasks):
        bank.store({n: torch.rand(size, generator=generator) < 0.5 for n, size in masks.items()})
    bank.save(folder / "bank.h5")
    return folder / "bank.h5"


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """A bank of five hashed masks of 256 bits."""
    return bank_file(tmp_path, tasks=5, masks={"bits": 256})


SMALL = ("--tasks", 2, "--batches", 8)


def test_split_mnist_recalls_each_row_as_it_says(run: Run, seen: list[set[str]]) -> None:
    for kind in ("hashed", "signed", "weight"):
        rows = run("split_mnist", *DIGITS, *SMALL, "--kinds", kind, "--bits", 256, "--seeds", 3)
    assert [row["options"]["masks"] for row in rows] == [
        *["hashed"] * 5,
        *["signed"] * 5,
        *["weight"] * 5,
    ]
    ways = [row["options"]["recall"] for row in rows]
    assert ways == ["both", "entropy", "address", "both", "entropy"] * 3
    assert seen == [{way} for way in ways]
    for row in rows:
        options, config = row["options"], row["config"]
        assert {name: config[name] for name in options} == options


@pytest.mark.parametrize("held_out", [False, True])
def test_image_protocol_has_a_row_for_each_way_and_protocol(run: Run, held_out: bool) -> None:
    options = ("--held-out",) if held_out else ()
    rows = run("image_protocol", *DIGITS, *SMALL, "--seeds", 3, *options)
    kinds = [(row["signature"], row["protocol"], row["way"]) for row in rows]
    assert len(set(kinds)) == len(kinds) == 2 * 2 * 3
    train = RunSettings(tasks=2, seed=3)
    scored = [len(task.scored_labels) for task in Experiment(train).stream]
    for row in rows:
        assert 0 < row["accuracy"] <= row["label_right"]
        assert 0 < row["bytes"]["without_address"] < row["bytes"]["memory"]
        batch = row["protocol"] == "batch"
        assert row["inferences"] == (2 if batch else sum(scored)) or held_out


def test_the_posterior_of_image_protocol_is_that_of_a_run(run: Run) -> None:
    rows = run("image_protocol", *DIGITS, *SMALL, "--seeds", 3, "--signatures", "input")
    for protocol in ("batch", "image"):
        experiment = Experiment(RunSettings(tasks=2, batches=8, seed=3, protocol=protocol))
        experiment.run(importlib.import_module("common").Quiet())
        (own,) = [r for r in rows if (r["way"], r["protocol"]) == ("posterior", protocol)]
        assert own["accuracy"] == pytest.approx(experiment.result()["accuracy"])
        assert own["task_right"] == pytest.approx(experiment.result()["task_inference_accuracy"])


def test_supsup_infers_each_row_as_it_says(run: Run) -> None:
    rows = run("supsup", *DIGITS, *SMALL, "--infer-samples", 8)
    assert {row["name"] for row in rows} == {"permuted", "rotated", "split", "stream", "transfer"}
    for row in rows:
        options, config = row["options"], row["config"]
        assert {name: config[name] for name in options} == options
    ways = [row["config"]["inference"] for row in rows if row["name"] == "split"]
    assert ways == ["one-shot", "binary", "descent", "try-all", "argmax", *ways[:3]]


def test_recall_recalls_each_row_as_it_says(run: Run, seen: list[set[str]], tmp_path: Path) -> None:
    kept = ("--learned", tmp_path / "new.h5", "--masks", "hashed", "--bits", 256)
    ways = ("entropy:1", "both:8", "address:1")
    asked = [option for way in ways for option in ("--way", way)]
    rows = run("recall", *DIGITS, *SMALL, *kept, *asked)
    assert seen == [{way.partition(":")[0]} for way in ways]
    assert [f"{row['config']['recall']}:{row['infer_samples']}" for row in rows] == [*ways]
    assert MaskBank.load(tmp_path / "new.h5").count == 2


def test_recall_compares_the_bank_on_the_same_masks(run: Run, tmp_path: Path) -> None:
    kept = ("--learned", tmp_path / "new.h5", *DIGITS, *SMALL)
    run("recall", *kept, "--way", "both:1")
    rows = run("recall", *kept, "--memory", "bank", "--way", "one-shot:1:G", "--way", "try-all:1")
    assert [row["memory"] for row in rows] == ["hopfield", "bank", "bank"]
    assert [row["config"]["inference"] for row in rows] == [None, "one-shot", "try-all"]
    assert len({row["accuracy_given_task"] for row in rows}) == 1
    run("recall", "--table")


def test_recall_curve_has_a_row_for_each_rule_and_way(run: Run, learned: Path) -> None:
    small = ("--points", 2, 3, "--recalls", 2, "--rules", "storkey", "hebbian")
    rows = run("recall_curve", *DIGITS, "--learned", learned, "--bits", 256, *small)
    by_data = {"entropy", "address", "both", "paper"}
    for rule, ways in (("storkey", by_data), ("hebbian", set())):
        of = [row for row in rows if row["rule"] == rule]
        assert {row["way"] for row in of} == {"number", "half key", "damaged", *ways}
        assert {row["tasks"] for row in of} == {2, 3}
    assert all(row["exact"] == 1 for row in rows if row["way"] == "number")


def test_layers_compares_one_memory_with_one_per_layer(run: Run, tmp_path: Path) -> None:
    bank = bank_file(tmp_path, tasks=2, masks={"hidden1": 128, "hidden2": 128})
    small = ("--bits", 128, "--keys", 64, "--features", 128)
    rows = run("layers", *DIGITS, "--learned", bank, *small)
    assert [row["memories"] for row in rows] == [["hidden1+hidden2"], ["hidden1", "hidden2"]]
    assert all(row["exact_by_number"] == 1 for row in rows)


def test_novelty_counts_detections_and_false_alarms(run: Run, learned: Path) -> None:
    small = ("--bits", 256, "--known", 3, "--unseen", 2, "--images", 1, 8, "--recalls", 4)
    rows = run("novelty", *DIGITS, "--learned", learned, *small)
    assert [(row["recall"], row["images"]) for row in rows] == [
        *(("entropy", 1), ("entropy", 8)),
        *(("both", 1), ("both", 8)),
    ]
    assert all(0 <= row["detected"] <= 1 for row in rows)


def test_foreign_classes_are_those_of_the_task_left_out(run: Run, script: Script) -> None:
    module = script("foreign_classes")
    task, other = split_digits(tasks=2)
    learner = module.learner_of("split-digits", [task], "pixels, a mean of each class", 0)
    assert learner.settings.signature_groups == 2
    assert learner.settings.training == preset("split-digits", "weight").training
    rows = run("foreign_classes", *DIGITS, "--tasks", 2, "--seeds", 0, "--images", 32)
    assert [row["run"]["left_out"] for row in rows] == [0, 0, 0, 1, 1, 1]
    assert {row["run"]["way"] for row in rows} == {*module.WAYS}
    foreign = learner.predict(other.scored_images[:32]).recognized.double().mean()
    asked = {"left_out": 1, "way": "pixels, a mean of each class"}
    same = [row for row in rows if row["run"].items() >= asked.items()]
    assert [row["foreign_recognized"] for row in same] == [float(foreign)]
    assert all(row["own_recognized_and_right"] <= row["own_recognized"] for row in rows)


@pytest.mark.skipif("HOPMASK_DATA" not in os.environ, reason="there is no MNIST to read")
def test_address_measures_every_signature(run: Run) -> None:
    small = ("--benchmarks", "split-mnist", "--tasks", 2, "--samples", 16, "--sets", 2)
    rows = run("address", *small, "--features", 64, "--shown", 1, 2)
    assert {row["signature"] for row in rows} == {"input", "outputs", "gradient"}
    assert all((row["tasks"], row["samples"], row["sets"]) == (2, 16, 2) for row in rows)


def test_capacity_of_random_and_of_learned_masks(run: Run, tmp_path: Path) -> None:
    common = ("--rules", "storkey", "--trials", 2)
    (row,) = run("capacity", "--random", "--size", 48, *common)
    assert (row["masks"], row["rule"], row["size"]) == ("random", "storkey", 48)
    bank = bank_file(tmp_path, tasks=12, masks={"bits": 64})
    rows = run("capacity", "--learned", bank, "--name", "mine", *common)
    assert [row["masks"] for row in rows[1:]] == ["mine", "mine: random alike"]
    estimate = ("--after", 2, "--key-bits", 64, "--most", 8)
    rows = run("capacity", "--learned", bank, "--name", "mine", *common, *estimate)
    assert list(rows[-1]["said"]) == ["2"]


def test_recall_speed_measures_a_full_memory(run: Run) -> None:
    figures = run("recall_speed", "--bits", 256, "--tasks", 6, "--batch", 2, "--repeats", 1)
    first, last = figures["bytes in memory and on disk, 1 and 6 tasks"]
    assert first == last


def test_storkey_store_agrees_with_the_textbook(run: Run) -> None:
    figures = run("storkey_store", "--size", 64, "--repeats", 3)
    assert figures["size"] == 64
    assert figures["largest_difference"] < 1e-5


def test_supsup_speed_compares_stacks_that_agree(run: Run) -> None:
    figures = run("supsup_speed", "--tasks", 4, "--repeat", 1, "--together")
    answers = {figures[part]["answer"] for part in ("packed", "summed", "multiplied")}
    assert len(answers) == 1
    assert figures["ratios"]["bits per weight"] == 1


def test_reference_measures_nothing_without_a_checkout(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError):
        run("reference")
    assert capsys.readouterr().out.startswith("skipped")
    assert not list(tmp_path.iterdir())


def test_tasks_at_once_keeps_the_parts_that_are_not_measured(run: Run) -> None:
    threads = torch.get_num_threads()
    options = "--threads", threads, "--rounds", 1
    run("tasks_at_once", *options, "--parts", "step")
    figures = run("tasks_at_once", *options, "--parts", "few")[f"{threads} threads"]
    assert set(figures["step"]) == {"step", "products", "ratio"}
    assert [row["tasks"] for row in figures["few"]] == [1, 2]


def test_many_tasks_continues_a_run_that_was_ended_in_time(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (*DIGITS, "--tasks", 3, "--hubs", 4, "--batches", 10, "--jobs", 1)
    runs = "--runs", tmp_path / "runs"
    with pytest.raises(FileNotFoundError):  # there is no row yet
        run("many_tasks", *options, *runs, "--minutes", 0)
    assert "stopped after 1 tasks" in capsys.readouterr().out
    (row,) = run("many_tasks", *options, *runs)
    assert "continued after 1 tasks" in capsys.readouterr().out
    assert (row["run"]["tasks"], row["masks_allocated"]) == (3, 3)
    assert [point["tasks"] for point in row["curve"]] == [1, 2, 3]
    assert run("many_tasks", *options, *runs) == [row]
    assert "stands in" in capsys.readouterr().out
    many_tasks = importlib.import_module("many_tasks")
    longer = {**row, "curve": [{**row["curve"][-1], "tasks": 10}, *row["curve"]]}
    for text, count in ((many_tasks.table([row]), 1), (many_tasks.curves([longer]), 1)):
        header, rule, *lines = text.splitlines()
        assert {line.count("|") for line in (header, rule, *lines)} == {header.count("|")}
        assert len(lines) == count
    lines = (tmp_path / "runs").glob("*/learned.jsonl")
    assert [json.loads(line)["task"] for line in next(lines).read_text().splitlines()] == [1, 2]


def test_hub_measures_every_row_that_it_names(run: Run) -> None:
    rows = run("hub", "--quick")
    assert set(rows) == {"speed", "wide", "damage", "scale", "ablation"}
    assert rows["speed"][0]["right"]
    assert all(row["same"] for row in rows["wide"])
    assert [row["exact_from_40_percent_flipped"] for row in rows["damage"]] == [1.0, 1.0, 1.0]
    assert rows["scale"][0]["exact_by_number"] == rows["scale"][0]["tasks"]
    exact = [row for row in rows["ablation"] if row["keys"] == "orthogonal"]
    assert {row["wrong_bits_by_number"] for row in exact if row["rule"] == "storkey"} == {0}


def test_lesions_are_measured_on_learned_masks_and_plotted(run: Run, tmp_path: Path) -> None:
    sizes = Experiment(RunSettings(tasks=4)).network.mask_sizes
    bank = bank_file(tmp_path, tasks=4, masks=dict(sizes))
    rows = run("lesions", *DIGITS, "--learned", bank, "--hubs", 4, "--scored", 2)
    assert [row["load"] for row in rows[::9]] == [0.25, 0.5, 1.0]
    for row in rows:
        if (row["bits"], row["lost"]) == (8, 0.0):
            assert row["wrong_bits_per_mask"] == 0
        assert 0 <= row["wrong_share"] < 0.5
        assert 0 <= row["accuracy"] <= 1
    lost = [row["wrong_share"] for row in rows[18:23]]
    assert lost == sorted(lost)
    run("lesions", "--plot", tmp_path / "lesions.png")
    assert (tmp_path / "lesions.png").stat().st_size > 10_000


def test_bookkeeping_measures_each_point_and_counts_scorings(run: Run) -> None:
    found = run("bookkeeping", "--tasks", 12, "--points", 3, 6, "--repeats", 1)
    assert [row["tasks"] for row in found["rows"]] == [3, 6]
    for row in found["rows"]:
        assert row["seconds"].keys() == row["cpu_seconds"].keys()
        assert row["seconds"].keys() >= {"store", "score newest", "result"}
        assert row["result_bytes"] > 0
    assert found["last result"]["bytes"] > found["rows"][-1]["result_bytes"]
    assert found["scorings"] == {"now": 68, "before": 68, "of the last evaluation": 12}
    run("bookkeeping", "--table")


def idx_set(folder: Path, seed: int) -> None:
    """An IDX set of ten kinds of images that differ, 28×28, 24 of each in both parts."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.rand(10, 28, 28, generator=generator)
    folder.mkdir()
    for part in ("train", "t10k"):
        labels = torch.arange(240) % 10
        noise = 0.2 * torch.rand(240, 28, 28, generator=generator)
        images = ((kinds[labels] + noise) * 200).to(torch.uint8)
        head = bytes([0, 0, 8, 3]) + b"".join(side.to_bytes(4, "big") for side in (240, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.numpy().tobytes())
        head = bytes([0, 0, 8, 1]) + (240).to_bytes(4, "big")
        content = head + labels.to(torch.uint8).numpy().tobytes()
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(content)


def test_backbone_has_a_row_for_each_network_and_start(run: Run, tmp_path: Path) -> None:
    for seed, name in enumerate(("mnist", "fashion-mnist")):
        idx_set(tmp_path / name, seed)
    common = ("--data", tmp_path, "--seeds", 1, "--epochs", 4, "--steps", 12, "--rate", 0.01)
    few = run("backbone", *common, "--pairs", "digits", "--per-class", 0, 3)
    rows = run("backbone", *common, "--pairs", "digits", "clothes-digits", "--per-class", 0, 3)
    assert rows[:6] == few  # what stands there is not made again
    assert len(rows) == 2 * 2 * 3
    for row in rows:
        tasks = 1 if row["options"]["pair"] == "digits" else 2
        weights = 16 * 9 + 16 * 32 * 9 + 800 * 128 + 128 * (5 if tasks == 1 else 10)
        assert len(row["accuracy_per_task"]) == tasks
        assert row["bytes"]["packed_masks"] == tasks * -(-weights // 8)
        assert row["bytes"]["backbone"] == (
            4 * weights if row["options"]["weights"] == "given" else 0
        )
        assert row["backbone_accuracy"] > 0.9
    ways = [(row["options"]["weights"], row["options"]["start"]) for row in rows[:3]]
    assert ways == [("given", "ones"), ("given", "random"), ("fixed", "random")]
    held_out = run("backbone", *common, "--pairs", "digits", "--per-class", 0, "--held-out")
    assert [row["options"]["held_out"] for row in held_out[-3:]] == [True] * 3
    run("backbone", "--table")


def test_starts_compares_each_start_once(run: Run) -> None:
    small = ("--benchmarks", "split-digits", "--tasks", 3, "--batches", 8)
    rows = run("starts", *small, "--starts", "random", "mean")
    assert [row["options"]["mask_init"] for row in rows] == ["random", "mean"]
    again = run("starts", *small)
    assert again[:2] == rows
    assert [row["config"]["mask_init"] for row in again[2:]] == [
        *("shared", "ones", "nearest", "previous", "earlier")
    ]
    for row in again:
        later = row["accuracy_per_task"][1:]
        assert row["later"] == pytest.approx(sum(later) / 2)
    run("starts", "--table")


class Killed(Exception):
    """The process was killed."""


def test_pictures_continue_where_it_was_killed(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On digits: CIFAR-100 is not at hand."""
    given = {"scenario": "GG", "tasks": 3, "quick": True, "seed": 4, "evaluate_every": 3}
    taught: list[int] = []
    killed = [1]  # after the second task

    class Stopping(Experiment):
        def run(self, observer: Any, **options: Any) -> None:
            learned = observer.learned

            def and_then(task: Any, number: int) -> None:
                learned(task, number)
                taught.append(number)
                if number in killed:
                    killed.remove(number)
                    raise Killed

            observer.learned = and_then
            super().run(observer, **options)

    def pictures(*options: object) -> Any:
        monkeypatch.setattr("supsup_bridge.runs.checkpoint.Experiment", Stopping)
        loaded = script("pictures")
        monkeypatch.setattr(importlib.import_module("common"), "Experiment", Stopping)
        loaded.settings_of = lambda options, sparsity: RunSettings(sparsity=sparsity, **given)
        if "--images" not in options:
            loaded.check_images = lambda experiment, images: None
        monkeypatch.setattr(sys, "argv", ["pictures", *map(str, options)])
        loaded.main()

    out = tmp_path / "rows.json"
    common = ("--tasks", 3, "--seed", 4, "--sparsity", "none", "1/8", "--out", out)
    with pytest.raises(RuntimeError, match="training images: give --images"):
        pictures(*common, "--runs", tmp_path / "others", "--images", 7)
    with pytest.raises(Killed):
        pictures(*common, "--runs", tmp_path / "runs")
    assert not out.exists()
    pictures(*common, "--runs", tmp_path / "runs")
    assert taught == [0, 1, 2, 0, 1, 2]
    pictures(*common, "--runs", tmp_path / "runs")  # everything stands there
    assert len(taught) == 6
    rows = json.loads(out.read_text())
    assert [row["run"]["sparsity"] for row in rows] == [None, 0.125]
    whole = Experiment(RunSettings(**given))
    whole.run(importlib.import_module("common").Quiet())
    assert rows[0]["accuracy_per_task"] == whole.result()["accuracy_per_task"]
    assert rows[0]["bytes"] == whole.result()["bytes"]
    assert rows[1]["bytes"]["csc_masks"] < rows[0]["bytes"]["csc_masks"]
    pictures("--out", out, "--table")
    pictures("--out", out, "--plot", tmp_path / "plot.png")
    assert len(SupSup.load(next((tmp_path / "runs").glob("*-None-none")))) == 3
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def tiny_imagenet(root: Path) -> Path:
    """Tiny ImageNet's layout, with four classes of noise of a shade of their own."""
    draw = np.random.default_rng(0)
    lines = []
    for label in range(4):
        files = [
            root / "train" / f"n0{label}" / "images" / f"n0{label}_{i}.JPEG" for i in range(12)
        ]
        held = [root / "val" / "images" / f"val_{4 * i + label}.JPEG" for i in range(4)]
        lines += [f"{path.name}\tn0{label}\t0\t0\t63\t63" for path in held]
        for path in (*files, *held):
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = draw.integers(0, 80, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise + 55 * label).save(path, format="PNG")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of xdist's threads
def test_split_imagenet_learns_from_files_and_predicts_the_same_once_loaded(
    run: Run, tmp_path: Path
) -> None:
    (row,) = run(
        "split_imagenet",
        *("--data", tiny_imagenet(tmp_path / "tiny"), "--folder", tmp_path / "run"),
        *("--network", "lenet-5", "--classes-per-task", 2, "--batches", 8),
    )
    links = [*(tmp_path / "run" / "imagenet").rglob("*.JPEG")]
    assert len(links) == 4 * (12 + 4)
    assert all(path.is_symlink() and path.exists() for path in links)
    assert [len(losses) for losses in row["losses"]] == [8, 8]
    assert row["reloaded_predictions_equal"] is True
    assert row["memory_file"] > row["bytes"]["memory"] > 2 * row["weights"]
    run("split_imagenet", "--table")


def test_task_inference_scores_a_saved_learner_by_every_signature(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    learned = Experiment(RunSettings(scenario="GG", tasks=3, quick=True, evaluate_every=3))
    learned.run(importlib.import_module("common").Quiet())
    learned.save(tmp_path / "learner")
    given = learned.result()["accuracy"]
    options = ("--benchmark", "split-digits", "--samples", 16, "--features", 128)
    rows = run("task_inference", "--learner", tmp_path / "learner", *options)
    ways = {"posterior", "address alone", "entropy alone", "both"}
    signatures = {"input", "patches", "features"}
    assert {(row["way"], row["signature"]) for row in rows} == {
        (way, signature) for way in ways for signature in signatures
    }
    for row in rows:
        assert row["GG"] == pytest.approx(given)  # the same masks
        assert row["GNu"] <= row["GNs"]
        assert row["exact"] <= row["task_right"]
        assert (row["protocol"] == "image") == (row["inferences"] > 3)
    by_entropy = [row["GNu"] for row in rows if row["way"] == "entropy alone"]
    assert by_entropy[:2] == by_entropy[2:4] == by_entropy[4:]  # it asks no signature
    assert {(row["classes"], row["steps"], row["sparsity"]) for row in rows} == {(2, 20, None)}
    chosen = ("--signatures", "input", "--ways", "address alone")
    again = run("task_inference", "--learner", tmp_path / "learner", *options, *chosen)
    assert {(row["way"], row["signature"]) for row in again[len(rows) :]} == {
        ("address alone", "input")
    }
    run("task_inference", "--table")


def test_norm_statistics_scores_every_way_on_held_out_images(run: Run, monkeypatch) -> None:
    g = torch.Generator().manual_seed(0)
    images = torch.randn(24, 3, 32, 32, generator=g)
    task = SimpleNamespace(train_images=images, train_labels=torch.arange(24) % 5)
    monkeypatch.setattr("supsup_bridge.data.benchmarks.task_stream", lambda name, **options: [task])
    small = ("--tasks", 1, "--epochs", 1, "--steps", 1, "--batch", 4, "--held", 8)
    speed, *ways = run("norm_statistics", *small)
    assert speed["ratio"] > 0
    assert len({(row["images"], row["batch"]) for row in ways}) == len(ways) == 7
    assert {row["accuracy"] * 8 % 1 for row in ways} == {0}
    for suits in ("float32", "bfloat16"):
        has = {"bf16": suits == "bfloat16"}
        monkeypatch.setattr(torch.cpu, "get_capabilities", has.copy, raising=False)
        again = run("norm_statistics", "--speed", "--steps", 1, "--batch", 4)
    assert [row.get("suits") for row in again] == ["bfloat16", "float32", *[None] * 7]
    assert again[2:] == ways
    run("norm_statistics", "--table")


def test_picture_settings_scores_ways_of_training_on_held_out_images(run: Run, monkeypatch) -> None:
    images = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    task = SimpleNamespace(train_images=images, train_labels=torch.arange(24) % 5)
    monkeypatch.setattr("supsup_bridge.data.benchmarks.task_stream", lambda name, **options: [task])
    small = ("--tasks", 1, "--epochs", 1, "--held", 8)
    rows = run("picture_settings", *small, "--ways", "preset", "as they are")
    assert [(row["way"], row["accuracy"] * 8 % 1) for row in rows] == [
        ("preset", 0),
        ("as they are", 0),
    ]
    assert rows[0]["loss"] != rows[1]["loss"]
    more = run("picture_settings", *small, "--ways", "preset", "rate 6e-3")
    assert more[:2] == rows  # not made again
    assert [row["way"] for row in more] == ["preset", "as they are", "rate 6e-3"]
    run("picture_settings", "--table")


def test_jobs_merges_shards_in_any_order_to_the_same_bits(run: Run) -> None:
    small = (*DIGITS, "--tasks", 4, "--batches", 8, "--hubs", 64)
    shards, parent = run("jobs", *small, "--parts", "shards", "parent")
    assert len(shards["memories"]) == 3
    assert len(set(shards["memories"])) == 1
    assert set(parent["seconds"]) == {"pickle", "unpickle", "store"}
    assert parent["hubs"] == 64


def test_engines_has_a_row_for_each_engine_also_where_it_is_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    one, dask = run("engines", "--tasks", 2, "--engines", "dask")
    assert (one["engine"], one["jobs"], one["tasks"]) == ("loky", 1, 2)
    assert "hopmask[cluster]" in dask["skipped"]
