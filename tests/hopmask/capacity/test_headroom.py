"""What a memory can still take, against really storing more."""

import itertools
import warnings
from math import isnan, log, nan, sqrt

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from hopmask import (
    ConfigError,
    EmptyMemoryError,
    MaskMemory,
    OverloadWarning,
    RandomMasks,
    Reservoir,
    load,
)
from hopmask.capacity import biased_masks, estimate
from hopmask.capacity.bisection import spread


def memory_of(masks, *, rule="hebbian", **options):
    """A memory of bool masks (k, bits), without a content address unless asked for."""
    options = {"key_bits": 64, "signature_features": 0} | options
    memory = MaskMemory({"h": masks.shape[1]}, rule=rule, **options)
    fill(memory, masks)
    return memory


def fill(memory, masks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for mask in masks:
            memory.store({"h": mask})


def drawn(count, *, bits=128, overlap=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return RandomMasks(size=bits, overlap=overlap).draw(count, generator) > 0


def mean_overlap(masks):
    spins = masks.double() * 2 - 1
    return float(np.mean([float(a @ b) / len(a) for a, b in itertools.combinations(spins, 2)]))


@pytest.mark.parametrize(("count", "overlap"), [(2, None), (3, 0.8), (7, 0.3)])
def test_the_overlap_of_the_masks_follows_from_their_mean(count, overlap):
    masks = drawn(count, overlap=overlap)
    found = estimate(memory_of(masks, rule="storkey"), most=1)
    assert found.overlap == pytest.approx(mean_overlap(masks), abs=1e-5)
    assert found.tasks == count


def test_the_overlap_is_that_of_the_masks_left_after_one_was_forgotten():
    masks = drawn(5, bits=192, overlap=0.1)
    memory = memory_of(masks)
    memory.forget(task=2)
    found = estimate(memory, most=1)
    assert found.tasks == 4
    assert found.overlap == pytest.approx(mean_overlap(masks[[0, 1, 3, 4]]), abs=1e-5)


def test_the_overlap_is_that_of_all_layers_together():
    masks = drawn(4, bits=160)
    memory = MaskMemory({"a": (8, 12), "b": 64}, key_bits=64, signature_features=0)
    for mask in masks:
        memory.store({"a": mask[:96].reshape(8, 12), "b": mask[96:]})
    assert estimate(memory, most=1).overlap == pytest.approx(mean_overlap(masks), abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"signature_features": 64, "dtype": torch.float64}])
def test_an_estimate_changes_nothing_of_the_memory(rule, options, tmp_path):
    masks = drawn(4)
    memory = memory_of(masks[:3], rule=rule, **options)
    memory.save(tmp_path / "before.h5")
    tensors = [memory.couplings.psi, memory.couplings.mean]
    before = [tensor.clone() for tensor in tensors]
    estimate(memory, most=3)
    memory.save(tmp_path / "after.h5")
    pair = ((tmp_path / "after.h5"), (tmp_path / "before.h5"))
    assert len({file.read_bytes()[512:] for file in pair}) == 1  # but for store ids
    assert all(map(torch.equal, tensors, before))
    assert tensors[0] is memory.couplings.psi
    assert memory.store({"h": masks[3]}) == 3


def really_kept(memory, masks, first):
    """Share of an even sample of old and new tasks that `recall(task=...)` gives back exactly."""
    tasks = [*range(first), *(first + spread(memory.count - first, 6)).tolist()]
    back = [torch.equal(memory.recall(task=task).masks["h"], masks[task]) for task in tasks]
    return sum(back) / len(back)


@pytest.mark.parametrize(("rule", "bits", "overlap"), [("hebbian", 64, None), ("storkey", 32, 0.5)])
def test_as_many_more_tasks_as_estimated_can_really_be_stored(rule, bits, overlap):
    """Other masks of the same kind: 0.6 of the estimate are kept, 1.6 of it are not."""
    masks, few = drawn(120, bits=bits, overlap=overlap, seed=3), 4
    memory = memory_of(masks[:few], rule=rule)
    found = estimate(memory, recalled=0.9)
    assert found.more > 5
    assert not found.open
    fill(memory, masks[few : few + round(0.6 * found.more)])
    assert really_kept(memory, masks, few) >= 0.9
    fill(memory, masks[memory.count : few + round(1.6 * found.more)])
    assert really_kept(memory, masks, few) < 0.9


def test_an_estimate_is_smaller_for_masks_that_are_alike():
    apart, alike = (
        estimate(memory_of(drawn(4, overlap=overlap)), recalled=0.9) for overlap in (None, 0.2)
    )
    assert alike.more < apart.more


