"""What one task adds to a content address, computed apart from the memory that takes it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hopmask.errors import CueError
from hopmask.memory.features import Description

UNIT = 2.0**-44  # of all sums: values up to 2^19 in int64
_LARGEST = 2.0**18  # of a sum
_COARSE = 16  # units: features of a smaller mean square have covariances of too few units
_TOO_SMALL = "the signature is too small: scale signatures to values of about 1"


@dataclass(frozen=True, kw_only=True, eq=False)
class SignatureSums:
    """What `MaskMemory.describe` computes from a task's data, and `MaskMemory.store` adds.

    The numbers depend on the data, and on seed, features and groups of the memory, not on its hubs
    or tasks. So a memory with few hubs, in another process, can describe what a large one stores.
    The object is made by `describe` alone; it can be pickled, and takes 4 F (F + 1) + 8 G F bytes.

    Attributes:
        seed: of the random features.
        features: F.
        groups: G.
        length: of a sample.
        means: m_tg, group after group, in whole units of 2⁻⁴⁴, int64 (G F,).
        within: C_t, the upper triangle row by row, in whole units, int64 (F (F + 1) / 2,).
        scalars: whether there is a covariance, and the mean of 1/s_tg, in whole units, int64 (2,).

    Example:
        >>> from hopmask import MaskMemory
        >>> memory = MaskMemory({"w": 8}, couplings="hub", hubs=2, signature_features=16)
        >>> sums = memory.describe(torch.arange(6.0).reshape(3, 2))
        >>> memory.store({"w": torch.arange(8) > 3}, signature=sums)
        0

    Source:
        See `HubAddress`.
    """

    seed: int
    features: int
    groups: int
    length: int
    means: Tensor
    within: Tensor
    scalars: Tensor

    @classmethod
    def of(cls, described: Description, *, seed: int, hubs: int) -> "SignatureSums":
        """The sums of a task; CueError for values that whole units cannot hold, over so many hubs.

        Args:
            described: the task, in units of the data themselves.
            seed: of the features.
            hubs: of the memory that describes.
        """
        groups, features = described.means.shape
        within = described.covariance[triangle(described.covariance)]
        check_size(max(float(within.abs().max()), float(described.means.abs().max())), hubs)
        means, there = _whole(described.means), described.counts > 0
        if not bool(means[there].any(-1).all()):
            raise CueError(_TOO_SMALL)
        size = described.means.double().square().mean() + described.covariance.diagonal().mean()
        if described.freedom > 0 and float(size) < _COARSE * UNIT:
            raise CueError(_TOO_SMALL)  # covariances have the square of the signature's scale
        inverse = (1 / described.counts[there].double()).mean()
        scalars = torch.stack([torch.ones_like(inverse), inverse]) * (described.freedom > 0)
        return cls(
            seed=seed,
            features=features,
            groups=groups,
            length=described.length,
            means=means.flatten(),
            within=_whole(within),
            scalars=_whole(scalars),
        )

    def to(self, device: torch.device) -> "SignatureSums":
        """The same on a device."""
        means, within = self.means.to(device), self.within.to(device)
        return replace(self, means=means, within=within, scalars=self.scalars.to(device))

    def check_made(self, *, seed: int, features: int, groups: int, length: int, hubs: int) -> None:
        """Raise CueError unless a memory that was made so can add them; a length of 0 is any."""
        made = {"seed": seed, "features": features, "groups": groups, "length": length}
        for what, value in made.items():
            if value != getattr(self, what) and not (what == "length" and value == 0):
                raise CueError(
                    f"the signature was described with {what} {getattr(self, what)}, and the "
                    f"memory has {what} {value}: describe it by a memory that was made alike"
                )
        check_size(max(largest(self.within), largest(self.means)) * UNIT, hubs)


def check_size(size: float, hubs: int) -> None:
    """Raise CueError if a sum over all hubs could not hold features or covariances so large."""
    if not fits(size, hubs):
        raise CueError(
            f"the signature is too large: features of {size:.3g} do not fit into sums over {hubs} "
            "tasks. Scale signatures to values of about 1"
        )


def fits(size: float, hubs: int) -> bool:
    """Whether a sum over so many tasks holds features of such a size."""
    return size * hubs <= _LARGEST


def triangle(square: Tensor) -> Tensor:
    """Which entries of a square matrix are of its upper triangle."""
    return torch.ones_like(square, dtype=torch.bool).triu()


def largest(values: Tensor) -> float:
    """Largest size of whole numbers."""
    low, high = values.aminmax()
    return float(max(-int(low), int(high)))


def _whole(values: Tensor) -> Tensor:
    """Values in whole units, int64."""
    return (values.double() / UNIT).round().long()
