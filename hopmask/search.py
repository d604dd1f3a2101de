"""Search over basins: descend, verify, take the basin out of the landscape, descend again.

The answer of a recall is the verified memory z with the lowest

    F(z) = penalty(z) − w · (b·z) / ‖b‖

among at most `attempts` basins. b is the cue: known spins, key bits or address bits, 0 where
nothing is known; (b·z)/‖b‖ is its agreement with z in standard deviations of chance, and w says
how much penalty one of them is worth. Work is bounded by `attempts`, not by the number of memories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hopmask.recall import Dynamics, Landscape, SignPolish, descend
from hopmask.spins import sign

AGREEMENT_WEIGHT = 0.5  # penalty worth one standard deviation of the cue's agreement
RESIDUAL_TOLERANCE = 0.1  # above it an answer is no memory; a 3-mixture has 0.25

Check = Callable[[Tensor], tuple[Tensor, Tensor]]  # (b, d) -> the same, oriented; verified (b,)
Resolve = Callable[[Tensor], Tensor]  # states that are no memory (b, d) -> where to start again


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a recall did: every step of every basin visited, in order; row 0 is the first start.

    Attributes:
        attempt: which basin a row belongs to, 0, 1, 2 ..., (rows,).
        energy: E of the state, (rows, batch).
        penalty: penalty of the state, (rows, batch); None without a penalty.
        overlap: (1/d) Σ z z' of the state with the answer, in [-1, 1], (rows, batch).
        states: the state, in [-1, 1], (rows, batch, d).

    Example:
        >>> from hopmask import Reservoir
        >>> reservoir = Reservoir(16)
        >>> reservoir.store(torch.ones(16))
        >>> trace = reservoir.recall(torch.ones(16), trace=True).trace
        >>> float(trace.overlap[-1, 0])
        1.0

    Source:
        Overlap and energy as in Amit, Gutfreund, Sompolinsky 1985.
    """

    attempt: Tensor
    energy: Tensor
    penalty: Tensor | None
    overlap: Tensor
    states: Tensor


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
    resolve: Resolve | None,
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
        resolve: where to descend from once more after ending in a mixture; None to accept it.
        count: number of stored patterns.
        dynamics: parts of each descent.
        attempts: basins to visit at most.
        compare: visit them all and take the lowest F; otherwise stop at the first verified one.
        trace: keep every step.
        batch: number of rows.
    """
    pointing = 0 if dynamics[0].from_mean or not compare else 1  # one update: Ψ and the gradient
    start = _start(landscape, cue, count, dynamics, batch, pointed=compare)
    best: Found | None = None
    lowest = start.new_full((batch,), torch.inf)
    trail: list[tuple[int, Tensor]] = []
    for attempt in range(max(1, min(attempts, count))):
        descent = descend(landscape, landscape.outside(start), dynamics, trace=trace)
        state, verified = check(_settle(landscape, descent.state) if attempt else descent.state)
        steps = descent.steps + pointing
        trail.append((attempt, descent.path))
        if resolve is not None and not bool(verified.all()):
            descent = descend(landscape, resolve(state), dynamics, trace=trace)
            trail.append((attempt, descent.path))
            again, resolved = check(_settle(landscape, descent.state))
            state = torch.where(verified[:, None], state, again)
            steps = torch.where(verified, steps, steps + descent.steps)
            verified = verified | resolved
        value = torch.where(verified, _objective(landscape, cue, state), torch.inf)
        best = _better(best, state, verified, value < lowest, steps)
        lowest = torch.minimum(lowest, value)
        if not compare and bool(best.verified.all()):
            break
        landscape.reject(state)
    assert best is not None
    return replace(best, trace=_traced(landscape, trail, best.state)) if trace else best


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
    best: Found | None,
    state: Tensor,
    verified: Tensor,
    better: Tensor,
    steps: Tensor,
) -> Found:
    if best is None:
        return Found(state=state, verified=verified, steps=steps, trace=None)
    return Found(
        state=torch.where(better[:, None], state, best.state),
        verified=torch.where(better, verified, best.verified),
        steps=best.steps + steps,
        trace=None,
    )


def _traced(landscape: Landscape, trail: list[tuple[int, Tensor]], answer: Tensor) -> Trace:
    attempts = [torch.full((len(path),), attempt) for attempt, path in trail]
    states = torch.cat([path for _, path in trail]).clamp(-1, 1)
    penalty = None
    if landscape.penalty is not None:
        with torch.no_grad():
            penalty = torch.stack([landscape.evaluate(state) for state in states])
    return Trace(
        attempt=torch.cat(attempts),
        energy=torch.stack([landscape.energy(state) for state in states]),
        penalty=penalty,
        overlap=(states * answer).mean(-1),
        states=states,
    )


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = vector.norm(dim=-1, keepdim=True)
    return vector / length.clamp_min(1e-30)
