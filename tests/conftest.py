"""Hypothesis profiles: how many examples the property-based tests draw, and whether anew each time.

HYPOTHESIS_PROFILE names one: `default`, `ci` (as many examples, the same in every run) or `nightly`
(many more). Without it, it is `ci` where the variable CI is set, else `default`. pytest's option
--hypothesis-profile overrules both, and a test's own @settings overrule what they name.

All tests compute with one thread: their tensors are so small that more threads only wait for one
another, pytest-xdist runs several processes at a time, and a forked child has no threads of OpenMP.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch

from hypothesis import HealthCheck, settings

_FEW = 20

# The parent is named because where CI is set settings without one are those of hypothesis' own "ci"
_base = settings(
    settings.get_profile("default"),
    max_examples=_FEW,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("default", _base)
settings.register_profile("ci", _base, derandomize=True, database=None, print_blob=True)
settings.register_profile("nightly", _base, max_examples=50 * _FEW, print_blob=True)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if "CI" in os.environ else "default")
)
