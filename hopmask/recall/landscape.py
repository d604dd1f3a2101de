"""The landscape of a recall: the energy E(z) = −½ zᵀΨz and a penalty."""

from copy import copy

import torch
from torch import Tensor

from hopmask.couplings.base import Couplings
from hopmask.recall.penalty import Penalty, check_finite, evaluate, of_rows, slope


class Landscape:
    """The energy that a descent sees: Ψ with memories already tried taken out, and a penalty.

    Deflation: h ← Ψz − Σ_c u_c (u_c·z), where u_c is an orthonormal basis of the rejected states.
    Spins that are held, such as those of a key that is known for sure, feel a field of the size of
    the largest toward their value. The couplings are never copied or changed.
    """

    def __init__(self, couplings: Couplings, penalty: Penalty | None, batch: int) -> None:
        self.couplings, self.penalty = couplings, penalty
        mean = couplings.mean
        self.rejected = mean.new_zeros(0, batch, len(mean))  # (r, b, d), orthonormal over r
        self.held: Tensor | None = None  # ±1, 0 where a spin is free, (b, d)

    @property
    def mean(self) -> Tensor:
        """μ, (d,)."""
        return self.couplings.mean

    def field(self, state: Tensor) -> Tensor:
        """Deflated local field of states (b, d), with spins held."""
        field = self.outside(self.couplings.field(state))
        if self.held is None:
            return field
        strongest = field.abs().amax(-1, keepdim=True)
        return torch.where(self.held != 0, self.held * strongest, field)

    def holding(self, spins: Tensor) -> "Landscape":
        """The same with some spins held, ±1, and 0 where they are free, (b, d)."""
        other = copy(self)
        other.held = spins
        return other

    def outside(self, state: Tensor) -> Tensor:
        """States (b, d) without their part in the rejected span."""
        if self.rejected.shape[0] == 0:
            return state
        shares = torch.einsum("rbd,bd->rb", self.rejected, state)
        return state - torch.einsum("rb,rbd->bd", shares, self.rejected)

    def reject(self, state: Tensor) -> None:
        """Take the states (b, d) out of the landscape."""
        rest = self.outside(self.outside(state))
        unit = rest / rest.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        self.rejected = torch.cat([self.rejected, unit[None]])

    def narrowed(self, rows: Tensor) -> "Landscape":
        """Some rows (r,) alone; see `penalty.of_rows`."""
        part = None if self.penalty is None else of_rows(self.penalty, rows, self.rejected.shape[1])
        some = Landscape(self.couplings, part, len(rows))
        some.rejected = self.rejected[:, rows]
        some.held = None if self.held is None else self.held[rows]
        return some

    def slope(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty (b,) and its gradient (b, d) at states (b, d); zeros without a penalty."""
        if self.penalty is None:
            return state.new_zeros(state.shape[0]), torch.zeros_like(state)
        check_finite(state)
        return slope(self.penalty, state)

    def evaluate(self, state: Tensor) -> Tensor:
        """The penalty of states (b, d), checked to be finite and of shape (b,)."""
        assert self.penalty is not None
        check_finite(state)
        return evaluate(self.penalty, state)
