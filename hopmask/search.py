"""Search over basins: descend, verify, take the basin out of the landscape, descend again.

The answer of a recall is the verified memory z with the lowest

    F(z) = penalty(z) − w · (b·z) / ‖b‖

among at most `attempts` basins. b is the cue: known spins, key bits or address bits, 0 where
nothing is known; (b·z)/‖b‖ is its agreement with z in standard deviations of chance, and w says
how much penalty one of them is worth. The margin is how far F of the answer lies below the next
lowest: of another basin, or of a random state, which is what no memory at all would give. Rows
whose margin is clear after two basins may be left alone. Work is bounded by `attempts`, not by the
number of memories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hopmask.recall import Dynamics, Landscape, SignPolish, descend
from hopmask.spins import sign

AGREEMENT_WEIGHT = 0.5  # penalty worth one standard deviation of the cue's agreement
RESIDUAL_TOLERANCE = 0.1  # above it an answer is no memory; a 3-mixture has 0.25
CLEAR = 2.0  # margin, in nats of entropy, from which an answer counts as known

# states (b, d) of the rows (b,) of a recall -> the same, oriented; verified (b,)
Check = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
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
    """The chosen basin of each row: ±1 state (b, d), verified (b,), steps (b,), margin (b,), trace.

    The margin is NaN where basins were not compared.
    """

    state: Tensor
    verified: Tensor
    steps: Tensor
    margin: Tensor
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
    clear: float,
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
        compare: visit basins until the margin is clear and take the lowest F; otherwise stop at the
            first verified one.
        clear: margin that is clear.
        trace: keep every step.
        batch: number of rows.
    """
    pointing = 0 if dynamics[0].from_mean or not compare else 1  # one update: Ψ and the gradient
    start = _start(landscape, cue, count, dynamics, batch, pointed=compare)
    rows = torch.arange(batch, device=start.device)  # those still searching
    compare = compare and attempts > 1
    best = _Best(start, pointing, _of_chance(landscape, cue, start) if compare else None)
    trail: list[tuple[int, Tensor]] = []
    for attempt in range(max(1, min(attempts, count))):
        descent = descend(landscape, landscape.outside(start), dynamics, trace=trace)
        trail.append((attempt, descent.path))
        state = _settle(landscape, descent.state) if attempt else descent.state
        state, verified = check(state, rows)
        steps = descent.steps
        if resolve is not None and not bool(verified.all()):
            lost = (
                torch.arange(len(rows), device=rows.device)
                if trace
                else (~verified).nonzero()[:, 0]
            )
            again = landscape.narrowed(lost)
            descent = descend(again, resolve(state[lost]), dynamics, trace=trace)
            trail.append((attempt, descent.path))
            other, resolved = check(_settle(again, descent.state), rows[lost])
            mended = ~verified[lost]
            state[lost] = torch.where(mended[:, None], other, state[lost])
            steps = steps.index_add(0, lost, torch.where(mended, descent.steps, 0))
            verified = verified.index_copy(0, lost, verified[lost] | resolved)
        value = torch.where(verified, _objective(landscape, cue, state), torch.inf)
        best.update(rows, state, verified, value, steps)
        done = best.verified[rows]
        if compare:
            done = done & (best.margin[rows] >= clear) if attempt else torch.zeros_like(done)
        landscape.reject(state)
        if bool(done.all()):
            break
        if not trace and bool(done.any()):
            left = (~done).nonzero()[:, 0]
            rows, start, landscape = rows[left], start[left], landscape.narrowed(left)
            cue = None if cue is None else cue[left]
    margin = best.margin if compare else torch.full_like(best.lowest, torch.nan)
    return Found(
        state=best.state,
        verified=best.verified,
        steps=best.steps,
        margin=margin,
        trace=_traced(landscape, trail, best.state) if trace else None,
    )


class _Best:
    """The lowest F of each row so far, whose state it is, and the next lowest."""

    def __init__(self, start: Tensor, steps: int, chance: Tensor | None) -> None:
        batch = len(start)
        self.state = torch.zeros_like(start)
        self.verified = torch.zeros(batch, dtype=torch.bool, device=start.device)
        self.steps = torch.full((batch,), steps, device=start.device)
        self.lowest = start.new_full((batch,), torch.inf)
        self.next = torch.full_like(self.lowest, torch.inf) if chance is None else chance

    @property
    def margin(self) -> Tensor:
        """next lowest − lowest; (b,), −∞ where no basin was verified."""
        margin = self.next - self.lowest
        return torch.where(self.verified, margin, -torch.inf)

    def update(
        self, rows: Tensor, state: Tensor, verified: Tensor, value: Tensor, steps: Tensor
    ) -> None:
        """One more basin of some rows; one that was met before changes nothing."""
        self.steps[rows] += steps
        held, lowest = self.state[rows], self.lowest[rows]
        value = torch.where((state == held).all(-1), torch.inf, value)
        better = value < lowest
        taken = better | (held == 0).all(-1)
        self.state[rows] = torch.where(taken[:, None], state, held)
        self.verified[rows] = torch.where(taken, verified, self.verified[rows])
        self.next[rows] = torch.minimum(self.next[rows], torch.maximum(lowest, value))
        self.lowest[rows] = torch.minimum(lowest, value)


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


def _of_chance(landscape: Landscape, cue: Tensor | None, like: Tensor) -> Tensor:
    """F of one fixed random state; (b,)."""
    generator = torch.Generator().manual_seed(0)
    spins = torch.randint(0, 2, like.shape[1:], generator=generator).to(like) * 2 - 1
    return _objective(landscape, cue, spins.expand_as(like))


def _settle(landscape: Landscape, state: Tensor) -> Tensor:
    """Polish states found in the deflated landscape once more in the true one."""
    for _ in range(SignPolish().steps):
        before, state = state, sign(landscape.rule.field(landscape.psi, state), state)
        if bool((state == before).all()):
            break
    return state


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
