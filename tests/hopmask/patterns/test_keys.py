"""Key bits of a task's number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import ConfigError
from hopmask.patterns.keys import Keys, key_bits, random_words


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


def test_words_of_other_domains_are_unrelated():
    first, second = (random_words(0, np.arange(200), 1, domain=domain) for domain in (1, 2))
    shared = np.unpackbits((first ^ second).view(np.uint8)).mean()
    assert abs(shared - 0.5) < 0.02


@pytest.mark.parametrize("bits", [31, 0, -1, True, 64.0, "64"])
def test_keys_of_too_few_bits_are_refused(bits):
    with pytest.raises(ConfigError):
        Keys(seed=0, bits=bits)


@pytest.mark.parametrize("flips", [0, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_nearest_key_is_found_with_its_overlap(flips, sign):
    keys = Keys(seed=0, bits=64)
    state = torch.ones(1, 80)
    state[:, keys.where] = keys.of(torch.tensor([5]))
    state[:, :flips] *= -1
    task, overlap = keys.nearest(sign * state, keys.of(torch.arange(9)))
    assert task.tolist() == [5]
    assert overlap.tolist() == [sign * (1 - 2 * flips / 64)]
