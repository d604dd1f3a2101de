"""Capacity: how many masks a learning rule holds, measured, and what a given memory still takes.

Capacity is the number k of patterns of which a share (0.9 by default) comes back bit for bit, each
from a damaged cue, when all k are stored. It is one of a rule and a recall together, depends on
what the patterns are like, on the damage and on the draw, so it is measured on several draws and
given with an interval; formulas for d → ∞ stand beside it.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from operator import index

import torch
from torch import Tensor

from hopmask._checks import check_whole
from hopmask.capacity.bisection import enough, filled, largest, spread
from hopmask.capacity.damage import Damage
from hopmask.capacity.mask_sources import Ensemble, check_ensemble, generator_of
from hopmask.couplings.dense import DenseCouplings
from hopmask.couplings.rules import LearningRule, rule_named
from hopmask.errors import ConfigError
from hopmask.memory.reservoir import Reservoir
from hopmask.patterns.spins import check_spins
from hopmask.recall.dynamics import SETTLE, Dynamics
from hopmask.recall.options import Search

_SAMPLE = 256  # patterns that a probe recalls at most, spread evenly over the order
_PARTS = 4  # in which they are recalled
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What `measure` found.

    Attributes:
        rule: name of the learning rule.
        size: d, spins.
        damage: of the cues.
        recalled: share of the patterns that had to come back bit for bit.
        trials: capacity of each draw of patterns.
        patterns: their mean.
        low: 95 % confidence interval of the mean, from Student's t over the draws, at least 0.
            Draws of `GivenMasks` are orders of the same masks: it is of these, not of others.
        high: its upper end; None where draws were censored.
        censored: draws in which the share held up to all the patterns that there were, or, of a
            source without end, one a spin: `patterns` is then a lower bound.

    Example:
        >>> from hopmask import RandomMasks
        >>> found = measure("projection", RandomMasks(size=32), trials=2)
        >>> found.low <= found.patterns <= found.high
        True

    Source:
        Interval: Student 1908.
    """

    rule: str
    size: int
    damage: Damage
    recalled: float
    trials: tuple[int, ...]
    patterns: float
    low: float
    high: float | None
    censored: int

    @property
    def load(self) -> float:
        """α = patterns / d."""
        return self.patterns / self.size

    def __str__(self) -> str:
        if self.censored:
            some = f"{self.censored} of {len(self.trials)} draws held all that were tried"
            count = f"at least {self.patterns:.1f} ({some})"
        else:
            count = f"{self.patterns:.1f} [{self.low:.1f}, {self.high:.1f}]"
        return f"{self.rule}, {self.damage}: {count} of {self.size} spins, load {self.load:.3f}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of `curve`.

    Attributes:
        rule: name of the learning rule.
        damage: of the cues.
        patterns: k, stored.
        load: α = k / d.
        recalled: share of the sample that came back bit for bit.
        low: 95 % interval of the share (Wilson), as if recalls of one memory were independent.
        high: its upper end.
        sample: patterns recalled, of all draws together; those of a refused draw count as lost.

    Example:
        >>> from hopmask import RandomMasks
        >>> curve("storkey", RandomMasks(size=32), [1])[0].sample
        2

    Source:
        Interval: Wilson 1927.
    """

    rule: str
    damage: Damage
    patterns: int
    load: float
    recalled: float
    low: float
    high: float
    sample: int


def measure(
    rule: str | LearningRule,
    masks: Ensemble,
    *,
    damage: Damage | None = None,
    recalled: float = 0.9,
    trials: int = 5,
    seed: int = 0,
    dynamics: Sequence[Dynamics] = SETTLE,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] = lambda trial, patterns: None,
) -> Capacity:
    """Measure the capacity of a rule by bisection.

    A number of patterns is doubled until too few come back, then bisected, always from the last
    couplings that held: what is found held, and one more did not. (Near capacity the share goes up
    and down with chance; of fewer than ten patterns 0.9 means all.) Cues of a probe are recalled in
    four batches, as `Reservoir.recall` does; of more than 256 patterns 256 are recalled, spread
    evenly from the oldest to the newest. A pattern that the rule refuses ends the search too. It
    takes three matrices Ψ, and the patterns of a draw.

    Args:
        rule: by name or as an object.
        masks: where patterns come from: `RandomMasks`, `BiasedMasks`, `GivenMasks` or your own.
        damage: of the cues; by default a tenth of the spins turned.
        recalled: share of the patterns that must come back bit for bit, in (0, 1].
        trials: draws, at least 2.
        seed: of draws and damage.
        dynamics: parts of each descent, as in `Reservoir.recall`.
        dtype: torch.float32 or torch.float64.
        device: where to work.
        progress: called with the number of a draw and the patterns stored, before each probe.

    Returns:
        Capacity, with its interval.

    Raises:
        ConfigError: a rule, share, number of draws or device that there is not.

    Example:
        >>> from hopmask import RandomMasks
        >>> found = measure("hebbian", RandomMasks(size=64), trials=2)
        >>> 2 < found.patterns < 20
        True
        >>> from hopmask.recall.dynamics import SignPolish
        >>> plain = measure("hebbian", RandomMasks(size=64), trials=2, dynamics=[SignPolish()])
        >>> plain.censored
        0

    Source:
        Capacity as the largest number of patterns with a given share of them recalled: McEliece et
        al. 1987, section I; the measurement is hopmask's own.
    """
    rule, damage = rule_named(rule), damage or Damage()
    _check(masks, [damage], trials, recalled)
    counts = []
    for trial in range(trials):
        empty = DenseCouplings(masks.size, rule=rule, dtype=dtype, device=device)
        draw = _Draw(masks, _most(masks), seed=seed, trial=trial, dynamics=dynamics)

        def holds(couplings: DenseCouplings, draw: _Draw = draw, trial: int = trial) -> bool:
            progress(trial, couplings.count)
            return draw.holds(couplings, damage, recalled)

        first = max(1, masks.size // 32)
        counts.append(largest(empty, draw.write, holds, most=_most(masks), first=first))
    low, high = _interval(counts)
    censored = counts.count(_most(masks))
    return Capacity(
        rule=rule.name,
        size=masks.size,
        damage=damage,
        recalled=recalled,
        trials=tuple(counts),
        patterns=sum(counts) / trials,
        low=low,
        high=None if censored else high,
        censored=censored,
    )


def curve(
    rule: str | LearningRule,
    masks: Ensemble,
    counts: Sequence[int],
    *,
    damages: Sequence[Damage] | None = None,
    trials: int = 2,
    seed: int = 0,
    dynamics: Sequence[Dynamics] = SETTLE,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> list[Point]:
    """Share of the patterns recalled over their number.

    Args:
        rule: by name or as an object.
        masks: where patterns come from.
        counts: numbers of patterns to measure at; those beyond what there are are left out, and
            those from which on the rule refuses a pattern count as none recalled.
        damages: of the cues; by default a tenth of the spins turned.
        trials: draws, at least 2.
        seed: of draws and damage.
        dynamics: parts of each descent, as in `Reservoir.recall`.
        dtype: torch.float32 or torch.float64.
        device: where to work.

    Raises:
        ConfigError: as `measure`, or no number of patterns.

    Example:
        >>> from hopmask import RandomMasks
        >>> few, many = curve("hebbian", RandomMasks(size=64), [2, 40])
        >>> few.recalled > many.recalled
        True

    Source:
        hopmask's own.
    """
    rule, damages = rule_named(rule), list(dict.fromkeys(damages or [Damage()]))
    _check(masks, damages, trials, 1.0)
    if not all(hasattr(count, "__index__") and not isinstance(count, bool) for count in counts):
        raise ConfigError(f"numbers of patterns are whole, got {counts}")
    counts = sorted({index(count) for count in counts if 0 < count <= _most(masks)})
    if not counts:
        raise ConfigError(f"give numbers of patterns from 1 to {_most(masks)}")
    back = {(count, damage): [0, 0] for count in counts for damage in damages}
    for trial in range(trials):
        couplings = DenseCouplings(masks.size, rule=rule, dtype=dtype, device=device)
        draw = _Draw(masks, counts[-1], seed=seed, trial=trial, dynamics=dynamics)
        taken = True
        for count in counts:
            taken = taken and filled(couplings, count, draw.write)
            for damage in damages:
                right, sample = (
                    draw.recalled(couplings, damage) if taken else (0, min(count, _SAMPLE))
                )
                back[count, damage][0] += right
                back[count, damage][1] += sample
    return [
        _point(rule.name, damage, count, masks.size, *back[count, damage])
        for damage in damages
        for count in counts
    ]


class _Draw:
    """One draw of patterns, and the damage to their cues."""

    def __init__(
        self,
        masks: Ensemble,
        count: int,
        *,
        seed: int,
        trial: int,
        dynamics: Sequence[Dynamics],
    ) -> None:
        self.generator, self.dynamics = generator_of(seed, trial), dynamics
        self.patterns = masks.draw(count, self.generator)
        if self.patterns.numel():
            check_spins(self.patterns, name="patterns")
        if self.patterns.shape != (count, masks.size):
            raise ConfigError(
                f"{type(masks).__name__}.draw({count}, ...) must give patterns "
                f"{(count, masks.size)}, got {tuple(self.patterns.shape)}"
            )

    def write(self, couplings: DenseCouplings, number: int) -> None:
        """Store one of the patterns."""
        couplings.write(self.patterns[number].to(couplings.psi))

    def holds(self, couplings: DenseCouplings, damage: Damage, share: float) -> bool:
        """Whether a share of the stored patterns comes back; it stops as soon as it cannot."""
        numbers, lost = spread(couplings.count, _SAMPLE), 0
        for part in range(_PARTS):  # from the oldest to the newest, each
            back, sample = self.recalled(couplings, damage, numbers[part::_PARTS])
            lost += sample - back
            if not enough(len(numbers) - lost, len(numbers), share):
                return False
        return True

    def recalled(
        self, couplings: DenseCouplings, damage: Damage, numbers: Tensor | None = None
    ) -> tuple[int, int]:
        """How many patterns, some or all that are stored, come back bit for bit, of how many."""
        numbers = spread(couplings.count, _SAMPLE) if numbers is None else numbers
        sample = self.patterns[numbers].to(couplings.psi)
        options = Search(dynamics=self.dynamics)
        hit = Reservoir.of(couplings).recall(damage.of(sample, self.generator), search=options)
        return int((hit.spins == sample).all(-1).sum()), len(sample)


def _interval(counts: Sequence[int]) -> tuple[float, float]:
    """95 % confidence interval of the mean, Student's t, at least 0."""
    from scipy.stats import t as student

    mean, deviation = statistics.mean(counts), statistics.stdev(counts)
    reach = float(student.ppf(0.5 + _CONFIDENCE / 2, len(counts) - 1))
    half = reach * deviation / sqrt(len(counts))
    return max(0.0, mean - half), mean + half


def _point(rule: str, damage: Damage, count: int, size: int, right: int, sample: int) -> Point:
    from scipy.stats import binomtest

    interval = binomtest(right, sample).proportion_ci(_CONFIDENCE, method="wilson")
    return Point(
        rule=rule,
        damage=damage,
        patterns=count,
        load=count / size,
        recalled=right / sample,
        low=float(interval.low),
        high=float(interval.high),
        sample=sample,
    )


def _most(masks: Ensemble) -> int:
    """Patterns to try: all, or one a spin where there is no end of them."""
    return masks.size if masks.most is None else masks.most


def _check(masks: Ensemble, damages: Sequence[Damage], trials: int, recalled: float) -> None:
    check_ensemble(masks)
    for damage in damages:
        if not isinstance(damage, Damage):
            raise ConfigError(
                f"damage must be a Damage, such as Damage(kind='flips', share=0.1), got {damage!r}"
            )
    check_whole(trials, "trials (an interval takes two)", least=2)
    if not isinstance(recalled, int | float) or not 0 < recalled <= 1:
        raise ConfigError(f"recalled must be a share in (0, 1], got {recalled!r}")
