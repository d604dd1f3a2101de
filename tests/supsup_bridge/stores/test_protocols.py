"""What a run uses its masks through, whatever keeps them: both stores behave alike."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hopmask import DuplicateError, MaskError, MaskMemory
from supsup_bridge import MaskBank
from supsup_bridge.stores.protocols import MaskStore

SIZES = {"hidden": 300, "conv": (10, 4, 3)}
STORES = ["memory", "bank"]


def some_masks(task: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(task)
    return {name: torch.rand(size, generator=g) < 0.5 for name, size in SIZES.items()}


def learn(store: MaskStore, tasks: int, signature: Tensor | None = None) -> list[int]:
    """Store the masks of some tasks: all that a run does with its store while it learns."""
    return [store.store(some_masks(task), signature=signature) for task in range(tasks)]


@pytest.fixture
def make() -> Callable[[str], MaskStore]:
    stores: dict[str, Callable[[], MaskStore]] = {
        "memory": lambda: MaskMemory(SIZES, seed=0, signature_features=128),
        "bank": lambda: MaskBank(SIZES),
    }
    return lambda kind: stores[kind]()


@pytest.mark.parametrize("kind", STORES)
def test_tasks_are_numbered_from_zero_and_counted(kind: str, make) -> None:
    store = make(kind)
    assert store.count == 0
    assert learn(store, 4) == [0, 1, 2, 3]
    assert store.count == 4


@pytest.mark.parametrize("kind", STORES)
def test_each_mask_comes_back_by_its_number_bit_for_bit(kind: str, make) -> None:
    store = make(kind)
    for task in learn(store, 5):
        found = store.recall(task=task)
        assert found.verified
        assert isinstance(found.steps, int)
        assert list(found.masks) == list(SIZES)
        for name, mask in some_masks(task).items():
            assert found.masks[name].dtype == torch.bool
            assert torch.equal(found.masks[name], mask)


@pytest.mark.parametrize("kind", STORES)
def test_the_mean_is_that_of_the_masks_stored(kind: str, make) -> None:
    store = make(kind)
    learn(store, 6)
    for name, mean in store.mean.items():
        expected = torch.stack([some_masks(task)[name] for task in range(6)]).double().mean(0)
        assert mean.shape == expected.shape
        torch.testing.assert_close(mean.double(), expected, rtol=0, atol=1e-6)


def test_both_stores_agree_after_every_task(make) -> None:
    memory, bank = make("memory"), make("bank")
    for task in range(5):
        assert memory.store(some_masks(task)) == bank.store(some_masks(task))
        assert memory.count == bank.count
        for name in SIZES:
            torch.testing.assert_close(memory.mean[name], bank.mean[name], rtol=0, atol=1e-6)
            for number in range(task + 1):
                ours, theirs = (s.recall(task=number).masks[name] for s in (memory, bank))
                assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", STORES)
def test_a_signature_is_taken_and_leaves_the_masks_as_they_are(kind: str, make, generator) -> None:
    store = make(kind)
    learn(store, 3, signature=torch.randn(20, generator=generator(0)))
    for task in range(3):
        found = store.recall(task=task).masks
        assert all(torch.equal(found[name], mask) for name, mask in some_masks(task).items())


@pytest.mark.parametrize("kind", STORES)
def test_masks_that_were_given_are_not_kept(kind: str, make) -> None:
    store, masks = make(kind), some_masks(0)
    store.store(masks)
    for mask in masks.values():
        mask.logical_not_()
    found = store.recall(task=0).masks
    assert all(torch.equal(found[name], mask) for name, mask in some_masks(0).items())


@pytest.mark.parametrize("kind", STORES)
def test_a_mask_that_does_not_fit_is_refused_alike(kind: str, make) -> None:
    store = make(kind)
    with pytest.raises(MaskError, match="'hiden': did you mean 'hidden'"):
        store.store({**some_masks(0), "hiden": torch.ones(300)})
    assert store.count == 0


def test_only_the_bank_takes_one_mask_twice(make) -> None:
    bank, memory = make("bank"), make("memory")
    assert [bank.store(some_masks(0)) for _ in range(2)] == [0, 1]
    memory.store(some_masks(0))
    with pytest.raises(DuplicateError):
        memory.store(some_masks(0))


def test_only_the_bank_grows(make) -> None:
    sizes = {}
    for kind in STORES:
        store = make(kind)
        learn(store, 1)
        one = store.nbytes
        for task in range(1, 4):
            store.store(some_masks(task))
        sizes[kind] = store.nbytes - one
    assert sizes == {"memory": 0, "bank": 3 * 53}  # 420 bits in 53 bytes


@pytest.mark.parametrize("kind", STORES)
def test_a_store_is_written_to_a_file(kind: str, make, tmp_path: Path) -> None:
    store = make(kind)
    learn(store, 2)
    path = tmp_path / "store.h5"
    store.save(path)
    assert path.read_bytes()[:8] == b"\x89HOPMASK"
