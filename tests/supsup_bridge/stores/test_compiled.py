"""Compiled products are those of the plain path, bit for bit, and numba is not needed."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import NumericalError
from supsup_bridge import MaskBank
from supsup_bridge.stores import opened
from supsup_bridge.stores import packed as module
from supsup_bridge.stores.packed import pack, products

WITHOUT = (
    "import hopmask, supsup_bridge, sys, torch\n"
    "print('numba' in sys.modules)\n"
    "sys.modules['numba'] = None  # as if it were not installed\n"
    "from supsup_bridge.stores.packed import products\n"
    "rows = torch.full((9, 2**17), 85, dtype=torch.uint8)\n"
    "print(products(rows, torch.ones(1, 2**20)).tolist())\n"
    "print('supsup_bridge.stores.compiled' in sys.modules)\n"
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_rows(rows, width, seed=0):
    return pack(torch.rand(rows, width, generator=seeded(seed)) < 0.5)


def both(packed, vectors):
    """Products of the compiled path and of the plain one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_COMPILE", 0)
        compiled = products(packed, vectors)
        patch.setattr(module, "_COMPILE", 2**60)
        return compiled, products(packed, vectors)


def agree(packed, vectors):
    compiled, plain = both(packed, vectors)
    return compiled.dtype == plain.dtype and torch.equal(compiled, plain)


@pytest.fixture(scope="module")
def numba():
    return pytest.importorskip("numba", reason="numba (the extra 'fast') is not installed")


def test_numba_is_neither_imported_nor_needed():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.stdout.split("\n")[:3] == ["False", str([[2.0**19] * 9]), "False"], done.stderr


def test_large_products_are_compiled_where_numba_is(numba, monkeypatch):
    monkeypatch.setattr(opened, "opened_product", None)  # calling it would fail
    rows = torch.full((9, 2**17), 85, dtype=torch.uint8)
    assert products(rows, torch.ones(1, 2**20)).tolist() == [[2.0**19] * 9]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(8, 40),
    width=st.integers(57, 3000),
    batch=st.integers(1, 18),
    power=st.sampled_from([1, 3, 9]),
    share=st.floats(0, 1),
    double=st.booleans(),
    seed=st.integers(0, 99),
)
def test_both_paths_give_the_same_bits(numba, rows, width, batch, power, share, double, seed):
    kept = torch.rand(width, generator=seeded(seed)) < share
    vectors = torch.randn(batch, width, generator=seeded(seed + 1)) ** power * kept
    assert agree(random_rows(rows, width, seed), vectors.double() if double else vectors)


@pytest.mark.parametrize(
    "width", [57, 63, 64, 65, 71, 72, 127, 128, 129, 2047, 2048, 2049, 8 * 257]
)
def test_the_last_bits_of_a_row_count_once(numba, width):
    ones = pack(torch.ones(9, width, dtype=torch.bool))
    compiled, _ = both(ones, torch.ones(1, width))
    assert compiled.tolist() == [[width] * 9]


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_the_number_of_threads_does_not_matter(numba, threads):
    packed, vectors = random_rows(61, 5003), torch.randn(3, 5003, generator=seeded(1))
    expected, _ = both(packed, vectors)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert agree(packed, vectors)
        assert torch.equal(both(packed, vectors)[0], expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_numbers_do_not_overflow(numba, sign):
    """Numbers just below 2, which no digit of 12 bits meets, over many sums of 32 bits."""
    vectors = torch.full((1, 100_003), sign * (2 - 2.0**-23))
    vectors[0, 0] = 2.0**-20
    assert agree(pack(torch.ones(9, 100_003, dtype=torch.bool)), vectors)


@pytest.mark.parametrize("scale", [1e-45, 1e-42, 1e-30, 1e30])
def test_the_smallest_and_largest_scales_agree(numba, scale):
    assert agree(random_rows(9, 999), torch.randn(2, 999, generator=seeded(1)) * scale)


def test_three_digits_and_one_agree_in_one_call(numba):
    vectors = torch.randn(3, 99_999, generator=seeded(1)) * 1e-7
    vectors[:, 0] = 1
    vectors[1] = 0
    vectors[2] = 3
    packed = random_rows(12, 99_999)
    assert agree(packed, vectors)
    alone = torch.cat([both(packed, one[None])[0] for one in vectors])
    assert torch.equal(both(packed, vectors)[0], alone)


def test_rows_that_are_a_part_of_others_agree(numba):
    assert agree(random_rows(40, 777)[3:29], torch.randn(2, 777, generator=seeded(1)))
    assert agree(random_rows(40, 777)[::2], torch.randn(2, 777, generator=seeded(1)))


def test_scores_of_a_bank_agree(numba, monkeypatch):
    bank = MaskBank({"a": (10, 31), "b": 99})
    for task in range(20):
        masks = {"a": (10, 31), "b": (99,)}
        bank.store({n: torch.rand(s, generator=seeded(task)) < 0.5 for n, s in masks.items()})
    gradient = {
        "a": torch.randn(4, 10, 31, generator=seeded(1)),
        "b": torch.randn(4, 99, generator=seeded(2)),
    }
    plain = bank.scores(gradient)
    monkeypatch.setattr(module, "_COMPILE", 0)
    assert torch.equal(bank.scores(gradient), plain)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_vectors_that_are_not_finite_are_refused(numba, value, monkeypatch):
    monkeypatch.setattr(module, "_COMPILE", 0)
    vectors = torch.ones(2, 99)
    vectors[1, 98] = value
    with pytest.raises(NumericalError):
        products(random_rows(9, 99), vectors)


@pytest.mark.parametrize("error", [OSError("disk full"), ImportError("no llvmlite"), KeyError(1)])
def test_numba_that_fails_is_as_if_it_were_missing(numba, monkeypatch, error):
    from supsup_bridge.stores import kernel

    def broken():
        raise error

    monkeypatch.setattr(kernel, "kernel", broken)
    monkeypatch.setattr(module, "_compiled", module._compiled.__wrapped__)
    rows = torch.full((9, 2**17), 85, dtype=torch.uint8)
    assert products(rows, torch.ones(1, 2**20)).tolist() == [[2.0**19] * 9]


def test_a_damaged_cache_is_left_out(numba, monkeypatch):
    from supsup_bridge.stores import kernel

    compile_, asked = kernel.numba.njit, []

    def njit(signature, **options):
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise OSError("the cache is damaged")
        return compile_(signature, **options)

    monkeypatch.setattr(kernel.numba, "njit", njit)
    assert kernel.kernel.__wrapped__() is not None
    assert asked == [True, False]
