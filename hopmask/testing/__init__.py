"""Property-based tests of memories, for users' own masks and rules; needs hypothesis.

- Strategies draw what a test is about: `spins`, `masks`, `mask_sets`, `damaged` cues, filled
  `reservoirs` and `memories`. They shrink to few, small, simple masks and little damage.
- Checks state what a memory promises: `assert_recallable` of one that is filled,
  `assert_capacity` of a way of building them.
- `LearningRuleContract` is a test suite that any learning rule inherits by naming its class.

Example:
    A test of your own masks, to paste (`my_masks` (tasks, bits) is your tensor):

    >>> import torch
    >>> from hypothesis import given, settings, strategies as st
    >>> from hopmask import Reservoir
    >>> my_masks = torch.rand(12, 256, generator=torch.Generator().manual_seed(0)) < 0.5
    >>> @settings(max_examples=5, deadline=None)
    ... @given(data=st.data())
    ... def test_my_masks_survive_ten_percent_of_flips(data):
    ...     reservoir = Reservoir(256)
    ...     reservoir.store(my_masks)
    ...     cues = data.draw(damaged(my_masks, kind="flips", share=0.1))
    ...     assert_recallable(reservoir, my_masks, cues=2 * cues - 1)
    >>> test_my_masks_survive_ten_percent_of_flips()
    >>> assert_capacity(lambda: Reservoir(256), load=0.05, noise=0.1)

Source:
    Tests shipped for others to inherit: linear_operator's test cases, zarr's `zarr.testing`.
"""

from hopmask.errors import MissingDependencyError

try:
    import hypothesis  # noqa: F401
except ImportError as error:
    raise MissingDependencyError(
        "hopmask.testing draws its examples with hypothesis, which is not installed: "
        "pip install 'hopmask[test]', or pip install hypothesis. Nothing else of hopmask needs it"
    ) from error

from hopmask.testing.checks import assert_capacity, assert_recallable
from hopmask.testing.contract import LearningRuleContract
from hopmask.testing.couplings_contract import CouplingsContract
from hopmask.testing.strategies import (
    Filled,
    damaged,
    mask_sets,
    masks,
    memories,
    reservoirs,
    spins,
)

__all__ = [
    "CouplingsContract",
    "Filled",
    "LearningRuleContract",
    "assert_capacity",
    "assert_recallable",
    "damaged",
    "mask_sets",
    "masks",
    "memories",
    "reservoirs",
    "spins",
]
