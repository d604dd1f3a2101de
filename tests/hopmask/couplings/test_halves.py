"""Halves of int16 tiles in int8: exact, and only where columns are of one parity."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask.couplings import integer_products
from hopmask.couplings.halves import halves
from hopmask.couplings.hub import HubCouplings
from hopmask.couplings.int8_product import has_int8_product
from hopmask.couplings.integer_products import Vectors, along


def sums(rows: int, columns: int, *, tasks: int, seed: int) -> torch.Tensor:
    """Sums of so many ±1, int16, with a column of zeros, as hub couplings have them."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randint(0, 2, (rows, tasks), generator=generator) * 2 - 1
    keys = torch.randint(0, 2, (tasks, columns), generator=generator) * 2 - 1
    found = (z @ keys).to(torch.int16)
    found[:, 0] = 0
    return found


@given(tasks=st.integers(1, 40), rows=st.integers(1, 30), seed=st.integers(0, 99))
def test_a_tile_is_twice_its_halves_and_the_parity_of_each_column(tasks, rows, seed):
    tile = sums(rows, 5, tasks=tasks, seed=seed)
    found = halves(tile)
    assert found.half.dtype == torch.int8
    assert torch.equal(2 * found.half.short() + found.parity, tile)
    assert found.parity.tolist() == [0, *[tasks % 2] * 4]
    assert len(found.beyond) == 0


@pytest.mark.parametrize("entry", [256, 300, -258, 32766, -32768])
def test_rows_that_int8_cannot_hold_are_added_exactly(entry):
    tile = sums(64, 6, tasks=20, seed=1)
    tile[[3, 40], [1, 5]] = entry
    found = halves(tile)
    assert found.beyond.tolist() == [3, 40]
    digits = torch.randint(-128, 128, (4, 64), generator=torch.Generator().manual_seed(2))
    if has_int8_product(tile.device):
        total = torch.ones(4, 6, dtype=torch.float64)
        found.add_along(digits.char(), total)
        assert torch.equal(total.long(), 1 + digits @ tile.long())
    whole = 2.0 * found.half.double() + found.parity
    whole[found.beyond] += found.left
    assert torch.equal(whole, tile.double())


@pytest.mark.parametrize("entry", [-257, 255])
def test_the_last_odd_entries_on_both_sides_are_seen_as_they_are(entry):
    tile = torch.full((20, 2), entry, dtype=torch.int16)
    tile[1:] = 1
    found = halves(tile)
    assert found.beyond.tolist() == ([0] if entry == -257 else [])
    assert int(2 * found.half[1, 0].short() + found.parity[0]) == 1


def test_a_column_of_both_parities_has_no_halves():
    tile = sums(64, 6, tasks=20, seed=1)
    tile[63, 5] += 1
    assert halves(tile) is None


def test_many_rows_beyond_have_no_halves():
    tile = sums(64, 6, tasks=20, seed=1)
    tile[:5, 1] = 400
    assert halves(tile) is None


@pytest.mark.parametrize("tasks", [6, 7])
def test_the_couplings_of_a_memory_have_halves(tasks):
    couplings = HubCouplings(3000, hubs=16, seed=0, born=8, precision="int16")
    generator = torch.Generator().manual_seed(tasks)
    for task in range(tasks):
        couplings.put(task, torch.rand(3000, generator=generator) < 0.5)
    couplings.drop(3)
    couplings.put(2, torch.rand(3000, generator=generator) < 0.5)
    found = halves(couplings.narrow)
    assert torch.equal(2 * found.half.short() + found.parity, couplings.narrow)


@pytest.mark.parametrize("tasks", [30, 31])
@pytest.mark.parametrize("change", ["none", "beyond", "mixed", "large"])
def test_products_by_halves_and_by_digits_are_the_same_numbers(tasks, change, monkeypatch):
    matrix = sums(5000, 7, tasks=tasks, seed=3)
    if change == "beyond":
        matrix[[7, 4999], [1, 6]] = 1000 + tasks
    elif change == "mixed":
        matrix[1500, 2] += 1
    elif change == "large":
        matrix[1500:, 2] = 32767
    vectors = Vectors(torch.randn(40, 5000, generator=torch.Generator().manual_seed(4)))
    assert integer_products._HALVED <= 3 * 40
    found = along(matrix, vectors, 40)
    monkeypatch.setattr(integer_products, "has_int8_product", lambda device: False)
    assert torch.equal(found, along(matrix, vectors, 40))
