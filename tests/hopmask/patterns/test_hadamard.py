"""Orthogonal keys and the fast transform against scipy's Hadamard matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard

from hopmask.patterns.hadamard import OrthogonalKeys, transform
from hopmask.patterns.keys import random_words

EXPONENTS = st.integers(1, 7)


@given(exponent=st.integers(0, 8), rows=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_transform_is_the_product_with_the_matrix(exponent, rows, seed):
    size = 2**exponent
    values = np.random.default_rng(seed).integers(-(2**40), 2**40, (rows, 2, size))
    found = transform(torch.from_numpy(values))
    assert np.array_equal(found.numpy(), values @ hadamard(size, dtype=np.int64))


def test_the_transform_twice_is_k_times_the_values():
    values = torch.arange(64).reshape(2, 32) ** 2
    assert torch.equal(transform(transform(values)), 32 * values)


def test_the_transform_leaves_its_argument_alone():
    values = torch.arange(8.0)
    transform(values)
    assert torch.equal(values, torch.arange(8.0))


@given(born=EXPONENTS, grown=st.integers(0, 3), seed=st.integers(0, 2**64 - 1))
def test_keys_are_rows_of_the_matrix_each_of_them_once(born, grown, seed):
    hubs = 2 ** (born + grown)
    keys = OrthogonalKeys(seed=seed, born=2**born)
    tasks = torch.arange(hubs)
    found = keys.of(tasks, hubs=hubs, dtype=torch.int64)
    assert sorted(keys.rows(tasks).tolist()) == list(range(hubs))
    assert np.array_equal(found.numpy(), hadamard(hubs)[keys.rows(tasks).numpy()])


@given(born=EXPONENTS, seed=st.integers(0, 2**64 - 1))
def test_a_key_grows_by_its_own_copy(born, seed):
    hubs = 2**born
    keys = OrthogonalKeys(seed=seed, born=hubs)
    tasks = torch.arange(hubs)
    short = keys.of(tasks, hubs=hubs)
    assert torch.equal(keys.of(tasks, hubs=4 * hubs), torch.cat([short] * 4, -1))


def test_new_tasks_of_a_grown_memory_have_other_keys_than_all_before():
    keys = OrthogonalKeys(seed=3, born=8)
    found = keys.of(torch.arange(32), hubs=32)
    assert torch.equal(found @ found.T, 32 * torch.eye(32))


def test_rows_stand_in_the_order_of_the_seeds_words():
    keys = OrthogonalKeys(seed=11, born=64)
    words = [int(random_words(11, np.array([row]), 1, domain=4)[0, 0]) for row in range(64)]
    assert keys.rows(torch.arange(64)).tolist() == sorted(range(64), key=words.__getitem__)


def test_seeds_give_other_orders():
    tasks = torch.arange(64)
    one, other = (OrthogonalKeys(seed=seed, born=64).rows(tasks) for seed in (0, 1))
    assert not torch.equal(one, other)


@given(born=EXPONENTS, grown=st.integers(0, 2), seed=st.integers(0, 99))
def test_by_task_and_by_row_undo_one_another(born, grown, seed):
    hubs = 2 ** (born + grown)
    keys = OrthogonalKeys(seed=seed, born=2**born)
    values = torch.arange(3 * hubs).reshape(3, hubs)
    assert torch.equal(keys.by_row(keys.by_task(values)), values)
    assert torch.equal(keys.by_task(values)[:, 1], values[:, int(keys.rows(torch.tensor([1])))])


@pytest.mark.parametrize("hubs", [2, 16, 1024, 65536])
def test_overlaps_with_all_keys_are_one_transform(hubs):
    keys = OrthogonalKeys(seed=0, born=min(hubs, 64))
    task = hubs - 1
    key = keys.of(torch.tensor([task]), hubs=hubs)
    overlaps = keys.by_task(transform(key))[0]
    assert int(overlaps.argmax()) == task
    assert int(overlaps.abs().sum()) == hubs
