"""Real numbers as whole ones: near enough, exact where they can be, each row by itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import NumericalError
from supsup_bridge.stores.whole import digits, whole


def vectors_of(rows, width, power=1, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) ** power


def restored(values):
    numbers, fraction, scale = whole(values)
    assert torch.equal(numbers, numbers.round())
    return numbers * fraction * scale


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 300), power=st.sampled_from([1, 3, 9]), seed=st.integers(0, 99))
def test_the_remainder_is_as_small_as_promised(width, power, seed):
    values = vectors_of(3, width, power, seed).double()
    rest = (restored(values) - values).norm(dim=1)
    assert bool((rest <= 1.01e-6 * values.abs().sum(1)).all())


@pytest.mark.parametrize("scale", [1.0, 2.0**-1000, 2.0**1000, 2.0**-1074])
def test_small_whole_numbers_are_exact_at_any_power_of_2(scale):
    values = torch.arange(-5, 6, dtype=torch.float64)[None] * scale
    assert torch.equal(restored(values), values)


def test_a_row_does_not_depend_on_the_others():
    values = vectors_of(9, 4001, 5)
    values[1], values[2] = 0, 1
    together, alone = whole(values), [whole(row[None]) for row in values]
    for place, part in enumerate(together):
        assert torch.equal(part, torch.cat([one[place] for one in alone]))


def test_the_places_do_not_depend_on_the_order_of_a_row():
    """All decisions are by exact sums."""
    values = vectors_of(1, 50_001, 7)
    order = torch.randperm(50_001, generator=torch.Generator().manual_seed(1))
    numbers, fraction, scale = whole(values)
    others, same_fraction, same_scale = whole(values[:, order])
    assert torch.equal(others, numbers[:, order])
    assert torch.equal(fraction, same_fraction)
    assert torch.equal(scale, same_scale)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(st.integers(-(2**35), 2**35), min_size=1, max_size=9),
    bits=st.sampled_from([12, 24]),
)
def test_digits_add_up_and_stay_in_their_range(numbers, bits):
    values = torch.tensor([numbers], dtype=torch.float64)
    parts = digits(values, bits)
    assert all(float(part.abs().max()) <= 2 ** (bits - 1) for part in parts)
    found = sum(part.double() * 2.0 ** (bits * place) for place, part in enumerate(parts))
    assert torch.equal(found, values)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(NumericalError):
        whole(torch.tensor([[1.0, value, 2.0]]))
