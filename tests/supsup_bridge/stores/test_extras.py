"""Extras beside the masks of a bank: exact in 16 bits, in memory and in a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hopmask import ConfigError, MaskError, storage
from hopmask.errors import CorruptStoreError
from supsup_bridge.stores.bank import MaskBank

SIZES: dict[str, Any] = {"h": 21, "out": (4, 5)}
EXTRAS: dict[str, Any] = {"bn.mean": 3, "bn.std": (1, 2)}


def task_of(number: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    g = torch.Generator().manual_seed(number)
    masks = {name: torch.rand(size, generator=g) < 0.5 for name, size in SIZES.items()}
    return masks, {n: torch.randn(size, generator=g) for n, size in EXTRAS.items()}


def bank_of(tasks: int) -> MaskBank:
    bank = MaskBank(SIZES, extras=EXTRAS)
    for number in range(tasks):
        masks, extras = task_of(number)
        bank.store(masks, extras=extras)
    return bank


def halves(number: int) -> dict[str, Tensor]:
    return {name: value.half().float() for name, value in task_of(number)[1].items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("loaded", [False, True])
def test_extras_come_back_exactly(loaded: bool, tmp_path: Path) -> None:
    bank = bank_of(20)
    if loaded:
        bank.save(tmp_path / "bank.h5")
        bank = MaskBank.load(tmp_path / "bank.h5")
    for number in range(20):
        stored = bank.recall(task=number)
        assert same(stored.masks, task_of(number)[0])
        assert same(stored.extras, halves(number))


def test_what_is_recalled_is_a_copy() -> None:
    bank = bank_of(2)
    bank.recall(task=1).extras["bn.mean"].fill_(7)
    assert same(bank.recall(task=1).extras, halves(1))


def test_a_loaded_bank_takes_more(tmp_path: Path) -> None:
    bank_of(2).save(tmp_path / "bank.h5")
    bank = MaskBank.load(tmp_path / "bank.h5")
    masks, extras = task_of(2)
    assert bank.store(masks, extras=extras) == 2
    assert same(bank.recall(task=2).extras, halves(2))


def test_replacing_a_task_replaces_its_extras() -> None:
    bank = bank_of(3)
    masks, extras = task_of(7)
    bank.replace(1, masks, extras=extras)
    assert same(bank.recall(task=1).extras, halves(7))
    assert same(bank.recall(task=2).extras, halves(2))


def test_the_mean_of_extras_is_that_of_all_tasks() -> None:
    mean = bank_of(5).mean_extras
    for name in EXTRAS:
        expected = torch.stack([halves(number)[name] for number in range(5)]).double().mean(0)
        torch.testing.assert_close(mean[name], expected.float())


@pytest.mark.parametrize("lead", [(), (4,)])
def test_a_superposition_has_the_weighted_sum_of_extras(lead: tuple[int, ...]) -> None:
    weights = torch.rand(*lead, 3, generator=torch.Generator().manual_seed(0))
    found = bank_of(3).superpose(weights)
    for name in EXTRAS:
        each = torch.stack([halves(number)[name] for number in range(3)])
        expected = torch.tensordot(weights, each, dims=1)
        torch.testing.assert_close(found[name], expected)


def test_extras_take_two_bytes_each() -> None:
    plain = MaskBank(SIZES)
    for number in range(3):
        plain.store(task_of(number)[0])
    assert bank_of(3).nbytes == plain.nbytes + 3 * 5 * 2
    assert bank_of(3).packed_nbytes == plain.packed_nbytes


def test_a_bank_without_extras_has_none() -> None:
    bank = MaskBank(SIZES)
    bank.store(task_of(0)[0])
    assert bank.recall(task=0).extras == {}
    assert bank.mean_extras == {}
    assert bank.superpose(torch.ones(1)).keys() == SIZES.keys()


@pytest.mark.parametrize(
    "change",
    [
        None,
        {},
        {"bn.mean": torch.ones(3)},
        {"bn.std": torch.ones(2, 1)},
        {"bn.std": torch.ones(1, 2, dtype=torch.int64)},
        {"bn.std": [[1.0, 2.0]]},
        {"bn.std": torch.full((1, 2), torch.nan)},
        {"bn.std": torch.full((1, 2), 1e6)},
        {"other": torch.ones(1)},
    ],
)
def test_extras_that_do_not_fit_are_refused_and_nothing_changes(change: Any) -> None:
    bank = bank_of(2)
    masks, extras = task_of(5)
    given = change if not change or "bn.mean" in change else {**extras, **change}
    with pytest.raises(MaskError):
        bank.store(masks, extras=given)
    with pytest.raises(MaskError):
        bank.replace(0, masks, extras=given)
    assert bank.count == 2
    assert same(bank.recall(task=0).masks, task_of(0)[0])
    assert same(bank.recall(task=0).extras, halves(0))


def test_extras_of_a_bank_without_any_are_refused() -> None:
    with pytest.raises(MaskError):
        MaskBank(SIZES).store(task_of(0)[0], extras={"bn.mean": torch.ones(3)})


def test_masks_that_do_not_fit_leave_the_extras() -> None:
    bank = bank_of(2)
    with pytest.raises(MaskError):
        bank.replace(0, {"h": torch.ones(21)}, extras=task_of(5)[1])
    assert same(bank.recall(task=0).extras, halves(0))


def test_an_extra_named_like_a_mask_is_refused() -> None:
    with pytest.raises(ConfigError, match="'out' is named like a mask"):
        MaskBank(SIZES, extras={"out": 3})


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((1, 5), np.int16),
        np.zeros((2, 4), np.int16),
        np.zeros((2, 5), np.int32),
        np.full((2, 5), 0x7C00, np.int16),  # infinity
        None,
    ],
)
def test_a_file_whose_extras_are_no_such_rows_is_refused(rows: Any, tmp_path: Path) -> None:
    path = tmp_path / "bank.h5"
    bank_of(2).save(path)
    document = storage.read(path, kinds=("bank",))
    arrays = {**document.arrays, "extras": rows}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    storage.write(path, storage.Document(kind="bank", about=document.about, arrays=arrays))
    with pytest.raises(CorruptStoreError):
        MaskBank.load(path)
