"""Theoretical limits of the learning rules, for random patterns and many spins."""

from dataclasses import dataclass
from math import log, sqrt

from hopmask.damage import Damage
from hopmask.errors import ConfigError


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
    left, factor = (max(0.0, 1 - 2 * turned) ** 2, "(1 − 2ρ)² ") if turned else (1.0, "")
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
