"""Dynamics: the exchangeable parts of a descent."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from hopmask.errors import ConfigError
from hopmask.patterns.spins import sign
from hopmask.recall.landscape import Landscape


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
        >>> from hopmask import Reservoir, Search
        >>> reservoir = Reservoir(32)
        >>> reservoir.store(torch.ones(32))
        >>> cue = torch.ones(32); cue[:8] = 0
        >>> bool(reservoir.recall(cue, search=Search(dynamics=[MeanField(hot=0.5)])).verified)
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


SETTLE: tuple[Dynamics, ...] = (MeanField(), SignPolish())


def paper_schedule(*, steps: int = 30) -> tuple[Dynamics, ...]:
    """The paper's recall and nothing else: annealed descent on energy + penalty from μ.

    Args:
        steps: T, number of steps; the penalty is evaluated once per step (fresh data each time).

    Returns:
        Dynamics for `Search(dynamics=...)`.

    Raises:
        ConfigError: steps is not positive.

    Example:
        >>> paper_schedule(steps=30)[0].momentum
        0.9

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), appendix on HopSupSup.
    """
    return (AnnealedDescent(steps=steps),)
