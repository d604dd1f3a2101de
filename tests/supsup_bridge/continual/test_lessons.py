"""A learner whose tasks are trained at once."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge import SupSup, TrainingSettings, mlp
from supsup_bridge.continual.lessons import lessons_at_once
from supsup_bridge.training.data import TensorData

TRAINING = TrainingSettings(epochs=3, batch=16, rate=0.01, diluted_every=4)


def clouds(task: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(task)
    labels = torch.randint(0, 3, (48,), generator=g)
    centres = 2 * torch.randn(3, 12, generator=g)
    return centres[labels] + torch.randn(48, 12, generator=g), labels


def made(**options: Any) -> SupSup:
    return SupSup(mlp([12, 64, 10]), training=TRAINING, **options)


@pytest.mark.parametrize("mask_init", ["random", "shared", "ones"])
def test_masks_are_those_of_tasks_that_are_learned_one_by_one(mask_init: str) -> None:
    one_by_one, at_once = made(mask_init=mask_init), made(mask_init=mask_init)
    tasks = (0, 1, 4)
    for task in tasks:
        one_by_one.learn(clouds(task), task=task)
    data = [TensorData(*clouds(task)) for task in tasks]
    found = lessons_at_once(at_once, data, tasks=tasks).run()
    assert at_once.tasks == ()
    for task, masks in zip(tasks, found, strict=True):
        expected = one_by_one.memory.recall(task=task).masks
        wrong = sum(int((masks[name] != expected[name]).sum()) for name in expected)
        assert wrong <= 0.02 * sum(mask.numel() for mask in expected.values())


@pytest.mark.parametrize("mask_init", ["mean", "nearest", "previous", "earlier"])
def test_starts_from_earlier_masks_are_refused(mask_init: str) -> None:
    data = [TensorData(*clouds(task)) for task in range(2)]
    learner = made(mask_init=mask_init)
    with pytest.raises(ConfigError, match=f"mask_init is '{mask_init}'"):
        lessons_at_once(learner, data, tasks=(0, 1))


def test_labels_without_a_group_are_refused() -> None:
    data = [TensorData(*clouds(task)) for task in range(2)]
    with pytest.raises(ConfigError, match="group"):
        lessons_at_once(made(signature_groups=2), data, tasks=(0, 1))


def test_a_learner_that_is_not_given_tasks_has_no_lessons() -> None:
    with pytest.raises(ConfigError, match="observe"):
        lessons_at_once(made(task_free=True), [TensorData(*clouds(0))], tasks=(0,))
