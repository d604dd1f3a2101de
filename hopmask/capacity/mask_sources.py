"""Ensembles of ±1 patterns to try a memory with: of given statistics, or a user's own."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hopmask._checks import check_whole
from hopmask.errors import ConfigError, MaskError
from hopmask.patterns.spins import check_spins, to_spins

_ROUNDING = 1e-9  # of (2ρ − 1)²


class Ensemble(Protocol):
    """Where patterns come from: `size` spins each, at most `most` of them (None: any number)."""

    @property
    def size(self) -> int:
        """d, spins of a pattern."""
        ...

    @property
    def most(self) -> int | None:
        """How many patterns there are."""
        ...

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """So many patterns, ±1 float32 (count, d)."""
        ...


@dataclass(frozen=True, kw_only=True)
class RandomMasks:
    """Random masks of a given density and pairwise overlap.

    A mask is as dense as its parent, a random mask drawn anew by each `draw`, and takes each bit
    from it with probability c, or else from a coin of its own. The spins of two masks then overlap
    by q = E[(1/d) Σ z z'] = c² + (1 − c²)(2ρ − 1)², of which the second part is due to the
    density ρ alone.

    Args:
        size: d, bits of a mask.
        density: ρ, share of bits that are set, in (0, 1).
        overlap: q, mean overlap of the spins of two masks; by default that of independent masks,
            (2ρ − 1)², which is also the least.

    Raises:
        ConfigError: a size, density or overlap that no masks have.

    Example:
        >>> masks = RandomMasks(size=1000, overlap=0.36)
        >>> a, b = masks.draw(2, torch.Generator().manual_seed(0))
        >>> round(float((a * b).mean()), 1)
        0.4

    Source:
        Correlated patterns with one common ancestor: Parga, Virasoro 1986; low activity: Amit,
        Gutfreund, Sompolinsky 1987.
    """

    size: int
    density: float = 0.5
    overlap: float | None = None

    def __post_init__(self) -> None:
        check_whole(self.size, "size (bits)")
        if not isinstance(self.density, int | float) or not 0 < self.density < 1:
            raise ConfigError(f"density must lie between 0 and 1, got {self.density}")
        least = (2 * self.density - 1) ** 2
        if self.overlap is not None and not least - _ROUNDING <= self.overlap < 1:
            raise ConfigError(
                f"overlap must lie in [{least:.3g}, 1) for masks of density {self.density}, got "
                f"{self.overlap}"
            )

    @property
    def most(self) -> None:
        """There are any number of them."""
        return None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """So many masks of one new parent, ±1 float32 (count, d)."""
        bias = 2 * self.density - 1
        overlap = bias**2 if self.overlap is None else self.overlap
        share = max(0.0, (overlap - bias**2) / (1 - bias**2)) ** 0.5  # c
        parent = _spins(torch.full((1, self.size), bias, device=generator.device), generator)
        mean = share * parent + (1 - share) * bias
        return _spins(mean.expand(count, -1), generator)


@dataclass(frozen=True, kw_only=True, eq=False)
class BiasedMasks:
    """Masks whose bits are independent, each with a probability of its own.

    Args:
        mean: mean of each spin, in [-1, 1], (d,); two masks overlap by (1/d) Σ mean².

    Raises:
        MaskError: no such means.

    Example:
        >>> masks = BiasedMasks(mean=torch.tensor([1.0, -1.0]))
        >>> masks.draw(1, torch.Generator().manual_seed(0))
        tensor([[ 1., -1.]])

    Source:
        hopmask's own; `hopmask.capacity.biased_masks` makes it from what a memory holds.
    """

    mean: Tensor

    def __post_init__(self) -> None:
        vector = isinstance(self.mean, Tensor) and self.mean.ndim == 1 and self.mean.numel() > 0
        if not vector or not bool((self.mean.abs() <= 1).all()):
            came = tuple(self.mean.shape) if isinstance(self.mean, Tensor) else type(self.mean)
            raise MaskError(f"means of spins must be a tensor (d,) in [-1, 1], got {came}")

    @property
    def size(self) -> int:
        """d, spins of a pattern."""
        return len(self.mean)

    @property
    def most(self) -> None:
        """There are any number of them."""
        return None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """So many masks, ±1 float32 (count, d)."""
        return _spins(self.mean.float().to(generator.device).expand(count, -1), generator)


class GivenMasks:
    """A user's own masks, in an order drawn anew each time.

    Args:
        masks: bool or {0, 1}, or ±1, (k, d); no two alike or opposite.

    Raises:
        MaskError: not such masks, or two that are alike or opposite.

    Example:
        >>> masks = GivenMasks(torch.eye(3, dtype=torch.bool))
        >>> masks.most, masks.size
        (3, 3)

    Source:
        hopmask's own.
    """

    def __init__(self, masks: Tensor) -> None:
        if not isinstance(masks, Tensor) or masks.ndim != 2:
            came = tuple(masks.shape) if isinstance(masks, Tensor) else type(masks).__name__
            raise MaskError(f"masks must be a tensor (masks, bits), got {came}")
        signed = masks.numel() > 0 and masks.dtype != torch.bool and bool((masks.abs() == 1).all())
        if signed:
            check_spins(masks, name="masks")
            self._spins = masks.detach().float().cpu().clone()
        else:
            self._spins = to_spins(masks, name="masks").reshape(masks.shape).cpu()
        distinct = len(torch.unique(self._spins * self._spins[:, :1], dim=0))
        if distinct < len(self._spins):
            raise MaskError(
                f"{len(self._spins) - distinct} of {len(self._spins)} masks repeat another one, or "
                "its opposite: a memory takes a mask once, and z and −z have one energy"
            )

    @property
    def size(self) -> int:
        """d, spins of a pattern."""
        return self._spins.shape[1]

    @property
    def most(self) -> int:
        """How many masks there are."""
        return len(self._spins)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """So many of the masks, none twice, ±1 float32 (count, d)."""
        order = torch.randperm(self.most, generator=generator, device=generator.device)
        return self._spins[order[:count].cpu()]


def check_ensemble(masks: object) -> None:
    """Raise ConfigError unless masks are drawn from it."""
    if not all(hasattr(masks, name) for name in ("size", "most", "draw")):
        raise ConfigError(
            f"masks must be an Ensemble, such as RandomMasks(size=512) or GivenMasks(masks), got "
            f"{type(masks).__name__}"
        )


def generator_of(seed: int, draw: int) -> torch.Generator:
    """The generator of one draw of several that a seed stands for; ConfigError if it is none."""
    check_whole(seed, "seed", least=0)
    words = np.random.SeedSequence([seed, draw]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def _spins(mean: Tensor, generator: torch.Generator) -> Tensor:
    """Independent ±1 spins of these means."""
    device, kind = generator.device, torch.float32
    coins = torch.rand(mean.shape, generator=generator, device=device, dtype=kind)
    return torch.where(coins < (1 + mean) / 2, 1.0, -1.0)
