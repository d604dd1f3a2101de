"""The small interface through which a run uses its masks, whatever keeps them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from hopmask import storage
from supsup_bridge.networks.fixed import Masks


class Recalled(Protocol):
    """One task's masks, name -> bool (*size), and what else belongs to it, name -> (*shape).

    Also how many updates the recall took, and whether to trust it.
    """

    @property
    def masks(self) -> Masks: ...

    @property
    def extras(self) -> Masks: ...

    @property
    def steps(self) -> int: ...

    @property
    def verified(self) -> bool: ...


def for_forward(stored: Recalled) -> Masks:
    """Masks of a task and what else belongs to it, as a network's forward pass takes them."""
    return {**stored.masks, **stored.extras}


class MaskStore(Protocol):
    """What `hopmask.MaskMemory` and `MaskBank` have in common."""

    @property
    def count(self) -> int:
        """Number of masks stored."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the state."""
        ...

    @property
    def mean(self) -> Masks:
        """Mean of the masks stored, name -> levels in [0, 1] (*size)."""
        ...

    def store(self, masks: Mapping[str, Tensor], *, signature: Tensor | None = None) -> int:
        """Keep one task's masks; returns their number."""
        ...

    def recall(self, *, task: int) -> Recalled:
        """The masks of a number."""
        ...

    def save(self, path: str | Path) -> storage.Stamp:
        """Commit everything to a file."""
        ...


class GrowingStore(MaskStore, Protocol):
    """A store whose newest mask can be replaced while it is learned: `MaskBank`, `StagedMemory`."""

    def replace(self, task: int, masks: Mapping[str, Tensor]) -> None:
        """Put other masks in the place of a task's."""
        ...
