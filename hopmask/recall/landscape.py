"""The landscape of a recall: the energy E(z) = −½ zᵀΨz and a penalty."""

from collections.abc import Callable
from copy import copy
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hopmask.couplings.base import Couplings
from hopmask.errors import NumericalError, PenaltyError

Penalty = Callable[[Tensor], Tensor]  # spins in [-1, 1], (b, d) -> (b,)
_INDEPENDENT = (
    "the penalty's value does not depend on the masks it was given: compute it with differentiable "
    "torch operations on them, without detach() or no_grad"
)


@runtime_checkable
class RowPenalty(Protocol):
    """A penalty of a batch that can also be computed for some of the rows alone.

    A recall of many rows leaves rows that are done: a penalty with this method is no longer
    evaluated for them.
    """

    def of_rows(self, rows: Tensor) -> Callable[..., Tensor]:
        """The penalty of rows (r,) of the batch: it takes masks (r, ...) and returns (r,)."""
        ...


def check_penalty(penalty: object) -> None:
    """Raise PenaltyError unless a penalty, where there is one, can be called."""
    if penalty is not None and not callable(penalty):
        raise PenaltyError(f"the penalty must be a callable, got {type(penalty).__name__}")


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
        """Some rows (r,) alone.

        A `RowPenalty` is evaluated for these rows only; another penalty still sees the whole batch,
        with m = ½ in the other rows.
        """
        penalty = self.penalty
        if isinstance(penalty, RowPenalty):
            part: Penalty | None = penalty.of_rows(rows)
        elif penalty is not None:
            part = _Padded(penalty, rows, self.rejected.shape[1])
        else:
            part = None
        some = Landscape(self.couplings, part, len(rows))
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
                f"the penalty must return one scalar tensor per mask, got {came}: "
                "reduce it, for example with .mean()"
            )
        if not bool(torch.isfinite(value).all()):
            raise PenaltyError(
                f"the penalty returned {value.tolist()}: it must be finite for every mask in [0, 1]"
            )
        return value


class _Padded:
    """A penalty of a whole batch, for some of the rows: the others are filled up with zeros."""

    def __init__(self, whole: Penalty, rows: Tensor, batch: int) -> None:
        self.whole, self.rows, self.batch = whole, rows, batch

    def __call__(self, state: Tensor) -> Tensor:
        filled = state.new_zeros(self.batch, state.shape[1]).index_copy(0, self.rows, state)
        return self.whole(filled)[self.rows]

    def of_rows(self, rows: Tensor) -> Penalty:
        return _Padded(self.whole, self.rows[rows], self.batch)


def check_finite(state: Tensor) -> None:
    """Raise NumericalError where a state holds NaN or infinity."""
    if not bool(torch.isfinite(state).all()):
        raise NumericalError(
            "recall ran into NaN or infinity: the couplings or the step size are too large. "
            "Check the couplings, or lower `rate` of AnnealedDescent"
        )
