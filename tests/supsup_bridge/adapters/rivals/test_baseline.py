"""Avalanche's learners on tasks of digits, where Avalanche is installed."""

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

pytest.importorskip("avalanche", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # of Avalanche and its packages

from torch import Tensor  # noqa: E402

from hopmask import ConfigError, NumericalError  # noqa: E402
from supsup_bridge import RunSettings, TrainingSettings, split_digits  # noqa: E402
from supsup_bridge.adapters.rivals.baseline import (  # noqa: E402
    METHODS,
    AvalancheBaseline,
    rival_named,
)
from supsup_bridge.adapters.rivals.learners import maker_of  # noqa: E402
from supsup_bridge.continual.baselines.base import Baseline  # noqa: E402
from supsup_bridge.continual.baselines.named import baseline_named  # noqa: E402
from supsup_bridge.runs.baseline_run import BaselineRun, Made  # noqa: E402
from supsup_bridge.runs.learners import RIVALS  # noqa: E402
from supsup_bridge.training.data import TensorData  # noqa: E402

TRAINING = TrainingSettings(rate=1e-3, epochs=10, batch=32, contrast=0)
TASKS = [*split_digits(tasks=2)]
SERVED = [(name, scenario) for name, served in RIVALS.items() for scenario in served]
STRENGTHS = {"ewc": {"strength": 1e8}, "si": {"strength": 1e3}}
WEIGHTS, IMAGE = 64 * 300 + 300 * 100, 64 + 2


def learner(name: str, scenario: str, *, make: Made = rival_named, **changes: Any) -> Baseline:
    arguments: dict[str, Any] = {
        "network": "lenet-300-100",
        "inputs": 64,
        "classes": 2,
        "tasks": 2,
        "scenario": scenario,
        "training": TRAINING,
        "seed": 0,
    }
    return make(name, **{**arguments, **changes})


def taught(made: Baseline, *, tasks: int = 2) -> Baseline:
    for task in TASKS[:tasks]:
        made.learn(TensorData(task.train_images, task.train_labels))
    return made


def accuracies(made: Baseline, *, given: bool = False) -> list[float]:
    """Of both tasks; of task and label together where outputs name the task."""
    found = []
    for number, task in enumerate(TASKS):
        with torch.no_grad():
            logits = made.predictor(number)(task.scored_images)
        right = logits.argmax(-1) == task.scored_labels
        if made.reads_out and not given:
            tasks, labels = made.read_out(task.scored_images)
            right = labels == task.scored_labels
            right = right if tasks is None else right & (tasks == number)
        found.append(float(right.float().mean()))
    return found


@pytest.fixture(scope="module")
def forgetful() -> dict[str, Baseline]:
    """What fine-tuning comes to in each scenario."""
    return {
        scenario: taught(learner("lower-bound", scenario, make=baseline_named))
        for scenario in ("GG", "GNs", "GNu")
    }


def test_the_names_are_those_of_a_run() -> None:
    assert {*METHODS} == {*RIVALS}
    assert maker_of("ewc") is rival_named


@pytest.mark.parametrize(("name", "scenario"), SERVED)
def test_two_tasks_are_learned_and_the_first_is_not_forgotten(
    name: str, scenario: str, forgetful: dict[str, Baseline]
) -> None:
    made = learner(name, scenario, **STRENGTHS.get(name, {}))
    before, drawn = torch.get_rng_state(), random.getstate()
    for number, task in enumerate(TASKS):
        told = list[int]()
        made.learn(
            TensorData(task.train_images, task.train_labels),
            progress=lambda step, loss, told=told: told.append(step),
        )
        steps = TRAINING.steps(len(task.train_labels))
        assert told == [*range(1, steps + 1)]
        assert made.count == number + 1
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == drawn
    first, last = accuracies(made)
    if scenario == "GG":
        assert min(first, last) > 0.95
        return
    lower = forgetful["GNs" if scenario == "NNs" else scenario]
    if (name, scenario) == ("lwf", "GNu"):  # holds outputs of task 0 among themselves
        assert accuracies(made, given=True)[0] > accuracies(lower, given=True)[0] + 0.02
        assert last > 0.95
    else:
        assert (first + last) / 2 > sum(accuracies(lower)) / 2 + 0.03


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_gives_the_same_bits_and_another_does_not(name: str) -> None:
    scenario = RIVALS[name][-1]
    training = replace(TRAINING, max_batches=8)

    def logits(seed: int) -> Tensor:
        made = taught(learner(name, scenario, training=training, seed=seed))
        with torch.no_grad():
            return torch.cat([made.predictor(task)(TASKS[0].scored_images) for task in (0, 1)])

    first = logits(0)
    with torch.random.fork_rng(devices=[]):
        torch.rand(1)  # what was drawn elsewhere does not matter
        assert torch.equal(logits(0), first)
    assert not torch.equal(logits(1), first)


@pytest.mark.parametrize(
    ("name", "scenario", "options", "after"),
    [  # bytes after no task, one, and two
        ("lwf", "GNu", {}, [4 * (WEIGHTS + 400)] * 3),
        ("lwf", "GG", {}, [4 * (WEIGHTS + 200 * heads) for heads in (0, 1, 2)]),
        ("ewc", "GNs", {}, [4 * (WEIGHTS + 200) * (1 + 2 * tasks) for tasks in (0, 1, 2)]),
        ("si", "GNs", {}, [4 * (WEIGHTS + 200) * share for share in (1, 2, 2)]),
        ("replay", "GNs", {"buffer": 90}, [4 * (WEIGHTS + 200) + IMAGE * n for n in (0, 90, 90)]),
        ("gem", "GNs", {"buffer": 90}, [4 * (WEIGHTS + 200) + IMAGE * n for n in (0, 45, 90)]),
        ("a-gem", "GNs", {"buffer": 90}, [4 * (WEIGHTS + 200) + IMAGE * n for n in (0, 45, 90)]),
        (
            *("icarl", "GNu", {"buffer": 90}),
            [
                4 * (WEIGHTS + 400 + 400 * means) + IMAGE * n
                for means, n in ((0, 0), (1, 90), (1, 92))
            ],
        ),
        (
            *("packnet", "GG", {}),
            [4 * (WEIGHTS + 200 * heads) + WEIGHTS for heads in (0, 1, 2)],
        ),
        (  # columns of 64 inputs, one layer of 10 units, with an adapter from the second on
            *("pnn", "GG", {"layers": 1, "width": 10}),
            [4 * (650 + 22)] * 2 + [4 * (2 * (650 + 22) + 650 + 1 + 110)],
        ),
    ],
)
def test_bytes_are_those_of_what_is_kept(
    name: str, scenario: str, options: dict[str, Any], after: list[int]
) -> None:
    made = learner(name, scenario, training=replace(TRAINING, max_batches=2), **options)
    found = [made.nbytes]
    for task in TASKS:
        made.learn(TensorData(task.train_images, task.train_labels))
        found.append(made.nbytes)
    assert found == after


def test_a_generator_is_kept_and_images_are_not() -> None:
    made = taught(learner("generative-replay", "GNs", training=replace(TRAINING, max_batches=2)))
    more = learner("generative-replay", "GNs", latent=3)
    assert made.nbytes > 4 * (WEIGHTS + 200) + 4 * 256 * 64  # the last layer of the decoder
    assert more.nbytes - made.nbytes == 4 * (2 * (128 + 1) + 64)


def test_the_network_begins_as_the_lower_bound() -> None:
    rate = replace(TRAINING, max_batches=1, rate=1e-30)
    rival = taught(learner("ewc", "GNu", training=rate), tasks=1)
    lower = taught(learner("lower-bound", "GNu", make=baseline_named, training=rate), tasks=1)
    images = TASKS[0].scored_images
    with torch.no_grad():
        torch.testing.assert_close(rival.predictor(0)(images), lower.predictor(0)(images))


PICTURES = replace(
    TRAINING,
    batch=8,
    max_batches=3,
    augment="strong",
    mixup=0.6,
    smoothing=0.1,
    averaging=0.9,
    precision="bfloat16",
)


@pytest.mark.parametrize(
    ("name", "scenario", "options"),
    [
        ("ewc", "GG", {}),
        ("si", "GNs", {}),
        ("replay", "GG", {"buffer": 8}),
        ("icarl", "GNu", {"buffer": 8}),
        ("generative-replay", "GNu", {}),
    ],
)
def test_pictures_are_changed_mixed_and_learned(
    name: str, scenario: str, options: dict[str, Any]
) -> None:
    network = {"network": "gem-resnet18", "inputs": (3, 8, 8), "training": PICTURES}
    made = learner(name, scenario, **network, **options)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 17, 3, 8, 8, generator=generator)  # one is left over
    for task in range(2):
        made.learn(TensorData(images[task], torch.arange(17) % 2))
    with torch.no_grad():
        logits = made.predictor(0)(images[0])
    assert logits.shape == (17, 2)
    assert torch.isfinite(logits).all()
    assert made.steps(17) == 3
    assert made.training.averaging == 0
    assert made.training.precision == "float32"
    assert made.training.mixup == (0 if name == "icarl" else 0.6)