def test_an_estimate_shrinks_by_about_what_is_stored():
    """Rows of a Hadamard matrix overlap by 0: both estimates are of independent masks."""
    masks = torch.from_numpy(scipy.linalg.hadamard(128)[1:13] > 0)
    early, late = (estimate(memory_of(masks[:count]), recalled=0.9) for count in (2, 12))
    assert abs(early.overlap) < 1e-6
    assert abs(late.overlap) < 1e-6
    assert late.more < early.more
    assert 0.7 < (late.more + 12) / (early.more + 2) < 1.4


def test_a_memory_that_is_too_full_takes_no_more():
    found = estimate(memory_of(drawn(40, bits=64)))
    assert found.more == 0
    assert not found.open
    assert str(found).endswith("); 0 more of their kind")


def test_forgetting_makes_room():
    masks = drawn(16, seed=2)
    memory = memory_of(masks)
    full = estimate(memory, recalled=0.9)
    for task in range(0, 12):
        memory.forget(task=task)
    emptied = estimate(memory, recalled=0.9)
    assert emptied.tasks == 4
    assert emptied.more > full.more


def test_after_forgetting_an_estimate_is_that_of_a_memory_which_never_held_those():
    """Ψ is the same to the bit; only the numbers, and so the keys, of the tasks differ."""
    masks = drawn(8, bits=192, seed=1)
    memory = memory_of(masks)
    for task in (0, 1, 2, 6):
        memory.forget(task=task)
    never = memory_of(masks[[3, 4, 5, 7]])
    found, expected = estimate(memory, recalled=0.9), estimate(never, recalled=0.9)
    assert found.tasks == expected.tasks == 4
    assert found.overlap == pytest.approx(expected.overlap, abs=1e-6)
    assert 0.6 <= found.more / expected.more <= 1.6


def test_an_estimate_of_one_task_knows_no_overlap():
    found = estimate(memory_of(drawn(1)), most=2)
    assert found.tasks == 1
    assert isnan(found.overlap)
    assert found.more == 2


def test_a_single_task_stands_for_its_density():
    dense = biased_masks(memory_of(torch.arange(128)[None] % 4 == 0)).mean[-128:]
    torch.testing.assert_close(dense, torch.full((128,), -0.5))


def test_where_the_trial_ends_first_the_estimate_is_open():
    memory = memory_of(drawn(3), rule="projection")
    found = estimate(memory, most=5)
    assert found.open
    assert found.more == 5
    assert "at least 5 more of their kind" in str(found)
    assert str(found).startswith("3 tasks held (mean overlap ")


def test_where_the_memory_ends_first_the_estimate_is_not_open():
    found = estimate(memory_of(drawn(3), rule="projection", key_bits=64), most=400, recalled=0.9)
    assert not found.open
    assert 50 < found.more < 256
    assert "at least" not in str(found)


def test_an_estimate_is_open_from_where_the_trial_ends_with_the_memory():
    """n more are taken: asked for n + 1 at most the end is known, asked for n it is not."""
    memory = memory_of(drawn(5))
    n = estimate(memory).more
    beyond, just = (estimate(memory, most=most) for most in (n + 1, n))
    assert (beyond.more, beyond.open) == (n, False)
    assert (just.more, just.open) == (n, True)


def test_tasks_that_are_held_already_must_stay(forgetful):
    """Under a rule that keeps the newest pattern alone each new task is recalled, the old not."""
    memory = memory_of(drawn(1), rule=forgetful)
    assert memory.recall(task=0).verified
    assert estimate(memory, recalled=1.0, most=1).more == 0
    assert estimate(memory, recalled=0.5, most=1).more == 1


def test_an_estimate_asks_for_the_share_it_was_told():
    memory = memory_of(drawn(4, bits=192))
    all_of_them, half = (estimate(memory, recalled=share) for share in (1.0, 0.5))
    assert (all_of_them.recalled, half.recalled) == (1.0, 0.5)
    assert all_of_them.more < half.more


def test_an_estimate_depends_on_the_seed_alone(global_generators):
    memory = memory_of(drawn(3))
    before = global_generators()
    found = [estimate(memory, seed=seed).more for seed in (1, 1, 2, 3, 4)]
    assert global_generators() == before
    assert found[0] == found[1]
    assert len(set(found)) > 1


def test_an_estimate_is_the_same_in_double_precision():
    """Hebb's couplings are whole numbers in either: the same recalls, bit for bit."""
    masks = drawn(3)
    single, double = (
        estimate(memory_of(masks, dtype=dtype), most=64) for dtype in (torch.float32, torch.float64)
    )
    assert single.more == double.more
    assert single.overlap == pytest.approx(double.overlap, abs=1e-6)


