"""Couplings: what a memory needs of the network that holds its patterns."""

from typing import Protocol

import torch
from torch import Tensor


class Couplings(Protocol):
    """Symmetric couplings between d spins that hold patterns, whatever their graph.

    States and patterns are ±1 (or levels in between), (..., d). The energy is E(z) = −½ z·h(z) with
    the local field h.

    Source:
        Hopfield 1982.
    """

    @property
    def size(self) -> int:
        """d, number of spins."""
        ...

    @property
    def count(self) -> int:
        """Number of patterns held."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the state; independent of `count`."""
        ...

    @property
    def rule_name(self) -> str:
        """Name of the learning rule."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the fields."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the couplings live."""
        ...

    @property
    def mean(self) -> Tensor:
        """μ, the mean of the patterns held, (d,); zeros while there are none."""
        ...

    @property
    def load(self) -> float:
        """α = count / d."""
        ...

    def write(self, pattern: Tensor) -> None:
        """Store one valid pattern (d,); nothing is changed where this raises.

        Raises:
            DuplicateError: the pattern, or its negative, is held already.
            NumericalError: the couplings are not finite, or take nothing from the pattern.
        """
        ...

    def remove(self, pattern: Tensor) -> None:
        """Take a pattern (d,) out that is held.

        Raises:
            NotForgettableError: the learning rule has no exact inverse.
        """
        ...

    def field(self, state: Tensor) -> Tensor:
        """Local field h of states (..., d); (..., d)."""
        ...

    def energy(self, state: Tensor) -> Tensor:
        """E(z) = −½ z·h(z) of states (..., d); (...)."""
        ...

    def residual(self, state: Tensor) -> Tensor:
        """ρ in [0, 1] of states (..., d): 0 for a pattern held, about 1 for noise; (...)."""
        ...

    def unstable(self, state: Tensor) -> Tensor:
        """How many spins of ±1 states (..., d) the energy would flip, z_i h_i <= 0; (...)."""
        ...

    def check_finite(self) -> None:
        """Raise NumericalError where the couplings hold NaN or infinity."""
        ...

    def arrays(self) -> dict[str, Tensor]:
        """The tensors that stand in a file, by name."""
        ...
