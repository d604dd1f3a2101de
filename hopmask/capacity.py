"""Capacity: how many masks a learning rule holds, measured, and what a given memory still takes.

Capacity is the largest number k of patterns of which a share (0.9 unless told) comes back bit for
bit, each from a damaged cue, when all k are stored. It depends on what the patterns are like, on
the damage and on the draw, so it is measured on several draws and told with an interval; formulas
for d → ∞ stand beside it.
"""

import copy
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import torch
from scipy.stats import binomtest
from scipy.stats import t as student
from torch import Tensor

from hopmask.code import Code
from hopmask.damage import Damage
from hopmask.ensemble import Ensemble, LeaningMasks
from hopmask.errors import ConfigError, DuplicateError, NumericalError, OverloadWarning
from hopmask.health import recalled_by_key
from hopmask.memory import MaskMemory
from hopmask.reservoir import Reservoir
from hopmask.rules import LearningRule, rule_named

_ASKED = 256  # patterns that are recalled at a probe, at most, spread evenly over the order
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
        low: 95 % confidence interval of the mean, from Student's t over the draws; at least 0.
        high: its upper end.
        whole: in every draw all the patterns that there were came back: the true capacity is at
            least this, and the interval says nothing.

    Example:
        >>> from hopmask import RandomMasks
        >>> found = measure("projection", RandomMasks(size=32), trials=2)
        >>> found.low <= found.patterns <= found.high
        True
    """

    rule: str
    size: int
    damage: Damage
    recalled: float
    trials: tuple[int, ...]
    patterns: float
    low: float
    high: float
    whole: bool

    @property
    def load(self) -> float:
        """α = patterns / d."""
        return self.patterns / self.size

    def __str__(self) -> str:
        some = f"{self.patterns:.1f} [{self.low:.1f}, {self.high:.1f}]"
        count = f"at least {self.patterns:.0f} (all there are)" if self.whole else some
        return f"{self.rule}, {self.damage}: {count} of {self.size} spins, load {self.load:.3f}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of `curve`.

    Attributes:
        rule: name of the learning rule.
        damage: of the cues.
        patterns: k, stored.
        load: α = k / d.
        recalled: share of those asked that came back bit for bit.
        low: 95 % interval of the share (Wilson), as if recalls of one memory were independent.
        high: its upper end.
        asked: recalls, of all draws together.
    """

    rule: str
    damage: Damage
    patterns: int
    load: float
    recalled: float
    low: float
    high: float
    asked: int


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A theoretical limit, for independent random patterns and d → ∞.

    Attributes:
        rule: name of the learning rule.
        formula: as it is written.
        patterns: its value.
        meaning: what is true up to it.
        source: who found it.
    """

    rule: str
    formula: str
    patterns: float
    meaning: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a memory can still take, see `estimate`.

    Attributes:
        tasks: that it holds now.
        overlap: q, mean overlap of the spins of two of its masks; NaN with fewer than two.
        more: tasks that it took on top before too few were recalled.
        open: `more` is where the trial was ended, not where the memory did.
        recalled: share of the asked tasks that had to come back.
    """

    tasks: int
    overlap: float
    more: int
    open: bool
    recalled: float

    def __str__(self) -> str:
        least = "at least " if self.open else ""
        return (
            f"{self.tasks} tasks held (mean overlap {self.overlap:.3f}); {least}{self.more} more "
            "of their kind"
        )


