"""Search over basins: descend, verify, turn to the next candidate, descend again.

The answer of a recall is the verified memory z with the lowest

    F(z) = penalty(z) − w · cos(b, z)

among at most `max_basins` basins. b is the cue: known spins, or key bits, told or guessed, 0 where
nothing is known; cos(b, z), over the bits that b knows, is its agreement with z, and w says how
much penalty full agreement is worth. The margin is how far F of the answer lies below the next
lowest, and no more than its penalty lies below that of a random state, which is what no memory at
all would give: data of a strange task may agree with one key best, and suit no mask. Rows
whose margin is clear after two basins may be left alone. Work is bounded by `max_basins`, not by
the number of memories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hopmask.patterns.spins import sign
from hopmask.recall.descent import descend
from hopmask.recall.dynamics import Dynamics, SignPolish
from hopmask.recall.landscape import Landscape
from hopmask.recall.result import Trace

AGREEMENT_WEIGHT = 5.0  # w: penalty, in nats of entropy, worth full agreement with the cue
RESIDUAL_TOLERANCE = 0.1  # above it an answer is no memory; a 3-mixture has 0.25
CLEAR = 2.0  # margin, in nats of entropy, from which an answer counts as known

# states (b, d) of the rows (b,) of a recall -> the same, oriented; verified (b,)
Check = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
# where the search of rows (b,) began, (b, d) -> spins to begin the next descent with and to hold
Propose = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The chosen basin of each row: ±1 state (b, d), verified (b,), steps (b,), margin (b,), its
    agreement with the cue in standard deviations of chance (b,), trace.

    The margin is NaN where basins were not compared, the agreement 0 without a cue.
    """

    state: Tensor
    verified: Tensor
    steps: Tensor
    margin: Tensor
    agreement: Tensor
    trace: Trace | None


def search(
    landscape: Landscape,
    *,
    cue: Tensor | None,
    held: Tensor | None,
    check: Check,
    propose: Propose | None,
    count: int,
    dynamics: Sequence[Dynamics],
    max_basins: int,
    compare: bool,
    min_margin: float,
    trace: bool,
    batch: int,
) -> Found:
    """Find each row's best basin.

    Args:
        landscape: energy and penalty.
        cue: b, (batch, d), or None when the penalty alone points.
        held: spins of the cue to hold, (batch, d), 0 where they are free; None for none.
        check: turns states the right way round and says which are memories.
        propose: where to descend from after the first basin; None to start as before, in the
            landscape without the basins visited.
        count: number of stored patterns.
        dynamics: parts of each descent.
        max_basins: basins to visit at most.
        compare: visit basins until the margin is clear and take the lowest F; otherwise stop at the
            first verified one.
        min_margin: margin that is clear.
        trace: keep every step.
        batch: number of rows.
    """
    pointing = 0 if dynamics[0].from_mean or not compare else 1  # one update: Ψ and the gradient
    start = _start(landscape, cue, count, dynamics, batch, pointed=compare)
    rows = torch.arange(batch, device=start.device)  # those still searching
    whole = cue
    compare = compare and max_basins > 1
    chance = _of_chance(landscape, cue, start) if compare else start.new_zeros(batch)
    best = _Best(start, pointing, chance)
    live = torch.ones(batch, dtype=torch.bool, device=start.device)  # a trace keeps the others on
    trail: list[tuple[int, Tensor]] = []
    for attempt in range(max(1, min(max_basins, count))):
        if attempt and propose is not None:
            spins = propose(start, rows)
            descent = descend(landscape.holding(spins), spins, dynamics, trace=trace)
            state = descent.state
        else:
            begin = landscape.outside(start)
            here = landscape if held is None else landscape.holding(held[rows])
            descent = descend(here, begin, dynamics, trace=trace)
            state = _settle(landscape, descent.state) if attempt else descent.state
        trail.append((attempt, descent.path))
        state, verified = check(state, rows)
        own = _own(landscape, cue, state)
        value = own if landscape.penalty is None else own - _agreement(cue, state)
        value = torch.where(verified & live, value, torch.inf)
        best.update(rows, state, verified, value, own, torch.where(live, descent.steps, 0))
        done = best.verified[rows]
        if compare:
            done = done & (best.margin[rows] >= min_margin) if attempt else torch.zeros_like(done)
        if bool(done.all()):
            break
        if propose is None:
            landscape.reject(state)
        live = ~done
        if not trace and bool(done.any()):
            left = live.nonzero()[:, 0]
            rows, start, landscape = rows[left], start[left], landscape.narrowed(left)
            live, cue = live[left], None if cue is None else cue[left]
    margin = best.margin if compare else torch.full_like(best.lowest, torch.nan)
    return Found(
        state=best.state,
        verified=best.verified,
        steps=best.steps,
        margin=margin,
        agreement=margin.new_zeros(batch) if whole is None else (_unit(whole) * best.state).sum(-1),
        trace=_traced(landscape, trail, best.state) if trace else None,
    )


