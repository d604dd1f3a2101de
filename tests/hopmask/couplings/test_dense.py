"""Dense couplings: which patterns they hold, as far as Ψ and μ tell."""

import pytest
import torch

from hopmask import CueError, RandomMasks, Reservoir
from hopmask.couplings.dense import DenseCouplings
from hopmask.testing import CouplingsContract


def biased_away(d=4096, count=40, seed=0):
    """A pattern z and others that lean away from it, so that z·μ < 0."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randint(0, 2, (d,), generator=g) * 2.0 - 1
    others = [torch.where(torch.rand(d, generator=g) < 0.515, -z, z) for _ in range(count)]
    return torch.stack([z, *others])


def test_a_stored_pattern_that_disagrees_with_the_mean_is_forgotten_and_its_negative_is_not():
    patterns = biased_away()
    reservoir, expected = Reservoir(4096, rule="hebbian"), Reservoir(4096, rule="hebbian")
    reservoir.store(patterns)
    expected.store(patterns[1:])
    assert float(patterns[0] @ reservoir.mean) < 0
    with pytest.raises(CueError):
        reservoir.forget(-patterns[0])
    reservoir.forget(patterns[0])
    assert torch.equal(reservoir.psi, expected.psi)
    torch.testing.assert_close(reservoir.mean, expected.mean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("overlap", [0.5, 0.8])
@pytest.mark.parametrize("count", [3, 7])
def test_the_majority_of_stored_patterns_is_held_by_nobody(count, overlap):
    g = torch.Generator().manual_seed(0)
    patterns = RandomMasks(size=256, overlap=overlap).draw(count, g)
    couplings = DenseCouplings(256, rule="hebbian")
    for pattern in patterns:
        couplings.write(pattern)
    assert not couplings.holds(patterns.sum(0).sign())
    assert [couplings.holds(pattern) for pattern in patterns] == [True] * count
    assert [couplings.holds(-pattern) for pattern in patterns] == [False] * count


def test_a_clone_shares_nothing():
    couplings = DenseCouplings(32)
    couplings.write(torch.ones(32))
    other = couplings.clone()
    other.write(torch.arange(32).remainder(2) * 2.0 - 1)
    assert (couplings.count, other.count) == (1, 2)
    assert not torch.equal(couplings.psi, other.psi)


class TestStorkey(CouplingsContract):
    make_couplings = staticmethod(lambda: DenseCouplings(200))


class TestHebbian(CouplingsContract):
    make_couplings = staticmethod(lambda: DenseCouplings(200, rule="hebbian"))
    forgets = True


class TestProjection(CouplingsContract):
    make_couplings = staticmethod(
        lambda: DenseCouplings(200, rule="projection", dtype=torch.float64)
    )