def measure(
    rule: str | LearningRule,
    masks: Ensemble,
    *,
    damage: Damage | None = None,
    recalled: float = 0.9,
    trials: int = 5,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Capacity:
    """Measure the capacity of a rule by bisection.

    A reservoir is doubled until too few of its patterns come back, then the number is bisected,
    always from the last reservoir that held. Cues of one probe are recalled in one batch, as
    `Reservoir.recall` does; of more than 256 patterns 256 are asked, spread evenly from the oldest
    to the newest. A pattern that the rule refuses ends the search too.

    Args:
        rule: by name or as an object.
        masks: where patterns come from: `RandomMasks`, `LeaningMasks`, `GivenMasks` or your own.
        damage: of the cues; by default a tenth of the spins turned.
        recalled: share of the patterns that must come back bit for bit, in (0, 1].
        trials: draws, at least 2.
        seed: of draws and damage.
        dtype: torch.float32 or torch.float64.
        device: where to work.

    Returns:
        Capacity, with its interval.

    Raises:
        ConfigError: a rule, share, number of draws or device that there is not.

    Example:
        >>> from hopmask import RandomMasks
        >>> found = measure("hebbian", RandomMasks(size=64), trials=2)
        >>> 2 < found.patterns < 20
        True

    Source:
        Capacity as the largest number of patterns with a given share of them recalled: McEliece et
        al. 1987, section I; the measurement is hopmask's own.
    """
    rule, damage = rule_named(rule), damage or Damage()
    _check(trials, recalled)
    counts = []
    for trial in range(trials):
        draw = _Draw(masks, _most(masks), seed=seed, trial=trial)
        empty = Reservoir(masks.size, rule=rule, dtype=dtype, device=device)

        def holds(reservoir: Reservoir, draw: _Draw = draw) -> bool:
            back, asked = draw.recalled(reservoir, damage)
            return back >= recalled * asked

        first = max(1, masks.size // 32)
        counts.append(_largest(empty, draw.write, holds, most=_most(masks), first=first))
    low, high = _interval(counts)
    return Capacity(
        rule=rule.name,
        size=masks.size,
        damage=damage,
        recalled=recalled,
        trials=tuple(counts),
        patterns=sum(counts) / trials,
        low=low,
        high=high,
        whole=masks.most is not None and min(counts) == masks.most,
    )


def curve(
    rule: str | LearningRule,
    masks: Ensemble,
    counts: Sequence[int],
    *,
    damages: Sequence[Damage] | None = None,
    trials: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> list[Point]:
    """Share of the patterns recalled over their number.

    Args:
        rule: by name or as an object.
        masks: where patterns come from.
        counts: numbers of patterns to ask at; those beyond what there are are left out, and those
            from which on the rule refuses a pattern count as none recalled.
        damages: of the cues; by default a tenth of the spins turned.
        trials: draws, at least 2.
        seed: of draws and damage.
        dtype: torch.float32 or torch.float64.
        device: where to work.

    Raises:
        ConfigError: as `measure`, or no number of patterns.

    Example:
        >>> from hopmask import RandomMasks
        >>> few, many = curve("hebbian", RandomMasks(size=64), [2, 40])
        >>> few.recalled > many.recalled
        True
    """
    rule, damages = rule_named(rule), damages or [Damage()]
    _check(trials, 1.0)
    counts = sorted({count for count in counts if 0 < count <= _most(masks)})
    if not counts:
        raise ConfigError(f"give numbers of patterns from 1 to {_most(masks)}")
    back = {(count, damage): [0, 0] for count in counts for damage in damages}
    for trial in range(trials):
        draw = _Draw(masks, counts[-1], seed=seed, trial=trial)
        reservoir = Reservoir(masks.size, rule=rule, dtype=dtype, device=device)
        taken = True
        for count in counts:
            taken = taken and _filled(reservoir, count, draw.write)
            for damage in damages:
                right, asked = draw.recalled(reservoir, damage) if taken else (0, count)
                back[count, damage][0] += right
                back[count, damage][1] += asked
    return [
        _point(rule.name, damage, count, masks.size, *back[count, damage])
        for damage in damages
        for count in counts
    ]


def limits(size: int, damage: Damage | None = None) -> list[Limit]:
    """Theoretical limits of the four rules, for n = `size` spins.

    Args:
        size: n.
        damage: with `flips` and a share ρ, McEliece's limits shrink by (1 − 2ρ)²; others have none.

    Raises:
        ConfigError: fewer than 2 spins.

    Example:
        >>> [round(limit.patterns) for limit in limits(512)]
        [71, 41, 21, 145, 512]
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 2:
        raise ConfigError(f"limits are for 2 spins and more, got {size!r}")
    turned = damage.share if damage is not None and damage.kind == "flips" else 0.0
    left, factor = ((1 - 2 * turned) ** 2, "(1 − 2ρ)² ") if turned else (1.0, "")
    mceliece = left * size / log(size)
    found = (
        ("hebbian", "0.138 n", 0.138 * size, "with a few wrong bits", "Amit et al. 1985"),
        (
            *("hebbian", f"{factor}n / (2 ln n)", mceliece / 2),
            *("almost any one of them, exactly", "McEliece et al. 1987"),
        ),
        (
            *("hebbian", f"{factor}n / (4 ln n)", mceliece / 4),
            *("all of them, exactly", "McEliece et al. 1987"),
        ),
        (
            *("storkey", "n / √(2 ln n)", size / sqrt(2 * log(size))),
            *("fixed points", "Storkey, Valabregue 1999"),
        ),
        ("projection", "n", float(size), "independent patterns", "Personnaz et al. 1986"),
    )
    return [
        Limit(rule=rule, formula=formula, patterns=patterns, meaning=meaning, source=source)
        for rule, formula, patterns, meaning, source in found
    ]


def estimate(
    memory: MaskMemory, *, recalled: float = 1.0, most: int = 256, seed: int = 0
) -> Estimate:
    """Try how many more tasks a memory takes, on copies of it, with masks like those it holds.

    Masks are drawn with independent bits, each with a mean of its own, μ √(q/m): μ is the memory's
    mean, m = (1/d) Σ μ², and q = (k m − 1)/(k − 1) the mean overlap of two of its k masks, which
    thus follows from μ alone. They are stored on top, and a sample of 32 old and 32 new tasks is
    recalled by number, until fewer than `recalled` of them come back. What it cannot know: whether
    later masks will be more alike than those before, or alike in pairs of bits.

    Args:
        memory: not empty. It is not changed; two copies of Ψ are made.
        recalled: share of the sample that must come back, in (0, 1].
        most: tasks to try at most.
        seed: of the masks.

    Raises:
        ConfigError: a share or number out of range, or something other than a MaskMemory.
        EmptyMemoryError: nothing is stored.

    Example:
        >>> from hopmask import MaskMemory
        >>> memory = MaskMemory({"hidden": 192}, key_bits=64, signature_features=0)
        >>> for task in range(3):
        ...     _ = memory.store({"hidden": torch.arange(192) % (task + 2) == 0})
        >>> estimate(memory, most=4).tasks
        3

    Source:
        hopmask's own.
    """
    if not isinstance(memory, MaskMemory):
        raise ConfigError(
            f"estimate takes a MaskMemory, got {type(memory).__name__}: it asks tasks by number. "
            "For a Reservoir, measure its rule: measure(reservoir.rule, ...)"
        )
    _check(2, recalled)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigError(f"most must be a positive number of tasks, got {most!r}")
    held, code, known = memory.reservoir, memory._code, memory._next
    held._require_patterns()
    means, overlap = _lean(held.mean[code.layout.body], held.count)
    masks = LeaningMasks(mean=means).draw(most, _generator(seed, 0)).to(held.mean)
    old = _spread(known, 32)
    if known > held.count:  # it is not known which were forgotten: those recalled now must stay
        old = old[_by_number(held, code, old, known).cpu()]

    def write(reservoir: Reservoir, number: int) -> None:
        new = number - held.count
        reservoir.store(code.pattern(known + new, masks[new], like=held.mean))

    def holds(reservoir: Reservoir) -> bool:
        new = reservoir.count - held.count
        tasks = torch.cat([old, known + _spread(new, 32)])
        right = _by_number(reservoir, code, tasks, known + new)
        return bool(right.double().mean() >= recalled)

    more = _largest(held, write, holds, most=most, first=1)
    return Estimate(
        tasks=held.count, overlap=overlap, more=more, open=more == most, recalled=recalled
    )


class _Draw:
    """One draw of patterns, and the damage to their cues."""

    def __init__(self, masks: Ensemble, count: int, *, seed: int, trial: int) -> None:
        self.generator = _generator(seed, trial)
        self.patterns = masks.draw(count, self.generator)

    def write(self, reservoir: Reservoir, number: int) -> None:
        """Store one of the patterns."""
        reservoir.store(self.patterns[number].to(reservoir.psi))

    def recalled(self, reservoir: Reservoir, damage: Damage) -> tuple[int, int]:
        """How many stored patterns come back bit for bit, and how many were asked."""
        asked = self.patterns[_spread(reservoir.count, _ASKED)].to(reservoir.psi)
        hit = reservoir.recall(damage.of(asked, self.generator))
        return int((hit.spins == asked).all(-1).sum()), len(asked)


def _largest(
    low: Reservoir,
    write: Callable[[Reservoir, int], None],
    holds: Callable[[Reservoir], bool],
    *,
    most: int,
    first: int,
) -> int:
    """How many more patterns `low`, which is left alone, takes while it still holds, up to most.

    The number is doubled from `first` until it fails, then bisected.
    """
    start, good, bad, step = low.count, 0, most + 1, first
    while bad - good > 1:
        more = min(step, most) if bad > most else (good + bad) // 2
        trial = copy.copy(low)
        trial.psi, trial.mean = low.psi.clone(), low.mean.clone()
        if _filled(trial, start + more, write) and holds(trial):
            low, good, step = trial, more, 2 * more
        else:
            bad = more
    return good


def _filled(reservoir: Reservoir, count: int, write: Callable[[Reservoir, int], None]) -> bool:
    """Store patterns up to a count; False if the rule refuses one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        try:
            while reservoir.count < count:
                write(reservoir, reservoir.count)
        except (DuplicateError, NumericalError):
            return False
    return True


def _by_number(reservoir: Reservoir, code: Code, tasks: Tensor, known: int) -> Tensor:
    """Which of some tasks come back by their number."""
    return recalled_by_key(reservoir, code, tasks, bits=code.keys.bits, known=known)[1]


def _lean(mean: Tensor, count: int) -> tuple[Tensor, float]:
    """Means of the bits of further masks, from μ of k masks, and q, the mean overlap of two."""
    square = float(mean.double().square().mean())
    if count < 2:
        return torch.full_like(mean, float(mean.mean())), float("nan")
    overlap = (count * square - 1) / (count - 1)
    return mean * sqrt(max(overlap, 0.0) / max(square, 1e-30)), overlap


def _interval(counts: Sequence[int]) -> tuple[float, float]:
    """95 % confidence interval of the mean, Student's t, at least 0."""
    mean, deviation = statistics.mean(counts), statistics.stdev(counts)
    reach = float(student.ppf(0.5 + _CONFIDENCE / 2, len(counts) - 1))
    half = reach * deviation / sqrt(len(counts))
    return max(0.0, mean - half), mean + half


def _point(rule: str, damage: Damage, count: int, size: int, right: int, asked: int) -> Point:
    interval = binomtest(right, asked).proportion_ci(_CONFIDENCE, method="wilson")
    return Point(
        rule=rule,
        damage=damage,
        patterns=count,
        load=count / size,
        recalled=right / asked,
        low=float(interval.low),
        high=float(interval.high),
        asked=asked,
    )


def _spread(count: int, most: int) -> Tensor:
    """At most so many of the numbers below `count`, evenly, first and last among them."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()


def _most(masks: Ensemble) -> int:
    """Patterns worth trying: no rule here recalls more than one a spin."""
    return masks.size if masks.most is None else masks.most


def _generator(seed: int, trial: int) -> torch.Generator:
    words = np.random.SeedSequence([seed, trial]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def _check(trials: int, recalled: float) -> None:
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 2:
        raise ConfigError(f"an interval takes at least 2 trials, got {trials!r}")
    if not 0 < recalled <= 1:
        raise ConfigError(f"recalled must be a share in (0, 1], got {recalled!r}")