class _Best:
    """The lowest F of each row so far, whose state it is, its own share, and the next lowest."""

    def __init__(self, start: Tensor, steps: int, chance: Tensor) -> None:
        batch = len(start)
        self.state = torch.zeros_like(start)
        self.verified = torch.zeros(batch, dtype=torch.bool, device=start.device)
        self.steps = torch.full((batch,), steps, device=start.device)
        self.lowest = start.new_full((batch,), torch.inf)
        self.next = torch.full_like(self.lowest, torch.inf)
        self.own, self.chance = torch.full_like(self.lowest, torch.inf), chance

    @property
    def margin(self) -> Tensor:
        """(b,), −∞ where no basin was verified."""
        margin = torch.minimum(self.next - self.lowest, self.chance - self.own)
        return torch.where(self.verified, margin, -torch.inf)

    def update(
        self,
        rows: Tensor,
        state: Tensor,
        verified: Tensor,
        value: Tensor,
        own: Tensor,
        steps: Tensor,
    ) -> None:
        """One more basin of some rows; one that was met before changes nothing."""
        self.steps[rows] += steps
        held, lowest = self.state[rows], self.lowest[rows]
        value = torch.where((state == held).all(-1), torch.inf, value)
        taken = (value < lowest) | (held == 0).all(-1)
        self.state[rows] = torch.where(taken[:, None], state, held)
        self.verified[rows] = torch.where(taken, verified, self.verified[rows])
        self.own[rows] = torch.where(taken, own, self.own[rows])
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
    without most of its part along μ, which is the sum of all memories and tells none from another,
    and as long as a state: repeated updates of a short one would turn it to Ψ's first eigenvector.
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
    return _unit(start - (1 - 1 / count) * along * mean) * float(start.shape[-1] ** 0.5)


def _own(landscape: Landscape, cue: Tensor | None, state: Tensor) -> Tensor:
    """The penalty of states (b, d), or, without one, minus their agreement with the cue; (b,)."""
    if landscape.penalty is None:
        return -_agreement(cue, state)
    with torch.no_grad():
        return landscape.evaluate(state).to(state.dtype)


def _agreement(cue: Tensor | None, state: Tensor) -> Tensor:
    """w · cos(b, z) of states (b, d), over the spins that the cue knows; (b,), 0 without one."""
    if cue is None:
        return state.new_zeros(len(state))
    known = (cue != 0).sum(-1).clamp_min(1).sqrt()
    return AGREEMENT_WEIGHT * (_unit(cue) * state).sum(-1) / known


def _of_chance(landscape: Landscape, cue: Tensor | None, like: Tensor) -> Tensor:
    """`_own` of one fixed random state; (b,)."""
    generator = torch.Generator().manual_seed(0)
    spins = torch.randint(0, 2, like.shape[1:], generator=generator).to(like) * 2 - 1
    return _own(landscape, cue, spins.expand_as(like))


def _settle(landscape: Landscape, state: Tensor) -> Tensor:
    """Polish states found in the deflated landscape once more in the true one."""
    for _ in range(SignPolish().steps):
        before, state = state, sign(landscape.rule.field(landscape.psi, state), state)
        if bool((state == before).all()):
            break
    return state


def _traced(landscape: Landscape, trail: list[tuple[int, Tensor]], answer: Tensor) -> Trace:
    max_basins = [
        torch.full((len(path),), attempt, device=answer.device) for attempt, path in trail
    ]
    states = torch.cat([path for _, path in trail]).clamp(-1, 1)
    penalty = None
    if landscape.penalty is not None:
        with torch.no_grad():
            penalty = torch.stack([landscape.evaluate(state) for state in states])
    return Trace(
        attempt=torch.cat(max_basins),
        energy=torch.stack([landscape.energy(state) for state in states]),
        penalty=penalty,
        overlap=(states * answer).mean(-1),
        states=states,
    )


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = vector.norm(dim=-1, keepdim=True)
    return vector / length.clamp_min(1e-30)
