"""Patterns, damage and memories that the tests of `hopmask` share."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hopmask import LearningRule, MaskMemory

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


HUB_SIZES = {"a": 96, "b": (4, 8)}
HUB_EXTRAS = {"x": 3, "y": (1, 2)}


@pytest.fixture(scope="session")
def hub_task() -> Callable[..., dict[str, Any]]:
    """(number, groups=1) -> what is stored for it: masks, extras, signature, and groups if many."""

    def make(number: int, groups: int = 1) -> dict[str, Any]:
        g = _generator(number)
        masks = {name: torch.rand(size, generator=g) < 0.6 for name, size in HUB_SIZES.items()}
        extras = {"x": torch.randn(3, generator=g), "y": torch.randn(1, 2, generator=g)}
        centre = 2 * torch.randn(1, 5, generator=g)
        signature = centre + torch.randn(30, 5, generator=g)
        task = {"masks": masks, "extras": extras, "signature": signature}
        return task | ({"groups": torch.arange(30) % groups} if groups > 1 else {})

    return make


@pytest.fixture(scope="session")
def hub_memory(hub_task: Callable[..., dict[str, Any]]) -> Callable[..., MaskMemory]:
    """(count, **options) -> a hub memory with the tasks 0 ... count - 1."""

    def make(count: int, **options: Any) -> MaskMemory:
        options = {"hubs": 8, "extras": HUB_EXTRAS, "signature_features": 32, **options}
        memory = MaskMemory(HUB_SIZES, couplings="hub", **options)
        for number in range(count):
            task = hub_task(number, options.get("signature_groups", 1))
            if options["signature_features"] == 0:
                del task["signature"]
            memory.store(task=number, **task)
        return memory

    return make


@pytest.fixture(scope="session")
def hub_state() -> Callable[[MaskMemory], dict[str, Any]]:
    """(memory) -> a copy of all that a hub memory keeps, to compare with `==`."""

    def state(memory: MaskMemory) -> dict[str, Any]:
        document = memory.document()
        arrays = {name: array.tolist() for name, array in document.arrays.items()}
        return {"about": dict(document.about), **arrays}

    return state


@pytest.fixture(scope="session")
def unchanged(hub_state: Callable[[MaskMemory], dict[str, Any]]) -> Callable[..., Any]:
    """(*memories): a context that changes nothing in them."""

    @contextmanager
    def check(*memories: MaskMemory) -> Iterator[None]:
        before = [hub_state(memory) for memory in memories]
        yield
        assert [hub_state(memory) for memory in memories] == before

    return check
