"""Exact products with small integers, against Python's own, at the edges of their ranges."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask.couplings.integer_products import Vectors, along, tiles
from hopmask.errors import NumericalError

KINDS = [torch.int8, torch.int16, torch.int32]


def exact(vectors, matrix):
    """q A in integers of any size."""
    whole = vectors.whole(slice(0, len(matrix))).numpy().astype(object)
    return whole.astype(np.int64).astype(object) @ matrix.numpy().astype(object)


@given(
    rows=st.lists(
        st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=5, max_size=5),
        min_size=1,
        max_size=3,
    )
)
def test_vectors_are_whole_numbers_of_three_digits_near_the_real_ones(rows):
    given_rows = torch.tensor(rows)
    vectors = Vectors(given_rows)
    whole, digits = vectors.whole(slice(0, 5)), vectors.digits(slice(0, 5))
    assert bool((whole == whole.round()).all())
    assert float(whole.abs().max()) <= 2**23
    assert float(digits.abs().max()) <= 128
    assert bool((digits == digits.round()).all())
    high, middle, low = digits.double()
    assert torch.equal((high * 256 + middle) * 256 + low, whole)
    error = (whole * vectors.scale - given_rows.double()).abs()
    assert bool((error <= vectors.scale / 2).all())


@pytest.mark.parametrize("size", [1e-300, 1e-45, 1e-30, 1.0, 1e30, 1e300])
def test_vectors_of_any_size_keep_their_digits(size):
    vectors = Vectors(torch.tensor([[1.0, -0.5, 0.25]], dtype=torch.float64) * size)
    whole = vectors.whole(slice(0, 3))[0]
    assert 2**22 <= float(whole[0]) <= 2**23
    ratios = whole * vectors.scale[0] / size
    torch.testing.assert_close(ratios, torch.tensor([1, -0.5, 0.25]).double(), rtol=1e-6, atol=0)


def test_a_vector_of_zeros_is_zeros():
    vectors = Vectors(torch.zeros(2, 3))
    assert not bool(vectors.whole(slice(0, 3)).any())
    assert bool(torch.isfinite(vectors.scale).all())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_vectors_that_are_not_finite_are_refused(bad):
    with pytest.raises(NumericalError):
        Vectors(torch.tensor([[1.0, bad], [0.0, 1.0]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_a_vector_and_torchs_default_do_not_matter(dtype):
    values = torch.tensor([[0.5, -1.0, 0.25]])
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float16)
        found = Vectors(values.to(dtype)).whole(slice(0, 3))
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, Vectors(values).whole(slice(0, 3)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 3000])
def test_products_are_exact_whatever_the_number_of_rows(kind, count):
    generator = torch.Generator().manual_seed(count)
    largest = min(torch.iinfo(kind).max, 2**20)
    matrix = torch.randint(-largest, largest + 1, (count, 4), generator=generator).to(kind)
    vectors = Vectors(torch.randn(3, count, generator=generator))
    assert np.array_equal(along(matrix, vectors, 3).numpy().astype(object), exact(vectors, matrix))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("kind", "entry"), [(torch.int8, 127), (torch.int8, -128), (torch.int16, 32767)]
)
def test_the_largest_entries_and_digits_in_a_full_tile_are_exact(kind, entry, sign):
    """|digit| = 128 and |A| = 127 in 1024 rows: sums of 2^24 at most."""
    count = 133_121  # 130 tiles and a row: int32 sums of int8 x int8 would overflow
    matrix = torch.full((count, 2), entry, dtype=kind)
    vectors = Vectors(torch.full((1, count), float(sign)))
    assert along(matrix, vectors, 1).tolist() == [[float(exact(vectors, matrix)[0, 0])] * 2]


def test_a_digit_of_128_comes_up_and_is_exact():
    count = 2048
    values = torch.full((1, count), 1.0)
    values[0, 0] = torch.nextafter(torch.tensor(2.0), torch.tensor(1.0))  # rounds up to q = 2^23
    values[0, 1:] = values[0, 0]
    vectors = Vectors(values)
    assert float(vectors.digits(slice(0, count)).max()) == 128
    matrix = torch.full((count, 1), -127, dtype=torch.int8)
    assert float(along(matrix, vectors, 1)) == -127.0 * 2**23 * count


@pytest.mark.parametrize("first", [0, 3, 1500])
def test_products_may_begin_at_an_entry(first):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randint(-9, 9, (2000, 3), generator=generator, dtype=torch.int8)
    vectors = Vectors(torch.randn(2, 2000, generator=generator))
    whole = along(matrix, vectors, 2)
    parts = along(matrix[:first], vectors, 2) + along(matrix[first:], vectors, 2, first=first)
    assert torch.equal(parts, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_cover_a_matrix_once_and_never_open_it_whole(kind):
    matrix = torch.arange(3 * 5000).reshape(5000, 3).remainder(100).to(kind)
    seen = torch.full((5000, 3), -1.0, dtype=torch.float64)
    for where, part in tiles(matrix):
        assert len(part) <= 1024
        assert part.is_floating_point()
        assert bool((seen[where] == -1).all())
        seen[where] = part.double()
    assert torch.equal(seen, matrix.double())


def test_no_rows_give_zeros():
    assert along(torch.zeros(0, 2, dtype=torch.int8), Vectors(torch.ones(1, 1)), 1).tolist() == [
        [0, 0]
    ]
