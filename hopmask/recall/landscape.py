"""The landscape of a recall: the energy E(z) = −½ zᵀΨz and a penalty."""

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

from hopmask.couplings.rules import LearningRule
from hopmask.errors import NumericalError, PenaltyError

Penalty = Callable[[Tensor], Tensor]  # spins in [-1, 1], (b, d) -> (b,)


_INDEPENDENT = (
    "the penalty's value does not depend on the masks it was given: compute it with differentiable "
    "torch operations on them, without detach() or no_grad"
)


def check_penalty(penalty: object) -> None:
    """Raise PenaltyError unless a penalty, where there is one, can be called."""
    if penalty is not None and not callable(penalty):
        raise PenaltyError(f"the penalty must be a callable, got {type(penalty).__name__}")


class Landscape:
    """The energy that a descent sees: Ψ with memories already tried taken out, and a penalty.

    Deflation: h ← Ψz − Σ_c u_c (u_c·z), where u_c is an orthonormal basis of the rejected states.
    Spins that are held, such as those of a key that is known for sure, feel a field of the size of
    the largest toward their value. Ψ itself is never copied or changed.
    """

    def __init__(
        self, rule: LearningRule, psi: Tensor, mean: Tensor, penalty: Penalty | None, batch: int
    ) -> None:
        self.rule, self.psi, self.mean, self.penalty = rule, psi, mean, penalty
        self.rejected = psi.new_zeros(0, batch, psi.shape[0])  # (r, b, d), orthonormal over r
        self.held: Tensor | None = None  # ±1, 0 where a spin is free, (b, d)

    def field(self, state: Tensor) -> Tensor:
        """Deflated local field of states (b, d), with spins held."""
        field = self.outside(self.rule.field(self.psi, state))
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

    def energy(self, state: Tensor) -> Tensor:
        """E = −½ zᵀΨz of states (b, d), not deflated; (b,)."""
        return -0.5 * (state * self.rule.field(self.psi, state)).sum(-1)

    def narrowed(self, rows: Tensor) -> "Landscape":
        """Some rows alone; the penalty still sees the whole batch, with m = ½ in the others."""
        penalty, batch = self.penalty, self.rejected.shape[1]

        def part(state: Tensor) -> Tensor:
            whole = state.new_zeros(batch, state.shape[1]).index_copy(0, rows, state)
            return penalty(whole)[rows]  # type: ignore[misc]

        some = Landscape(self.rule, self.psi, self.mean, part if penalty else None, len(rows))
        some.rejected = self.rejected[:, rows]
        some.held = None if self.held is None else self.held[rows]
        return some

    def slope(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty (b,) and its gradient (b, d) at states (b, d); zeros without a penalty."""
        if self.penalty is None:
            return state.new_zeros(state.shape[0]), torch.zeros_like(state)
        with torch.inference_mode(False), torch.enable_grad():
            point = state.detach().clone().requires_grad_()
            value = self.evaluate(point)
            if not value.requires_grad:
                raise PenaltyError(_INDEPENDENT)
            (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
        if gradient is None:
            raise PenaltyError(_INDEPENDENT)
        if not bool(torch.isfinite(gradient).all()):
            raise PenaltyError("the penalty's gradient holds NaN or infinity")
        return value.detach(), gradient

    def evaluate(self, state: Tensor) -> Tensor:
        """The penalty of states (b, d), checked to be finite and of shape (b,)."""
        assert self.penalty is not None
        check_finite(state)
        value = self.penalty(state)
        if not isinstance(value, Tensor) or value.shape != state.shape[:1]:
            came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value)
            raise PenaltyError(
                f"the penalty must return one scalar tensor a mask, got {came}: "
                "reduce it, for example with .mean()"
            )
        if not bool(torch.isfinite(value).all()):
            raise PenaltyError(
                f"the penalty returned {value.tolist()}: it must be finite for every mask in [0, 1]"
            )
        return value


def check_finite(state: Tensor) -> None:
    if not bool(torch.isfinite(state).all()):
        raise NumericalError(
            "recall ran into NaN or infinity: the couplings or the step size are too large. "
            "Check reservoir.psi, or lower `rate` of AnnealedDescent"
        )
