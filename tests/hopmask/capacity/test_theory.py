"""Theoretical limits against numbers worked out by hand."""

from math import inf

import pytest

from hopmask import (
    ConfigError,
    Damage,
    RandomMasks,
)
from hopmask.capacity import limits, measure

UNDAMAGED = Damage(share=0.0)


def by_formula(size):
    return {limit.formula: limit.patterns for limit in limits(size)}


def test_limits_are_those_of_the_formulas_worked_out_by_hand():
    """ln 512 = 6.238325, √(2 ln 512) = 3.532230; ln 1000 = 6.907755, √(2 ln 1000) = 3.716922."""
    assert by_formula(512) == pytest.approx(
        {
            "0.138 n": 70.656,
            "n / (2 ln n)": 41.03666,
            "n / (4 ln n)": 20.51833,
            "n / √(2 ln n)": 144.95092,
            "n − 1": 511.0,
        },
        rel=1e-6,
    )
    assert by_formula(1000) == pytest.approx(
        {
            "0.138 n": 138.0,
            "n / (2 ln n)": 72.38241,
            "n / (4 ln n)": 36.19121,
            "n / √(2 ln n)": 269.0398,
            "n − 1": 999.0,
        },
        rel=1e-6,
    )


def test_limits_name_rules_that_there_are_what_they_mean_and_who_found_them():
    found = limits(64)
    assert {limit.rule for limit in found} == {"hebbian", "storkey", "projection"}
    assert all(limit.meaning and limit.source for limit in found)


def test_the_limits_of_hebb_are_kept_by_what_is_measured():
    """At d = 256 the exact capacity lies below 0.138 d, within which a few bits may be wrong."""
    found = measure("hebbian", RandomMasks(size=256), damage=UNDAMAGED, trials=2)
    assert by_formula(256)["n / (4 ln n)"] < found.patterns < by_formula(256)["0.138 n"]


@pytest.mark.parametrize("size", [1, True, 512.0, "512", inf])
def test_limits_of_fewer_than_2_spins_are_refused(size):
    with pytest.raises(ConfigError):
        limits(size)
