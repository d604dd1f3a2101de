"""Confidence intervals of shares."""

from math import sqrt

import pytest

from supsup_bridge.runs.intervals import binomial, over_tasks


def test_the_interval_over_tasks_is_students() -> None:
    """Mean 0.5, deviation 0.1, and t of 2 degrees of freedom, 4.3027 (tables)."""
    low, high = over_tasks([0.4, 0.5, 0.6])
    half = 4.3027 * 0.1 / sqrt(3)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)


def test_one_task_and_tasks_all_alike_have_no_interval_and_no_share_leaves_its_range() -> None:
    assert over_tasks([0.5]) is None
    assert over_tasks([1.0, 1.0]) is None
    assert over_tasks([0.2, 1.0]) == (0, 1)


@pytest.mark.parametrize(("right", "count"), [(0, 5), (3, 10), (128, 128)])
def test_the_binomial_interval_is_wilsons(right: int, count: int) -> None:
    z, share = 1.959964, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    assert binomial(share, count) == pytest.approx((middle - half, middle + half), abs=1e-6)
