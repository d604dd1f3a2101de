"""Where each layer's mask lies in the joint vector, and what may be put there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import ConfigError, CueError, MaskError
from hopmask.patterns.layout import Layout

SIZES = {"a": 4, "b": (2, 3), "c": (1, 2, 2)}


@pytest.fixture
def layout():
    return Layout(SIZES, head=5)


@pytest.fixture
def masks():
    generator = torch.Generator().manual_seed(0)
    return {
        "a": torch.rand(4, generator=generator) < 0.5,
        "b": torch.rand(2, 3, generator=generator) < 0.5,
        "c": torch.rand(1, 2, 2, generator=generator) < 0.5,
    }


def test_layers_follow_the_head_without_gap_or_overlap(layout):
    assert layout.layers == {"a": slice(5, 9), "b": slice(9, 15), "c": slice(15, 19)}
    assert layout.body == slice(5, 19)
    assert layout.size == 19


def test_shapes_are_kept_as_tuples(layout):
    assert layout.shapes == {"a": (4,), "b": (2, 3), "c": (1, 2, 2)}


@settings(max_examples=25, deadline=None)
@given(
    shapes=st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
        min_size=1,
        max_size=4,
    ),
    head=st.integers(0, 9),
    seed=st.integers(0, 2**16),
)
def test_masks_of_any_layers_survive_joining_and_splitting(shapes, head, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = {name: torch.rand(s, generator=generator) < 0.5 for name, s in shapes.items()}
    layout = Layout(shapes, head=head)
    joint = torch.cat([torch.ones(head), layout.join(masks)])
    for name, part in layout.split(joint).items():
        assert torch.equal(part > 0, masks[name])


def test_joining_does_not_depend_on_the_order_of_the_masks(layout, masks):
    assert torch.equal(layout.join(masks), layout.join(dict(reversed(masks.items()))))


def test_a_batch_is_split_into_batches(layout):
    parts = layout.split(torch.zeros(7, 2, layout.size))
    assert parts["b"].shape == (7, 2, 2, 3)


def test_a_missing_mask_is_named(layout, masks):
    del masks["b"]
    with pytest.raises(MaskError, match="'b'"):
        layout.join(masks)


def test_a_wrong_name_suggests_the_right_one(layout):
    layout = Layout({"hidden1": 2, "output": 2}, head=0)
    with pytest.raises(MaskError, match="'hiden1'"):
        layout.join({"hiden1": torch.ones(2), "output": torch.ones(2)})


def test_a_wrong_shape_names_the_remedy(layout, masks):
    masks["b"] = masks["b"].T
    with pytest.raises(MaskError):
        layout.join(masks)


def test_a_wrong_value_names_the_layer(layout, masks):
    masks["c"] = masks["c"].float() / 2
    with pytest.raises(MaskError, match="'c'"):
        layout.join(masks)


@pytest.mark.parametrize("thing", [torch.ones(4), [torch.ones(4)], None, "a"])
def test_masks_without_names_are_refused(layout, thing):
    with pytest.raises(MaskError):
        layout.join(thing)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        None,
        ["h"],
        {"h": 0},
        {"h": True},
        {"h": 2.5},
        {"h": "12"},
        {"h": ()},
        {"h": (3, 0)},
        {"h": (True,)},
        {"": 3},
        {5: 3},
    ],
    ids=repr,
)
def test_sizes_that_nothing_can_be_built_from_are_refused(sizes):
    with pytest.raises(ConfigError):
        Layout(sizes, head=4)


# Cues


def test_a_cue_is_levels_between_minus_and_plus_1(layout):
    ((where, level),) = layout.levels({"a": torch.tensor([0.0, 0.5, 1.0, 0.75])})
    assert where == slice(5, 9)
    assert level.tolist() == [-1.0, 0.0, 1.0, 0.5]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float64])
def test_a_cue_may_have_any_real_type(layout, dtype):
    ((_, level),) = layout.levels({"a": torch.tensor([0, 1, 1, 0]).to(dtype)})
    assert level.tolist() == [-1, 1, 1, -1]


def test_a_batch_of_cues_keeps_its_rows(layout):
    ((_, level),) = layout.levels({"b": torch.ones(7, 2, 3)})
    assert level.shape == (7, 6)


def test_a_cue_may_leave_layers_out(layout, masks):
    assert len(layout.levels({"a": masks["a"], "c": torch.ones(1, 2, 2)})) == 2


def test_a_layer_of_zeros_is_fine_beside_one_that_says_something(layout):
    assert len(layout.levels({"a": torch.zeros(4), "b": torch.ones(2, 3)})) == 2


def test_one_layer_may_be_a_batch_and_the_other_the_same_for_all(layout):
    assert len(layout.levels({"a": torch.ones(4), "b": torch.ones(7, 2, 3)})) == 2


@pytest.mark.parametrize(
    "cue",
    [
        {},
        {"x": torch.ones(4)},
        {"a": torch.ones(5)},
        {"b": torch.ones(6)},
        {"b": torch.ones(3, 2)},
        {"a": torch.tensor(1.0)},
        {"a": [1, 1, 1, 1]},
        {"a": torch.full((4,), float("nan"))},
        {"a": torch.tensor([0.0, 1.0, 1.0, 1.1])},
        {"a": torch.tensor([0.0, 1.0, 1.0, -0.1])},
        {"a": torch.ones(4, dtype=torch.complex64)},
        {"a": torch.zeros(4)},
        {"a": torch.full((4,), 0.5)},
        {"a": torch.zeros(4), "b": torch.zeros(2, 3)},
        {"a": torch.stack([torch.ones(4), torch.zeros(4)])},
        {"a": torch.ones(2, 4), "b": torch.ones(3, 2, 3)},
        torch.ones(4),
        7,
    ],
    ids=[
        "no layer",
        "unknown layer",
        "size",
        "flat",
        "transposed",
        "no dimension",
        "list",
        "NaN",
        "above 1",
        "below 0",
        "complex",
        "zeros",
        "unknown everywhere",
        "zeros in both layers",
        "one row of zeros",
        "different batches",
        "a tensor",
        "a number",
    ],
)
def test_a_cue_that_cannot_name_a_memory_is_refused(layout, cue):
    with pytest.raises(CueError):
        layout.levels(cue)


def test_an_unknown_layer_in_a_cue_suggests_the_right_one():
    with pytest.raises(CueError, match="'hidden1'"):
        Layout({"hidden1": 4, "output": 4}, head=0).levels({"hidden_1": torch.ones(4)})


@pytest.mark.parametrize("head", [0, 3])
def test_the_parts_of_levels_may_be_changed_in_place_and_have_gradients(head):
    layout = Layout({"a": 4, "b": (2, 3)}, head=head)
    state = torch.linspace(-1, 1, layout.size).repeat(2, 1).requires_grad_()
    parts = layout.split((1 + state) / 2)
    inside = parts["a"].clamp_(0.2, 0.9).log().sum() + parts["b"].square().sum()
    (found,) = torch.autograd.grad(inside, state)
    other = state.detach().requires_grad_()
    levels = (1 + other) / 2
    a = levels[:, head : head + 4].clamp(0.2, 0.9).log().sum()
    b = levels[:, head + 4 : head + 10].square().sum()
    torch.testing.assert_close(found, torch.autograd.grad(a + b, other)[0])
