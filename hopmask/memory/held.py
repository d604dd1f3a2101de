"""What every memory reads off its couplings."""

import torch

from hopmask.couplings.base import Couplings


class Held:
    """A memory whose patterns are held by couplings.

    Attributes:
        couplings: what holds the patterns.
    """

    couplings: Couplings

    @property
    def count(self) -> int:
        """Number of patterns stored; of a memory of masks, one per task."""
        return self.couplings.count

    def __len__(self) -> int:
        """Number of patterns stored; of a memory of masks, one per task."""
        return self.count

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the couplings, Ψ."""
        return self.couplings.dtype

    @property
    def device(self) -> torch.device:
        """Where the couplings, Ψ, live."""
        return self.couplings.device
