"""Few bits per coupling: levels, their planes, and what is lost."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
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


def nearest_of(couplings, levels, *, spacing):
    """u of the level nearest to each coupling, of two the upper; 0 where a wide column stands."""
    odd = torch.arange(2**levels.bits - 1, -(2**levels.bits), -2)
    step = levels.steps(couplings.wide).double()[:, None, None]
    distance = (couplings.narrow.double()[..., None] - odd * step).abs()
    found = odd[distance.argmin(-1)].to(torch.int8)
    found[:, ::spacing] = 0
    return found


def wrong_of(couplings, codes, levels):
    """Wrong bits of each neuron over all masks that u of couplings recalls: (neurons,)."""
    rounded = HubCouplings(
        couplings.neurons, hubs=couplings.hubs, born=couplings.keys.born, seed=couplings.keys.seed
    )
    rounded.restore(codes, couplings.wide, couplings.live, levels)
    tasks = couplings.live.nonzero()[:, 0]
    return (rounded.recall(tasks).spins != couplings.recall(tasks).spins).sum(0)


def least_of(couplings, codes, levels):
    """The field nearest to 0 of each neuron, of all masks that u of couplings recalls: (neurons,).

    The sign of one that is 0 but for rounding is left to no float: such a neuron is rounded anew.
    """
    exact = codes.double() * levels.steps(couplings.wide).double()[:, None]
    exact[:, :: couplings.keys.born] = couplings.wide.double()
    keys = couplings.keys.of(couplings.live.nonzero()[:, 0], hubs=couplings.hubs).double()
    return (exact @ keys.T / couplings.hubs).abs().amin(1)


@example(bits=1, rows=31, exponent=5, load=0.625, bias=0.0, grown=True, seed=0)  # a field of 0
@given(
    bits=st.sampled_from(BITS),
    rows=st.integers(1, 40),
    exponent=st.integers(1, 6),
    load=st.floats(0.1, 1),
    bias=st.sampled_from([0.0, 0.5, 1.0]),
    grown=st.booleans(),
    seed=st.integers(0, 99),
)
def test_couplings_go_to_the_nearest_level_unless_a_bit_would_be_wrong(
    bits, rows, exponent, load, bias, grown, seed
):
    hubs = 2**exponent
    born = hubs // 2 if grown and hubs > 2 else hubs
    tasks = max(1, round(load * hubs))
    couplings = couplings_of(rows, hubs, tasks, born=born, bias=bias, seed=seed)
    levels = levels_of(couplings, bits)
    codes = unpacked(planes_of(couplings, levels), levels, spacing=born)
    assert set(codes.unique().tolist()) <= {0, *range(1 - 2**bits, 2**bits, 2)}
    assert not codes[:, ::born].any()
    nearest = nearest_of(couplings, levels, spacing=born)
    before, after = wrong_of(couplings, nearest, levels), wrong_of(couplings, codes, levels)
    assert bool((after <= before).all())
    kept = (before == 0) & (least_of(couplings, nearest, levels) > 1e-4)
    assert torch.equal(codes[kept], nearest[kept])


def test_two_bits_keep_every_bit_of_a_full_memory():
    couplings = couplings_of(3000, 256, 256, bias=0.6)
    levels = levels_of(couplings, 2)
    codes = unpacked(planes_of(couplings, levels), levels, spacing=256)
    nearest = nearest_of(couplings, levels, spacing=256)
    assert int(wrong_of(couplings, nearest, levels).sum()) > 500
    assert int(wrong_of(couplings, codes, levels).sum()) == 0


@pytest.mark.parametrize("hubs", [4, 8, 16, 32])
def test_two_bits_keep_every_bit_of_a_full_memory_of_few_tasks_too(hubs):
    couplings = couplings_of(2000, hubs, hubs)
    levels = levels_of(couplings, 2)
    codes = unpacked(planes_of(couplings, levels), levels, spacing=hubs)
    assert int(wrong_of(couplings, codes, levels).sum()) == 0


def test_neurons_that_too_few_bits_cannot_hold_are_left_at_the_nearest_levels():
    couplings = couplings_of(300, 256, 256)
    levels = levels_of(couplings, 1)
    codes = unpacked(planes_of(couplings, levels), levels, spacing=256)
    nearest = nearest_of(couplings, levels, spacing=256)
    hopeless = wrong_of(couplings, nearest, levels) > 0.055 * 256
    assert int(hopeless.sum()) > 200
    assert torch.equal(codes[hopeless], nearest[hopeless])


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
    tasks = 128 if bits > 1 else 32  # with one bit, more would make some bits wrong
    couplings = couplings_of(500, 256, tasks, bias=bias)
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
