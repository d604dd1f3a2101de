"""Few bits per coupling: levels, their planes, and what is lost."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask.couplings.levels import BITS, Levels, levels_of, packed, unpack


def unpacked(planes, levels, *, hubs, spacing, kind=torch.int8):
    found = torch.full((levels.neurons, hubs), 99, dtype=kind)
    unpack(planes, levels, into=found, spacing=spacing)
    return found


def narrow_of(rows, hubs, *, spacing=None, sigma=8.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = (torch.randn(rows, hubs, generator=generator) * sigma).round().clamp(-127, 127)
    values[:, :: spacing or hubs] = 0
    return values.to(torch.int8)


@given(
    bits=st.sampled_from(BITS),
    rows=st.integers(1, 40),
    exponent=st.integers(1, 5),
    step=st.floats(0.25, 40),
    seed=st.integers(0, 99),
)
def test_planes_hold_the_nearest_level_of_each_coupling(bits, rows, exponent, step, seed):
    hubs = 2**exponent
    narrow, levels = narrow_of(rows, hubs, seed=seed), Levels(bits=bits, step=step, neurons=rows)
    codes = unpacked(packed(narrow, levels), levels, hubs=hubs, spacing=hubs)
    odd = np.arange(1 - 2**bits, 2**bits, 2)
    distance = np.abs(narrow.numpy()[..., None] - odd * step)
    nearest = distance.min(-1)
    found = np.abs(narrow.numpy() - codes.numpy() * step)
    kept = np.arange(hubs) % hubs != 0
    assert np.allclose(found[:, kept], nearest[:, kept], atol=1e-4 * step)
    assert not codes[:, 0].any()
    assert set(np.unique(codes[:, 1:].numpy())) <= set(odd.tolist())


@pytest.mark.parametrize("rows", [1, 3, 511, 512, 513, 1100])
@pytest.mark.parametrize("hubs", [2, 4])
def test_planes_of_any_number_of_rows_are_read_as_they_were_written(rows, hubs):
    narrow = narrow_of(rows, hubs, sigma=1)
    levels = Levels(bits=3, step=0.5, neurons=rows)
    planes = packed(narrow, levels)
    assert planes.shape == (3, -(-rows * hubs // 8))
    code = (unpacked(planes, levels, hubs=hubs, spacing=hubs).numpy() + 7) // 2
    whole = np.zeros(rows * hubs, int)
    for plane in range(3):
        whole |= np.unpackbits(planes[plane])[: rows * hubs].astype(int) << plane
    kept = np.arange(hubs) > 0
    assert np.array_equal(whole.reshape(rows, hubs)[:, kept], code[:, kept])


def test_codes_packed_again_are_the_same_planes():
    narrow = narrow_of(100, 8)
    levels = levels_of(narrow, bits=3, neurons=100, spacing=8)
    planes = packed(narrow, levels)
    codes = unpacked(planes, levels, hubs=8, spacing=8)
    again = packed(codes, Levels(bits=3, step=1.0, neurons=100))
    back = unpacked(again, levels, hubs=8, spacing=8)
    assert torch.equal(back, codes)


@pytest.mark.parametrize(("bits", "lost"), [(1, 0.3635), (2, 0.1188), (3, 0.0374), (4, 0.0115)])
def test_a_gaussian_loses_what_max_found(bits, lost):
    """Mean squared error of the best uniform quantiser, in variances: Max 1960, table II."""
    narrow = narrow_of(4000, 32, sigma=20)
    levels = levels_of(narrow, bits=bits, neurons=4000, spacing=32)
    codes = unpacked(packed(narrow, levels), levels, hubs=32, spacing=32)
    kept = narrow[:, 1:].double()
    error = (kept - codes[:, 1:] * levels.step).square().mean() / kept.square().mean()
    assert float(error) == pytest.approx(lost, rel=0.03)


def test_sigma_leaves_out_the_wide_columns_and_the_exact_rows():
    narrow = narrow_of(100, 16, spacing=4)
    narrow[90:] = 100
    levels = levels_of(narrow, bits=2, neurons=90, spacing=4)
    used = narrow[:90].reshape(90, 4, 4)[..., 1:].double()
    assert levels.step == pytest.approx(0.9957 * float(used.square().mean().sqrt()) / 2)


def test_couplings_of_no_task_have_levels_too():
    levels = levels_of(torch.zeros(10, 4, dtype=torch.int8), bits=1, neurons=10, spacing=4)
    assert levels.step > 0


def test_int16_is_rounded_alike():
    narrow = narrow_of(50, 8)
    wide = narrow.to(torch.int16)
    levels = levels_of(wide, bits=3, neurons=50, spacing=8)
    assert levels == levels_of(narrow, bits=3, neurons=50, spacing=8)
    assert np.array_equal(packed(wide, levels), packed(narrow, levels))


def test_what_is_beyond_the_rounded_rows_is_left_alone():
    narrow = narrow_of(50, 8)
    levels = levels_of(narrow, bits=3, neurons=40, spacing=8)
    found = torch.full((50, 8), 7, dtype=torch.int16)
    unpack(packed(narrow, levels), levels, into=found, spacing=8)
    codes = unpacked(packed(narrow, levels), levels, hubs=8, spacing=8)
    assert torch.equal(found[:40].to(torch.int8), codes)
    assert bool((found[40:] == 7).all())
