"""Sets of images that one mask is for."""

import pytest
import torch
from torch import Tensor

from supsup_bridge.continual.scoring import groups
from supsup_bridge.inference.base import Inferred


def inferred(masks: dict[str, Tensor], **extras: Tensor) -> Inferred:
    numbers = torch.zeros(len(next(iter(masks.values()))), dtype=torch.long)
    return Inferred(task=numbers, masks=masks, extras=extras, steps=numbers, verified=numbers == 0)


@pytest.mark.parametrize("bits", [1, 3, 8, 13, 64])
@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_rows_of_equal_masks_are_one_group(bits: int, kind: torch.dtype) -> None:
    first = torch.arange(bits) % 3 == 0
    masks = first.repeat(5, 1)
    masks[1, -1] ^= True  # the last entry, which no whole word may hold
    masks[4, -1] ^= True
    masks[3] = ~first
    found = groups(inferred({"a": masks.to(kind)}))
    distinct = masks.unique(dim=0)
    assert len(found) == len(distinct)
    assert sorted(row for group in found for row in group) == [0, 1, 2, 3, 4]
    for group in found:
        assert len({tuple(masks[row].tolist()) for row in group}) == 1


def test_parts_of_longer_rows_are_compared_as_they_are() -> None:
    rows = torch.arange(7 * 40).reshape(7, 40) % 5 == 0
    rows[5] = rows[2]
    masks = {"a": rows[:, 1:14], "b": rows[:, 14:38].reshape(7, 4, 6)}
    joined = torch.cat([mask.flatten(1) for mask in masks.values()], 1)
    found = groups(inferred(masks))
    assert len(found) == len(joined.unique(dim=0))
    assert all(len(joined[group].unique(dim=0)) == 1 for group in found)


def test_masks_of_other_statistics_are_another_group() -> None:
    masks = {"a": torch.ones(3, 16, dtype=torch.bool)}
    found = groups(inferred(masks, mean=torch.tensor([[0.0], [1.0], [0.0]])))
    assert found == [[0, 2], [1]]
