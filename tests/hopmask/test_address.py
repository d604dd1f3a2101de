"""Key bits of a task's number and content bits of its data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import CueError
from hopmask.address import ContentAddress, key_bits


def key(seed, task, bits=128):
    return key_bits(seed, torch.tensor([task]), bits)[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), task=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_a_key_depends_on_seed_and_task_alone(seed, task, other):
    among = key_bits(seed, torch.tensor([other, task, other + 1]), 96)
    assert torch.equal(among[1], key(seed, task, 96))


@settings(max_examples=25, deadline=None)
@given(task=st.integers(0, 1000), short=st.integers(1, 200), more=st.integers(0, 200))
def test_a_shorter_key_is_the_beginning_of_a_longer_one(task, short, more):
    assert torch.equal(key(5, task, short + more)[:short], key(5, task, short))


@pytest.mark.parametrize("bits", [32, 63, 64, 65, 128, 200])
def test_a_key_has_the_bits_asked_for(bits):
    keys = key_bits(0, torch.arange(3), bits)
    assert keys.shape == (3, bits)
    assert keys.dtype == torch.float32
    assert torch.equal(keys.abs(), torch.ones(3, bits))


def test_no_tasks_have_no_keys():
    assert key_bits(0, torch.arange(0), 64).shape == (0, 64)


def test_key_bits_are_as_often_set_as_not():
    keys = key_bits(7, torch.arange(2000), 128)
    assert abs(float(keys.mean())) < 0.01
    assert float(keys.mean(0).abs().max()) < 0.1  # each bit
    assert float(keys.mean(1).abs().max()) < 0.45  # each key


def test_keys_of_different_tasks_are_nearly_uncorrelated():
    """Pairwise overlaps have the spread 1/√bits of chance."""
    keys = key_bits(0, torch.arange(400), 128)
    overlaps = (keys @ keys.T / 128)[torch.triu(torch.ones(400, 400), 1) > 0]
    assert abs(float(overlaps.mean())) < 0.002
    assert float(overlaps.std()) == pytest.approx(128**-0.5, rel=0.03)
    assert float(overlaps.abs().max()) < 0.6


def test_key_bits_of_one_task_are_nearly_uncorrelated():
    keys = key_bits(1, torch.arange(4000), 64)
    overlaps = keys.T @ keys / 4000 - torch.eye(64)
    assert float(overlaps.abs().max()) < 0.08


def test_no_two_of_many_tasks_share_a_key():
    keys = key_bits(0, torch.arange(5000), 64)
    assert len(torch.unique(keys, dim=0)) == 5000


def test_different_seeds_give_different_keys():
    overlaps = [float(key(0, task) @ key(1, task)) / 128 for task in range(50)]
    assert max(map(abs, overlaps)) < 0.5


def test_key_bits_stay_the_same_from_version_to_version():
    """Memories on disk hold these bits: a change would make their tasks unfindable."""
    assert key(0, 0, 32).gt(0).int().tolist() == KEY_0_0
    assert key(3, 41, 32).gt(0).int().tolist() == KEY_3_41


KEY_0_0 = [
    0,
    1,
    0,
    0,
    0,
    1,
    1,
    1,
    1,
    1,
    0,
    1,
    0,
    1,
    0,
    1,
    0,
    1,
    0,
    0,
    0,
    0,
    0,
    1,
    0,
    0,
    0,
    1,
    0,
    0,
    0,
    1,
]
KEY_3_41 = [
    0,
    1,
    1,
    0,
    1,
    1,
    0,
    1,
    0,
    1,
    1,
    0,
    0,
    0,
    1,
    0,
    0,
    1,
    0,
    1,
    0,
    0,
    1,
    0,
    0,
    0,
    1,
    0,
    1,
    1,
    1,
    1,
]


def test_signature_bits_depend_on_seed_and_vector_alone():
    vector = torch.randn(50, generator=torch.Generator().manual_seed(0))
    used = ContentAddress(seed=2, bits=64)
    used.bits_of(torch.randn(20, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(used.bits_of(vector), ContentAddress(seed=2, bits=64).bits_of(vector))


def test_different_seeds_give_different_signature_bits():
    vector = torch.randn(50, generator=torch.Generator().manual_seed(0))
    a, b = (ContentAddress(seed=seed, bits=512).bits_of(vector) for seed in (0, 1))
    assert abs(float(a @ b)) / 512 < 0.25


def test_signature_bits_are_the_sign_of_the_projection():
    vector = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    address = ContentAddress(seed=0, bits=64)
    projected = address.project(vector)
    assert torch.equal(address.bits_of(vector), torch.where(projected >= 0, 1.0, -1.0))
    assert float(projected.square().mean()) == pytest.approx(1, abs=0.35)


def test_overlap_of_signature_bits_is_1_minus_twice_the_angle_over_pi():
    """Charikar 2002: a bit differs with probability θ/π."""
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(200, generator=generator)
    address = ContentAddress(seed=0, bits=4096)
    for noise in (0.1, 0.5, 1.0, 3.0):
        b = a + noise * torch.randn(200, generator=generator)
        cosine = torch.corrcoef(torch.stack([a, b]))[0, 1]
        expected = 1 - 2 * float(torch.arccos(cosine)) / torch.pi
        overlap = float(address.bits_of(a) @ address.bits_of(b)) / 4096
        assert overlap == pytest.approx(expected, abs=0.06)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_scale_and_offset_of_a_signature_do_not_count(scale, shift):
    vector = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    address = ContentAddress(seed=0, bits=256)
    same = (address.bits_of(scale * vector + shift) == address.bits_of(vector)).float().mean()
    assert float(same) > 0.98


def test_a_batch_of_signatures_gives_each_vectors_bits():
    vectors = torch.randn(2, 3, 30, generator=torch.Generator().manual_seed(0))
    address = ContentAddress(seed=0, bits=32)
    bits = address.bits_of(vectors)
    assert bits.shape == (2, 3, 32)
    assert torch.equal(bits[1, 2], address.bits_of(vectors[1, 2]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_signature_of_any_floating_type_is_taken(dtype):
    vector = torch.linspace(-1, 1, 30)
    address = ContentAddress(seed=0, bits=32)
    assert float(address.bits_of(vector.to(dtype)) @ address.bits_of(vector)) > 28


def test_the_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    ContentAddress(seed=0, bits=8).bits_of(torch.arange(5.0))
    key(0, 1)
    assert torch.equal(torch.get_rng_state(), before)


def with_value(value):
    vector = torch.arange(6.0)
    vector[2] = value
    return vector


@pytest.mark.parametrize(
    "vector",
    [
        torch.zeros(5),
        torch.ones(5),
        torch.full((1000,), 0.1),
        torch.full((784,), 1 / 3),
        torch.tensor([2.5]),
        torch.zeros(0),
        torch.tensor(1.0),
        torch.arange(5),
        torch.tensor([True, False]),
        torch.tensor([1 + 1j, 2.0]),
        with_value(float("nan")),
        with_value(float("inf")),
        torch.stack([torch.arange(5.0), torch.ones(5)]),
        [0.0, 1.0],
        None,
    ],
    ids=[
        "zeros",
        "ones",
        "constant 0.1",
        "constant third",
        "one number",
        "empty",
        "no dimension",
        "whole numbers",
        "bool",
        "complex",
        "NaN",
        "infinity",
        "one row constant",
        "list",
        "None",
    ],
)
def test_a_vector_that_tells_nothing_is_no_signature(vector):
    with pytest.raises(CueError):
        ContentAddress(seed=0, bits=16).bits_of(vector)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_very_small_or_large_signature_gives_the_bits_of_its_direction(scale):
    vector = torch.linspace(-1, 1, 30)
    address = ContentAddress(seed=0, bits=64)
    agreement = (address.bits_of(scale * vector) == address.bits_of(vector)).float().mean()
    assert float(agreement) > 0.98
