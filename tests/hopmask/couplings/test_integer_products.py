"""Exact products with small integers, against Python's own, at the edges of their ranges."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask.couplings import integer_products
from hopmask.couplings.integer_products import Vectors, across, along, tiles
from hopmask.errors import NumericalError

KINDS = [torch.int8, torch.int16, torch.int32]


@pytest.fixture(params=["int8", "opened"])
def way(request, monkeypatch):
    """Both ways to multiply int8: as the processor does, where it does, and opened as floats."""
    if request.param == "opened":
        monkeypatch.setattr(integer_products, "has_int8_product", lambda device: False)


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
    assert float(whole.abs().max()) <= 2**22
    assert digits.dtype == torch.int8
    high, middle, low = digits.double()
    assert torch.equal((high * 256 + middle) * 256 + low, whole)
    error = (whole * vectors.scale - given_rows.double()).abs()
    assert bool((error <= vectors.scale / 2).all())


@pytest.mark.parametrize("size", [1e-300, 1e-45, 1e-30, 1.0, 1e30, 1e300])
def test_vectors_of_any_size_keep_their_digits(size):
    vectors = Vectors(torch.tensor([[1.0, -0.5, 0.25]], dtype=torch.float64) * size)
    whole = vectors.whole(slice(0, 3))[0]
    assert 2**21 <= float(whole[0]) <= 2**22
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
def test_products_are_exact_whatever_the_number_of_rows(kind, count, way):
    generator = torch.Generator().manual_seed(count)
    largest = min(torch.iinfo(kind).max, 2**20)
    matrix = torch.randint(-largest, largest + 1, (count, 4), generator=generator).to(kind)
    vectors = Vectors(torch.randn(3, count, generator=generator))
    assert np.array_equal(along(matrix, vectors, 3).numpy().astype(object), exact(vectors, matrix))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("kind", "entry"), [(torch.int8, 127), (torch.int8, -128), (torch.int16, 32767)]
)
def test_the_largest_entries_in_many_tiles_are_exact(kind, entry, sign, way):
    count = 133_121  # 130 tiles and a row: int32 sums of int8 x int8 would overflow
    matrix = torch.full((count, 2), entry, dtype=kind)
    vectors = Vectors(torch.full((1, count), float(sign)))
    assert along(matrix, vectors, 1).tolist() == [[float(exact(vectors, matrix)[0, 0])] * 2]


@pytest.mark.parametrize("entry", [-32768, -32767, -129, -128, -1, 127, 128, 32639, 32640, 32767])
@pytest.mark.parametrize("vectors", [1, 3, 4, 40])
def test_every_entry_of_int16_is_exact_with_few_vectors_and_many(entry, vectors, way):
    generator = torch.Generator().manual_seed(vectors)
    matrix = torch.randint(-300, 300, (2500, 3), generator=generator).to(torch.int16)
    matrix[1111, 1] = entry
    several = Vectors(torch.randn(vectors, 2500, generator=generator))
    assert np.array_equal(
        along(matrix, several, vectors).numpy().astype(object), exact(several, matrix)
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_of_split_entries_are_exact(sign, way):
    """|digit| = 128 on 2^16 rows of entries whose two digits are the largest."""
    count = integer_products.MOST
    vectors = Vectors(torch.full((4, count), sign * (1 - 2**-7 - 2**-15)))
    matrix = torch.full((count, 2), integer_products._LARGEST if sign > 0 else -32768)
    found = along(matrix.to(torch.int16), vectors, 4)
    assert found.tolist() == [[float(exact(vectors, matrix)[0, 0])] * 2] * 4


@pytest.mark.parametrize("entry", [127, -128])
def test_the_largest_digits_in_a_full_tile_are_exact(entry, way):
    """|digit| = 128 and |A| = 128 in 1024 rows: sums of 2^24 at most."""
    count = 2 * integer_products.MOST
    vectors = Vectors(torch.full((1, count), 1 - 2**-7 - 2**-15))
    assert vectors.digits(slice(0, 1)).flatten().tolist() == [64, -128, -128]
    matrix = torch.full((count, 2), entry, dtype=torch.int8)
    found = along(matrix, vectors, 1)
    assert found.tolist() == [[float(exact(vectors, matrix)[0, 0])] * 2]


@pytest.mark.parametrize("count", [1, 3, 128])
@pytest.mark.parametrize(("kind", "largest"), [(torch.int8, 127), (torch.int16, 400)])
def test_both_ways_give_the_same_bits(kind, largest, count, monkeypatch):
    generator = torch.Generator().manual_seed(count)
    matrix = torch.randint(-largest, largest + 1, (70_001, 8), generator=generator).to(kind)
    vectors = Vectors(torch.randn(count, len(matrix), generator=generator))
    keys = torch.randint(0, 2, (count, 8), generator=generator, dtype=torch.int8) * 2 - 1
    found = []
    for has in (integer_products.has_int8_product, lambda device: False):
        monkeypatch.setattr(integer_products, "has_int8_product", has)
        onto = torch.cat([part for _, part in across(matrix, keys)], -1)
        found.append((along(matrix, vectors, count), onto))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("first", [0, 3, 1500])
def test_products_may_begin_at_an_entry(first, way):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randint(-9, 9, (2000, 3), generator=generator, dtype=torch.int8)
    vectors = Vectors(torch.randn(2, 2000, generator=generator))
    whole = along(matrix, vectors, 2)
    parts = along(matrix[:first], vectors, 2) + along(matrix[first:], vectors, 2, first=first)
    assert torch.equal(parts, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_cover_a_matrix_once_and_never_open_it_whole(kind):
    matrix = torch.arange(300 * 5000).reshape(5000, 300).remainder(100).to(kind)
    seen = torch.full(matrix.shape, -1.0, dtype=torch.float64)
    for where, part in tiles(matrix):
        assert part.nbytes <= 2**22
        assert part.is_floating_point()
        assert bool((seen[where] == -1).all())
        seen[where] = part.double()
    assert torch.equal(seen, matrix.double())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [torch.int8, torch.float32])
@pytest.mark.parametrize("rows", [None, 1000])
def test_products_across_cover_the_rows_once_and_are_exact(kind, keys, rows, way):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randint(-128, 128, (9001, 64), generator=generator).to(kind)
    signs = torch.randint(0, 2, (70, 64), generator=generator) * 2 - 1
    done = 0
    for where, part in across(matrix, signs.to(keys), rows=rows):
        assert where.start == done
        assert part.is_floating_point()
        assert torch.equal(part.long(), signs @ matrix[where].long().T)
        done = where.stop
    assert done == len(matrix)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5])
def test_no_rows_give_zeros(kind, count, way):
    found = along(torch.zeros(0, 2, dtype=kind), Vectors(torch.ones(count, 1)), count)
    assert found.tolist() == [[0, 0]] * count


def test_a_matrix_may_be_a_view(way):
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randint(-300, 300, (6, 40), generator=generator).to(torch.int16).T
    vectors = Vectors(torch.randn(5, 40, generator=generator))
    assert np.array_equal(along(matrix, vectors, 5).numpy().astype(object), exact(vectors, matrix))


@pytest.mark.parametrize("kind", [torch.int8, torch.int16])
def test_no_vectors_have_no_products(kind, way):
    matrix = torch.ones(5, 2, dtype=kind)
    assert along(matrix, Vectors(torch.zeros(0, 5)), 0).shape == (0, 2)
    keys = torch.ones(0, 2, dtype=torch.int8)
    assert [part.shape for _, part in across(matrix, keys)] == [(0, 5)]


@pytest.mark.parametrize("digits", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5, 40])
def test_fewer_digits_are_exact_products_of_coarser_vectors(digits, kind, count, way):
    generator = torch.Generator().manual_seed(5)
    matrix = torch.randint(-120, 120, (2500, 8), generator=generator).to(kind)
    real = torch.randn(count, 2500, generator=generator)
    vectors = Vectors(real, digits=digits)
    whole = vectors.whole(slice(0, 2500))
    assert 2 ** (8 * digits - 3) <= float(whole.abs().max()) <= 2 ** (8 * digits - 2)
    assert float((whole * vectors.scale - real).abs().max()) <= float(vectors.scale.max()) / 2
    found = along(matrix, vectors, count)
    assert np.array_equal(found.numpy().astype(object), exact(vectors, matrix))


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize(("entry", "kind"), [(256, torch.float32), (257, torch.float64)])
def test_int16_is_opened_in_floats_that_count_its_sums(entry, kind, precision, way):
    matrix = torch.full((3, 1 << 16), 256, dtype=torch.int16)
    matrix[1, 5] = -entry
    signs = torch.ones(2, 1 << 16, dtype=torch.int8)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        (part,) = (part for _, part in across(matrix, signs, rows=3))
    finally:
        torch.set_float32_matmul_precision(before)
    assert part.dtype == kind
    assert torch.equal(part.long(), matrix.long().sum(1).expand(2, -1))
