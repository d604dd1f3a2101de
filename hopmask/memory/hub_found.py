"""Masks that hub couplings recalled, and what a recall found by comparing them."""

from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import torch
from torch import Tensor

from hopmask.couplings.hub import Recalled
from hopmask.recall.result import Trace


@dataclass(frozen=True, kw_only=True)
class Found:
    """Answers of b rows before they are shown: see `Hit`."""

    task: Tensor
    recalled: Recalled
    verified: Tensor
    margin: Tensor
    steps: Tensor
    trace: Trace | None = None

    def with_rows(self, rows: Tensor, other: "Found", which: Tensor) -> "Found":
        """The same with some rows (r,) taken from another's rows `which`, in place."""
        for mine, theirs in (
            (self.task, other.task),
            (self.verified, other.verified),
            *zip(self.recalled, other.recalled, strict=True),
        ):
            mine[rows] = theirs[which]
        return self


class HeldMasks(NamedTuple):
    """Masks that one pass recalled.

    Attributes:
        tasks: whose they are, each once, (k,).
        recalled: their masks, and the sums of their fields.
        verified: whether the digest within each is its own, (k,).
    """

    tasks: Tensor
    recalled: Recalled
    verified: Tensor

    def of(self, tasks: Tensor) -> Found:
        """Those of some of the tasks (b,), with nothing compared; they may share memory."""
        tasks = tasks.to(self.tasks.device)
        which: Tensor | slice = slice(None)  # masks take many bytes to copy
        if not torch.equal(tasks, self.tasks):
            order = self.tasks.argsort()
            which = order[torch.searchsorted(self.tasks[order], tasks)]
        return Found(
            task=tasks,
            recalled=Recalled(*(part[which] for part in self.recalled)),
            verified=self.verified[which],
            margin=torch.full(tasks.shape, nan, dtype=torch.float64, device=tasks.device),
            steps=torch.ones_like(tasks),
        )
