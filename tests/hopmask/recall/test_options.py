"""Options of a search are checked where they are made, and cannot be changed."""

import dataclasses

import pytest

from hopmask import ConfigError, Search


@pytest.mark.parametrize(
    "options",
    [
        *({"dynamics": value} for value in ((), "fast", (3,))),
        *({"max_basins": value} for value in (0, 1.0, True)),
        *({"min_margin": value} for value in (0, float("nan"), "3")),
        *({"agreement_weight": value} for value in (0, -1.0)),
        *({"recognition_margin": value} for value in (0, "2")),
    ],
    ids=repr,
)
def test_an_option_out_of_its_range_is_refused(options):
    with pytest.raises(ConfigError):
        Search(**options)


def test_a_search_is_read_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Search().max_basins = 3
