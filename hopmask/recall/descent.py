"""Recall's descent: one loop, its dynamics as exchangeable parts, and the landscape they run on.

The landscape is the energy E(z) = −½ zᵀΨz and a penalty, any differentiable callable of the state
(SupSup: the network's entropy). Which of the basins reached is the answer: `search.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hopmask.patterns.spins import sign
from hopmask.recall.dynamics import Dynamics
from hopmask.recall.landscape import Landscape
from hopmask.recall.penalty import check_finite

_CALM = 3  # steps without a change of sign after which a firm state has settled
_FIRM = 0.92  # root mean square from which on a state is firm; annealed mixtures stay below
_STILL = 1e-3  # change of a state, relative to its length, that counts as none


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Where one descent ended.

    Attributes:
        state: ±1, (b, d).
        steps: updates until its signs stopped changing, (b,).
        path: the states from start to end, (steps + 1, b, d), where a trace is wanted; else empty.
    """

    state: Tensor
    steps: Tensor
    path: Tensor


def descend(
    landscape: Landscape, start: Tensor, dynamics: Sequence[Dynamics], *, trace: bool = False
) -> Descent:
    """Run the dynamics one after the other from `start` (b, d): the one loop of every recall.

    A row leaves a part that settles once it stands still, or its signs have been the same for some
    steps or go round in a circle of two; rows that left take no more work.
    """
    state = start.clone(memory_format=torch.contiguous_format)
    spins = sign(state, torch.ones_like(state))
    taken = torch.zeros(len(state), dtype=torch.long, device=state.device)  # steps of each row
    changed = torch.zeros_like(taken)
    path = [start]
    for part in dynamics:
        rows = torch.arange(len(state), device=state.device)  # those at work
        work, here = part.begin(landscape, state.clone()), landscape
        calm = torch.zeros_like(changed)
        older = torch.zeros_like(spins)
        for t in range(part.steps):
            last, work = work[0], part.step(here, work, t)
            taken[rows] += 1
            before, now = spins[rows], sign(work[0], spins[rows])
            moved = (now != before).any(-1)
            changed[rows] = torch.where(moved, taken[rows], changed[rows])
            spins[rows], state[rows] = now, work[0]
            if trace:
                path.append(state.clone())
            if not part.settles:
                continue
            calm = torch.where(moved, 0, calm + 1)
            firm = work[0].norm(dim=-1) > _FIRM * work[0].shape[-1] ** 0.5
            left = _still(last, work[0]) | (firm & ((calm >= _CALM) | (now == older).all(-1)))
            stay = (~left).nonzero()[:, 0]
            if len(stay) == 0:
                break
            if len(stay) < len(rows):
                here = here.narrowed(stay)
                rows, calm, before = rows[stay], calm[stay], before[stay]
                work = tuple(part_of[stay] for part_of in work)
            older = before
    check_finite(state)
    return Descent(state=spins, steps=changed, path=torch.stack(path) if trace else start[:0])


def _still(before: Tensor, after: Tensor) -> Tensor:
    change, size = (after - before).norm(dim=-1), after.norm(dim=-1)
    return torch.le(change, _STILL * size)
