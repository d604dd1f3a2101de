"""A whole run: what it reports, what it keeps, and what its recalls may see."""

import gc
import json
import sys
import textwrap
import types
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hopmask
from hopmask import ConfigError
from supsup_bridge import (
    Experiment,
    MaskBank,
    MaskedNetwork,
    PosteriorInference,
    RecallInference,
    RunSettings,
    Task,
    TaskAgnosticLearner,
    UnitNetwork,
    split_digits,
)
from supsup_bridge.continual import building, inferences, learning, scoring
from supsup_bridge.data.datasets import load_digits
from supsup_bridge.inference.base import (
    BankInference,
)
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.runs import evaluation, ledger, schedule, teaching
from supsup_bridge.runs import scoring as module
from supsup_bridge.runs.experiment import (
    StreamEndedError,
)
from supsup_bridge.runs.metrics import csc_bytes
from supsup_bridge.runs.settings import MEMORIES, SCENARIOS
from supsup_bridge.training.fit import Lesson
from supsup_bridge.training.scores import (
    erdos_renyi,
)

CONTRACT = {
    "format", "benchmark", "scenario", "memory", "masks", "tasks", "seed", "infer_samples",
    "network", "accuracy", "accuracy_per_task", "accuracy_matrix", "accuracy_given_task",
    "task_inference_accuracy", "exact_recall_rate", "masks_allocated", "bytes", "recall",
    "seconds", "config", "versions", "forgetting", "backward_transfer", "curve", "novelty",
    "protocol",
}  # fmt: skip
KINDS: list[dict[str, Any]] = [
    {"hubs": 4},
    {"masks": "hashed"},
    {"masks": "unit", "bits": 128},
]
WEIGHTS = 64 * 300 + 300 * 100 + 100 * 100
BANK: dict[str, Any] = {"memory": "bank", "inference": "one-shot"}
ALL: list[dict[str, Any]] = [
    {"masks": masks, "memory": memory, "scenario": scenario}
    for scenario in SCENARIOS
    for memory, masks in (("hopfield", "weight"), ("hopfield", "hashed"), ("bank", "weight"))
]
RATES = {"accuracy", "accuracy_given_task", "task_inference_accuracy", "exact_recall_rate"}
INFERENCES = ["one-shot", "binary", "descent", "try-all", "argmax"]


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Digests of the masks as training returns them, task by task."""
    digests: list[str] = []
    train = Lesson.run

    def watched(*args: Any, **options: Any) -> dict[str, Tensor]:
        masks = train(*args, **options)
        digests.append(mask_digest(masks))
        return masks

    monkeypatch.setattr(Lesson, "run", watched)
    return digests


@pytest.fixture
def inferred(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Any]]:
    """What each task inference was given and what it answered."""
    calls: list[tuple[Tensor, Any]] = []

    def watch(kind: type) -> None:
        infer = kind.infer

        def watched(self: Any, images: Tensor, **options: Any) -> Any:
            answer = infer(self, images, **options)
            calls.append((images.clone(), answer))
            return answer

        monkeypatch.setattr(kind, "infer", watched)

    for kind in (RecallInference, PosteriorInference, BankInference):
        watch(kind)
    return calls


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training anything is a failure of the test."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a task was trained")

    monkeypatch.setattr(Lesson, "run", refuse)
    monkeypatch.setattr(TaskAgnosticLearner, "learn", refuse)


def without_seconds(result: dict[str, Any]) -> dict[str, Any]:
    """A copy, apart from the experiment that it is of."""
    return deepcopy({key: value for key, value in result.items() if key != "seconds"})


# --- the figures


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_result_has_the_keys_of_the_contract_in_strict_json(kind: dict[str, Any], finished) -> None:
    result = finished(**kind).result()
    assert set(result) >= CONTRACT
    assert set(result["bytes"]) == {"memory", "packed_masks", "csc_masks", "extras"}
    assert set(result["recall"]) >= {"steps_mean", "samples"}
    assert set(result["seconds"]) >= {"train", "store", "recall", "evaluate", "total"}
    assert {"hopmask", "torch"} <= set(result["versions"])
    text = json.dumps(result, allow_nan=False)
    assert json.loads(text)["accuracy_matrix"] == result["accuracy_matrix"]
    unmeasured = {"task_inference_accuracy"} if kind["scenario"] == "GG" else set()
    assert all(0 <= result[key] <= 1 for key in RATES - unmeasured)
    assert all(result[key] is None for key in unmeasured)


def test_result_says_what_was_run(finished) -> None:
    result = finished().result()
    said = {key: result[key] for key in ("format", "benchmark", "scenario", "memory", "masks")}
    assert said == {
        "format": 1,
        "benchmark": "split-digits",
        "scenario": "GNu",
        "memory": "hopfield",
        "masks": "weight",
    }
    assert (result["tasks"], result["seed"], result["network"]) == (2, 0, "lenet-300-100")
    config = {"rule": "storkey", "hubs": 2, "precision": "int8", "objective": None}
    config |= {"recall": "posterior", "signature": "input", "protocol": "batch"}
    assert {name: result["config"][name] for name in config} == config
    assert result["masks_allocated"] == 2


def test_accuracy_matrix_is_lower_triangular_with_null_above(finished) -> None:
    matrix = finished(tasks=3).result()["accuracy_matrix"]
    assert [len(row) for row in matrix] == [3, 3, 3]
    for i, row in enumerate(matrix):
        assert all(0 <= value <= 1 for value in row[: i + 1])
        assert row[i + 1 :] == [None] * (2 - i)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({}, "lenet-300-100"),
        ({"masks": "unit", "bits": 128}, "layer-norm"),
        ({"memory": "bank"}, "lenet-300-100"),
        ({"memory": "bank", "network": "fc-1024-1024"}, "fc-1024-1024"),
    ],
    ids=str,
)
def test_result_names_the_network_that_was_used(kind, expected: str, small) -> None:
    assert Experiment(small(**kind)).result()["network"] == expected


def test_the_curve_has_the_figures_of_each_whole_row(finished) -> None:
    result = finished(tasks=3).result()
    assert [point["tasks"] for point in result["curve"]] == [1, 2, 3]
    for point, row in zip(result["curve"], result["accuracy_matrix"], strict=True):
        known = row[: point["tasks"]]
        assert point["accuracy"] == pytest.approx(sum(known) / len(known))
    assert {key: result[key] for key in RATES} == {key: result["curve"][-1][key] for key in RATES}


def test_forgetting_and_backward_transfer_are_those_of_the_matrix(finished) -> None:
    result = finished(tasks=3).result()
    r = result["accuracy_matrix"]
    lost = [max(r[0][0], r[1][0]) - r[2][0], r[1][1] - r[2][1]]
    changed = [r[2][0] - r[0][0], r[2][1] - r[1][1]]
    assert result["forgetting"] == pytest.approx(sum(lost) / 2)
    assert result["backward_transfer"] == pytest.approx(sum(changed) / 2)


def test_one_task_forgets_nothing_yet(finished) -> None:
    result = finished(tasks=1).result()
    assert result["forgetting"] is result["backward_transfer"] is None


def test_a_told_bank_forgets_nothing(finished) -> None:
    result = finished(tasks=3, memory="bank", scenario="GG").result()
    assert result["forgetting"] == result["backward_transfer"] == 0


def test_accuracy_is_the_mean_of_the_last_row(finished) -> None:
    result = finished(tasks=3).result()
    assert result["accuracy_per_task"] == result["accuracy_matrix"][-1]
    assert result["accuracy"] == pytest.approx(sum(result["accuracy_matrix"][-1]) / 3)


def test_a_short_training_beats_chance_when_the_task_is_told(finished) -> None:
    for kind in KINDS:
        assert finished(**kind).result()["accuracy_given_task"] > 0.7


def test_an_exactly_recalled_mask_is_of_the_right_task(finished) -> None:
    result = finished(tasks=3).result()
    assert result["exact_recall_rate"] <= result["task_inference_accuracy"]


def test_by_protocol_image_every_scored_image_is_an_inference(finished) -> None:
    experiment = finished(tasks=3, protocol="image")
    result, scored = experiment.result(), [len(t.scored_images) for t in experiment.stream]
    assert result["protocol"] == result["config"]["protocol"] == "image"
    assert (result["recall"]["samples"], result["infer_samples"]) == (sum(scored), 1)
    rates = result["per_task"]["task_inference_accuracy"]
    for rate, images in zip(rates, scored, strict=True):
        assert (rate * images) == pytest.approx(round(rate * images))
    assert result["accuracy_given_task"] == finished(tasks=3).result()["accuracy_given_task"]


def test_one_recall_is_counted_for_every_128_scored_images(finished) -> None:
    experiment = finished(tasks=3)
    expected = sum(-(-len(task.scored_images) // 128) for task in experiment.stream)
    assert experiment.result()["recall"]["samples"] == expected


def test_bytes_of_the_packed_masks(finished) -> None:
    assert finished(tasks=3).result()["bytes"]["packed_masks"] == 3 * WEIGHTS / 8
    assert finished(tasks=3, masks="hashed").result()["bytes"]["packed_masks"] == 3 * 256 / 8


@pytest.mark.parametrize("memory", ["hopfield", "bank"])
def test_before_the_first_task_figures_are_null(memory: str, small) -> None:
    result = Experiment(small(memory=memory)).result()
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


def test_a_folder_may_be_named_by_a_string(mnist_folder: Path, small) -> None:
    settings = small(benchmark="split-mnist")
    one, other = (Experiment(settings, data=data) for data in (mnist_folder, str(mnist_folder)))
    assert torch.equal(one.stream[0].scored_images, other.stream[0].scored_images)


# --- scenarios


def test_all_scenarios_train_the_same_masks(finished) -> None:
    told = [
        finished(tasks=3, scenario=scenario).result()["accuracy_given_task"]
        for scenario in ("GG", "GNs", "GNu")
    ]
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("scenario", ["GG", "GNu"])
def test_a_run_without_an_address_learns_the_same_masks_in_fewer_bytes(
    scenario: str, finished
) -> None:
    whole = finished(scenario=scenario, recall="entropy")
    bare = finished(scenario=scenario, signature_features=0)
    assert bare.ledger.digests == whole.ledger.digests
    assert bare.result()["accuracy"] == whole.result()["accuracy"]
    assert bare.result()["config"]["recall"] == (None if scenario == "GG" else "entropy")
    assert bare.result()["config"]["signature"] is None
    assert bare.memory.nbytes < whole.memory.nbytes / 4


@pytest.mark.parametrize("objective", [{}, {"objective": "G"}], ids=str)
def test_hubs_hold_the_very_masks_of_a_bank(objective: dict[str, Any], finished) -> None:
    hubs, bank = finished(tasks=3, **objective), finished(tasks=3, memory="bank")
    assert hubs.ledger.digests == bank.ledger.digests
    assert hubs.result()["config"]["objective"] == objective.get("objective")
    assert hubs.result()["config"]["recall"] == ("both" if objective else "posterior")
    for task in range(3):
        recalled = hubs.memory.recall(task=task)
        assert recalled.verified
        assert mask_digest(recalled.masks) == bank.ledger.digests[task]


def test_gg_on_hubs_is_that_of_a_bank_to_the_last_digit(finished) -> None:
    hubs, bank = (finished(tasks=3, scenario="GG", memory=m).result() for m in MEMORIES)
    for key in ("accuracy", "accuracy_per_task", "accuracy_matrix", "exact_recall_rate"):
        assert hubs[key] == bank[key]


def test_a_default_memory_file_takes_at_most_8_megabytes(small, quiet, tmp_path: Path) -> None:
    experiment = Experiment(small(tasks=5))
    experiment.memory.save(tmp_path / "memory.h5")
    assert (tmp_path / "memory.h5").stat().st_size <= 8e6
    assert (experiment.memory.capacity, experiment.preset.features) == (8, 1024)


def test_a_wrong_task_is_a_wrong_answer_in_gnu_alone(finished) -> None:
    shared = finished(tasks=3, scenario="GNs").result()
    unshared = finished(tasks=3, scenario="GNu").result()
    assert shared["task_inference_accuracy"] == unshared["task_inference_accuracy"]
    for a, b in zip(shared["accuracy_matrix"], unshared["accuracy_matrix"], strict=True):
        assert all(x is y is None or x >= y for x, y in zip(a, b, strict=True))


def test_gnu_accuracy_is_at_most_the_rate_of_right_tasks(small, quiet, monkeypatch) -> None:
    """With every recall sent to task 0, only task 0 can be right in GNu."""
    infer = PosteriorInference.infer

    def misled(self: PosteriorInference, images: Tensor) -> Any:
        answer = infer(self, images)
        wrong = self.memory.recall(task=0).masks
        masks = {name: wrong[name].expand_as(mask) for name, mask in answer.masks.items()}
        return replace(answer, masks=masks, task=torch.zeros_like(answer.task))

    monkeypatch.setattr(PosteriorInference, "infer", misled)
    rows = {}
    for scenario in ("GNs", "GNu"):
        experiment = Experiment(small(scenario=scenario))
        experiment.run(quiet)
        rows[scenario] = experiment.result()["accuracy_matrix"][-1]
    assert rows["GNu"][1] == 0
    assert rows["GNs"][1] > 0
    assert rows["GNu"][0] == rows["GNs"][0] > 0.5


@pytest.mark.parametrize("memory", ["hopfield", "bank"])
def test_gg_is_told_the_task(memory: str, small, quiet, inferred) -> None:
    experiment = Experiment(small(scenario="GG", memory=memory))
    experiment.run(quiet)
    result = experiment.result()
    assert inferred == []
    assert result["accuracy"] == pytest.approx(result["accuracy_given_task"])
    assert result["task_inference_accuracy"] is None
    assert result["exact_recall_rate"] == 1


# --- one seed, one run


@pytest.mark.parametrize(
    "kind",
    [
        {"masks": "unit", "bits": 128, "recall": "entropy"},
        {"recall": "address"},
        BANK,
        {"memory": "bank", "scenario": "NNs", "ask_every": 10},
        {"memory": "bank", "sparsity": 0.1, "mask_init": "mean"},
    ],
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


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seed of each random stream that a run makes."""
    seeds: list[int] = []
    stream = module.stream

    def watched(*key: Any) -> torch.Generator:
        generator = stream(*key)
        seeds.append(generator.initial_seed())
        return generator

    for part in (module, teaching, learning, inferences, building):
        monkeypatch.setattr(part, "stream", watched)
    return seeds


