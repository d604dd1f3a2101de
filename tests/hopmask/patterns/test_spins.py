"""Masks to spins and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import HopmaskError, MaskError, to_mask, to_spins
from hopmask.patterns.spins import check_spins, sign

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, data=st.data())
def test_a_mask_of_any_shape_survives_the_way_to_spins_and_back(shape, data):
    size = torch.Size(shape).numel()
    bits = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    mask = torch.tensor(bits).reshape(shape)
    assert torch.equal(to_mask(to_spins(mask), shape), mask)


@settings(max_examples=20, deadline=None)
@given(bits=st.lists(st.sampled_from([-1.0, 1.0]), min_size=1, max_size=20))
def test_spins_survive_the_way_to_a_mask_and_back(bits):
    spins = torch.tensor(bits)
    assert torch.equal(to_spins(to_mask(spins)), spins)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int64, torch.float16, torch.float64]
)
def test_every_type_that_holds_only_0_and_1_is_a_mask(dtype):
    assert to_spins(torch.tensor([0, 1, 1]).to(dtype)).tolist() == [-1.0, 1.0, 1.0]


def test_spins_come_in_row_major_order():
    mask = torch.tensor([[True, False, False], [False, True, True]])
    assert to_spins(mask).tolist() == [1, -1, -1, -1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spins_have_the_type_asked_for(dtype):
    assert to_spins(torch.tensor([True]), dtype=dtype).dtype == dtype


def test_a_single_bit_without_dimensions_is_one_spin():
    assert to_spins(torch.tensor(True)).shape == (1,)


def test_a_mask_is_not_changed_by_making_spins_of_it():
    mask = torch.tensor([0.0, 1.0])
    to_spins(mask)
    assert mask.tolist() == [0.0, 1.0]


def test_spins_of_a_mask_with_gradient_carry_none():
    assert not to_spins(torch.tensor([0.0, 1.0], requires_grad=True)).requires_grad


@pytest.mark.parametrize("value", [0.5, float("nan"), 2.0, -1.0, float("inf"), 1.0 + 1e-6])
def test_a_value_other_than_0_and_1_is_no_mask(value):
    with pytest.raises(MaskError):
        to_spins(torch.tensor([1.0, value]))


@pytest.mark.parametrize("value", [2, -1])
def test_a_whole_number_other_than_0_and_1_is_no_mask(value):
    with pytest.raises(MaskError, match=str(value)):
        to_spins(torch.tensor([0, value]))


def test_complex_numbers_are_no_mask():
    with pytest.raises(MaskError):
        to_spins(torch.tensor([1 + 0j, 0j]))


def test_an_empty_mask_is_refused():
    with pytest.raises(MaskError):
        to_spins(torch.zeros(0, dtype=torch.bool))


@pytest.mark.parametrize("thing", [[True, False], 1, None, "mask"])
def test_what_is_no_tensor_is_no_mask(thing):
    with pytest.raises(MaskError, match=type(thing).__name__):
        to_spins(thing)


def test_the_error_calls_the_mask_by_its_name():
    with pytest.raises(MaskError, match="'hidden1'"):
        to_spins(torch.tensor([2]), name="mask 'hidden1'")


def test_a_batch_of_spins_becomes_a_batch_of_shaped_masks():
    spins = torch.tensor([[1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, -1.0]])
    mask = to_mask(spins, (2, 2))
    assert mask.shape == (2, 2, 2)
    assert torch.equal(mask[1], torch.tensor([[False, False], [True, False]]))


@pytest.mark.parametrize("value", [0.0, 0.5, float("nan"), 2.0])
def test_a_value_other_than_plus_and_minus_1_is_no_spin(value):
    with pytest.raises(MaskError):
        to_mask(torch.tensor([1.0, value]))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (5, 1)])
def test_a_shape_of_another_size_is_refused(shape):
    with pytest.raises(MaskError):
        to_mask(torch.ones(4), shape)


@pytest.mark.parametrize(
    "spins",
    [
        torch.tensor([True, False]),
        torch.tensor(1.0),
        torch.zeros(0),
        torch.tensor([1j, 1.0]),
        [1.0, -1.0],
    ],
    ids=["bool", "no dimension", "empty", "complex", "list"],
)
def test_what_cannot_be_spins_is_refused(spins):
    with pytest.raises(MaskError):
        to_mask(spins)


def test_spins_of_another_size_are_refused_with_the_remedy():
    with pytest.raises(MaskError):
        check_spins(torch.ones(4), size=5)


def test_a_mask_error_is_a_value_error_and_a_hopmask_error():
    assert issubclass(MaskError, ValueError)
    assert issubclass(MaskError, HopmaskError)


def test_a_spin_without_a_field_stays_as_it_is():
    state = torch.tensor([-1.0, 1.0, -1.0])
    assert sign(torch.tensor([0.0, 0.0, 2.0]), state).tolist() == [-1.0, 1.0, 1.0]
