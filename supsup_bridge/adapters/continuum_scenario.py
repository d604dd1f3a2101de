"""Continuum's scenarios as tasks."""

from typing import Any

import torch

from hopmask import ConfigError
from supsup_bridge.adapters.scenario_tasks import ScenarioImages, ScenarioTasks

_KINDS = ("IMAGE_ARRAY", "IMAGE_PATH", "TENSOR", "H5")


def tasks_of(train: Any, test: Any, *, seed: int = 0) -> ScenarioTasks:
    """The task sets of a Continuum scenario as tasks.

    Images are as the scenario's transforms make them: of its default, floats in [0, 1] of shape
    (channels, height, width). Labels are places among the classes of a task, and `classes_of` is
    the way back to the scenario's classes. See `ScenarioTasks`.

    Args:
        train: scenario over training images, such as `ClassIncremental` or `Permutations`.
        test: the same scenario over test images.
        seed: of the cut of test images in two.

    Raises:
        ConfigError: scenarios of unequal lengths; at access of a task, data that are no images of
            one class each, or test images of classes that training has not.

    Source:
        Douillard and Lesort 2021 (arXiv 2102.06253).
    """
    if len(train) != len(test):
        raise ConfigError(
            f"a task needs training and test images, got {len(train)} and {len(test)} task sets: "
            "make both scenarios with the same settings"
        )
    return ScenarioTasks(
        lambda number: _images(train, number),
        lambda number: _images(test, number),
        tasks=len(train),
        seed=seed,
    )


def _images(scenario: Any, number: int) -> ScenarioImages:
    task_set = scenario[number]
    if task_set.data_type.name not in _KINDS:
        raise ConfigError(
            f"a task set must be of {', '.join(_KINDS)}, got {task_set.data_type.name}: images "
            "with one class each can be learned"
        )
    _, classes, tasks = task_set.get_raw_samples()
    if classes.ndim != 1:
        raise ConfigError(
            f"an image needs one class, got labels of shape {classes.shape}: choose a column"
        )
    if task_set.target_trsf is not None:
        pairs = zip(classes, tasks, strict=True)
        classes = [task_set.get_task_target_trsf(int(task))(label) for label, task in pairs]
    return ScenarioImages(task_set, torch.tensor([int(label) for label in classes]))
