"""Search over basins: descend, verify, turn to the next candidate, descend again.

The answer of a recall is the verified memory z with the lowest

    F(z) = penalty(z) − w · cos(b, z)

among at most `max_basins` basins. b is the cue: spins that are known, or key bits, given or
guessed, 0 where nothing is known. cos(b, z), over the bits that b knows, is the agreement of b with
z, and w says how much penalty full agreement is worth. The margin is how far F of the answer lies
below the next lowest, and no more than the penalty of the answer lies below that of a random state,
which is what no memory at all would give: data of a strange task may agree with one key best, and
suit no mask. Rows whose margin is clear after two basins may be left alone. Work is bounded by
`max_basins`, not by the number of memories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hopmask.couplings.base import Couplings
from hopmask.patterns.spins import sign
from hopmask.recall.descent import descend
from hopmask.recall.dynamics import Dynamics, SignPolish
from hopmask.recall.landscape import Landscape
from hopmask.recall.options import Search
from hopmask.recall.penalty import Penalty
from hopmask.recall.result import Trace

_WEIGHT = 5.0  # w, unless a search says otherwise


class Question(Protocol):
    """What a search is after: a batch of rows, validated.

    Attributes:
        rows: b, number of recalls.
        cue: b (rows, d), 0 where nothing is known; None where the penalty alone points.
        held: spins to hold in the first basin, (rows, d), 0 where they are free; None for none.
        penalty: of joint states (rows, d) -> (rows,), or None.
        compare: visit basins until the margin is clear and take the lowest F; otherwise stop at the
            first verified one.
        basins: how many to visit at most; never more than there are patterns.
        spare: descents that lead to no memory and do not count as basins visited, at most.
        proposes: whether `propose` says where to descend from after the first basin; otherwise the
            descent begins as before, in the landscape without the basins visited.
    """

    rows: int
    cue: Tensor | None
    held: Tensor | None
    penalty: Penalty | None
    compare: bool
    basins: int
    spare: int
    proposes: bool

    def check(self, state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """States (r, d) of rows (r,), turned the right way round; which are memories (r,)."""
        ...

    def propose(self, start: Tensor, rows: Tensor) -> Tensor:
        """Spins to begin the next descent of rows (r,) with and to hold, (r, d).

        Args:
            start: where the search of these rows began, (r, d).
            rows: which rows.
        """
        ...


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


def search(couplings: Couplings, question: Question, options: Search) -> Found:
    """Find each row's best basin.

    Args:
        couplings: not empty.
        question: what to search for.
        options: how.
    """
    dynamics, batch, trace = options.dynamics, question.rows, options.trace
    landscape = Landscape(couplings, question.penalty, batch)
    pointing = 0 if dynamics[0].from_mean or not question.compare else 1  # one update: Ψ, gradient
    start = _start(landscape, question.cue, couplings.count, dynamics, batch, question.compare)
    weight = options.agreement_weight or _WEIGHT
    cue, held = question.cue, question.held
    rows = torch.arange(batch, device=start.device)  # those still searching
    compare = question.compare and question.basins > 1
    chance = _of_chance(landscape, cue, start, weight) if compare else start.new_zeros(batch)
    best = _Best(start, pointing, chance)
    live = torch.ones(batch, dtype=torch.bool, device=start.device)  # a trace keeps the others on
    most = min(question.basins, couplings.count)
    left = torch.full_like(rows, most)  # of these rows, basins to visit
    proposes = question.proposes and not dynamics[0].from_mean
    trail: list[tuple[int, Tensor]] = []
    for basin in range(most + question.spare):
        if basin and proposes:
            spins = question.propose(start, rows)
            descent = descend(landscape.holding(spins), spins, dynamics, trace=trace)
            state = descent.state
        else:
            begin = landscape.outside(start)
            here = landscape if held is None else landscape.holding(held[rows])
            descent = descend(here, begin, dynamics, trace=trace)
            state = _settle(landscape, descent.state) if basin else descent.state
        trail.append((basin, descent.path))
        state, verified = question.check(state, rows)
        own = _own(landscape, cue, state, weight)
        value = own if landscape.penalty is None else own - _agreement(cue, state, weight)
        value = value.masked_fill(~(verified & live), torch.inf)
        best.update(rows, state, verified, value, own, torch.where(live, descent.steps, 0))
        done = best.verified[rows]
        if compare:
            clear = best.margin[rows] >= options.min_margin
            done = done & clear if basin else torch.zeros_like(done)
        left = left - (verified if question.spare else torch.ones_like(done)).to(left)
        done = done | (left <= 0)
        if bool(done.all()):
            break
        if not proposes:
            landscape.reject(state)
        live = ~done
        if not trace and bool(done.any()):
            stay = live.nonzero()[:, 0]
            rows, start, landscape = rows[stay], start[stay], landscape.narrowed(stay)
            live, left, cue = live[stay], left[stay], None if cue is None else cue[stay]
    return Found(
        state=best.state,
        verified=best.verified,
        steps=best.steps,
        margin=best.margin if compare else torch.full_like(best.lowest, torch.nan),
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
        return margin.masked_fill(~self.verified, -torch.inf)

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
        value = value.masked_fill((state == held).all(-1), torch.inf)
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
    pointed: bool,
) -> Tensor:
    """Where the first descent begins, (batch, d).

    The cue itself, or, for a choice among memories, v = Ψ(b/‖b‖ − ∇penalty(μ)/‖∇penalty(μ)‖)
    without most of its part along μ, which is the sum of all memories and distinguishes none,
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


