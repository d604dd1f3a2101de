"""Products of int8 in whole numbers: exact where they are said to be, and only said so there."""

import os
import subprocess
import sys

import pytest
import torch

from hopmask.couplings.int8_product import (
    MOST,
    has_int8_product,
    has_near_product,
    int8_product,
    near_product,
)

HERE = torch.device("cpu")
processor = pytest.mark.skipif(
    not has_int8_product(HERE), reason="this processor multiplies no int8 exactly"
)


@processor
@pytest.mark.parametrize("rows", [1, 3, 17, 384])
@pytest.mark.parametrize("terms", [1, 5, 257])
@pytest.mark.parametrize("columns", [1, 3, 256])
@pytest.mark.parametrize("turned", [True, False])
def test_products_are_those_of_whole_numbers(rows, terms, columns, turned):
    generator = torch.Generator().manual_seed(rows)
    left = torch.randint(-128, 128, (rows, terms), generator=generator, dtype=torch.int8)
    right = torch.randint(-128, 128, (terms, columns), generator=generator, dtype=torch.int8)
    given = right.T.contiguous().T if turned else right
    assert torch.equal(int8_product(left, given).long(), left.long() @ right.long())


@processor
@pytest.mark.parametrize("stride", [0, 1, 9])
def test_strides_of_sides_of_length_1_do_not_matter(stride):
    row = torch.arange(-4, 4, dtype=torch.int8)[None]
    other = torch.arange(40, dtype=torch.int8).view(8, 5)
    odd = row.as_strided((1, 8), (stride, 1))
    assert torch.equal(int8_product(odd, other).long(), row.long() @ other.long())
    column = row.T.contiguous()
    assert torch.equal(int8_product(column, odd).long(), column.long() @ row.long())
    turned = row.as_strided((8, 1), (1, stride))
    assert torch.equal(int8_product(other.T, turned).long(), other.T.long() @ column.long())


@processor
@pytest.mark.parametrize("one", [-128, 127])
@pytest.mark.parametrize("other", [-128, 127])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_the_largest_entries_in_the_longest_sums_are_exact(one, other, rows):
    left = torch.full((rows, MOST), one, dtype=torch.int8)
    right = torch.full((MOST, 256), other, dtype=torch.int8)
    assert bool((int8_product(left, right) == one * other * MOST).all())


near = pytest.mark.skipif(
    not has_near_product(HERE), reason="this torch or processor has no such product"
)


@near
@pytest.mark.parametrize("rows", [1, 3, 67, 5000])
@pytest.mark.parametrize("hubs", [64, 256, 4096])
def test_near_products_are_whole_numbers_rounded_at_the_end(rows, hubs):
    generator = torch.Generator().manual_seed(rows + hubs)
    matrix = torch.randint(-128, 128, (rows, hubs), generator=generator, dtype=torch.int8)
    key = torch.randint(0, 2, (hubs,), generator=generator).mul(2).sub(1).to(torch.int8)
    exact = matrix.long() @ key.long()
    found = near_product(matrix, key)
    assert torch.equal(found, exact.to(torch.bfloat16).float())
    assert torch.equal(found[exact.abs() <= 256].long(), exact[exact.abs() <= 256])


def test_other_devices_have_no_near_product():
    assert not has_near_product(torch.device("meta"))


def test_other_devices_have_none():
    assert not has_int8_product(torch.device("meta"))


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE", "AVX512_CORE_VNNI"])
def test_a_processor_that_saturates_is_found_out(instructions):
    """oneDNN keeps to older instructions when told so; some of them saturate."""
    program = (
        "import torch\n"
        "from hopmask.couplings.integer_products import across\n"
        "largest = torch.full((300, 256), 127, dtype=torch.int8)\n"
        "for _, part in across(largest, largest[:2]):\n"
        "    assert bool((part == 127 * 127 * 256).all()), part\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