def test_what_does_not_fit_is_refused() -> None:
    for name, served in RIVALS.items():
        for scenario in {"GG", "GNs", "GNu", "NNs"} - {*served}:
            with pytest.raises(ConfigError, match=f"{name} serves scenarios"):
                learner(name, scenario)
    with pytest.raises(ConfigError, match="did you mean 'replay'"):
        learner("replays", "GNu")
    with pytest.raises(ConfigError, match="does not take these options"):
        learner("ewc", "GNu", buffer=3)
    for name, options in [
        ("ewc", {"strength": 0}),
        ("lwf", {"temperature": -1}),
        ("replay", {"buffer": 0}),
        ("gem", {"buffer": 1}),
        ("a-gem", {"sample": 1}),
        ("icarl", {"buffer": 3}),
        ("generative-replay", {"latent": 0}),
        ("pnn", {"width": 0}),
        ("packnet", {"prune": 1}),
    ]:
        with pytest.raises(ConfigError, match=f"{next(iter(options))} must"):
            learner(name, RIVALS[name][0], **options)
    with pytest.raises(ConfigError, match="does not take this network"):
        learner("packnet", "GG", network="gem-resnet18", inputs=(3, 8, 8))
    with pytest.raises(ConfigError, match="254 tasks"):
        learner("packnet", "GG", tasks=300)


