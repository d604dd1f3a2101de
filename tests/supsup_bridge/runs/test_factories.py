"""What a run makes from its settings."""

import pytest

from hopmask import ConfigError
from supsup_bridge import RunSettings, Task, split_digits
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
