"""What a task adds to a content address, computed apart from the memory that takes it."""

import pickle

import pytest
import torch

from hopmask import ConfigError, CueError, MaskMemory
from hopmask.errors import SaturationError


def parted(task, groups):
    """A task whose signature comes in parts."""
    parts = {"signature": iter(torch.split(task["signature"], 3))}
    if groups > 1:
        parts["groups"] = iter(torch.split(task["groups"], 3))
    return parts


@pytest.mark.parametrize("groups", [1, 3])
def test_what_another_memory_described_is_stored_to_the_same_bits(
    groups, hub_memory, hub_task, hub_state
):
    plain, taken = (hub_memory(3, signature_groups=groups) for _ in range(2))
    worker = hub_memory(0, signature_groups=groups, hubs=2)
    for number in (5, 4):
        task = hub_task(number, groups)
        plain.store(task=number, **{**task, **parted(task, groups)})
        sums = pickle.loads(pickle.dumps(worker.describe(**parted(task, groups))))
        rest = {"masks": task["masks"], "extras": task["extras"]}
        taken.store(task=number, signature=sums, **rest)
    assert hub_state(taken) == hub_state(plain)
    assert hub_state(worker) == hub_state(hub_memory(0, signature_groups=groups, hubs=2))


def test_a_task_is_replaced_by_what_was_described(hub_memory, hub_task, hub_state):
    plain, taken, task = hub_memory(3), hub_memory(3), hub_task(9)
    plain.replace(1, **task)
    taken.replace(1, **{**task, "signature": taken.describe(task["signature"])})
    assert hub_state(taken) == hub_state(plain)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"signature_features": 16}, {"signature_groups": 2}]
)
def test_what_a_memory_made_otherwise_described_is_refused(other, hub_memory, hub_task, unchanged):
    memory, task = hub_memory(2), hub_task(4)
    sums = hub_memory(0, **other).describe(task["signature"])
    with unchanged(memory), pytest.raises(CueError, match=next(iter(other)).split("_")[-1]):
        memory.store(**{**task, "signature": sums})


def test_sums_of_samples_of_another_length_are_refused(hub_memory, hub_task, unchanged):
    memory, task = hub_memory(1), hub_task(4)
    longer = torch.nn.functional.pad(task["signature"], (0, 1))
    with unchanged(memory), pytest.raises(CueError, match="length"):
        memory.store(**{**task, "signature": hub_memory(0).describe(longer)})


def test_sums_too_large_for_the_hubs_of_the_memory_are_refused(hub_memory, hub_task, unchanged):
    few, many, task = hub_memory(0, hubs=2), hub_memory(1, hubs=64), hub_task(4)
    sums = few.describe(task["signature"] * 100)  # 2 hubs could hold it
    few.store(**{**task, "signature": sums})
    with unchanged(many), pytest.raises(CueError, match="too large"):
        many.store(**{**task, "signature": sums})


def test_a_sum_that_is_full_takes_nothing_described(hub_memory, hub_task):
    memory, task = hub_memory(1), hub_task(4)
    memory.address.sums["scalars"][:] = 2**62 - 1
    with pytest.raises(SaturationError):
        memory.store(**{**task, "signature": memory.describe(task["signature"])})
    assert memory.tasks == (0,)


def test_groups_go_to_describe_alone(hub_memory, hub_task):
    memory, task = hub_memory(0, signature_groups=2), hub_task(4, 2)
    sums = memory.describe(task["signature"], groups=task["groups"])
    with pytest.raises(CueError, match="groups"):
        memory.store(**{**task, "signature": sums})


def test_dense_couplings_and_a_memory_without_address_describe_nothing(hub_memory, hub_task):
    signature, dense = hub_task(0)["signature"], MaskMemory({"h": 64})
    with pytest.raises(ConfigError):
        dense.describe(signature)
    with pytest.raises(CueError):
        dense.store({"h": torch.ones(64)}, signature=hub_memory(0).describe(signature))
    with pytest.raises(CueError):
        hub_memory(0, signature_features=0).describe(signature)


@pytest.mark.parametrize("scale", [1e-7, 1e-8])
def test_signatures_of_too_small_a_scale_are_refused_before_anything_is_stored(
    scale, hub_memory, hub_task
):
    memory, task = hub_memory(0), hub_task(0)
    with pytest.raises(CueError, match="too small"):
        memory.store(**{**task, "signature": scale * task["signature"]})
    assert memory.count == 0


def test_samples_that_are_all_alike_are_no_small_signature(hub_memory, hub_task):
    memory, task = hub_memory(0), hub_task(0)
    alike = task["signature"][:1].expand(8, -1)
    assert memory.store(**{**task, "signature": alike}) == 0