def _own(landscape: Landscape, cue: Tensor | None, state: Tensor, weight: float) -> Tensor:
    """The penalty of states (b, d), or, without one, minus their agreement with the cue; (b,)."""
    if landscape.penalty is None:
        return -_agreement(cue, state, weight)
    with torch.no_grad():
        return landscape.evaluate(state).to(state.dtype)


def _agreement(cue: Tensor | None, state: Tensor, weight: float) -> Tensor:
    """w · cos(b, z) of states (b, d), over the spins that the cue knows; (b,), 0 without one."""
    if cue is None:
        return state.new_zeros(len(state))
    known = (cue != 0).sum(-1).clamp_min(1).to(state.dtype).sqrt()
    return weight * (_unit(cue) * state).sum(-1) / known


def _of_chance(landscape: Landscape, cue: Tensor | None, like: Tensor, weight: float) -> Tensor:
    """`_own` of one fixed random state; (b,)."""
    generator = torch.Generator().manual_seed(0)
    spins = torch.randint(0, 2, like.shape[1:], generator=generator, device="cpu").to(like) * 2 - 1
    return _own(landscape, cue, spins.expand_as(like), weight)


def _settle(landscape: Landscape, state: Tensor) -> Tensor:
    """Polish states found in the deflated landscape once more in the true one."""
    for _ in range(SignPolish().steps):
        before, state = state, sign(landscape.couplings.field(state), state)
        if bool((state == before).all()):
            break
    return state


def _traced(landscape: Landscape, trail: list[tuple[int, Tensor]], answer: Tensor) -> Trace:
    basins = [torch.full((len(path),), basin, device=answer.device) for basin, path in trail]
    states = torch.cat([path for _, path in trail]).clamp(-1, 1)
    penalty = None
    if landscape.penalty is not None:
        with torch.no_grad():
            penalty = torch.stack([landscape.evaluate(state) for state in states])
    return Trace(
        basin=torch.cat(basins),
        energy=torch.stack([landscape.couplings.energy(state) for state in states]),
        penalty=penalty,
        overlap=(states * answer).mean(-1),
        states=states,
    )


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = vector.norm(dim=-1, keepdim=True)
    return vector / length.clamp_min(1e-30)
