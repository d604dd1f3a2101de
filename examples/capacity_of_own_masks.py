"""How many of your own masks a memory holds, as tests that try to break it.

    python -m pytest examples/capacity_of_own_masks.py

`own_masks` stands for yours. Hypothesis draws damage anew each time, and shrinks what fails to
the fewest turned bits.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import GivenMasks, MaskMemory, Reservoir, capacity
from hopmask.testing import assert_capacity, assert_recallable, damaged

BITS, MASKS = 256, 16


def own_masks() -> torch.Tensor:
    """Masks (tasks, bits), bool: replace this by your own, such as torch.load(...)."""
    return torch.rand(MASKS, BITS, generator=torch.Generator().manual_seed(0)) < 0.4


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_masks_come_back_from_damaged_ones(data: st.DataObject) -> None:
    masks = {"hidden": own_masks()}
    memory = MaskMemory({"hidden": BITS}, couplings="hub", hubs=MASKS)
    for mask in masks["hidden"]:
        memory.store({"hidden": mask})
    share = st.integers(0, BITS // 10).map(lambda bits: bits / BITS)
    assert_recallable(memory, masks, cues=data.draw(damaged(masks, share=share)))


def test_dense_couplings_hold_them() -> None:
    load = MASKS / 2 / BITS  # half of the masks, drawn anew in each trial
    assert_capacity(lambda: Reservoir(BITS), load=load, masks=GivenMasks(own_masks()))


def test_how_many_dense_couplings_hold() -> None:
    found = capacity.measure("storkey", GivenMasks(own_masks()), trials=2)
    print(found)  # shown by pytest -s
    assert found.patterns >= MASKS / 2