@pytest.mark.parametrize("options", [{"recalled": 0.0}, {"recalled": 1.5}, {"recalled": nan}])
def test_an_estimate_of_no_share_is_refused(options):
    with pytest.raises(ConfigError):
        estimate(memory_of(drawn(1)), **options)


@pytest.mark.parametrize("most", [0, -1, True, 2.5, None, "8"])
def test_an_estimate_of_no_tasks_is_refused(most):
    with pytest.raises(ConfigError):
        estimate(memory_of(drawn(1)), most=most)


@pytest.mark.parametrize("thing", [Reservoir(16), None, "memory.h5"])
def test_an_estimate_is_of_a_mask_memory_and_nothing_else(thing):
    with pytest.raises(ConfigError, match=f"MaskMemory, got {type(thing).__name__}.*measure"):
        estimate(thing)


def test_an_empty_memory_has_no_estimate():
    memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=64, signature_features=0)
    with pytest.raises(EmptyMemoryError):
        estimate(memory)
    with pytest.raises(EmptyMemoryError):
        biased_masks(memory)
    memory.store({"h": torch.arange(64) % 3 == 0})
    memory.forget(task=0)
    with pytest.raises(EmptyMemoryError):
        estimate(memory)


# Masks like those of a memory


@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_masks_like_those_of_a_reservoir_lean_as_they_do_and_overlap_as_they_do(overlap):
    """Means M + (μ − M) √((q − M²)/(m − M²)), worked out from the masks in float64."""
    masks = drawn(6, bits=2000, overlap=overlap)
    reservoir = Reservoir(2000, rule="hebbian")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        reservoir.store(masks)
    spins = masks.double() * 2 - 1
    mu, q = spins.mean(0), mean_overlap(masks)
    found = biased_masks(reservoir)
    middle = float(mu.mean())
    share = (q - middle**2) / (float(mu.square().mean()) - middle**2)
    expected = middle + (mu - middle) * sqrt(share)
    torch.testing.assert_close(found.mean.double(), expected, rtol=1e-5, atol=1e-6)
    more = found.draw(40, torch.Generator().manual_seed(0)) > 0
    assert mean_overlap(more) == pytest.approx(q, abs=0.05)


def test_masks_that_shun_each_other_leave_no_lean():
    """q < M², which independent bits cannot have: what is left is the density, M = 1/8."""
    reservoir = Reservoir(64, rule="hebbian")
    stripes = torch.arange(64)
    reservoir.store(torch.stack([stripes < 32, stripes >= 24]))
    assert biased_masks(reservoir).mean.tolist() == [0.125] * 64


def test_masks_like_those_of_a_memory_leave_key_and_check_bits_to_chance():
    memory = memory_of(drawn(5, overlap=0.5), rule="storkey")
    found = biased_masks(memory)
    body = slice(memory.couplings.size - 128, None)
    assert found.size == memory.couplings.size
    assert not found.mean[: body.start].any()
    assert found.mean[body].any()
    assert log(found.mean.abs().max()) <= 0


@pytest.mark.parametrize("store", ["x", None, RandomMasks(size=8)])
def test_what_is_no_memory_leans_nowhere(store):
    with pytest.raises(ConfigError):
        biased_masks(store)


# Hub memories


@pytest.mark.parametrize("count", [1, 5, 8])
def test_a_hub_memory_takes_as_many_more_as_hubs_are_free(count, hub_memory, hub_task):
    memory = hub_memory(count)
    found = estimate(memory, most=2)
    assert (found.tasks, found.more, found.open) == (count, 8 - count, False)
    for number in range(found.more):
        memory.store(**hub_task(20 + number))
    assert estimate(memory).more == 0
    memory.forget(0)
    assert estimate(memory).more == 1


def test_the_overlap_of_a_hub_memorys_masks_is_estimated(hub_memory):
    found = estimate(hub_memory(8))
    assert found.overlap == pytest.approx(0.04, abs=0.03)  # a density of 0.6


def test_a_rounded_hub_memory_takes_no_more(hub_memory, tmp_path):
    hub_memory(3).save(tmp_path / "hub.h5", bits=3)
    assert estimate(load(tmp_path / "hub.h5")).more == 0


def test_an_empty_hub_memory_has_nothing_to_estimate_from(hub_memory):
    with pytest.raises(EmptyMemoryError):
        estimate(hub_memory(0))
