"""Search over basins: descend, verify, take the basin out of the landscape, descend again.

The answer of a recall is the verified memory z with the lowest

    F(z) = penalty(z) − w · (b·z) / ‖b‖

among at most `attempts` basins. b is the cue: known spins, key bits or address bits, 0 where
nothing is known; (b·z)/‖b‖ is its agreement with z in standard deviations of chance, and w says
how much penalty one of them is worth. Work is bounded by `attempts`, not by the number of memories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hopmask.recall import Descent, Dynamics, Landscape, SignPolish, Trace, descend
from hopmask.spins import sign

AGREEMENT_WEIGHT = 0.5  # penalty worth one standard deviation of the cue's agreement
RESIDUAL_TOLERANCE = 0.1  # above it an answer is no memory; a 3-mixture has 0.25

Check = Callable[[Tensor], tuple[Tensor, Tensor]]  # (b, d) -> the same, oriented; verified (b,)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The chosen basin of each row: ±1 state (b, d), verified (b,), steps (b,), trace."""

    state: Tensor
    verified: Tensor
    steps: Tensor
    trace: Trace | None


def search(
    landscape: Landscape,
    *,
    cue: Tensor | None,
    check: Check,
    count: int,
    dynamics: Sequence[Dynamics],
    attempts: int,
    compare: bool,
    trace: bool,
    batch: int,
) -> Found:
    """Find each row's best basin.

    Args:
        landscape: energy and penalty.
        cue: b, (batch, d), or None when the penalty alone points.
        check: turns states the right way round and says which are memories.
        count: number of stored patterns.
        dynamics: parts of each descent.
        attempts: basins to visit at most.
        compare: visit them all and take the lowest F; otherwise stop at the first verified one.
        trace: keep the trace of the chosen descent.
        batch: number of rows.
    """
    start = _start(landscape, cue, count, dynamics, batch, pointed=compare)
    best: Found | None = None
    lowest = start.new_full((batch,), torch.inf)
    for attempt in range(max(1, min(attempts, count))):
        descent = descend(landscape, landscape.outside(start), dynamics, trace=trace)
        state, verified = check(_settle(landscape, descent.state) if attempt else descent.state)
        value = torch.where(verified, _objective(landscape, cue, state), torch.inf)
        best = _better(best, descent, state, verified, value < lowest)
        lowest = torch.minimum(lowest, value)
        if not compare and bool(best.verified.all()):
            break
        landscape.reject(state)
    assert best is not None
    return best


def _start(
    landscape: Landscape,
    cue: Tensor | None,
    count: int,
    dynamics: Sequence[Dynamics],
    batch: int,
    *,
    pointed: bool,
) -> Tensor:
    """Where the first descent begins, (batch, d).

    The cue itself, or, for a choice among memories, v = Ψ(b/‖b‖ − ∇penalty(μ)/‖∇penalty(μ)‖)
    without most of its part along μ: μ is the sum of all memories and tells none from another.
    """
    mean = landscape.mean.expand(batch, -1)
    if dynamics[0].from_mean:
        return mean if cue is None else torch.where(cue != 0, cue, mean)
    if not pointed:
        assert cue is not None
        return cue
    pointer = torch.zeros_like(mean) if cue is None else _unit(cue)
    if landscape.penalty is not None:
        pointer = pointer - _unit(landscape.slope(mean)[1])
    start = landscape.field(pointer)
    along = (start * mean).sum(-1, keepdim=True) / mean.square().sum(-1, keepdim=True).clamp_min(1)
    return start - (1 - 1 / count) * along * mean


def _objective(landscape: Landscape, cue: Tensor | None, state: Tensor) -> Tensor:
    """F of states (b, d); (b,)."""
    value = state.new_zeros(state.shape[0])
    if landscape.penalty is not None:
        with torch.no_grad():
            value = landscape.evaluate(state).to(state.dtype)
    if cue is not None:
        value = value - AGREEMENT_WEIGHT * (_unit(cue) * state).sum(-1)
    return value


def _settle(landscape: Landscape, state: Tensor) -> Tensor:
    """Polish states found in the deflated landscape once more in the true one."""
    for _ in range(SignPolish().steps):
        before, state = state, sign(landscape.rule.field(landscape.psi, state), state)
        if bool((state == before).all()):
            break
    return state


def _better(
    best: Found | None, descent: Descent, state: Tensor, verified: Tensor, better: Tensor
) -> Found:
    if best is None:
        return Found(state=state, verified=verified, steps=descent.steps, trace=descent.trace)
    return Found(
        state=torch.where(better[:, None], state, best.state),
        verified=torch.where(better, verified, best.verified),
        steps=best.steps + descent.steps,
        trace=_choose(best.trace, descent.trace, better),
    )


def _choose(old: Trace | None, new: Trace | None, better: Tensor) -> Trace | None:
    if old is None or new is None:
        return None
    penalty = None
    if old.penalty is not None and new.penalty is not None:
        penalty = torch.where(better, new.penalty, old.penalty)
    return Trace(
        energy=torch.where(better, new.energy, old.energy),
        penalty=penalty,
        overlap=torch.where(better, new.overlap, old.overlap),
        states=torch.where(better[:, None], new.states, old.states),
    )


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = vector.norm(dim=-1, keepdim=True)
    return vector / length.clamp_min(1e-30)
