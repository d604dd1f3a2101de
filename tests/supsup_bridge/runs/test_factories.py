"""What a run makes from its settings."""

from pathlib import Path

import pytest
import torch

from hopmask import ConfigError
from supsup_bridge import Experiment, RunSettings, SupSup, Task, split_digits
from supsup_bridge.runs.factories import novelty_interval
from supsup_bridge.runs.presets import resolved


def interval(images: list[int], **settings: object) -> int:
    chosen = RunSettings(scenario="NNs", **settings)  # type: ignore[arg-type]
    return novelty_interval(chosen, resolved(chosen), images)


def lengths(tasks: list[Task]) -> list[int]:
    return [len(task.train_labels) for task in tasks]


def test_novelty_tests_fall_on_the_first_batch_of_every_task_of_digits() -> None:
    settings = RunSettings(scenario="NNs")
    images = lengths(split_digits())
    every = interval(images)
    assert [resolved(settings).training.steps(count) % every for count in images] == [0] * 5


def test_a_task_of_few_batches_is_tested_at_least_once() -> None:
    assert interval([216, 216], batches=7) == 7


def test_a_given_interval_is_kept_up_to_the_batches_of_the_smallest_task() -> None:
    assert interval([640, 64], ask_every=20) == 20  # 20 epochs of 10 batches, and of one
    with pytest.raises(ConfigError, match=r"ask_every=21 .* task 1 has 20 batches"):
        interval([640, 64], ask_every=21)


@pytest.mark.parametrize("masks", ["weight", "hashed"])
def test_the_address_keeps_a_mean_of_each_class_where_the_preset_says_so(masks: str) -> None:
    two = split_digits(tasks=2)
    merged = Task(
        name="four digits",
        train_images=torch.cat([task.train_images for task in two]),
        train_labels=torch.cat([task.train_labels + 2 * i for i, task in enumerate(two)]),
        inference_images=two[0].inference_images,
        scored_images=two[0].scored_images,
        scored_labels=two[0].scored_labels,
    )
    for tasks, classes in ((two, 2), ([merged], 4)):
        settings = RunSettings(masks=masks, tasks=len(tasks), quick=True)
        experiment = Experiment(settings, tasks=tasks)
        groups = classes if masks == "weight" else 1
        assert experiment.hopfield.signature_groups == groups
        echoed = groups if masks == "weight" else None
        assert experiment.result()["config"]["signature_groups"] == echoed


@pytest.mark.parametrize("memory", ["hopfield", "bank"])
def test_unit_masks_of_a_network_with_sizes_of_its_own(memory: str, tmp_path: Path) -> None:
    settings = RunSettings(
        masks="unit", network="lenet-300-100", memory=memory, tasks=1, quick=True, device="cpu"
    )
    run = Experiment(settings)
    assert run.network.mask_sizes == {"0": 300, "2": 100}
    run.learner.save(tmp_path)
    assert SupSup.load(tmp_path).settings.bits is None
