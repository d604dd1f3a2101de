"""Few bits per coupling: levels, their planes, and what is lost."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask.couplings.hub import HubCouplings
from hopmask.couplings.levels import BITS, Levels, packed, unpack

DISTANCE = {1: 1.596, 2: 0.9957, 3: 0.5860, 4: 0.3352}  # Max 1960, table II


def couplings_of(rows, hubs, tasks, *, born=None, bias=0.3, seed=0, precision="int8"):
    """Couplings of random masks; each neuron has a bias of its own."""
    generator = torch.Generator().manual_seed(seed)
    found = HubCouplings(rows, hubs=hubs, born=born, seed=seed, precision=precision)
    leaning = (torch.rand(rows, generator=generator) - 0.5) * 2 * bias
    for task in range(tasks):
        found.put(task, torch.rand(rows, generator=generator) < (1 + leaning) / 2)
    return found


def levels_of(couplings, bits, *, neurons=None):
    neurons = couplings.neurons if neurons is None else neurons
    return Levels(bits=bits, neurons=neurons, tasks=couplings.count, hubs=couplings.hubs)


def planes_of(couplings, levels):
    return packed(couplings.narrow, couplings.wide, levels)


def unpacked(planes, levels, *, spacing, kind=torch.int8):
    found = torch.full((levels.neurons, levels.hubs), 99, dtype=kind)
    unpack(planes, levels, into=found, spacing=spacing)
    return found


@given(
    bits=st.sampled_from(BITS),
    rows=st.integers(1, 40),
    exponent=st.integers(1, 5),
    load=st.floats(0, 1),
    bias=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_planes_hold_the_nearest_level_of_each_coupling(bits, rows, exponent, load, bias, seed):
    hubs = 2**exponent
    couplings = couplings_of(rows, hubs, round(load * hubs), bias=bias, seed=seed)
    levels = levels_of(couplings, bits)
    codes = unpacked(planes_of(couplings, levels), levels, spacing=hubs)
    step = levels.steps(couplings.wide).double().numpy()[:, None]
    odd = np.arange(1 - 2**bits, 2**bits, 2)
    narrow = couplings.narrow.numpy().astype(float)
    nearest = np.abs(narrow[..., None] - odd * step[..., None]).min(-1)
    found = np.abs(narrow - codes.numpy() * step)
    kept = np.arange(hubs) % hubs != 0
    assert np.allclose(found[:, kept], nearest[:, kept], atol=1e-4)
    assert not codes[:, 0].any()
    assert set(np.unique(codes[:, 1:].numpy())) <= set(odd.tolist())


@pytest.mark.parametrize("born", [4, 16, None])
@pytest.mark.parametrize("tasks", [1, 5, 32])
def test_steps_follow_the_mean_square_of_each_neurons_narrow_couplings(born, tasks):
    couplings = couplings_of(200, 32, tasks, born=born)
    couplings.drop(0)
    couplings.put(0, torch.arange(200) % 3 == 0)
    for bits in BITS:
        spacing = born or 32
        used = np.arange(32) % spacing != 0
        square = couplings.narrow.double().numpy()[:, used] ** 2
        wanted = DISTANCE[bits] / 2 * np.sqrt(square.mean(1))
        found = levels_of(couplings, bits).steps(couplings.wide).numpy()
        assert np.allclose(found, wanted, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 3, 511, 512, 513, 1100])
@pytest.mark.parametrize("hubs", [2, 4])
def test_planes_of_any_number_of_rows_are_read_as_they_were_written(rows, hubs):
    couplings = couplings_of(rows, hubs, hubs)
    levels = levels_of(couplings, 3)
    planes = planes_of(couplings, levels)
    assert planes.shape == (3, -(-rows * hubs // 8))
    code = (unpacked(planes, levels, spacing=hubs).numpy() + 7) // 2
    whole = np.zeros(rows * hubs, int)
    for plane in range(3):
        whole |= np.unpackbits(planes[plane])[: rows * hubs].astype(int) << plane
    kept = np.arange(hubs) > 0
    assert np.array_equal(whole.reshape(rows, hubs)[:, kept], code[:, kept])


def test_codes_packed_again_are_the_same_planes():
    couplings = couplings_of(100, 8, 7)
    levels = levels_of(couplings, 3)
    codes = unpacked(planes_of(couplings, levels), levels, spacing=8)
    back = unpacked(packed(codes, None, levels), levels, spacing=8)
    assert torch.equal(back, codes)


@pytest.mark.parametrize(("bits", "lost"), [(1, 0.3635), (2, 0.1188), (3, 0.0374), (4, 0.0115)])
@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_couplings_lose_what_max_found_for_a_gaussian(bits, lost, bias):
    """Mean squared error of the best uniform quantiser, in variances: Max 1960, table II."""
    couplings = couplings_of(500, 256, 128, bias=bias)
    levels = levels_of(couplings, bits)
    codes = unpacked(planes_of(couplings, levels), levels, spacing=256)
    step = levels.steps(couplings.wide)[:, None].double()
    kept = couplings.narrow[:, 1:].double()
    error = (kept - codes[:, 1:] * step).square().sum(1) / kept.square().sum(1)
    assert float(error.mean()) == pytest.approx(lost, rel=0.03)


def test_couplings_of_no_task_have_levels_too():
    couplings = couplings_of(10, 4, 0)
    assert bool((levels_of(couplings, 1).steps(couplings.wide) > 0).all())


def test_int16_is_rounded_alike():
    small, large = (couplings_of(50, 8, 6, precision=kind) for kind in ("int8", "int16"))
    assert np.array_equal(
        planes_of(small, levels_of(small, 3)), planes_of(large, levels_of(large, 3))
    )


def test_what_is_beyond_the_rounded_rows_is_left_alone():
    couplings = couplings_of(50, 8, 6)
    levels = levels_of(couplings, 3, neurons=40)
    found = torch.full((50, 8), 7, dtype=torch.int16)
    unpack(planes_of(couplings, levels), levels, into=found, spacing=8)
    codes = unpacked(planes_of(couplings, levels), levels, spacing=8)
    assert torch.equal(found[:40].to(torch.int8), codes)
    assert bool((found[40:] == 7).all())