def test_no_two_parts_of_a_run_draw_from_the_same_stream(small, quiet, made, monkeypatch) -> None:
    given: list[int] = []

    def watched(*args: Any, **options: Any) -> Lesson:
        given.extend(options[name].initial_seed() for name in ("scores", "batches"))
        return Lesson(*args, **options)

    monkeypatch.setattr(learning, "Lesson", watched)
    Experiment(small(tasks=2)).run(quiet)
    assert len(given) == 4
    assert set(given) <= set(made)
    assert len(set(made)) == len(made)


def test_a_free_learner_draws_each_stream_once(small, quiet, made) -> None:
    experiment = Experiment(small(tasks=2, memory="bank", scenario="NNs", ask_every=10))
    experiment.run(quiet)
    assert experiment.memory.count > 1
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


@pytest.mark.parametrize(("kind", "layers"), [({}, 3), ({"masks": "hashed"}, 1)], ids=str)
def test_masks_are_gone_once_they_are_stored(
    kind: dict[str, Any], layers: int, small, quiet, monkeypatch
) -> None:
    alive: list[Any] = []
    train = Lesson.run

    def watched(*args: Any, **options: Any) -> dict[str, Tensor]:
        gc.collect()
        assert not any(mask() is not None for mask in alive)
        masks = train(*args, **options)
        alive.extend(weakref.ref(mask) for mask in masks.values())
        return masks

    monkeypatch.setattr(Lesson, "run", watched)
    Experiment(small(tasks=2, **kind)).run(quiet)
    gc.collect()
    assert len(alive) == 2 * layers
    assert not any(mask() is not None for mask in alive)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_memory_file_has_one_size_for_any_number_of_tasks(
    kind: dict[str, Any], finished, tmp_path: Path
) -> None:
    sizes = set()
    for tasks in (1, 3):
        path = tmp_path / f"{tasks}.h5"
        finished(tasks=tasks, **kind).memory.save(path)
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
        signature=experiment.learner.inferences.signature,
    )
    for number, task in enumerate(experiment.stream):
        found = inference.infer(task.inference_images[None, :32])
        assert mask_digest({n: m[0] for n, m in found.masks.items()}) == learned[number]


