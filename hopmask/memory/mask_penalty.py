"""Penalties of masks, as callers give them, as penalties of states, as a search takes them."""

from collections.abc import Callable

from torch import Tensor

from hopmask.patterns.layout import Layout, Masks
from hopmask.recall.penalty import Penalty, RowPenalty

MaskPenalty = Callable[[Masks], Tensor]


def on_states(penalty: MaskPenalty, layout: Layout, *, flat: bool) -> Penalty:
    """A penalty of masks as one of states (rows, d) in [-1, 1].

    Args:
        penalty: of masks, name -> levels in [0, 1]; a `RowPenalty` stays one.
        layout: where the masks lie in a state.
        flat: the penalty takes masks without a batch dimension, and returns a scalar.

    Example:
        >>> import torch
        >>> mean = on_states(lambda masks: masks["h"].mean(), Layout({"h": 2}, head=0), flat=True)
        >>> mean(torch.tensor([[1.0, -1.0]]))
        tensor([0.5000])
    """
    kind = _OnStateRows if isinstance(penalty, RowPenalty) and not flat else _OnStates
    return kind(penalty, layout, None, flat=flat)


def on_levels(
    penalty: MaskPenalty, layout: Layout, extras: Layout | None, *, flat: bool
) -> Penalty:
    """The same as one of masks in a row, (rows, bits) in [0, 1], and extras where there are any.

    Args:
        penalty: as in `on_states`; extras come to it under their names, beside the masks. It is
            differentiated by the masks alone.
        layout: where the masks lie in a row.
        extras: where extras lie behind them; or None.
        flat: as in `on_states`.
    """
    kind = _OnLevelRows if isinstance(penalty, RowPenalty) and not flat else _OnLevels
    return kind(penalty, layout, extras, flat=flat)


class _OnLevels:
    def __init__(
        self, penalty: MaskPenalty, layout: Layout, extras: Layout | None, *, flat: bool
    ) -> None:
        self.penalty, self.layout, self.extras, self.flat = penalty, layout, extras, flat

    def __call__(self, levels: Tensor) -> Tensor:
        masks = self.layout.split(levels)
        if self.extras is not None:
            masks |= self.extras.split(levels[:, self.layout.size :].detach())
        if not self.flat:
            return self.penalty(masks)
        value = self.penalty({name: mask[0] for name, mask in masks.items()})
        return value[None] if isinstance(value, Tensor) and value.ndim == 0 else value


class _OnLevelRows(_OnLevels):
    """The same of a penalty that can be computed for some of the rows alone."""

    def of_rows(self, rows: Tensor) -> Penalty:
        assert isinstance(self.penalty, RowPenalty)
        return type(self)(self.penalty.of_rows(rows), self.layout, self.extras, flat=False)


class _OnStates(_OnLevels):
    def __call__(self, state: Tensor) -> Tensor:
        return super().__call__((1 + state) / 2)


class _OnStateRows(_OnStates, _OnLevelRows):
    pass
