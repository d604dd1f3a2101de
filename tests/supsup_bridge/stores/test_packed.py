"""Binary matrices at one bit an entry: nothing is lost, and products are those of float64."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import NumericalError
from supsup_bridge.stores import opened
from supsup_bridge.stores import packed as module
from supsup_bridge.stores.packed import combine, pack, products, unpack
from supsup_bridge.stores.whole import digits, whole


def random_bits(rows, width, seed=0):
    return torch.rand(rows, width, generator=torch.Generator().manual_seed(seed)) < 0.5


def random_vectors(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1000 + seed))


def worst(bits, vectors):
    """Largest error of a product, relative to Σ|g|, against float64."""
    found = products(pack(bits), vectors)
    assert found.shape == (len(vectors), len(bits))
    assert found.dtype == torch.float32
    wide = vectors.double()
    exact = torch.stack([(wide * row).sum(1) for row in bits], 1)
    mass = wide.abs().sum(1, keepdim=True)
    assert bool((found[mass[:, 0] == 0] == 0).all())
    return float(((found - exact).abs() / mass.clamp(min=2.0**-1074)).max())


# Packing


@settings(max_examples=40, deadline=None)
@given(
    lead=st.lists(st.integers(0, 3), max_size=2),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_any_bits_come_back(lead, width, seed):
    bits = random_bits(1, 999, seed)[0, : torch.Size([*lead, width]).numel()]
    bits = bits.reshape(*lead, width)
    packed = pack(bits)
    assert packed.shape == (*lead, -(-width // 8))
    assert packed.dtype == torch.uint8
    assert torch.equal(unpack(packed, width), bits)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 64, 65])
def test_the_order_of_bits_is_little(width):
    bits = random_bits(3, width)
    expected = np.packbits(bits.numpy(), axis=1, bitorder="little")
    assert pack(bits).tolist() == expected.tolist()


def test_bits_beyond_the_width_are_zero():
    assert pack(torch.ones(9, dtype=torch.bool)).tolist() == [255, 1]


# Products


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    width=st.integers(1, 200),
    batch=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_products_of_any_shape_are_those_of_float64(rows, width, batch, seed):
    assert worst(random_bits(rows, width, seed), random_vectors(batch, width, seed)) < 1e-5


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.floats(
            width=32,
            allow_nan=False,
            allow_infinity=False,
            min_value=-(2.0**100),
            max_value=2.0**100,
        ),
        min_size=1,
        max_size=70,
    ),
    batch=st.sampled_from([1, 12]),
)
def test_products_of_any_finite_numbers_are_those_of_float64(values, batch):
    vectors = torch.tensor(values, dtype=torch.float32).expand(batch, -1)
    tiny = 2.0**-148 / max(float(vectors[0].double().abs().sum()), 2.0**-149)  # float32's own
    assert worst(random_bits(5, len(values)), vectors) < 1e-5 + tiny


@pytest.mark.parametrize("scale", [1e30, 1.0, 1e-30, 1e-42])
def test_the_scale_does_not_matter(scale):
    vectors = random_vectors(9, 100) * scale
    resolution = 2.0**-149 / float(vectors[0].double().abs().sum())  # of float32 itself
    assert worst(random_bits(4, 100), vectors) < 1e-6 + resolution


@pytest.mark.parametrize("power", [1, 3, 9])
def test_a_few_large_numbers_do_not_hide_the_small_ones(power):
    assert worst(random_bits(20, 30_001), random_vectors(9, 30_001) ** power) < 3e-6


def test_layers_of_different_scale_are_exact_together():
    vectors = random_vectors(1, 200_000)
    vectors[:, :100_000] *= 1e-4
    assert worst(random_bits(6, 200_000), vectors) < 3e-6


def test_equal_remainders_cancel():
    """Many times one number that no digit meets, beside a larger one that sets the step."""
    vectors = torch.full((1, 100_000), 0.3337)
    vectors[0, 5] = 0.9
    assert worst(random_bits(6, 100_000), vectors) < 3e-6


def test_masks_fitted_to_the_signs_of_a_vector_are_exact_too():
    vectors = random_vectors(1, 100_003)
    assert worst(torch.cat([vectors > 0, vectors < 0]), vectors) < 3e-6


def test_small_integers_are_nearly_exact():
    vectors = torch.randint(-3, 4, (9, 77), generator=torch.Generator().manual_seed(0)).float()
    assert worst(random_bits(9, 77), vectors) < 1e-6


def test_a_zero_vector_gives_zeros():
    assert not products(pack(random_bits(5, 33)), torch.zeros(9, 33)).any()


def test_a_zero_vector_among_others_gives_zeros():
    vectors = random_vectors(3, 50)
    vectors[1] = 0
    assert worst(random_bits(4, 50), vectors) < 1e-5


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), share=st.floats(0, 1))
def test_runs_of_zeros_are_left_out_rightly(seed, share):
    generator = torch.Generator().manual_seed(seed)
    kept = (torch.rand(100, generator=generator) < share).repeat_interleave(1001)
    vectors = random_vectors(2, 100_100, seed) * kept
    assert worst(random_bits(3, 100_100, seed), vectors) < 3e-6


def test_zeros_at_either_end_are_left_out_rightly():
    vectors = torch.zeros(1, 150_001)
    vectors[0, 70_000:90_003] = random_vectors(1, 20_003)
    assert worst(random_bits(3, 150_001), vectors) < 3e-6


@pytest.mark.parametrize("place", [0, 7, 8, 65_535, 65_536, 99_999])
def test_a_single_weight_is_found_where_it_is(place):
    vectors = torch.zeros(9, 100_000)
    vectors[:, place] = -1.5
    bits = random_bits(6, 100_000)
    assert torch.allclose(products(pack(bits), vectors), -1.5 * bits[:, place].float(), rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_product_is_the_same_to_the_bit_whatever_else_is_in_the_call(scale):
    packed, vectors = pack(random_bits(40, 3001)), random_vectors(37, 3001) ** 5
    vectors[1] = 0
    vectors[2, :2000] = 0
    vectors[3] *= scale
    together = products(packed, vectors)
    alone = torch.cat([products(packed, vector[None]) for vector in vectors])
    assert torch.equal(together, alone)
    assert torch.equal(together[:9], products(packed, vectors[:9]))
    assert torch.equal(together[:, 3:5], products(packed[3:5], vectors))


def test_equal_rows_have_equal_products():
    bits = random_bits(1, 2077).expand(700, -1)
    for batch in (1, 8, 9, 40):
        found = products(pack(bits), random_vectors(batch, 2077))
        assert torch.equal(found, found[:, :1].expand_as(found))


def test_blocks_of_any_size_give_the_same_bits(monkeypatch):
    packed, vectors = pack(random_bits(50, 3001)), random_vectors(9, 3001)
    whole = products(packed, vectors)
    monkeypatch.setattr(opened, "_BLOCK", (7, 96))
    monkeypatch.setattr(module, "_TOGETHER", 2)
    assert torch.equal(products(packed, vectors), whole)


def test_sums_of_digits_stay_where_floats_are_exact():
    vectors = random_vectors(8, 99_999) * 1e-7
    vectors[:, 0] = 1
    parts = digits(whole(vectors)[0], opened.BITS)
    assert len(parts) == 3
    assert max(float(part.abs().max()) for part in parts) <= 2048
    assert 8 * opened._BLOCK[1] * 2048 <= 2**24


@pytest.mark.parametrize("scale", [1e-300, 1e-50, 1.0, 1e300])
def test_float64_keeps_its_range(scale):
    bits, vectors = random_bits(5, 77), random_vectors(2, 77).double()
    found = products(pack(bits), vectors * scale)
    assert found.dtype == torch.float64
    assert torch.allclose(found / scale, vectors @ bits.double().T, rtol=1e-5, atol=1e-4)


def test_the_smallest_numbers_are_counted():
    found = products(pack(torch.ones(1, 3, dtype=torch.bool)), torch.full((1, 3), 1e-45))
    assert found.tolist() == [[pytest.approx(3 * 2.0**-149)]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_beyond_its_type_is_refused(dtype):
    vectors = torch.full((1, 8), torch.finfo(dtype).max, dtype=dtype)
    with pytest.raises(NumericalError):
        products(pack(torch.ones(1, 8, dtype=torch.bool)), vectors)


def test_neither_depends_on_autocast():
    packed, vectors, weights = (
        pack(random_bits(9, 999)),
        random_vectors(3, 999),
        random_vectors(3, 9),
    )
    plain = products(packed, vectors), combine(packed, weights, 999)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = products(packed, vectors), combine(packed, weights, 999)
    assert torch.equal(plain[0], cast[0])
    assert torch.equal(plain[1], cast[1])


def test_all_bits_set_give_the_sum():
    """The largest integers that the digits meet."""
    vectors = torch.ones(9, 1_200_000)
    found = products(pack(torch.ones(1, 1_200_000, dtype=torch.bool)), vectors)
    assert found[:, 0].tolist() == pytest.approx([1_200_000] * 9, rel=1e-6)


def test_no_rows_give_no_products():
    assert products(pack(random_bits(0, 20)), torch.ones(9, 20)).shape == (9, 0)


def test_no_vectors_give_no_products():
    assert products(pack(random_bits(3, 20)), torch.ones(0, 20)).shape == (0, 3)


def test_products_change_nothing_that_is_given():
    packed, vectors = pack(random_bits(5, 99)), random_vectors(2, 99)
    before = packed.clone(), vectors.clone()
    products(packed, vectors)
    combine(packed, random_vectors(2, 5), 99)
    assert torch.equal(packed, before[0])
    assert torch.equal(vectors, before[1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_vectors_that_are_not_finite_are_refused(value):
    vectors = torch.ones(9, 20)
    vectors[-1, 3] = value
    with pytest.raises(NumericalError):
        products(pack(random_bits(3, 20)), vectors)


# Sums


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(0, 9),
    width=st.integers(1, 99),
    batch=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_sums_of_rows_are_those_of_float64(rows, width, batch, seed):
    bits, weights = random_bits(rows, width, seed), random_vectors(batch, rows, seed)
    found = combine(pack(bits), weights, width)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), weights.double() @ bits.double(), atol=1e-5)


def test_sums_in_blocks_are_the_same_to_the_bit(monkeypatch):
    packed, weights = pack(random_bits(50, 3001)), random_vectors(2, 50)
    whole = combine(packed, weights, 3001)
    monkeypatch.setattr(opened, "_BLOCK", (7, 96))
    monkeypatch.setattr(opened, "_EXACT", 20)
    assert torch.equal(combine(packed, weights, 3001), whole)


def test_a_sum_is_the_same_to_the_bit_whatever_else_is_in_the_call():
    packed, weights = pack(random_bits(300, 1001)), random_vectors(33, 300) ** 3
    together = combine(packed, weights, 1001)
    alone = torch.cat([combine(packed, one[None], 1001) for one in weights])
    assert torch.equal(together, alone)


def test_counts_come_out_exactly():
    bits = random_bits(300, 77)
    assert torch.equal(combine(pack(bits), torch.ones(1, 300), 77)[0].int(), bits.sum(0).int())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(value):
    with pytest.raises(NumericalError):
        combine(pack(random_bits(1, 20)), torch.tensor([[value]]), 20)


# Memory


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from the process as on Linux")
def test_no_float_copy_of_the_matrix_is_made():
    """A float copy would take 640 MB, one byte an entry 160 MB."""
    program = (
        "import resource, torch\n"
        "from supsup_bridge.stores.packed import combine, products\n"
        "def peak():\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "k, w = 4000, 40_000\n"
        "rows = torch.full((k, w // 8), 85, dtype=torch.uint8)\n"
        "products(rows[:9], torch.ones(1, w)), products(rows[:9], torch.ones(9, w))\n"
        "before = peak()\n"
        "products(rows, torch.ones(1, w))\n"
        "products(rows, torch.ones(9, w))\n"
        "combine(rows, torch.ones(1, k), w)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 120