def test_learned_masks_come_back_from_the_saved_bank(small, quiet, learned, tmp_path: Path) -> None:
    experiment = Experiment(small(tasks=3, **BANK))
    experiment.run(quiet)
    experiment.memory.save(tmp_path / "memory.h5")
    bank = MaskBank.load(tmp_path / "memory.h5")
    assert [mask_digest(bank.recall(task=t).masks) for t in range(3)] == learned


def test_masks_learned_before_are_taken_as_they_are(small, quiet, learned) -> None:
    """The same run on masks from a bank: nothing is trained, and every figure is the same."""
    settings = small(masks="hashed", bits=256)
    first = Experiment(settings)
    first.run(quiet)
    bank = Experiment(replace(settings, memory="bank", recall=None, inference=None))
    bank.run(quiet)
    trained = len(learned)
    again = Experiment(settings, learned=bank.memory)
    again.run(quiet)
    assert len(learned) == trained
    assert without_seconds(first.result()) == without_seconds(again.result())


def test_masks_that_a_store_has_lost_are_not_learned(small, quiet, finished) -> None:
    full = deepcopy(finished(masks="hashed", bits=256).memory)
    full.couplings.psi.normal_(generator=torch.Generator().manual_seed(0))
    experiment = Experiment(small(masks="hashed", bits=256), learned=full)
    with pytest.raises(ConfigError, match="mask 0 cannot be recalled exactly"):
        experiment.run(quiet)
    assert experiment.memory.count == 0


@pytest.mark.parametrize("rule", ["hebbian", "projection"])
def test_the_memory_has_the_rule_that_was_asked_for(rule, small) -> None:
    experiment = Experiment(small(masks="hashed", rule=rule))
    assert experiment.memory.couplings.rule.name == rule


@pytest.mark.parametrize("signature", ["outputs", "torch:sin"])
def test_the_address_is_made_of_the_signature_that_was_asked_for(signature, small, quiet) -> None:
    experiment = Experiment(small(signature=signature))
    experiment.run(quiet)
    length = experiment.network.outputs if signature == "outputs" else 64
    assert experiment.memory.address.length == length
    assert experiment.result()["accuracy"] > 0


# --- what a recall may see


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.reshape(-1, images.shape[-1])}


INFERRING: list[dict[str, Any]] = [
    {},
    {"recall": "both"},
    BANK,
    {"memory": "bank", "inference": "try-all"},
    {"memory": "bank", "scenario": "NNs", "ask_every": 20},
]


@pytest.mark.parametrize("kind", INFERRING, ids=str)
def test_recalls_see_recall_images_alone(kind: dict[str, Any], small, quiet, inferred) -> None:
    experiment = Experiment(small(infer_samples=8, **kind))
    experiment.run(quiet)
    pools = set.union(*(rows(task.inference_images) for task in experiment.stream))
    scored = set.union(*(rows(task.scored_images) for task in experiment.stream))
    seen = set.union(*(rows(images) for images, _ in inferred))
    assert seen
    assert seen <= pools
    assert not seen & scored
    assert all(images.shape[1:] == (8, 64) for images, _ in inferred)


@pytest.mark.parametrize("kind", [{}, BANK, {"memory": "bank", "scenario": "NNs"}], ids=str)
def test_scored_images_do_not_change_what_is_recalled(
    kind: dict[str, Any], small, quiet, inferred
) -> None:
    def changed(task: Any) -> Any:
        return replace(task, scored_images=task.scored_images * float("nan"))

    Experiment(small(**kind)).run(quiet)
    plain = list(inferred)
    inferred.clear()
    experiment = Experiment(small(**kind))
    experiment.stream = [changed(task) for task in experiment.stream]
    experiment.run(quiet)
    assert len(plain) == len(inferred) > 0
    for (_, a), (_, b) in zip(plain, inferred, strict=True):
        assert torch.equal(a.task, b.task)
        assert all(torch.equal(a.masks[name], b.masks[name]) for name in a.masks)


@pytest.mark.parametrize("memory", ["hopfield", "bank"])
def test_a_score_does_not_depend_on_the_order_of_the_scored_images(
    memory: str, small, quiet
) -> None:
    results = []
    for flipped in (False, True):
        experiment = Experiment(small(scenario="GG", memory=memory))
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


def test_a_prediction_with_weight_masks_does_not_depend_on_its_batch_mates(finished) -> None:
    experiment = finished(tasks=2, **BANK)
    task = experiment.stream[1]
    masks = experiment.memory.recall(task=1).masks
    predict = experiment.network.predictor(masks, task.inference_images)
    together = predict(task.scored_images)
    mates = torch.cat([task.scored_images[:5], torch.full((3, 64), float("nan"))])
    torch.testing.assert_close(predict(mates)[:5], together[:5], rtol=1e-5, atol=1e-5)
    for image, logits in zip(task.scored_images[:9], together, strict=False):
        torch.testing.assert_close(predict(image[None])[0], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [BANK, {"memory": "bank", "scenario": "NNs"}], ids=str)
