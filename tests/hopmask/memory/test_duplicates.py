"""A mask is refused as a duplicate if it is stored, and only then."""

import pytest
import torch

from hopmask import DuplicateError, MaskMemory


def memory_of(masks, rule="storkey", seed=0):
    memory = MaskMemory({"h": masks.shape[1]}, rule=rule, seed=seed, signature_features=0)
    for mask in masks:
        memory.store({"h": mask}, check=False)
    return memory


def drawn(seed, count, bits, density=0.5):
    return torch.rand(count, bits, generator=torch.Generator().manual_seed(seed)) < density


@pytest.mark.parametrize("seed", range(3))
def test_the_consensus_of_three_stored_masks_is_a_new_mask(seed):
    masks = drawn(seed, 3, 512)
    memory = memory_of(masks, seed=seed)
    consensus = masks.float().mean(0) > 0.5
    assert memory.store({"h": consensus}) == 3
    assert torch.equal(memory.recall(3).masks["h"], consensus)


@pytest.mark.parametrize("bits", [2, 16, 128])
@pytest.mark.parametrize("rule", ["storkey", "hebbian", "projection"])
def test_small_masks_are_refused_where_they_are_stored_and_taken_where_they_are_not(rule, bits):
    for seed in range(3):
        masks = drawn(seed, 4, bits).unique(dim=0)
        memory = memory_of(masks[:-1], rule, seed)
        for task, mask in enumerate(masks[:-1]):
            with pytest.raises(DuplicateError, match=f"task {task}:"):
                memory.store({"h": mask})
        assert memory.store({"h": masks[-1]}) == len(masks) - 1


def test_a_refused_duplicate_changes_nothing():
    masks = drawn(0, 3, 300)
    memory = memory_of(masks)
    psi = memory.couplings.psi.clone()
    with pytest.raises(DuplicateError):
        memory.store({"h": masks[1]})
    assert torch.equal(memory.couplings.psi, psi)
    assert (memory.count, memory.numbered) == (3, 3)


def test_a_forgotten_mask_may_be_stored_again():
    masks = drawn(0, 3, 40)
    memory = memory_of(masks, rule="hebbian")
    memory.forget(1)
    assert memory.store({"h": masks[1]}) == 3