def test_a_task_too_many_or_of_other_labels_is_refused() -> None:
    made = learner("replay", "GNu", tasks=1, training=replace(TRAINING, max_batches=2))
    with pytest.raises(ConfigError, match="labels must lie in 0"):
        made.learn(TensorData(TASKS[0].train_images, TASKS[0].train_labels + 1))
    assert made.count == 0
    taught(made, tasks=1)
    with pytest.raises(ConfigError, match="for 1 tasks"):
        taught(made, tasks=1)
    assert isinstance(made, AvalancheBaseline)
    with pytest.raises(ConfigError, match="has no outputs for all tasks"):
        learner("replay", "GG").read_out(TASKS[0].scored_images)


def test_a_loss_that_is_not_finite_stops_and_is_no_task() -> None:
    made = learner("ewc", "GNu")
    images = TASKS[0].train_images.clone()
    images[:] = float("nan")
    with pytest.raises(NumericalError, match="lower the learning rate"):
        made.learn(TensorData(images, TASKS[0].train_labels))
    assert made.count == 0


@pytest.mark.parametrize(
    ("name", "scenario"), [("replay", "NNs"), ("gem", "GNu"), ("pnn", "GG"), ("icarl", "GNu")]
)
def test_a_run_scores_them_as_other_baselines(name: str, scenario: str, quiet: Any) -> None:
    settings = RunSettings(learner=name, scenario=scenario, quick=True, tasks=2)
    run = BaselineRun(settings, make=maker_of(name))
    run.run(quiet)
    result = run.result()
    assert result["bytes"]["memory"] == run.learner.nbytes > 0
    assert 0.4 < result["accuracy"] <= 1
    assert result["config"]["inference"] == (None if scenario == "GG" else "outputs")
    assert result["network"] == ("pnn-2x100" if name == "pnn" else "lenet-300-100")
    assert result["infer_samples"] == 1