def test_an_answer_of_a_bank_does_not_depend_on_the_other_sets(kind, finished) -> None:
    experiment = finished(tasks=3, **kind)
    inference = experiment.learner.inferences.inference(experiment.memory, 0, 0)
    sets = torch.stack([task.inference_images[:4] for task in experiment.stream])
    together = inference.infer(sets)
    for row in range(3):
        alone = inference.infer(sets[row : row + 1])
        assert int(alone.task[0]) == int(together.task[row])


def test_references_of_predictions_are_recall_images(small, quiet, monkeypatch) -> None:
    references: list[Tensor] = []
    predictor = UnitNetwork.predictor

    def watched(self: UnitNetwork, masks: Any, reference: Tensor) -> Any:
        references.append(reference)
        return predictor(self, masks, reference)

    monkeypatch.setattr(UnitNetwork, "predictor", watched)
    experiment = Experiment(small(masks="unit", bits=128))
    experiment.run(quiet)
    pools = set.union(*(rows(task.inference_images) for task in experiment.stream))
    assert references
    assert all(rows(reference) <= pools for reference in references)


@pytest.mark.parametrize("kind", [{}, BANK], ids=str)
def test_digests_measure_and_do_nothing_else(
    kind: dict[str, Any], small, quiet, finished, monkeypatch
) -> None:
    seeing = without_seconds(finished(**kind).result())
    fresh = map(str, count())
    for part in (ledger, scoring, evaluation):
        monkeypatch.setattr(part, "mask_digest", lambda masks: next(fresh))
    experiment = Experiment(small(**kind))
    experiment.run(quiet)
    blind = without_seconds(experiment.result())
    assert blind.pop("exact_recall_rate") == 0
    assert seeing.pop("exact_recall_rate") > 0
    for result in (blind, seeing):
        for point in result["curve"]:
            point.pop("exact_recall_rate")
        result["per_task"].pop("exact_recall_rate")
    assert blind == seeing


# --- progress


@pytest.mark.parametrize("kind", [{}, BANK, {"memory": "bank", "scenario": "NNs"}], ids=str)
def test_an_observer_is_told_of_every_step_score_and_task(kind: dict[str, Any], small) -> None:
    class Listening:
        def __init__(self) -> None:
            self.steps: list[tuple[int, int, int]] = []
            self.scores: list[tuple[int, int]] = []
            self.tasks: list[tuple[str, int]] = []

        def training(self, task: Any, number: int, step: int, steps: int, loss: float) -> None:
            self.steps.append((number, step, steps))

        def evaluated(self, task: Any, number: int, after: int, accuracy: float) -> None:
            self.scores.append((after, number))

        def learned(self, task: Any, number: int) -> None:
            self.tasks.append((task.name, number))

    listening = Listening()
    Experiment(small(tasks=2, **kind)).run(listening)
    total = listening.steps[0][2]
    assert listening.steps == [(t, s, total) for t in (0, 1) for s in range(1, total + 1)]
    assert listening.scores == [(0, 0), (1, 0), (1, 1)]
    assert listening.tasks == [("digits 0 and 1", 0), ("digits 2 and 3", 1)]


def test_results_can_be_read_whenever_a_task_was_learned(small, quiet) -> None:
    read: list[dict[str, Any]] = []

    class Reading(type(quiet)):
        def learned(self, task: Any, number: int) -> None:
            read.append(json.loads(json.dumps(experiment.result(), allow_nan=False)))

    experiment = Experiment(small(tasks=3, **BANK))
    experiment.run(Reading())
    assert [result["masks_allocated"] for result in read] == [1, 2, 3]
    assert [len(result["accuracy_matrix"]) for result in read] == [1, 2, 3]
    assert without_seconds(read[-1]) == without_seconds(json.loads(json.dumps(experiment.result())))


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


