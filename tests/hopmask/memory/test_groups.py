"""Groups of samples, taken in the order of the samples however both are cut into parts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask.errors import CueError
from hopmask.memory.groups import GroupLabels

LABELS = torch.tensor([0, 2, 1, 1, 0, 2, 2, 0])


def cut(values, lengths):
    """Values in parts of the lengths, the rest in one more part."""
    parts, at = [], 0
    for length in lengths:
        parts.append(values[at : at + length])
        at += length
    return [*parts, values[at:]]


@given(given=st.lists(st.integers(0, 4), max_size=4), taken=st.lists(st.integers(1, 3), max_size=4))
def test_labels_come_in_order_however_they_are_cut(given, taken):
    labels = GroupLabels(iter(cut(LABELS, given)), count=3)
    sizes = [len(part) for part in cut(LABELS, taken) if len(part)]
    assert torch.equal(torch.cat([labels.take(size) for size in sizes]), LABELS)
    labels.end()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_labels_may_be_integers_of_any_type(dtype):
    labels = GroupLabels(LABELS.to(dtype), count=3)
    assert torch.equal(labels.take(8), LABELS)
    labels.end()


def test_without_labels_all_samples_are_of_group_0():
    labels = GroupLabels(None, count=3)
    assert labels.take(4).tolist() == [0] * 4
    labels.end()


@pytest.mark.parametrize(
    "groups",
    [
        LABELS.float(),
        LABELS > 0,
        LABELS[None],
        torch.tensor(1),
        LABELS - 1,
        LABELS + 1,
        LABELS[:7],
        [LABELS[:4], LABELS[4:7]],
        [LABELS.float()],
        [0, 2, 1, 1, 0, 2, 2, 0],
        "00000000",
        [],
        5,
    ],
)
def test_what_is_no_label_of_each_sample_is_refused(groups):
    with pytest.raises(CueError):
        GroupLabels(groups, count=3).take(8)


def test_labels_that_no_sample_has_are_refused():
    labels = GroupLabels([LABELS, LABELS[:0], LABELS[:1]], count=3)
    labels.take(8)
    with pytest.raises(CueError):
        labels.end()
