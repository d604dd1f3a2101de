"""Patterns, damage and memories that the tests of `hopmask` share."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hopmask import LearningRule

RULES = ("storkey", "storkey-matrix", "hebbian", "projection")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def random_spins() -> Callable[..., Tensor]:
    """(k, d, seed) -> ±1 patterns (k, d)."""

    def make(k: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        bits = torch.randint(0, 2, (k, d), generator=_generator(seed))
        return (2 * bits - 1).to(dtype)

    return make


@pytest.fixture(scope="session")
def random_mask() -> Callable[..., Tensor]:
    """(shape, seed) -> bool mask with about half its bits set."""

    def make(shape: int | tuple[int, ...], seed: int = 0) -> Tensor:
        return torch.rand(shape, generator=_generator(seed)) < 0.5

    return make


@pytest.fixture(scope="session")
def flipped() -> Callable[..., Tensor]:
    """(patterns, share, seed) -> copies of ±1 patterns (k, d) with that share of spins flipped."""

    def make(patterns: Tensor, share: float, seed: int = 0) -> Tensor:
        generator = _generator(seed)
        damaged = patterns.clone()
        d = patterns.shape[-1]
        for row in damaged.reshape(-1, d):
            row[torch.randperm(d, generator=generator)[: round(share * d)]] *= -1
        return damaged

    return make


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> str:
    """Every rule that hopmask brings, by name."""
    return str(request.param)


class _Forgetful(LearningRule):
    name = "forgetful"

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        psi.copy_(pattern.outer(pattern) / len(pattern)).fill_diagonal_(0)


@pytest.fixture
def forgetful() -> LearningRule:
    """A rule that keeps the newest pattern alone, and every pattern while there is one."""
    return _Forgetful()


@pytest.fixture(scope="session")
def global_generators() -> Callable[[], tuple[object, ...]]:
    """() -> state of all global generators, to compare with what it was."""

    def state() -> tuple[object, ...]:
        numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
        return torch.get_rng_state().tolist(), random.getstate(), numpy

    return state