# --- settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"benchmark": "split-digit"}, "did you mean 'split-digits'"),
        ({"tasks": 6}, "1 to 5"),
        ({"infer_samples": 10_000}, "at most .* images .*got infer_samples=10000"),
        ({"masks": "hashed", "bits": 10**9}, "bits must lie between"),
        ({"network": "paper", "masks": "unit"}, "paper"),
        ({"network": "layer-norm", "masks": "hashed"}, "unit masks"),
        ({"network": "layer-norm", "memory": "bank"}, "unit masks"),
        ({"output_size": 1}, "set --output-size to at least 2"),
        ({"memory": "bank", "output_size": 1}, "set --output-size to at least 2"),
        ({**BANK, "objective": "G", "output_size": 2}, "--output-size.*objective H"),
        ({"memory": "bank", "objective": "G"}, "leave out --objective"),  # try-all by default
        ({"memory": "bank", "sparsity": 1.1}, "sparsity must lie in"),
        ({"memory": "bank", "sparsity": 0.0}, "sparsity must lie in"),
        ({"memory": "bank", "sparsity": float("nan")}, "sparsity must lie in"),
        ({"memory": "bank", "sparsity": 1e-9}, "choose a larger one"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_together_are_refused(
    wrong: dict[str, Any], message: str, small, untrained
) -> None:
    with pytest.raises(ConfigError, match=message):
        Experiment(small(**wrong))


def test_the_papers_network_has_no_hashed_masks(small, untrained, mnist_folder: Path) -> None:
    settings = small(network="paper", masks="hashed", benchmark="split-mnist")
    with pytest.raises(ConfigError, match="hashed"):
        Experiment(settings, data=mnist_folder)


def test_as_many_images_as_the_smallest_recall_part_will_do(small) -> None:
    settings = small(tasks=5)
    smallest = min(len(task.inference_images) for task in Experiment(settings).stream)
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


def test_objective_g_is_no_hindrance_where_no_inference_asks_for_it(
    small, mnist_folder: Path
) -> None:
    """The preset's objective is G, which needs superfluous outputs."""
    for changes in ({"inference": "try-all"}, {"inference": "argmax"}, {"scenario": "GG"}):
        settings = small(benchmark="permuted-mnist", memory="bank", output_size=10, **changes)
        assert Experiment(settings, data=mnist_folder).preset.outputs == 10


def test_a_quick_run_has_twenty_batches_per_task(small) -> None:
    images = len(split_digits(tasks=1)[0].train_images)
    assert Experiment(small(quick=True)).preset.training.steps(images) == 20


@pytest.mark.parametrize("batches", [7, 300])
def test_a_run_has_the_batches_that_it_was_told(batches: int, small) -> None:
    settings = small(batches=batches)
    images = len(split_digits(tasks=1)[0].train_images)
    assert Experiment(settings).preset.training.steps(images) == batches


# --- banks of masks


@pytest.mark.parametrize("inference", INFERENCES)
def test_each_inference_of_a_bank_runs_and_is_named(inference: str, finished) -> None:
    result = finished(tasks=3, memory="bank", inference=inference).result()
    assert result["config"]["inference"] == inference
    assert result["config"]["recall"] is result["config"]["rule"] is None
    assert result["task_inference_accuracy"] >= 1 / 3
    steps = {"one-shot": 1, "binary": 2, "try-all": 3, "argmax": 3}
    if inference in steps:
        assert result["recall"]["steps_max"] == steps[inference]


@pytest.mark.parametrize("objective", ["H", "G"])
def test_each_objective_runs_and_is_named(objective: str, finished) -> None:
    result = finished(tasks=3, **BANK, objective=objective).result()
    assert result["config"]["objective"] == objective
    json.dumps(result, allow_nan=False)


def test_one_shot_inference_finds_the_digits(finished) -> None:
    result = finished(tasks=3, **BANK).result()
    assert result["task_inference_accuracy"] == result["exact_recall_rate"] == 1
    assert result["accuracy"] == result["accuracy_given_task"] > 0.9


def test_inferences_of_one_bank_share_their_masks(finished) -> None:
    digests = {
        tuple(finished(tasks=3, memory="bank", inference=inference).ledger.digests)
        for inference in INFERENCES
    }
    assert len(digests) == 1


def test_a_bank_grows_by_its_packed_masks(finished) -> None:
    sizes = [finished(tasks=t, memory="bank", scenario="GG").result()["bytes"] for t in (1, 3)]
    weights = 64 * 300 + 300 * 100 + 100 * 100
    assert [size["packed_masks"] for size in sizes] == [weights // 8, 3 * weights // 8]
    assert sizes[1]["memory"] - sizes[0]["memory"] == 2 * weights // 8


def test_a_banks_result_says_what_was_run(finished) -> None:
    result = finished(tasks=2, **BANK).result()
    assert (result["memory"], result["masks"], result["masks_allocated"]) == ("bank", "weight", 2)
    assert result["config"]["layers"] == {"0": (300, 64), "2": (100, 300), "4": (100, 100)}
    assert result["novelty"] is None


def test_a_wrong_mask_of_a_bank_is_a_wrong_answer_in_gnu_alone(small, quiet, monkeypatch) -> None:
    """With every set sent to mask 0, only task 0 can be right in GNu."""
    infer = BankInference.infer

    def misled(self: BankInference, images: Tensor) -> Any:
        answer = infer(self, images)
        wrong = self.bank.recall(task=0).masks
        masks = {name: wrong[name].expand_as(mask) for name, mask in answer.masks.items()}
        return replace(answer, masks=masks, task=torch.zeros_like(answer.task))

    monkeypatch.setattr(BankInference, "infer", misled)
    rows = {}
    for scenario in ("GNs", "GNu", "NNs"):
        free = {"ask_every": 20, "epsilon": 1e-9} if scenario == "NNs" else {}
        experiment = Experiment(small(memory="bank", scenario=scenario, **free))
        experiment.run(quiet)
        rows[scenario] = experiment.result()["accuracy_matrix"][-1]
    assert rows["GNu"][1] == 0
    assert rows["GNs"][1] > 0
    assert rows["NNs"][1] > 0
    assert rows["GNu"][0] == rows["GNs"][0] > 0.5


# --- sparse masks, and where masks start


@pytest.mark.parametrize(("memory", "masks"), [("hopfield", "unit"), ("bank", "weight")])
def test_stored_masks_have_the_density_that_was_asked_for(
    memory: str, masks: str, finished
) -> None:
    experiment = finished(tasks=2, memory=memory, masks=masks, sparsity=0.1)
    shares = erdos_renyi(experiment.network.mask_sizes, 0.1)
    for task in range(2):
        for name, mask in experiment.memory.recall(task=task).masks.items():
            assert int(mask.sum()) == round(shares[name] * mask.numel())


@pytest.mark.parametrize(
    "kind",
    [{"memory": "bank", "sparsity": 0.02}, {"sparsity": 0.02}, {}, {"scenario": "NNs"}],
    ids=str,
)
def test_bytes_of_sparse_columns_are_counted_from_the_masks_learned(kind, finished) -> None:
    experiment = finished(tasks=2, **kind)
    sizes = experiment.result()["bytes"]
    masks = [experiment.memory.recall(task=t).masks for t in range(experiment.memory.count)]
    assert sizes["csc_masks"] == sum(map(csc_bytes, masks))
    assert (sizes["csc_masks"] < sizes["packed_masks"]) is ("sparsity" in kind)
    assert sizes["extras"] == 0


def test_only_later_tasks_start_from_the_mean(finished) -> None:
    mean, random = (
        finished(tasks=3, memory="bank", mask_init=start).ledger.digests
        for start in ("mean", "random")
    )
    assert mean[0] == random[0]
    assert mean[1] != random[1]
    assert mean[2] != random[2]


def test_tasks_that_share_their_start_differ_from_random_ones_after_the_first(finished) -> None:
    shared, random = (
        finished(tasks=3, memory="bank", mask_init=start) for start in ("shared", "random")
    )
    assert shared.ledger.digests[0] == random.ledger.digests[0]
    assert shared.ledger.digests[1] != random.ledger.digests[1]


@pytest.mark.parametrize("other", ["mean", "shared"])
@pytest.mark.parametrize("kind", [{"memory": "bank"}], ids=str)
def test_masks_that_start_from_the_mean_or_together_are_nearer(
    kind: dict[str, Any], other: str, finished
) -> None:
    """Of two tasks the mean is the first mask itself."""
    shared = {}
    for start in (other, "random"):
        memory = finished(tasks=2, mask_init=start, **kind).memory
        first, second = (memory.recall(task=t).masks for t in (0, 1))
        same = torch.cat([(first[name] == second[name]).flatten() for name in first])
        shared[start] = float(same.float().mean())
    assert shared["random"] == pytest.approx(0.5, abs=0.1)
    assert shared[other] > shared["random"] + 0.1


# --- NNs: told nothing

FREE: dict[str, Any] = {"memory": "bank", "scenario": "NNs", "ask_every": 20}
NEVER_NEW: dict[str, Any] = {**FREE, "epsilon": 1e9}
ALWAYS_NEW: dict[str, Any] = {**FREE, "epsilon": 1e-9}


def test_a_free_learner_asks_as_often_as_it_was_told(finished) -> None:
    """20 batches per task, 3 tasks; the first batch of all needs no question."""
    for every, asked in ((20, 2), (10, 5), (7, 8)):
        result = finished(tasks=3, **{**FREE, "ask_every": every}).result()
        assert result["novelty"]["asked"] == asked


def test_each_new_task_gets_a_mask_and_they_are_counted(finished) -> None:
    experiment = finished(tasks=3, **ALWAYS_NEW)
    result = experiment.result()
    assert experiment.memory.count == result["masks_allocated"] == 3
    assert result["novelty"] == {
        "asked": 2,
        "allocated": 3,
        "refused": 0,
        "undecided": 0,
        "unlearned": 0,
    }
    assert result["bytes"]["packed_masks"] == 3 * 59_200 // 8
    assert result["accuracy_given_task"] > 0.7


def test_a_task_can_get_several_masks_and_any_of_them_counts(finished) -> None:
    experiment = finished(tasks=2, **{**ALWAYS_NEW, "ask_every": 10})
    assert experiment.ledger.used == [{0: 10, 1: 10}, {2: 10, 3: 10}]
    assert experiment.ledger.masks_of(1) == {2, 3}
    assert experiment.result()["masks_allocated"] == 4


def test_tasks_that_are_never_new_share_one_mask(finished) -> None:
    experiment = finished(tasks=3, **NEVER_NEW)
    result = experiment.result()
    assert result["masks_allocated"] == 1
    assert experiment.ledger.used == [{0: 20}, {0: 20}, {0: 20}]


def test_a_task_without_a_mask_of_its_own_is_never_told_right(finished) -> None:
    experiment = finished(tasks=3, **NEVER_NEW)
    assert [experiment.ledger.masks_of(task) for task in range(3)] == [{0}, set(), set()]
    assert experiment.result()["task_inference_accuracy"] == pytest.approx(1 / 3, abs=0.1)
    assert experiment.result()["exact_recall_rate"] == pytest.approx(1 / 3, abs=0.1)


def test_the_digits_are_told_apart_at_the_usual_threshold(finished) -> None:
    result = finished(tasks=3, **FREE).result()
    assert result["masks_allocated"] == 3
    assert result["accuracy_given_task"] > 0.7


def test_a_question_within_a_task_commits_what_was_learned(small, quiet) -> None:
    experiment = Experiment(small(tasks=1, **{**NEVER_NEW, "ask_every": 5}))
    committed: list[str] = []
    judge = experiment.free.test.judge
    experiment.free.test.judge = lambda images: (
        committed.append(mask_digest(experiment.memory.recall(task=0).masks)) or judge(images)
    )
    experiment.run(quiet)
    assert len(committed) == 3
    assert len({*committed, *experiment.ledger.digests}) == 4


# --- NNs on a Hopfield memory

UNTOLD: dict[str, Any] = {
    "scenario": "NNs",
    "quick": False,
    "batches": 90,
    "ask_every": 45,
    "infer_samples": 8,
}
DENSE: dict[str, Any] = {"masks": "hashed", "bits": 2048}


def permuted_digits(tasks: int) -> list[Task]:
    """All ten digits, with another order of the pixels for each task."""
    digits = load_digits()
    parts = torch.randperm(len(digits.labels), generator=torch.Generator().manual_seed(0))
    train, recall, scored = parts.split([1200, 300, len(parts) - 1500])
    orders = [torch.randperm(64, generator=torch.Generator().manual_seed(t)) for t in range(tasks)]
    return [
        Task(
            name=f"order {number}",
            train_images=digits.images[train][:, order],
            train_labels=digits.labels[train],
            inference_images=digits.images[recall][:, order],
            scored_images=digits.images[scored][:, order],
            scored_labels=digits.labels[scored],
            classes=10,
        )
        for number, order in enumerate(orders)
    ]


@pytest.fixture(scope="module")
def untold(small, quiet) -> Callable[..., Experiment]:
    """Number of tasks -> a finished run over permuted digits; not to be changed."""

    @cache
    def run(tasks: int, **changes: Any) -> Experiment:
        settings = small(tasks=tasks, **{**UNTOLD, **changes})
        experiment = Experiment(settings, tasks=permuted_digits(tasks))
        experiment.run(quiet)
        return experiment

    return run


@pytest.mark.parametrize("kind", [{}, DENSE], ids=str)
def test_untold_tasks_are_learned_and_recalled_by_the_hopfield_memory(kind, untold) -> None:
    experiment = untold(3, **kind)
    result = experiment.result()
    assert result["masks_allocated"] == 3
    assert result["novelty"] == {
        "asked": 5,
        "allocated": 3,
        "refused": 0,
        "undecided": 0,
        "unlearned": 0,
    }
    assert experiment.ledger.used == [{0: 90}, {1: 90}, {2: 90}]
    assert result["exact_recall_rate"] == result["task_inference_accuracy"] == 1.0
    assert result["accuracy"] == result["accuracy_given_task"] > 0.8
    assert result["config"]["rule"] == "storkey"


@pytest.mark.parametrize("kind", [{}, DENSE], ids=str)
def test_after_the_last_task_no_mask_is_open(kind, untold, tmp_path: Path) -> None:
    """The digests are those of the masks as they were closed; what is saved gives them back."""
    experiment = untold(3, **kind)
    assert experiment.memory.open is None
    assert experiment.memory.nbytes == experiment.hopfield.nbytes
    experiment.memory.save(tmp_path / "memory.h5")
    memory = hopmask.load(tmp_path / "memory.h5")
    given = [mask_digest(memory.recall(task=task).masks) for task in range(3)]
    assert given == experiment.ledger.digests


@pytest.mark.parametrize("kind", [{}, DENSE], ids=str)
def test_an_untold_run_holds_nothing_that_grows_with_the_tasks(
    kind, untold, tmp_path: Path
) -> None:
    sizes = []
    for tasks in (1, 3):
        experiment = untold(tasks, **kind)
        data, experiment.stream = experiment.stream, []  # the world's, not the learner's
        experiment.memory.save(tmp_path / "memory.h5")
        sizes.append((held(experiment), (tmp_path / "memory.h5").stat().st_size))
        experiment.stream = data
    assert sizes[0] == sizes[1]


def test_an_evaluation_in_between_closes_no_mask(small, quiet) -> None:
    """Where a task ends is no secret of the evaluation's to give away."""
    experiment = Experiment(small(tasks=2, **UNTOLD), tasks=permuted_digits(2))
    opened: list[bool] = []
    evaluate = experiment.evaluate
    experiment.evaluate = lambda observer, **options: (
        opened.append(experiment.memory.open is not None) or evaluate(observer, **options)
    )
    experiment.run(quiet)
    assert opened == [True, False]


def test_evaluations_change_nothing_that_an_untold_run_learns(untold) -> None:
    often = untold(3).ledger.digests
    assert often == untold(3, evaluate_every=3).ledger.digests


def test_a_change_of_task_is_noticed_at_the_next_question(untold) -> None:
    """The batches until then go to the mask that is open: nobody told it."""
    assert untold(2, ask_every=60).ledger.used == [{0: 90}, {0: 30, 1: 60}]


@pytest.mark.parametrize("budget", [1, 2])
def test_a_spent_budget_is_logged_and_serving_goes_on(budget: int, small, quiet, caplog) -> None:
    experiment = Experiment(small(tasks=4, **ALWAYS_NEW, budget=budget))
    with caplog.at_level("INFO", logger="supsup_bridge"):
        experiment.run(quiet)
    result = experiment.result()
    assert result["masks_allocated"] == budget
    assert result["novelty"]["allocated"] == budget
    assert result["novelty"]["refused"] == 4 - budget
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING"] + ["INFO"] * (3 - budget)
    for record in caplog.records:
        assert f"the budget of {budget} masks is spent" in record.message
        assert "raise the budget" in record.message
    assert len(result["accuracy_per_task"]) == 4
    assert None not in result["accuracy_per_task"]
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("budget", [1, 2])
def test_nothing_is_trained_on_tasks_over_budget(budget: int, small, quiet, finished) -> None:
    experiment = Experiment(small(tasks=4, **ALWAYS_NEW, budget=budget))
    experiment.run(quiet)
    within = finished(tasks=budget, **ALWAYS_NEW)
    assert experiment.ledger.digests == within.ledger.digests
    assert experiment.result()["novelty"]["unlearned"] == 20 * (4 - budget)


def test_a_budget_that_suffices_changes_nothing(finished) -> None:
    plain = finished(tasks=2, **ALWAYS_NEW).result()
    budgeted = finished(tasks=2, **ALWAYS_NEW, budget=2).result()
    for result in (plain, budgeted):
        del result["config"], result["settings"]
    assert without_seconds(plain) == without_seconds(budgeted)


def test_masks_of_finished_tasks_stay_as_they_are(finished) -> None:
    two, three = (finished(tasks=tasks, **ALWAYS_NEW).ledger.digests for tasks in (2, 3))
    assert two == three[:2]


def test_a_free_learner_starts_later_masks_from_the_mean(finished) -> None:
    mean, random = (
        finished(tasks=2, **ALWAYS_NEW, mask_init=start).ledger.digests
        for start in ("mean", "random")
    )
    assert mean[0] == random[0]
    assert mean[1] != random[1]


def test_a_free_learner_is_given_batches_and_nothing_else(small, quiet, monkeypatch) -> None:
    learn, given = TaskAgnosticLearner.learn, []

    def watched(self: TaskAgnosticLearner, *batch: Any, **options: Any) -> Any:
        given.append((batch, options))
        return learn(self, *batch, **options)

    monkeypatch.setattr(TaskAgnosticLearner, "learn", watched)
    Experiment(small(tasks=2, **FREE)).run(quiet)
    assert len(given) == 40
    for (images, labels), options in given:
        assert images.shape[1:] == (64,)
        assert set(labels.tolist()) <= {0, 1}
        assert not options


# --- when everything is scored


def measured(matrix: list[list[float | None]]) -> list[list[int]]:
    return [[j for j, value in enumerate(row) if value is not None] for row in matrix]


def test_all_tasks_are_scored_at_multiples_of_evaluate_every_and_at_the_end(finished) -> None:
    result = finished(tasks=5, **BANK, evaluate_every=2).result()
    assert measured(result["accuracy_matrix"]) == [[0], [0, 1], [2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]
    assert [point["tasks"] for point in result["curve"]] == [2, 4, 5]
    assert all(len(row) == 5 for row in result["accuracy_matrix"])


def test_sparse_evaluations_measure_the_same_at_the_end(finished) -> None:
    often, seldom = (finished(tasks=5, **BANK, evaluate_every=n).result() for n in (1, 5))
    for key in ("accuracy", "accuracy_per_task", "task_inference_accuracy", "backward_transfer"):
        assert often[key] == seldom[key]
    assert often["curve"][-1] == seldom["curve"][0]


def test_without_being_told_a_run_scores_all_at_1_to_10_and_20(small, quiet) -> None:
    task = split_digits(tasks=1)[0]
    settings = small(tasks=22, memory="bank", scenario="GG", batches=1, quick=False)
    experiment = Experiment(settings, tasks=[task] * 22)
    experiment.run(quiet)
    whole = [len(row) for row in measured(experiment.result()["accuracy_matrix"])]
    expected = [k if k <= 10 or k in (20, 22) else 1 for k in range(1, 23)]
    assert whole == expected


@pytest.mark.parametrize("every", [3, 10])
def test_of_many_tasks_a_point_scores_a_sample_and_the_last_one_all(
    every: int, small, quiet, finished, monkeypatch
) -> None:
    """As with 100 and 10 in place of 2 and 3."""
    whole = finished(tasks=5, **BANK).result()
    monkeypatch.setattr(schedule, "MOST", 2)
    monkeypatch.setattr(schedule, "_APART", 3)
    experiment = Experiment(small(tasks=5, **BANK, evaluate_every=every))
    experiment.run(quiet)
    result = experiment.result()
    rows = measured(result["accuracy_matrix"])
    expected = [(3, 2), (5, 5)] if every == 3 else [(5, 5)]
    assert [(point["tasks"], point["scored"]) for point in result["curve"]] == expected
    assert [len(row) for row in rows] == ([1, 1, 2, 0, 5] if every == 3 else [1, 1, 1, 0, 5])
    assert rows[2][-1] == 2
    for key in ("accuracy", "accuracy_per_task", "per_task", "recall"):
        assert result[key] == whole[key]


def test_a_stream_that_ends_after_a_sample_is_scored_whole(small, quiet, monkeypatch) -> None:
    monkeypatch.setattr(schedule, "MOST", 2)
    settings = small(tasks=5, **BANK, evaluate_every=3)
    experiment = Experiment(settings, tasks=split_digits(tasks=3))
    with pytest.raises(StreamEndedError):
        experiment.run(quiet)
    (point,) = experiment.result()["curve"]
    assert (point["tasks"], point["scored"]) == (3, 3)


def test_a_stream_that_ends_before_any_evaluation_is_scored(small, quiet) -> None:
    settings = small(tasks=5, **BANK, evaluate_every=4)
    experiment = Experiment(settings, tasks=split_digits(tasks=2))
    with pytest.raises(StreamEndedError):
        experiment.run(quiet)
    assert [point["tasks"] for point in experiment.result()["curve"]] == [2]


def test_scoring_anew_replaces_the_last_row(small, quiet) -> None:
    experiment = Experiment(small(tasks=3, **BANK))
    experiment.run(quiet)
    before = without_seconds(experiment.result())
    experiment.evaluate(quiet)
    assert without_seconds(experiment.result()) == before


# --- streams that end


@pytest.mark.parametrize("kind", [{}, BANK, FREE], ids=str)
def test_a_stream_that_ends_early_keeps_what_was_learned(
    kind: dict[str, Any], small, quiet, finished
) -> None:
    experiment = Experiment(small(tasks=5, **kind), tasks=split_digits(tasks=2))
    with pytest.raises(StreamEndedError, match=r"after 2 of 5 tasks: set tasks to 2"):
        experiment.run(quiet)
    short, whole = experiment.result(), finished(tasks=2, **kind).result()
    assert experiment.memory.count == whole["masks_allocated"]
    assert experiment.names() == ["digits 0 and 1", "digits 2 and 3"]
    for key in (*RATES, "forgetting", "backward_transfer", "curve", "masks_allocated", "novelty"):
        assert short[key] == whole[key], key
    assert measured(short["accuracy_matrix"]) == [[0], [0, 1]]
    json.dumps(short, allow_nan=False)


def test_a_stream_that_ends_between_evaluations_is_scored_all_the_same(small, quiet) -> None:
    settings = small(tasks=5, **BANK, evaluate_every=2)
    experiment = Experiment(settings, tasks=split_digits(tasks=3))
    with pytest.raises(StreamEndedError):
        experiment.run(quiet)
    result = experiment.result()
    assert [point["tasks"] for point in result["curve"]] == [2, 3]
    assert measured(result["accuracy_matrix"]) == [[0], [0, 1], [0, 1, 2]]
    assert None not in result["accuracy_per_task"][:3]


def test_a_stream_without_any_task_is_refused(small) -> None:
    with pytest.raises((ConfigError, StreamEndedError)):
        Experiment(small(), tasks=[])


def test_a_longer_stream_is_learned_as_far_as_it_was_told(small, quiet, finished) -> None:
    experiment = Experiment(small(tasks=2, **BANK), tasks=split_digits(tasks=5))
    experiment.run(quiet)
    assert without_seconds(experiment.result()) == without_seconds(
        finished(tasks=2, **BANK).result()
    )


# --- tasks of one's own


def test_tasks_of_ones_own_are_learned(small, quiet) -> None:
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 12, generator=g) * 2

    def images(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n) % 3
        return centres[labels] + 0.3 * torch.randn(n, 12, generator=g), labels

    (train, labels), (pool, _), (scored, truth) = images(300), images(60), images(90)
    task = Task(
        name="three clouds",
        train_images=train,
        train_labels=labels,
        inference_images=pool,
        scored_images=scored,
        scored_labels=truth,
    )
    experiment = Experiment(small(tasks=1, **BANK), tasks=[task])
    experiment.run(quiet)
    assert experiment.learner.settings.classes == 3
    assert experiment.network.mask_sizes["0"] == (300, 12)
    assert experiment.result()["accuracy"] > 0.9


def test_a_later_task_with_too_many_labels_is_refused_before_the_first(small) -> None:
    first, second = split_digits(tasks=2)
    wrong = replace(second, train_labels=second.train_labels + 200, classes=0)
    with pytest.raises(ConfigError, match="202 labels, the network 100 outputs"):
        Experiment(small(tasks=2, **BANK), tasks=[first, wrong])


# --- another inference over what was learned


def test_another_inference_over_a_bank_measures_what_a_run_with_it_does(
    small, quiet, finished
) -> None:
    experiment = Experiment(small(tasks=3, memory="bank", inference="try-all"))
    experiment.run(quiet)
    masks = list(experiment.ledger.digests)
    experiment.change_inference(small(tasks=3, memory="bank", inference="binary", infer_samples=8))
    experiment.evaluate(quiet)
    other = finished(tasks=3, memory="bank", inference="binary", infer_samples=8).result()
    result = experiment.result()
    assert experiment.ledger.digests == masks
    assert result["config"] == other["config"]
    for key in (*RATES, "accuracy_per_task", "recall", "infer_samples"):
        assert result[key] == other[key], key


def test_another_recall_over_a_memory_measures_what_a_run_with_it_does(
    small, quiet, finished
) -> None:
    experiment = Experiment(small(tasks=3))
    experiment.run(quiet)
    experiment.change_inference(small(tasks=3, recall="entropy", infer_samples=4))
    experiment.evaluate(quiet)
    other = finished(tasks=3, recall="entropy", infer_samples=4).result()
    for key in (*RATES, "accuracy_per_task", "recall", "config"):
        assert experiment.result()[key] == other[key], key


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 1), ("scenario", "GNs"), ("tasks", 3), ("sparsity", 0.1), ("output_size", 50)],
)
def test_a_change_of_anything_but_the_inference_is_refused(
    name: str, value: Any, finished, small
) -> None:
    experiment = finished(tasks=2, **BANK)
    before = experiment.settings
    with pytest.raises(ConfigError, match=f"cannot change its {name}: start another one"):
        experiment.change_inference(replace(small(tasks=2, **BANK), **{name: value}))
    assert experiment.settings == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"infer_samples": 10_000}, "at most 72 images"),
        ({"objective": "G"}, "--output-size"),
    ],
    ids=str,
)
def test_an_inference_that_is_refused_leaves_the_one_before(
    wrong: dict[str, Any], message: str, small, quiet
) -> None:
    settings = small(tasks=1, **BANK, output_size=2)
    experiment = Experiment(settings)
    with pytest.raises(ConfigError, match=message):
        experiment.change_inference(replace(settings, **wrong))
    assert experiment.settings == settings
    assert experiment.samples == 1
    experiment.run(quiet)
    assert experiment.result()["infer_samples"] == 1


