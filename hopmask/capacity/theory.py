"""Theoretical limits of the learning rules, for random patterns and many spins."""

from dataclasses import dataclass
from math import log, sqrt

from hopmask._checks import check_whole


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A theoretical limit, for independent random patterns and d → ∞.

    Attributes:
        rule: name of the learning rule.
        formula: as it is written.
        patterns: its value.
        meaning: what is true up to it.
        source: who found it.

    Example:
        >>> limits(512)[3].formula
        'n / √(2 ln n)'
    """

    rule: str
    formula: str
    patterns: float
    meaning: str
    source: str


def limits(size: int) -> list[Limit]:
    """Theoretical limits of the rules, for n = `size` spins and undamaged or slightly damaged cues.

    Args:
        size: n.

    Raises:
        ConfigError: fewer than 2 spins.

    Example:
        >>> [round(limit.patterns) for limit in limits(512)]
        [71, 41, 21, 145, 511]

    Source:
        Amit, Gutfreund, Sompolinsky 1985; McEliece et al. 1987; Storkey 1997; Personnaz, Guyon,
        Dreyfus 1986: each limit names its own.
    """
    check_whole(size, "size (spins)", least=2)
    amit, mceliece, ln = "Amit et al. 1985", "McEliece et al. 1987", log(size)
    found = (
        ("hebbian", "0.138 n", 0.138 * size, "with a few wrong bits", amit),
        ("hebbian", "n / (2 ln n)", size / (2 * ln), "almost any one of them, exactly", mceliece),
        ("hebbian", "n / (4 ln n)", size / (4 * ln), "all of them, exactly", mceliece),
        ("storkey", "n / √(2 ln n)", size / sqrt(2 * ln), "as fixed points", "Storkey 1997"),
        (
            *("projection", "n − 1", size - 1.0),
            *("any independent ones, as fixed points", "Personnaz et al. 1986"),
        ),
    )
    return [
        Limit(rule=rule, formula=formula, patterns=patterns, meaning=meaning, source=source)
        for rule, formula, patterns, meaning, source in found
    ]
