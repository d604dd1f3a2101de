"""Starts of a task's scores: which earlier mask they are, and that it comes from the memory."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from hopmask import ConfigError, NumericalError
from supsup_bridge import SupSup
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.training.data import TensorData, lesson_data
from supsup_bridge.training.settings import TrainingSettings

KINDS: list[dict[str, Any]] = [
    {"signature_features": 64},
    {"memory": "bank"},
    {"memory": "bank", "inference": "one-shot"},
    {"masks": "hashed", "bits": 2048, "signature_features": 64},
    {"signature_features": 64, "training": {"sparsity": 0.1}},
]
STARTS = ("nearest", "previous", "earlier")


def clouds(task: int, count: int = 48) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(task)
    centres, labels = 2 * torch.randn(2, 8, generator=g), torch.arange(count) % 2
    return centres[labels] + 0.3 * torch.randn(count, 8, generator=g), labels


def made(mask_init: str, **options: Any) -> SupSup:
    training = TrainingSettings(epochs=4, batch=16, **options.pop("training", {}))
    return SupSup(
        "lenet-300-100",
        inputs=8,
        outputs=8,
        training=training,
        mask_init=mask_init,
        **{"seed": 3, **options},
    )


def taught(mask_init: str, tasks: tuple[int, ...] = (0, 1, 2), **options: Any) -> SupSup:
    learner = made(mask_init, **options)
    for task in tasks:
        learner.learn(clouds(task))
    return learner


def start_of(learner: SupSup, data: Any, task: int | None = None) -> str:
    """Digest of the mask that the scores of the next task start from."""
    (masks,) = learner.lesson(lesson_data(data), task=task).trainer.masks()
    return mask_digest(masks)


def mask_of(learner: SupSup, task: int) -> str:
    return mask_digest(learner.memory.recall(task=task).masks)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_nearest_start_is_the_mask_that_inference_names(kind: dict[str, Any]) -> None:
    learner = taught("nearest", **kind)
    for task in (1, 0, 2):
        images = clouds(task)[0]
        named = learner.infer_task(images, together=True)
        assert named == task or "memory" in kind
        assert start_of(learner, clouds(task)) == mask_of(learner, named)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_previous_start_is_the_mask_before(kind: dict[str, Any]) -> None:
    learner = taught("previous", **kind)
    assert start_of(learner, clouds(0)) == mask_of(learner, 2)


def test_previous_goes_by_the_number() -> None:
    learner = taught("previous", tasks=())
    for task in (5, 1, 7):
        learner.learn(clouds(task), task=task)
    assert start_of(learner, clouds(0), task=6) == mask_of(learner, 5)
    assert start_of(learner, clouds(0), task=4) == mask_of(learner, 1)
    random = start_of(made("random"), clouds(0), task=0)
    assert start_of(learner, clouds(0), task=0) == random  # none comes before


@pytest.mark.parametrize("kind", KINDS[:2], ids=str)
def test_an_earlier_start_is_drawn_from_the_seed_among_the_tasks(kind: dict[str, Any]) -> None:
    learner = taught("earlier", **kind)
    masks = [mask_of(learner, task) for task in range(3)]
    again = taught("earlier", **kind)
    assert start_of(again, clouds(1)) == start_of(learner, clouds(0)) in masks


def test_earlier_starts_come_from_all_tasks() -> None:
    learner = taught("earlier")
    masks = {mask_of(learner, task) for task in range(3)}
    assert {start_of(learner, clouds(0), task=task) for task in range(3, 30)} == masks


@pytest.mark.parametrize("mask_init", ["mean", *STARTS])
def test_the_first_task_starts_at_random_and_later_ones_do_not(mask_init: str) -> None:
    learner, random = made(mask_init), made("random")
    for _ in range(2):
        assert (start_of(learner, clouds(0)) == start_of(random, clouds(0))) is (len(random) == 0)
        learner.learn(clouds(0))
        random.learn(clouds(0))


@pytest.mark.parametrize("mask_init", STARTS)
def test_a_forgotten_task_is_no_start(mask_init: str) -> None:
    learner = taught(mask_init, tasks=(0, 1))
    learner.forget(1)
    for task in range(2, 12):
        assert start_of(learner, clouds(1), task=task) == mask_of(learner, 0)


def test_a_start_is_recalled_from_the_memory() -> None:
    learner = taught("previous")
    other = {name: ~mask for name, mask in learner.memory.recall(task=2).masks.items()}
    learner.memory.replace(2, other)
    assert start_of(learner, clouds(0)) == mask_digest(other)


def test_the_nearest_mask_of_a_stream_of_batches_is_named_by_its_first_images() -> None:
    learner = taught("nearest")
    assert start_of(learner, DataLoader(TensorDataset(*clouds(1)), batch_size=7)) == mask_of(
        learner, 1
    )
    assert start_of(learner, TensorDataset(*clouds(1))) == mask_of(learner, 1)
    assert start_of(learner, DataLoader(_Stream(), batch_size=None)) == mask_of(learner, 1)


class _Stream(torch.utils.data.IterableDataset[tuple[Tensor, Tensor]]):
    """Batches of one task without end."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield clouds(1, 256)


def test_images_that_name_no_task_are_refused_and_nothing_is_learned() -> None:
    learner = taught("nearest", tasks=(0,))
    images, labels = clouds(1)
    with pytest.raises(NumericalError):
        learner.learn((images * float("nan"), labels))
    with pytest.raises(ConfigError):
        learner.learn((images[:, :5], labels))
    assert learner.tasks == (0,)


def test_every_task_can_start_from_the_whole_network() -> None:
    learner = made("ones")
    whole = mask_digest({n: torch.ones(size) for n, size in learner.network.mask_sizes.items()})
    for task in range(2):
        assert start_of(learner, clouds(task)) == whole
        learner.learn(clouds(task))
        assert mask_of(learner, task) != whole


def test_no_hashed_mask_is_the_whole_network() -> None:
    with pytest.raises(ConfigError, match="'ones' keeps every weight"):
        made("ones", masks="hashed")


def test_a_start_from_the_whole_network_does_not_depend_on_other_tasks() -> None:
    one, other, both = made("ones"), made("ones"), taught("ones", tasks=(0, 1))
    one.learn(clouds(0), task=0)
    other.learn(clouds(1), task=1)
    one.merge(other)
    assert [mask_of(one, task) for task in (0, 1)] == [mask_of(both, task) for task in (0, 1)]


@pytest.mark.parametrize("mask_init", ["ones", *STARTS])
def test_a_stream_without_tasks_has_no_earlier_task(mask_init: str) -> None:
    with pytest.raises(ConfigError, match="task_free"):
        made(mask_init, task_free=True)


@pytest.mark.parametrize("mask_init", ["mean", *STARTS])
def test_merged_masks_are_exact_where_starts_depend_on_the_order(mask_init: str) -> None:
    one, other = made(mask_init), made(mask_init)
    one.learn(clouds(0), task=0)
    other.learn(clouds(1), task=1)
    masks = [mask_of(one, 0), mask_of(other, 1)]
    whole = taught(mask_init, tasks=(0, 1))
    one.merge(other)
    assert [mask_of(one, task) for task in (0, 1)] == masks
    assert mask_of(whole, 0) == masks[0]
    assert mask_of(whole, 1) != masks[1]


def test_data_is_not_changed_by_naming_its_nearest_mask() -> None:
    learner = taught("nearest")
    images, labels = clouds(2)
    before = images.clone()
    learner.lesson(TensorData(images, labels))
    assert torch.equal(images, before)