# --- modules of one's own

MODULE = """
    from torch import nn

    asked = []

    def convolution(inputs, outputs):
        asked.append((inputs, outputs))
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, inputs // 8)), nn.Conv2d(1, 32, 3, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(288, outputs),
        )

    def wrong_outputs(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, 9), nn.ReLU(), nn.Linear(9, outputs + 1))

    def nothing_to_mask(inputs, outputs):
        return nn.ReLU()

    def no_module(inputs, outputs):
        return 3

    def too_few_arguments(inputs):
        return nn.Linear(inputs, 10)

    no_function = 3
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a package.module that can be imported."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "nets.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_package", "my_package.nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield "my_package.nets"
    for name in ("my_package", "my_package.nets"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("kind", "least"),
    [({}, 0.6), ({"masks": "unit", "bits": None}, 0), (BANK, 0.6), (FREE, 0.6)],  # 32 units: few
    ids=str,
)
def test_a_module_of_ones_own_is_masked_and_learns(
    kind: dict[str, Any], least: float, small, quiet, modules: str
) -> None:
    settings = small(network=f"{modules}:convolution", batches=50, **kind)
    experiment = Experiment(settings)
    experiment.run(quiet)
    result = experiment.result()
    assert isinstance(experiment.network, MaskedNetwork)
    assert result["network"] == f"{modules}:convolution"
    assert sys.modules[modules].asked == [(64, 100)]
    assert result["accuracy_given_task"] > least
    json.dumps(result, allow_nan=False)


def test_weights_of_a_module_of_ones_own_are_those_of_the_seed(small, modules: str) -> None:
    def weight(seed: int) -> Tensor:
        settings = small(network=f"{modules}:convolution", seed=seed, **BANK)
        return Experiment(settings).network.module[1].weight

    assert torch.equal(weight(0), weight(0))
    assert not torch.equal(weight(0), weight(1))
    torch.testing.assert_close(weight(0).abs(), torch.full((32, 1, 3, 3), (2 / 9) ** 0.5))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("wrong_outputs", "has 101 outputs"),
        ("nothing_to_mask", "there is nothing to mask"),
        ("no_module", "returned int, not a torch module"),
        ("nowhere", "cannot be imported"),
        ("", "cannot be imported"),
        ("no_function", "no_function"),
        ("too_few_arguments", "too_few_arguments"),
    ],
)
def test_a_function_that_makes_no_network_is_refused(
    function: str, message: str, small, modules: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Experiment(small(network=f"{modules}:{function}", **BANK))


@pytest.mark.parametrize("name", ["no_such_package.nets:make", ":make", ".nets:make"])
def test_a_module_that_is_not_there_is_refused(name: str, small) -> None:
    with pytest.raises(ConfigError, match=r"give package\.module:function"):
        Experiment(small(network=name, **BANK))


@pytest.mark.parametrize("name", ["settings", "samples", "preset"])
def test_what_a_run_was_made_of_cannot_be_assigned(name: str) -> None:
    """Assigned, it would do nothing: the learner was made of it."""
    run = Experiment(RunSettings(quick=True))
    before = getattr(run, name)
    with pytest.raises(AttributeError):
        setattr(run, name, before)
    assert getattr(run, name) == before
