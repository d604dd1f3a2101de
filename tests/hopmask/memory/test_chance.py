"""Agreement is measured against masks of the kind that a memory holds, not against half masks."""

import pytest
import torch

from hopmask import MaskMemory
from hopmask.memory.chance import beyond_chance, population_means


@pytest.mark.parametrize("density", [0.5, 0.1, 0.05])
@pytest.mark.parametrize("rule", ["storkey", "projection"])
def test_masks_that_were_never_stored_are_not_recognized_whatever_their_density(rule, density):
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        memory = MaskMemory({"h": 1000}, rule=rule, seed=seed, signature_features=0)
        for mask in torch.rand(5, 1000, generator=g) < density:
            memory.store({"h": mask}, check=False)
        foreign = torch.rand(40, 1000, generator=g) < density
        assert int(memory.recall(cue={"h": foreign.float()}).recognized.sum()) == 0


@pytest.mark.parametrize("density", [0.5, 0.05])
@pytest.mark.parametrize("count", [1, 5])
def test_masks_that_were_stored_are_recognized_whatever_their_density(density, count):
    g = torch.Generator().manual_seed(0)
    masks = torch.rand(count, 1000, generator=g) < density
    memory = MaskMemory({"h": 1000}, rule="projection", signature_features=0)
    for mask in masks:
        memory.store({"h": mask}, check=False)
    half = torch.where(torch.arange(1000) < 500, masks.float(), 0.5)
    for cue in (masks.float(), half):
        hit = memory.recall(cue={"h": cue})
        assert hit.recognized.all()
        assert hit.task.tolist() == [*range(count)]


def test_the_mean_of_independent_masks_is_shrunk_to_their_density():
    g = torch.Generator().manual_seed(0)
    spins = torch.where(torch.rand(6, 20_000, generator=g) < 0.2, 1.0, -1.0)
    means, overlap = population_means(spins.mean(0), 6)
    assert overlap == pytest.approx(0.36, abs=0.02)
    assert float((means + 0.6).abs().max()) < 0.2


def test_agreement_of_random_masks_has_mean_0_and_deviation_1():
    g = torch.Generator().manual_seed(0)
    means = torch.rand(400, generator=g) * 1.8 - 0.9
    cue = torch.randn(1, 400, generator=g)
    states = torch.where(torch.rand(5000, 400, generator=g) < (1 + means) / 2, 1.0, -1.0)
    found = beyond_chance(cue.expand(5000, -1), states, means)
    assert float(found.mean()) == pytest.approx(0, abs=0.05)
    assert float(found.std()) == pytest.approx(1, abs=0.05)
