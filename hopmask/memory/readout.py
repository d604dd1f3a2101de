"""How the content address of a hub memory is read: what follows from its sums."""

from typing import NamedTuple

from torch import Tensor


class Readout(NamedTuple):
    """What evidence needs of the sums; columns are the groups of task 0, of task 1, ...

    Attributes:
        readout: S⁻¹ (m_tg − m̄), (F, K G).
        offset: ½ (m_tg − m̄)ᵀ S⁻¹ (m_tg − m̄) + log G_t, (K G,); huge of groups not there.
        centre: m̄, (F,).
        means: m_tg, (F, K G).
        spread: what chance leaves unexplained of one sample, tr S without λ.
        inverse: r; None where nothing is known of how samples vary within groups.
    """

    readout: Tensor
    offset: Tensor
    centre: Tensor
    means: Tensor
    spread: float
    inverse: float | None

    def weight(self, samples: int) -> float:
        """For how many samples a set of s counts: (1 + r)/(1/s + r)."""
        return 1.0 if self.inverse is None else (1 + self.inverse) / (1 / samples + self.inverse)
