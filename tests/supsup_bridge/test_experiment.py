"""A whole run: what it reports, what it keeps, and what its recalls may see."""

import gc
import json
import types
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hopmask
from hopmask import ConfigError
from supsup_bridge import Experiment, RecallInference, RunSettings, UnitNetwork
from supsup_bridge import experiment as module
from supsup_bridge.metrics import mask_digest

CONTRACT = {
    "format", "benchmark", "scenario", "memory", "masks", "tasks", "seed", "infer_samples",
    "network", "accuracy", "accuracy_per_task", "accuracy_matrix", "accuracy_given_task",
    "task_inference_accuracy", "exact_recall_rate", "masks_allocated", "bytes", "recall",
    "seconds", "config", "versions",
}  # fmt: skip
KINDS: list[dict[str, Any]] = [{"masks": "hashed"}, {"masks": "unit", "bits": 128}]


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests of the masks as training returns them, task by task."""
    digests: list[str] = []
    train = module.train_mask

    def watched(*args: Any, **options: Any) -> dict[str, Tensor]:
        masks = train(*args, **options)
        digests.append(mask_digest(masks))
        return masks

    monkeypatch.setattr(module, "train_mask", watched)
    return digests


@pytest.fixture
def inferred(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Any]]:
    """What each task inference was given and what it answered."""
    calls: list[tuple[Tensor, Any]] = []
    infer = RecallInference.infer

    def watched(self: RecallInference, images: Tensor, **options: Any) -> Any:
        answer = infer(self, images, **options)
        calls.append((images.clone(), answer))
        return answer

    monkeypatch.setattr(RecallInference, "infer", watched)
    return calls


def without_seconds(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "seconds"}


# --- the figures


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_result_has_the_keys_of_the_contract(kind: dict[str, Any], finished) -> None:
    result = finished(**kind).result()
    assert set(result) >= CONTRACT
    assert set(result["bytes"]) >= {"memory", "packed_masks"}
    assert set(result["recall"]) >= {"steps_mean", "samples"}
    assert set(result["seconds"]) >= {"train", "store", "recall", "evaluate", "total"}
    assert {"hopmask", "torch"} <= set(result["versions"])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_result_survives_strict_json(kind: dict[str, Any], finished) -> None:
    result = finished(**kind).result()
    text = json.dumps(result, allow_nan=False)
    assert json.loads(text)["accuracy_matrix"] == result["accuracy_matrix"]


def test_result_says_what_was_run(finished) -> None:
    result = finished().result()
    said = {key: result[key] for key in ("format", "benchmark", "scenario", "memory", "masks")}
    assert said == {
        "format": 1,
        "benchmark": "split-digits",
        "scenario": "GNu",
        "memory": "hopfield",
        "masks": "hashed",
    }
    assert (result["tasks"], result["seed"], result["network"]) == (2, 0, "standard")
    assert result["config"]["bits"] == 256
    assert result["masks_allocated"] == 2


def test_accuracy_matrix_is_lower_triangular_with_null_above(finished) -> None:
    matrix = finished(tasks=3).result()["accuracy_matrix"]
    assert [len(row) for row in matrix] == [3, 3, 3]
    for i, row in enumerate(matrix):
        assert all(0 <= value <= 1 for value in row[: i + 1])
        assert row[i + 1 :] == [None] * (2 - i)


def test_accuracy_is_the_mean_of_the_last_row(finished) -> None:
    result = finished(tasks=3).result()
    assert result["accuracy_per_task"] == result["accuracy_matrix"][-1]
    assert result["accuracy"] == pytest.approx(sum(result["accuracy_matrix"][-1]) / 3)


def test_a_short_training_beats_chance_when_the_task_is_told(finished) -> None:
    for kind in KINDS:
        assert finished(**kind).result()["accuracy_given_task"] > 0.7


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_rates_lie_between_zero_and_one(kind: dict[str, Any], finished) -> None:
    result = finished(**kind).result()
    for key in ("accuracy", "accuracy_given_task", "task_inference_accuracy", "exact_recall_rate"):
        assert 0 <= result[key] <= 1


def test_an_exactly_recalled_mask_is_of_the_right_task(finished) -> None:
    result = finished(tasks=3).result()
    assert result["exact_recall_rate"] <= result["task_inference_accuracy"]


def test_one_recall_is_counted_for_every_128_scored_images(finished) -> None:
    experiment = finished(tasks=3)
    expected = sum(-(-len(task.scored_images) // 128) for task in experiment.stream)
    assert experiment.result()["recall"]["samples"] == expected


def test_bytes_of_the_packed_masks(finished) -> None:
    assert finished(tasks=3).result()["bytes"]["packed_masks"] == 3 * 256 / 8


def test_before_the_first_task_figures_are_null(small) -> None:
    result = Experiment(small()).result()
    json.dumps(result, allow_nan=False)
    assert result["accuracy"] is None
    assert result["accuracy_matrix"] == []
    assert result["masks_allocated"] == 0


def test_the_figures_of_an_interrupted_run_are_of_one_evaluation(small, quiet) -> None:
    class Impatient(type(quiet)):
        def evaluated(self, task: Any, number: int, after: int, accuracy: float) -> None:
            if after == number == 1:
                raise KeyboardInterrupt

    whole, cut = Experiment(small(tasks=1, scenario="GG")), Experiment(small(scenario="GG"))
    whole.run(quiet)
    with pytest.raises(KeyboardInterrupt):
        cut.run(Impatient())
    a, b = whole.result(), cut.result()
    for key in ("accuracy", "accuracy_given_task", "exact_recall_rate"):
        assert a[key] == b[key]


# --- scenarios


def test_all_scenarios_train_the_same_masks(finished) -> None:
    told = [finished(tasks=3, scenario=s).result()["accuracy_given_task"] for s in module.SCENARIOS]
    assert told[0] == told[1] == told[2]


def test_a_wrong_task_is_a_wrong_answer_in_gnu_alone(finished) -> None:
    shared = finished(tasks=3, scenario="GNs").result()
    unshared = finished(tasks=3, scenario="GNu").result()
    assert shared["task_inference_accuracy"] == unshared["task_inference_accuracy"]
    for a, b in zip(shared["accuracy_matrix"], unshared["accuracy_matrix"], strict=True):
        assert all(x is y is None or x >= y for x, y in zip(a, b, strict=True))


def test_gnu_accuracy_is_at_most_the_rate_of_right_tasks(small, quiet, monkeypatch) -> None:
    """With every recall sent to task 0, only task 0 can be right in GNu."""
    infer = RecallInference.infer

    def misled(self: RecallInference, images: Tensor, **options: Any) -> Any:
        answer = infer(self, images, **options)
        wrong = self.memory.recall(task=0).masks
        masks = {name: wrong[name].expand_as(mask) for name, mask in answer.masks.items()}
        return replace(answer, masks=masks, task=torch.zeros_like(answer.task))

    monkeypatch.setattr(RecallInference, "infer", misled)
    rows = {}
    for scenario in ("GNs", "GNu"):
        experiment = Experiment(small(scenario=scenario))
        experiment.run(quiet)
        rows[scenario] = experiment.result()["accuracy_matrix"][-1]
    assert rows["GNu"][1] == 0
    assert rows["GNs"][1] > 0
    assert rows["GNu"][0] == rows["GNs"][0] > 0.5


def test_gg_is_told_the_task(finished, small, quiet, inferred) -> None:
    experiment = Experiment(small(scenario="GG"))
    experiment.run(quiet)
    result = experiment.result()
    assert inferred == []
    assert result["accuracy"] == pytest.approx(result["accuracy_given_task"])
    assert result["task_inference_accuracy"] is None
    assert result["exact_recall_rate"] == 1


# --- one seed, one run


@pytest.mark.parametrize(
    "kind",
    [*KINDS, {"masks": "unit", "bits": 128, "recall": "entropy"}, {"recall": "address"}],
    ids=str,
)
def test_two_runs_differ_in_their_seconds_alone(kind: dict[str, Any], finished, small, quiet):
    again = Experiment(small(**kind))
    again.run(quiet)
    assert without_seconds(again.result()) == without_seconds(finished(**kind).result())


def test_another_seed_learns_other_masks(small, quiet, learned) -> None:
    for seed in (0, 1):
        Experiment(small(seed=seed, tasks=1)).run(quiet)
    assert learned[0] != learned[1]


def test_a_run_leaves_the_global_generators_alone(small, quiet) -> None:
    before, old = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    Experiment(small(tasks=1)).run(quiet)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == old).all()  # noqa: NPY002


def test_no_two_parts_of_a_run_draw_from_the_same_stream(small, quiet, monkeypatch) -> None:
    made: list[int] = []
    given: list[int] = []
    stream, train = module.stream, module.train_mask

    def watched_stream(*key: Any) -> torch.Generator:
        generator = stream(*key)
        made.append(generator.initial_seed())
        return generator

    def watched_train(*args: Any, **options: Any) -> dict[str, Tensor]:
        given.extend(options[name].initial_seed() for name in ("scores", "batches"))
        return train(*args, **options)

    monkeypatch.setattr(module, "stream", watched_stream)
    monkeypatch.setattr(module, "train_mask", watched_train)
    Experiment(small(tasks=2)).run(quiet)
    assert len(given) == 4
    assert set(given) <= set(made)
    assert len(set(made)) == len(made)


def test_fewer_tasks_learn_the_first_masks_of_more(small, quiet, learned) -> None:
    Experiment(small(tasks=1)).run(quiet)
    Experiment(small(tasks=2)).run(quiet)
    assert learned[0] == learned[1] != learned[2]


# --- constant space


def held(root: object) -> dict[str, int]:
    """Bytes of all tensors, arrays and byte strings that can be reached from an object."""
    seen: set[int] = set()
    total = {"tensors": 0, "arrays": 0, "bytes": 0}
    todo = [root]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            total["tensors"] += item.numel() * item.element_size()
        elif isinstance(item, np.ndarray):
            total["arrays"] += item.nbytes
        elif isinstance(item, bytes | bytearray | memoryview):
            total["bytes"] += len(item)
        if isinstance(item, types.FunctionType):
            todo += [cell.cell_contents for cell in item.__closure__ or ()]
        else:
            todo += gc.get_referents(item)
    return total


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_memory_holds_as_much_after_three_tasks_as_after_one(kind, finished) -> None:
    one, three = finished(tasks=1, **kind).memory, finished(tasks=3, **kind).memory
    assert held(one)["tensors"] > 0
    assert held(one) == held(three)
    assert one.nbytes == three.nbytes


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_run_holds_nothing_that_grows_with_the_tasks_but_their_data(kind, small, quiet) -> None:
    sizes = []
    for tasks in (1, 3):
        experiment = Experiment(small(tasks=tasks, **kind))
        experiment.run(quiet)
        experiment.stream = []  # the data is the world's, not the learner's
        sizes.append(held(experiment))
    assert sizes[0] == sizes[1]


def test_masks_are_gone_once_they_are_stored(small, quiet, monkeypatch) -> None:
    alive: list[Any] = []
    train = module.train_mask

    def watched(*args: Any, **options: Any) -> dict[str, Tensor]:
        gc.collect()
        assert not any(mask() is not None for mask in alive)
        masks = train(*args, **options)
        alive.extend(weakref.ref(mask) for mask in masks.values())
        return masks

    monkeypatch.setattr(module, "train_mask", watched)
    Experiment(small(tasks=3)).run(quiet)
    gc.collect()
    assert len(alive) == 3
    assert not any(mask() is not None for mask in alive)


def test_memory_file_has_one_size_for_any_number_of_tasks(finished, tmp_path: Path) -> None:
    sizes = set()
    for tasks in (1, 5):
        path = tmp_path / f"{tasks}.h5"
        finished(masks="unit", bits=128, tasks=tasks).memory.save(path)
        sizes.add(path.stat().st_size)
    assert len(sizes) == 1


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_learned_masks_come_back_from_the_saved_file(
    kind, small, quiet, learned, tmp_path: Path
) -> None:
    experiment = Experiment(small(tasks=3, **kind))
    experiment.run(quiet)
    experiment.memory.save(tmp_path / "memory.h5")
    memory = hopmask.load(tmp_path / "memory.h5")
    assert [mask_digest(memory.recall(task=t).masks) for t in range(3)] == learned


def test_images_recall_the_learned_masks_from_the_saved_file(
    small, quiet, learned, tmp_path: Path
) -> None:
    experiment = Experiment(small(tasks=2))
    experiment.run(quiet)
    experiment.memory.save(tmp_path / "memory.h5")
    inference = RecallInference(
        network=experiment.network,
        memory=hopmask.load(tmp_path / "memory.h5"),
        signature=experiment.signature,
    )
    for number, task in enumerate(experiment.stream):
        found = inference.infer(task.recall_images[None, :32])
        assert mask_digest({n: m[0] for n, m in found.masks.items()}) == learned[number]


# --- what a recall may see


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.reshape(-1, images.shape[-1])}


def test_recalls_see_recall_images_alone(small, quiet, inferred) -> None:
    experiment = Experiment(small(infer_samples=8))
    experiment.run(quiet)
    pools = set.union(*(rows(task.recall_images) for task in experiment.stream))
    scored = set.union(*(rows(task.scored_images) for task in experiment.stream))
    seen = set.union(*(rows(images) for images, _ in inferred))
    assert seen <= pools
    assert not seen & scored
    assert all(images.shape[1:] == (8, 64) for images, _ in inferred)


@pytest.mark.parametrize("change", ["shuffled", "half replaced", "not a number"])
def test_scored_images_do_not_change_what_is_recalled(change: str, small, quiet, inferred) -> None:
    def changed(task: Any) -> Any:
        images = task.scored_images.clone()
        if change == "shuffled":
            images = images[torch.randperm(len(images), generator=torch.Generator())]
        elif change == "half replaced":
            images[::2] = 3.0
        else:
            images[:] = float("nan")
        return replace(task, scored_images=images)

    Experiment(small()).run(quiet)
    plain = list(inferred)
    inferred.clear()
    experiment = Experiment(small())
    experiment.stream = [changed(task) for task in experiment.stream]
    experiment.run(quiet)
    assert len(plain) == len(inferred) > 0
    for (_, a), (_, b) in zip(plain, inferred, strict=True):
        assert torch.equal(a.task, b.task)
        assert all(torch.equal(a.masks[name], b.masks[name]) for name in a.masks)


def test_a_score_does_not_depend_on_the_order_of_the_scored_images(small, quiet) -> None:
    results = []
    for flipped in (False, True):
        experiment = Experiment(small(scenario="GG"))
        if flipped:
            experiment.stream = [
                replace(
                    task,
                    scored_images=task.scored_images.flip(0),
                    scored_labels=task.scored_labels.flip(0),
                )
                for task in experiment.stream
            ]
        experiment.run(quiet)
        results.append(experiment.result()["accuracy_matrix"])
    assert results[0] == results[1]


def test_references_of_predictions_are_recall_images(small, quiet, monkeypatch) -> None:
    references: list[Tensor] = []
    predictor = UnitNetwork.predictor

    def watched(self: UnitNetwork, masks: Any, reference: Tensor) -> Any:
        references.append(reference)
        return predictor(self, masks, reference)

    monkeypatch.setattr(UnitNetwork, "predictor", watched)
    experiment = Experiment(small(masks="unit", bits=128))
    experiment.run(quiet)
    pools = set.union(*(rows(task.recall_images) for task in experiment.stream))
    assert references
    assert all(rows(reference) <= pools for reference in references)


def test_digests_measure_and_do_nothing_else(small, quiet, finished, monkeypatch) -> None:
    fresh = map(str, count())
    monkeypatch.setattr(module, "mask_digest", lambda masks: next(fresh))
    experiment = Experiment(small())
    experiment.run(quiet)
    blind, seeing = experiment.result(), finished().result()
    assert blind.pop("exact_recall_rate") == 0
    assert seeing.pop("exact_recall_rate") > 0
    assert without_seconds(blind) == without_seconds(seeing)


# --- progress


def test_an_observer_is_told_of_every_step_and_every_score(small) -> None:
    class Listening:
        def __init__(self) -> None:
            self.steps: list[tuple[int, int, int]] = []
            self.scores: list[tuple[int, int]] = []

        def training(self, task: Any, number: int, step: int, steps: int, loss: float) -> None:
            self.steps.append((number, step, steps))

        def evaluated(self, task: Any, number: int, after: int, accuracy: float) -> None:
            self.scores.append((after, number))

    listening = Listening()
    Experiment(small(tasks=2)).run(listening)
    total = listening.steps[0][2]
    assert listening.steps == [(t, s, total) for t in (0, 1) for s in range(1, total + 1)]
    assert listening.scores == [(0, 0), (1, 0), (1, 1)]


def test_a_record_has_one_recall_for_each_task(finished) -> None:
    experiment = finished(masks="unit", bits=128)
    records = list(experiment.record())
    assert [record.number for record in records] == [0, 1]
    for record in records:
        assert record.overlaps.shape == (len(record.trace.energy), 2)
        assert bool((record.overlaps.abs() <= 1 + 1e-5).all())


# --- the paper's network


def test_the_papers_network_runs(
    small: Callable[..., RunSettings], quiet, mnist_folder: Path
) -> None:
    settings = small(benchmark="split-mnist", network="paper", masks="unit", bits=64)
    experiment = Experiment(settings, data=mnist_folder)
    experiment.run(quiet)
    result = experiment.result()
    assert result["network"] == "paper"
    assert result["config"]["recall"] == "entropy"
    assert result["accuracy_given_task"] > 0.5
    json.dumps(result, allow_nan=False)


def test_split_mnist_runs(small, quiet, mnist_folder: Path) -> None:
    settings = small(benchmark="split-mnist", masks="unit", bits=64, tasks=1)
    experiment = Experiment(settings, data=mnist_folder)
    experiment.run(quiet)
    assert experiment.result()["accuracy_given_task"] > 0.7


# --- settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scenario": "GNU"}, "did you mean 'GNu'"),
        ({"scenario": "NNs"}, "unknown scenario 'NNs'"),
        ({"masks": "hash"}, "did you mean 'hashed'"),
        ({"recall": "adress"}, "did you mean 'address'"),
        ({"network": "papers"}, "did you mean 'paper'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"bits": 0}, "bits must be at least 1, got 0"),
        ({"tasks": 0}, "tasks must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"infer_samples": 0}, "infer_samples must be at least 1, got 0"),
        ({"network": "paper", "masks": "unit", "recall": "address"}, "leave out --recall"),
        ({"tasks": "3"}, "tasks"),
        ({"seed": 1.5}, "seed"),
        ({"bits": 100.0}, "bits"),
    ],
    ids=str,
)
def test_settings_that_cannot_run_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunSettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"benchmark": "split-digit"}, "did you mean 'split-digits'"),
        ({"tasks": 6}, "1 to 5"),
        ({"infer_samples": 10_000}, "at most .* images .*got infer_samples=10000"),
        ({"bits": 10**9}, "bits must lie between"),
        ({"network": "paper", "masks": "unit"}, "paper"),
        ({"network": "paper", "masks": "hashed", "benchmark": "split-mnist"}, "hashed"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_together_are_refused(
    wrong: dict[str, Any], message: str, small
) -> None:
    with pytest.raises(ConfigError, match=message):
        Experiment(small(**wrong))


def test_as_many_images_as_the_smallest_recall_part_will_do(small) -> None:
    settings = small(tasks=5)
    smallest = min(len(task.recall_images) for task in Experiment(settings).stream)
    Experiment(replace(settings, infer_samples=smallest))
    with pytest.raises(ConfigError, match=f"at most {smallest} images"):
        Experiment(replace(settings, infer_samples=smallest + 1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused(small) -> None:
    with pytest.raises(ConfigError, match="--device cpu"):
        Experiment(small(device="cuda"))


def test_settings_are_frozen_and_keyword_only() -> None:
    with pytest.raises(AttributeError):
        RunSettings().seed = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        RunSettings("split-digits")  # type: ignore[misc]
