"""A Hopfield memory with one mask beside it that can still change."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import hopmask
from hopmask import (
    ConfigError,
    DuplicateError,
    EmptyMemoryError,
    MaskError,
    MaskMemory,
    NotForgettableError,
    UnknownTaskError,
)
from supsup_bridge.continual.task_agnostic.staged_memory import StagedMemory
from supsup_bridge.inference.signatures import DESCRIBED, pixels

SIZES = {"h1": 128, "h2": (8, 16)}


def masks_of(seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.rand(size, generator=g) < 0.5 for name, size in SIZES.items()}


def images_of(task: int, number: int = 40, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(task)
    centre = 2 * torch.randn(20, generator=g)
    g = torch.Generator().manual_seed(1000 * seed + task + 7)
    return centre + torch.randn(number, 20, generator=g)


def build(**options) -> StagedMemory:
    memory = MaskMemory(SIZES, key_bits=64, signature_features=128, seed=1)
    return StagedMemory(memory, **{"signature": pixels} | options)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_newest_mask_alone_is_outside_the_memory() -> None:
    memory = build()
    for task in range(4):
        assert memory.store(masks_of(task)) == task
        assert (memory.count, memory.memory.count) == (task + 1, task)
    for task in range(4):
        assert same(memory.recall(task=task).masks, masks_of(task))


def test_the_open_mask_is_replaced_as_often_as_one_likes() -> None:
    memory = build()
    memory.store(masks_of(0))
    memory.store(masks_of(1))
    for seed in (5, 6, 7):
        memory.replace(1, masks_of(seed))
        assert same(memory.recall(task=1).masks, masks_of(seed))
    memory.close()
    assert memory.open is None
    assert memory.count == memory.memory.count == 2
    assert same(memory.recall(task=1).masks, masks_of(7))
    assert same(memory.recall(task=0).masks, masks_of(0))


@pytest.mark.parametrize("task", [0, 2, -1])
def test_a_closed_mask_cannot_be_replaced(task: int) -> None:
    memory = build()
    memory.store(masks_of(0))
    memory.store(masks_of(1))
    with pytest.raises(NotForgettableError, match=f"mask {task} is in the .* open is 1: store it"):
        memory.replace(task, masks_of(2))
    assert same(memory.recall(task=1).masks, masks_of(1))
    memory.close()
    with pytest.raises(NotForgettableError, match="none is open: store it as a new one"):
        memory.replace(1, masks_of(2))


def test_images_without_an_open_mask_are_refused() -> None:
    memory = build()
    with pytest.raises(EmptyMemoryError, match="store one first"):
        memory.observe(images_of(0))
    memory.store(masks_of(0))
    memory.observe(images_of(0))
    memory.close()
    with pytest.raises(EmptyMemoryError, match="store one first"):
        memory.observe(images_of(0))


def test_what_is_given_and_what_comes_back_are_copies() -> None:
    memory, given = build(), masks_of(0)
    memory.store(given)
    images = images_of(0)
    memory.observe(images)
    given["h1"][:] = True
    images.zero_()
    memory.recall(task=0).masks["h1"][:] = False
    assert same(memory.recall(task=0).masks, masks_of(0))
    assert torch.equal(memory.images, images_of(0))


def test_a_mask_is_found_by_the_images_seen_while_it_was_open() -> None:
    memory = build()
    for task in range(3):
        memory.store(masks_of(task))
        for part in torch.split(images_of(task), 16):
            memory.observe(part)
        assert torch.equal(memory.images, images_of(task))
    memory.close()
    for task in range(3):
        hit = memory.memory.recall(signature=images_of(task, 5, seed=1)[None])
        assert hit.task.tolist() == [task]


def test_the_first_images_are_kept_and_no_more_than_are_needed() -> None:
    memory = build()
    memory.store(masks_of(0))
    for seed in range(4):
        memory.observe(torch.full((DESCRIBED // 3, 2), float(seed)))
    kept = memory.images
    assert len(kept) == DESCRIBED
    assert kept[:, 0].unique().tolist() == [0.0, 1.0, 2.0, 3.0]
    assert memory.nbytes == memory.memory.nbytes + 256 + kept.numel() * 4


def test_images_of_a_closed_mask_are_gone() -> None:
    memory = build()
    memory.store(masks_of(0))
    memory.observe(images_of(0))
    memory.store(masks_of(1))
    with pytest.raises(EmptyMemoryError, match="call observe"):
        _ = memory.images
    memory.close()
    assert memory.nbytes == memory.memory.nbytes
    with pytest.raises(EmptyMemoryError, match="call observe"):
        _ = memory.images


def test_without_a_signature_the_address_learns_nothing() -> None:
    memory = build(signature=None)
    memory.store(masks_of(0))
    memory.observe(images_of(0))
    memory.close()
    with pytest.raises(hopmask.CueError, match="no task was stored with a signature"):
        memory.memory.recall(signature=images_of(0)[:1])


def test_what_is_closed_is_told_in_order() -> None:
    told: list[tuple[int, dict[str, Tensor]]] = []
    memory = build(closed=lambda number, masks: told.append((number, masks)))
    for task in range(3):
        memory.store(masks_of(task))
    memory.replace(2, masks_of(9))
    memory.close()
    memory.close()
    assert [number for number, _ in told] == [0, 1, 2]
    for (_, masks), seed in zip(told, (0, 1, 9), strict=True):
        assert same(masks, masks_of(seed))


def test_the_mean_is_that_of_all_masks() -> None:
    memory = build()
    assert all(bool((level == 0.5).all()) for level in memory.mean.values())
    for task in range(3):
        memory.store(masks_of(task))
        for name, level in memory.mean.items():
            expected = torch.stack([masks_of(i)[name].float() for i in range(task + 1)]).mean(0)
            torch.testing.assert_close(level, expected)
    memory.close()
    for name, level in memory.mean.items():
        expected = torch.stack([masks_of(i)[name].float() for i in range(3)]).mean(0)
        torch.testing.assert_close(level, expected)


def test_what_is_saved_is_a_plain_memory_of_closed_masks(tmp_path: Path) -> None:
    memory = build()
    for task in range(2):
        memory.store(masks_of(task))
        memory.observe(images_of(task))
    with pytest.raises(ConfigError, match=r"mask 1 is open .* close\(\) first"):
        memory.save(tmp_path / "memory.h5")
    assert not (tmp_path / "memory.h5").exists()
    memory.close()
    memory.save(tmp_path / "memory.h5")
    loaded = hopmask.load(tmp_path / "memory.h5")
    for task in range(2):
        assert same(loaded.recall(task=task).masks, masks_of(task))
        assert loaded.recall(signature=images_of(task, 4, seed=1)[None]).task.tolist() == [task]


def test_a_mask_that_cannot_be_closed_stays_open() -> None:
    memory = build()
    memory.store(masks_of(0))
    memory.store(masks_of(0))
    with pytest.raises(DuplicateError, match="as task 0"):
        memory.store(masks_of(1))
    assert (memory.count, memory.memory.count) == (2, 1)
    memory.replace(1, masks_of(1))
    memory.close()
    assert same(memory.recall(task=1).masks, masks_of(1))


def test_masks_of_another_size_are_refused_when_they_come() -> None:
    memory = build()
    wrong = {**masks_of(0), "h1": torch.ones(3, dtype=torch.bool)}
    with pytest.raises(MaskError, match="h1"):
        memory.store(wrong)
    assert memory.count == 0
    memory.store(masks_of(0))
    with pytest.raises(MaskError, match="h1"):
        memory.replace(0, wrong)
    assert same(memory.recall(task=0).masks, masks_of(0))


def test_unknown_tasks_are_refused() -> None:
    memory = build()
    with pytest.raises(EmptyMemoryError):
        memory.recall(task=0)
    memory.store(masks_of(0))
    memory.store(masks_of(1))
    with pytest.raises(UnknownTaskError):
        memory.recall(task=2)


def test_a_signature_and_a_memory_in_use_are_refused() -> None:
    with pytest.raises(ConfigError, match="observe"):
        build().store(masks_of(0), signature=torch.ones(3))
    used = MaskMemory(SIZES)
    used.store(masks_of(0))
    with pytest.raises(ConfigError, match="an empty MaskMemory, got one of 1"):
        StagedMemory(used, signature=None)
