"""Predictions: which images are recognized as of a task that was learned."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supsup_bridge import SupSup
from supsup_bridge.training.settings import TrainingSettings

TRAINING = TrainingSettings(epochs=40, batch=32, contrast=1.0, noise=1.5)


def clouds(task: int, count: int = 96) -> tuple[Tensor, Tensor]:
    """Images (n, 16) of a task of two classes."""
    g = torch.Generator().manual_seed(task)
    centres, labels = 2 * torch.randn(2, 16, generator=g), torch.arange(count) % 2
    return centres[labels] + 0.3 * torch.randn(count, 16, generator=g), labels


def taught(outputs: int, **options: Any) -> SupSup:
    """A learner of tasks 0, 1 and 2."""
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, outputs))
    learner = SupSup(module, training=TRAINING, **options)
    for task in range(3):
        learner.learn(clouds(task))
    return learner


def shares(learner: SupSup, **options: Any) -> tuple[float, float]:
    """Shares recognized of the images of learned tasks, and of ten others."""
    own = [learner.predict(clouds(task)[0], **options).recognized for task in range(3)]
    others = [learner.predict(clouds(task, 16)[0], **options).recognized for task in range(3, 13)]
    return float(torch.cat(own).double().mean()), float(torch.cat(others).double().mean())


GROUPS = {"masks": "weight", "signature_groups": 2}


@pytest.mark.parametrize(
    ("kind", "most", "recall"),
    [
        *(({"masks": "weight"}, 0.45, recall) for recall in ("both", "address")),
        *((GROUPS, 0.05, recall) for recall in ("both", "address", "posterior")),
        *(({"masks": "hashed"}, 0.3, recall) for recall in ("both", "address")),
    ],
    ids=str,
)
def test_tasks_are_recognized_and_most_images_of_others_are_not(
    kind: dict[str, Any], most: float, recall: str
) -> None:
    """Of four outputs, whose entropy alone would pass half of the others."""
    own, others = shares(taught(4, recall=recall, **kind))
    assert own > 0.9
    assert others < most


def test_images_of_one_unknown_task_together_are_not_recognized() -> None:
    own, others = shares(taught(4), together=True)
    assert own > 0.9
    assert others < 0.3


def test_labels_of_a_posterior_are_classes_of_the_task() -> None:
    learner = taught(4, **GROUPS)
    images = torch.cat([clouds(task)[0] for task in range(8)])  # some of them foreign
    found = learner.predict(images)
    assert set(found.label.tolist()) == {0, 1}
    assert torch.equal(found.task, learner.infer_task(images))
    own = torch.cat([clouds(task)[1] for task in range(3)])
    assert float((found.label[: len(own)] == own).double().mean()) > 0.9


def test_the_address_takes_no_part_where_the_task_is_given() -> None:
    learner = taught(4)
    images = clouds(5)[0]
    given = learner.predict(images, task=1).recognized
    assert float(given.double().mean()) > float(learner.predict(images).recognized.double().mean())


def test_by_entropy_alone_a_verified_answer_is_recognized_where_the_mask_is_sure() -> None:
    own, _ = shares(taught(20, recall="entropy", signature_features=0))
    assert own > 0.9
