"""A hub memory whose newest mask is replaced in place while it is trained."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError, EmptyMemoryError, MaskError, MaskMemory, NotForgettableError
from hopmask.errors import MemoryFullError
from supsup_bridge.continual.task_agnostic.in_place_memory import InPlaceMemory
from supsup_bridge.inference.signatures import DESCRIBED, pixels

SIZES = {"h1": 128, "h2": (8, 16)}


def masks_of(seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.rand(size, generator=g) < 0.5 for name, size in SIZES.items()}


def images_of(task: int, number: int = 40) -> Tensor:
    g = torch.Generator().manual_seed(task)
    return 2 * torch.randn(20, generator=g) + torch.randn(number, 20, generator=g)


def hubs(number: int = 4, groups: int = 1) -> MaskMemory:
    options = {"signature_features": 64, "signature_groups": groups, "seed": 1}
    return MaskMemory(SIZES, couplings="hub", hubs=number, **options)


def build(number: int = 4, groups: int = 1, **options: Any) -> InPlaceMemory:
    return InPlaceMemory(hubs(number, groups), **{"signature": pixels} | options)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_mask_is_in_the_memory_and_the_newest_is_open() -> None:
    memory = build()
    for task in range(3):
        assert memory.store(masks_of(task)) == task
        assert (memory.count, memory.memory.count, memory.closed) == (task + 1, task + 1, task)
        assert same(memory.open or {}, masks_of(task))
    for task in range(3):
        assert same(memory.recall(task=task).masks, masks_of(task))


def test_replacing_leaves_no_trace() -> None:
    often, once = build(), build()
    for memory in (often, once):
        memory.store(masks_of(0))
    for seed in (5, 6, 7):
        often.replace(0, masks_of(seed))
    once.replace(0, masks_of(7))
    for memory in (often, once):
        memory.observe(images_of(0))
        memory.close()
    a, b = (memory.memory.document().arrays for memory in (often, once))
    assert all((a[name] == b[name]).all() for name in a)


@pytest.mark.parametrize("task", [0, 2])
def test_a_closed_mask_is_not_replaced(task: int) -> None:
    memory = build()
    memory.store(masks_of(0))
    memory.store(masks_of(1))
    with pytest.raises(NotForgettableError):
        memory.replace(task, masks_of(3))
    assert same(memory.recall(task=0).masks, masks_of(0))


def test_the_address_learns_a_mask_once_when_it_is_closed() -> None:
    memory = build()
    for task in range(3):
        memory.store(masks_of(task))
        memory.observe(images_of(task))
        assert memory.memory.address.count == task
    memory.close()
    for task in range(3):
        assert memory.memory.recall(signature=images_of(task)[None]).task.tolist() == [task]
        assert same(memory.recall(task=task).masks, masks_of(task))


def test_the_address_learns_the_classes_of_a_mask_when_it_is_closed() -> None:
    memory, other, plain = build(groups=2), build(groups=2), build()
    labels = torch.arange(40) % 2
    for one in (memory, other, plain):
        one.store(masks_of(0))
    memory.observe(images_of(0)[:25], labels[:25])
    other.restore(memory.memory, memory.state())  # in the middle of a task
    other.observe(images_of(0)[25:], labels[25:])
    plain.observe(images_of(0), labels)  # of no use
    assert other.nbytes - other.memory.nbytes == 40 * (20 * 4 + 8)
    assert plain.nbytes - plain.memory.nbytes == 40 * 20 * 4
    other.close()
    assert other.nbytes == other.memory.nbytes
    direct = hubs(groups=2)
    direct.store(masks_of(0), signature=images_of(0), groups=labels)
    for name, value in direct.address.sums.items():
        assert torch.equal(other.memory.address.sums[name], value)


def test_what_is_written_is_shown_to_the_caller() -> None:
    seen: list[tuple[int, dict[str, Tensor]]] = []
    memory = build(written=lambda number, masks: seen.append((number, masks)))
    memory.store(masks_of(0))
    memory.replace(0, masks_of(4))
    memory.observe(images_of(0))
    memory.store(masks_of(1))
    assert [number for number, _ in seen] == [0, 0, 1]
    assert same(seen[1][1], masks_of(4))


def test_a_full_memory_refuses_or_grows() -> None:
    full, grown = build(2), build(2, grows=True)
    for memory in (full, grown):
        memory.store(masks_of(0))
        memory.store(masks_of(1))
    with pytest.raises(MemoryFullError):
        full.store(masks_of(2))
    assert (full.count, full.closed) == (2, 1)  # the open mask can still be trained
    full.replace(1, masks_of(3))
    assert grown.store(masks_of(2)) == 2
    assert grown.memory.capacity == 4
    assert same(grown.recall(task=0).masks, masks_of(0))


def test_what_stands_beside_the_memory_has_a_bound() -> None:
    memory = build()
    memory.store(masks_of(0))
    for _ in range(3):
        memory.observe(images_of(0, DESCRIBED // 2))
    assert memory.nbytes - memory.memory.nbytes == DESCRIBED * 20 * 4
    memory.close()
    assert memory.nbytes == memory.memory.nbytes


def test_a_state_continues_elsewhere() -> None:
    memory, other = build(), build()
    memory.store(masks_of(0))
    memory.observe(images_of(0))
    other.restore(memory.memory, memory.state())
    assert other.closed == 0
    assert torch.equal(other.images, memory.images)
    other.replace(0, masks_of(2))
    assert same(other.open or {}, masks_of(2))


def test_an_open_mask_is_not_saved(tmp_path) -> None:
    memory = build()
    memory.store(masks_of(0))
    with pytest.raises(ConfigError):
        memory.save(tmp_path / "memory.h5")
    memory.close()
    memory.save(tmp_path / "memory.h5")


def test_bad_input_is_refused() -> None:
    memory = build()
    with pytest.raises(EmptyMemoryError):
        memory.observe(images_of(0))
    with pytest.raises(MaskError):
        memory.store({"h1": torch.ones(128)})
    by_class = build(groups=2)
    by_class.store(masks_of(0))
    with pytest.raises(ConfigError):
        by_class.observe(images_of(0))
    with pytest.raises(ConfigError):
        memory.store(masks_of(0), signature=images_of(0))
    with pytest.raises(ConfigError):
        InPlaceMemory(MaskMemory(SIZES), signature=None)
