"""95 % confidence intervals of the shares that a run reports."""

import statistics
from collections.abc import Sequence
from math import sqrt

CONFIDENCE = 0.95
Interval = tuple[float, float]


def over_tasks(values: Sequence[float]) -> Interval | None:
    """Of a mean over tasks, Student's t over the tasks: x̄ ± t s / √k, cut to [0, 1].

    It says how the mean would vary with other tasks like these. It is not the spread over seeds.

    Args:
        values: a share of each of the k tasks.

    Returns:
        Low and high; None of fewer than two tasks, and of tasks that are all alike, whose scatter
        says nothing.

    Example:
        >>> [round(end, 3) for end in over_tasks([0.8, 0.9, 1.0])]
        [0.652, 1.0]
    """
    from scipy.stats import t as student

    if len(values) < 2 or min(values) == max(values):
        return None
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
    half = reach * statistics.stdev(values) / sqrt(len(values))
    mean = statistics.mean(values)
    return max(0.0, mean - half), min(1.0, mean + half)


def written(interval: Interval) -> str:
    """Both ends, for people.

    Example:
        >>> written((0.25, 1.0))
        '0.2500 to 1.0000'
    """
    return f"{interval[0]:.4f} to {interval[1]:.4f}"


def binomial(share: float, count: int) -> Interval:
    """Of a share of so many independent trials, by Wilson's score.

    Args:
        share: of the trials, those that came out right.
        count: of all trials, at least 1.

    Example:
        >>> [round(end, 3) for end in binomial(0.9, 10)]
        [0.596, 0.982]

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    from scipy.stats import binomtest

    found = binomtest(round(share * count), count).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)
