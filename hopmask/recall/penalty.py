"""The penalty of a recall: any differentiable callable of the state, checked and differentiated."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hopmask._checks import is_tensor, kind_of
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


@runtime_checkable
class PointingPenalty(Protocol):
    """A penalty that points by another function than the one by which candidates are compared.

    SupSup: the gradient of the superfluous outputs' log-sum-exp (objective G) points at a task more
    surely than that of the entropy, which compares masks better.
    """

    def pointing(self) -> Callable[..., Tensor]:
        """What is differentiated at the mean mask; it takes what the penalty takes."""
        ...


def slope(penalty: Penalty, state: Tensor) -> tuple[Tensor, Tensor]:
    """A penalty (b,) and its gradient (b, d) at states (b, d)."""
    with torch.inference_mode(False), torch.enable_grad():
        point = state.detach().clone().requires_grad_()
        value = evaluate(penalty, point)
        if not value.requires_grad:
            raise PenaltyError(_INDEPENDENT)
        (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
    if gradient is None:
        raise PenaltyError(_INDEPENDENT)
    ends = torch.stack([*gradient.aminmax()]) if gradient.numel() else gradient
    if not bool(torch.isfinite(ends).all()):
        raise PenaltyError("the penalty's gradient holds NaN or infinity")
    return value.detach(), gradient


def evaluate(penalty: Penalty, state: Tensor) -> Tensor:
    """A penalty of finite states (b, d), checked to be finite and of shape (b,)."""
    value = penalty(state)
    if not is_tensor(value) or value.shape != state.shape[:1]:
        came = f"shape {tuple(value.shape)}" if is_tensor(value) else kind_of(value)
        raise PenaltyError(
            f"the penalty must return one scalar tensor per mask, got {came}: "
            "reduce it, for example with .mean()"
        )
    if not bool(torch.isfinite(value).all()):
        raise PenaltyError(
            f"the penalty returned {value.tolist()}: it must be finite for every mask in [0, 1]"
        )
    return value


def of_rows(penalty: Penalty, rows: Tensor, batch: int, *, fill: float = 0.0) -> Penalty:
    """A penalty of some rows (r,) of a batch alone.

    A `RowPenalty` is evaluated for these rows only; another penalty still sees the whole batch,
    with `fill` in the other rows: what stands for m = ½.
    """
    if isinstance(penalty, RowPenalty):
        return penalty.of_rows(rows)
    return _Padded(penalty, rows, batch, fill)


class _Padded:
    """A penalty of a whole batch, for some of the rows: the others are filled up."""

    def __init__(self, whole: Penalty, rows: Tensor, batch: int, fill: float) -> None:
        self.whole, self.rows, self.batch, self.fill = whole, rows, batch, fill

    def __call__(self, state: Tensor) -> Tensor:
        filled = state.new_full((self.batch, state.shape[1]), self.fill)
        return self.whole(filled.index_copy(0, self.rows, state))[self.rows]

    def of_rows(self, rows: Tensor) -> Penalty:
        return _Padded(self.whole, self.rows[rows], self.batch, self.fill)


def check_finite(state: Tensor) -> None:
    """Raise NumericalError where a state holds NaN or infinity."""
    if not bool(torch.isfinite(state).all()):
        raise NumericalError(
            "recall ran into NaN or infinity: the couplings or the step size are too large. "
            "Check the couplings, or lower `rate` of AnnealedDescent"
        )
