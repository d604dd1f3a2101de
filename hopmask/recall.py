"""Recall's descent: one loop, its dynamics as exchangeable parts, and the landscape they run on.

The landscape is the energy E(z) = −½ zᵀΨz and a penalty, any differentiable callable of the state
(SupSup: the network's entropy). Which of the basins reached is the answer: `search.py`.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from hopmask.errors import ConfigError, NumericalError, PenaltyError
from hopmask.rules import LearningRule
from hopmask.spins import sign

Penalty = Callable[[Tensor], Tensor]  # spins in [-1, 1], (b, d) -> (b,)


_INDEPENDENT = (
    "the penalty's value does not depend on the masks it was given: compute it with differentiable "
    "torch operations on them, without detach() or no_grad"
)


def check_penalty(penalty: object) -> None:
    """Raise PenaltyError unless a penalty, where there is one, can be called."""
    if penalty is not None and not callable(penalty):
        raise PenaltyError(f"the penalty must be a callable, got {type(penalty).__name__}")


class Landscape:
    """The energy that a descent sees: Ψ with memories already tried taken out, and a penalty.

    Deflation: h ← Ψz − Σ_c u_c (u_c·z), where u_c is an orthonormal basis of the rejected states.
    Spins that are held, such as those of a key that is known for sure, feel a field of the size of
    the largest toward their value. Ψ itself is never copied or changed.
    """

    def __init__(
        self, rule: LearningRule, psi: Tensor, mean: Tensor, penalty: Penalty | None, batch: int
    ) -> None:
        self.rule, self.psi, self.mean, self.penalty = rule, psi, mean, penalty
        self.rejected = psi.new_zeros(0, batch, psi.shape[0])  # (r, b, d), orthonormal over r
        self.held: Tensor | None = None  # ±1, 0 where a spin is free, (b, d)

    def field(self, state: Tensor) -> Tensor:
        """Deflated local field of states (b, d), with spins held."""
        field = self.outside(self.rule.field(self.psi, state))
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

    def energy(self, state: Tensor) -> Tensor:
        """E = −½ zᵀΨz of states (b, d), not deflated; (b,)."""
        return -0.5 * (state * self.rule.field(self.psi, state)).sum(-1)

    def narrowed(self, rows: Tensor) -> "Landscape":
        """Some rows alone; the penalty still sees the whole batch, with m = ½ in the others."""
        penalty, batch = self.penalty, self.rejected.shape[1]

        def part(state: Tensor) -> Tensor:
            whole = state.new_zeros(batch, state.shape[1]).index_copy(0, rows, state)
            return penalty(whole)[rows]  # type: ignore[misc]

        some = Landscape(self.rule, self.psi, self.mean, part if penalty else None, len(rows))
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
        _finite(state)
        value = self.penalty(state)
        if not isinstance(value, Tensor) or value.shape != state.shape[:1]:
            came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value)
            raise PenaltyError(
                f"the penalty must return one scalar tensor a mask, got {came}: "
                "reduce it, for example with .mean()"
            )
        if not bool(torch.isfinite(value).all()):
            raise PenaltyError(
                f"the penalty returned {value.tolist()}: it must be finite for every mask in [0, 1]"
            )
        return value


class Dynamics(Protocol):
    """A part of a descent: `begin` makes its working state, `step` moves it on.

    A working state is a tuple of tensors whose first is the visible state (b, d). `from_mean` says
    that it wants to start at μ rather than where the cue and the penalty point, `settles` that rows
    may be left once their state stands still: every tensor of its working state then has the rows
    as its first dimension.
    """

    from_mean: ClassVar[bool]
    settles: ClassVar[bool]

    @property
    def steps(self) -> int:
        """Number of updates, at most."""
        ...

    def begin(self, landscape: Landscape, state: Tensor) -> tuple[Tensor, ...]:
        """Working state at the start of this part."""
        ...

    def step(self, landscape: Landscape, work: tuple[Tensor, ...], t: int) -> tuple[Tensor, ...]:
        """Working state after step t of `steps`."""
        ...


def _binary(scores: Tensor) -> Tensor:
    """z = 2 [s ≥ 0] − 1; NaN stays NaN, for the check at the end."""
    return torch.where(scores >= 0, 1.0, torch.where(scores < 0, -1.0, scores)).to(scores.dtype)


def _positive(options: object, *names: str) -> None:
    for name in names:
        value, kind = getattr(options, name), int if name == "steps" else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
            raise ConfigError(
                f"{type(options).__name__}: {name} must be positive"
                f"{' and whole' if name == 'steps' else ''}, got {value!r}"
            )


@dataclass(frozen=True, kw_only=True)
class AnnealedDescent:
    """The paper's recall: gradient descent with momentum from energy's absence to its presence.

    Minimises (γ t/T) E(z) + (1 − t/T) penalty(z) + (λ/2) ‖s‖² over real scores s, t = 1 ... T, with
    z = 2m − 1, m = [s ≥ 0] and a straight-through gradient with respect to m; starts at s = the
    state it is given (the paper's: μ). The decay λ is what lets the energy overrule, in time, what
    the first steps of the penalty wrote into the scores.

    Args:
        steps: T.
        strength: γ, weight of the energy at the end.
        rate: learning rate.
        momentum: of the gradient descent.
        decay: λ, weight decay.

    Raises:
        ConfigError: an option out of its range.

    Example:
        >>> AnnealedDescent(steps=20).strength
        0.0015

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5 and its appendix on HopSupSup.
    """

    from_mean: ClassVar[bool] = True
    settles: ClassVar[bool] = False

    steps: int = 30
    strength: float = 1.5e-3
    rate: float = 500.0
    momentum: float = 0.9
    decay: float = 1e-4

    def __post_init__(self) -> None:
        _positive(self, "steps", "strength", "rate")
        if not isinstance(self.decay, int | float) or not self.decay >= 0:
            raise ConfigError(f"decay must not be negative, got {self.decay!r}")
        if not isinstance(self.momentum, int | float) or not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum must lie in [0, 1), got {self.momentum!r}")

    def begin(self, landscape: Landscape, state: Tensor) -> tuple[Tensor, ...]:
        return _binary(state), state, torch.zeros_like(state)  # z, scores, velocity

    def step(self, landscape: Landscape, work: tuple[Tensor, ...], t: int) -> tuple[Tensor, ...]:
        state, scores, velocity = work
        share = (t + 1) / self.steps
        gradient = (1 - share) * landscape.slope(state)[1]
        gradient -= self.strength * share * landscape.field(state)  # ∂E/∂z = −Ψz
        velocity = self.momentum * velocity + 2 * gradient + self.decay * scores  # ∂z/∂m = 2
        scores = scores - self.rate * velocity
        return _binary(scores), scores, velocity


@dataclass(frozen=True, kw_only=True)
class MeanField:
    """Mean-field annealing on the energy: z ← tanh(Ψz / (g T)), T falling geometrically.

    g = ‖Ψz‖ / ‖z‖ at the start makes the temperature relative to the couplings' strength, whatever
    the rule's scale or the load. Between 0.46 and 1 mixtures of memories are unstable, which is
    where it starts; near 1 the strongest eigenvector of Ψ would win over the cue.

    Args:
        steps: number of updates.
        hot: first temperature, in units of the critical one.
        cold: last temperature.

    Raises:
        ConfigError: an option out of its range.

    Example:
        >>> import torch
        >>> from hopmask import Reservoir
        >>> reservoir = Reservoir(32)
        >>> reservoir.store(torch.ones(32))
        >>> cue = torch.ones(32); cue[:8] = 0
        >>> bool(reservoir.recall(cue, dynamics=[MeanField(hot=0.5)]).converged)
        True

    Source:
        Peterson, Anderson 1987 (mean-field annealing); Amit, Gutfreund, Sompolinsky 1985 (below
        which temperature mixtures live).
    """

    from_mean: ClassVar[bool] = False
    settles: ClassVar[bool] = True

    steps: int = 30
    hot: float = 0.6
    cold: float = 0.3

    def __post_init__(self) -> None:
        _positive(self, "steps", "hot", "cold")
        if self.cold > self.hot:
            raise ConfigError(f"cold ({self.cold}) must not exceed hot ({self.hot})")

    def begin(self, landscape: Landscape, state: Tensor) -> tuple[Tensor, ...]:
        size = state.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        gain = landscape.field(state).norm(dim=-1, keepdim=True) / size
        return state, gain.clamp_min(1e-30)

    def step(self, landscape: Landscape, work: tuple[Tensor, ...], t: int) -> tuple[Tensor, ...]:
        state, gain = work
        heat = self.hot * (self.cold / self.hot) ** (t / max(1, self.steps - 1))
        return torch.tanh(landscape.field(state) / (gain * heat)), gain


@dataclass(frozen=True, kw_only=True)
class SignPolish:
    """Hopfield's dynamics at zero temperature, all spins at once: z ← sign(Ψz).

    Args:
        steps: at most so many; it stops at a fixed point.

    Raises:
        ConfigError: an option out of its range.

    Example:
        >>> SignPolish(steps=5).steps
        5

    Source:
        Hopfield 1982; parallel updates: Little 1974.
    """

    from_mean: ClassVar[bool] = False
    settles: ClassVar[bool] = True

    steps: int = 20

    def __post_init__(self) -> None:
        _positive(self, "steps")

    def begin(self, landscape: Landscape, state: Tensor) -> tuple[Tensor, ...]:
        return (state,)

    def step(self, landscape: Landscape, work: tuple[Tensor, ...], t: int) -> tuple[Tensor, ...]:
        return (sign(landscape.field(work[0]), work[0]),)


_CALM = 3  # steps without a change of sign after which a firm state has settled
_FIRM = 0.92  # root mean square from which on a state is firm; annealed mixtures stay below
_STILL = 1e-3  # change of a state, relative to its length, that counts as none

SETTLE: tuple[Dynamics, ...] = (MeanField(), SignPolish())


def paper_schedule(*, steps: int = 30) -> tuple[Dynamics, ...]:
    """The paper's recall and nothing else: annealed descent on energy + penalty from μ.

    Args:
        steps: T, number of steps; the penalty is asked once a step (fresh data each time).

    Returns:
        Dynamics for `recall(..., dynamics=)`.

    Raises:
        ConfigError: steps is not positive.

    Example:
        >>> paper_schedule(steps=30)[0].momentum
        0.9

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), appendix on HopSupSup.
    """
    return (AnnealedDescent(steps=steps),)


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Where one descent ended.

    Attributes:
        state: ±1, (b, d).
        steps: updates until its signs stopped changing, (b,).
        path: the states from start to end, (steps + 1, b, d), if asked for; else empty.
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
    _finite(state)
    return Descent(state=spins, steps=changed, path=torch.stack(path) if trace else start[:0])


def _finite(state: Tensor) -> None:
    if not bool(torch.isfinite(state).all()):
        raise NumericalError(
            "recall ran into NaN or infinity: the couplings or the step size are too large. "
            "Check reservoir.psi, or lower `rate` of AnnealedDescent"
        )


def _still(before: Tensor, after: Tensor) -> Tensor:
    change, size = (after - before).norm(dim=-1), after.norm(dim=-1)
    return torch.le(change, _STILL * size)
