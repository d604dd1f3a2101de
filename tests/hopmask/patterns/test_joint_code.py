"""The joint vector of a task: how it is put together, and how one is read back."""

import pytest
import torch

from hopmask import ConfigError
from hopmask.patterns.check_bits import CHECK_BITS, MENDED
from hopmask.patterns.joint_code import JointCode

BITS, BODY = 64, 100
SIZES = {"h1": 40, "h2": (6, 10)}
LIKE = torch.zeros(1)
code = JointCode(SIZES, seed=3, key_bits=BITS)


@pytest.fixture
def body(random_spins):
    return random_spins(1, BODY, seed=1)[0]


def read(state, firm=None, count=5):
    keys = code.keys_of(count, like=LIKE)
    return code.read(state, torch.ones_like(state) if firm is None else firm, keys)


def held_least(state, places):
    """Firmness of spins among which some are held least."""
    firm = torch.ones_like(state)
    firm[:, places] = 0.01
    return firm


def test_a_vector_is_key_check_bits_and_masks(body):
    pattern = code.pattern(2, body, like=LIKE)
    assert pattern.shape == (1, code.size) == (1, BITS + CHECK_BITS + BODY)
    assert torch.equal(pattern[0, :BITS], code.keys.of(torch.tensor([2]))[0])
    assert torch.equal(pattern[0, BITS + CHECK_BITS :], body)
    assert torch.equal(pattern.abs(), torch.ones_like(pattern))


def test_bits_are_those_of_the_masks_alone():
    assert code.bits == BODY


def test_check_bits_depend_on_key_and_masks(body):
    where = slice(BITS, BITS + CHECK_BITS)
    first = code.pattern(0, body, like=LIKE)[:, where]
    assert not torch.equal(code.pattern(1, body, like=LIKE)[:, where], first)
    other = body.clone()
    other[7] *= -1
    assert not torch.equal(code.pattern(0, other, like=LIKE)[:, where], first)


def test_a_vector_follows_from_seed_number_and_masks(body):
    pattern = code.pattern(1, body, like=LIKE)
    again = JointCode(SIZES, seed=3, key_bits=BITS).pattern(1, body, like=LIKE)
    other = JointCode(SIZES, seed=4, key_bits=BITS).pattern(1, body, like=LIKE)
    assert torch.equal(again, pattern)
    assert not torch.equal(other[:, :BITS], pattern[:, :BITS])


def test_making_a_vector_leaves_the_masks_alone(body):
    before = body.clone()
    code.pattern(0, body, like=LIKE).zero_()
    assert torch.equal(body, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_have_the_type_they_are_asked_for(dtype, body):
    like = torch.zeros(1, dtype=dtype)
    made = (
        code.blank(2, like=like),
        code.by_key(torch.tensor([1]), like=like),
        code.keys_of(2, like=like),
        code.pattern(1, body.to(dtype), like=like),
    )
    assert {vector.dtype for vector in made} == {dtype}


def test_a_blank_says_nothing():
    assert torch.equal(code.blank(3, like=LIKE), torch.zeros(3, code.size))


@pytest.mark.parametrize("bits", [None, 1, BITS // 2, BITS])
def test_a_cue_by_key_knows_so_many_bits_of_the_key_and_nothing_else(bits):
    tasks = torch.tensor([4, 0])
    cue = code.by_key(tasks, like=LIKE, bits=bits)
    known = bits or BITS
    assert torch.equal(cue[:, :known], code.keys.of(tasks)[:, :known])
    assert not cue[:, known:].any()


def test_keys_are_those_of_all_numbers_below_a_count():
    keys = code.keys_of(4, like=LIKE)
    assert keys.shape == (4, BITS)
    for task, key in enumerate(keys):
        assert torch.equal(key, code.keys.of(torch.tensor([task]))[0])


def test_a_stored_pattern_is_proven_right_and_left_as_it_is(body):
    pattern = code.pattern(3, body, like=LIKE)
    before = pattern.clone()
    state, right = read(pattern)
    assert right.tolist() == [True]
    assert torch.equal(state, before)
    assert torch.equal(pattern, before)


@pytest.mark.parametrize(
    "places",
    [[5], [BITS + 5], [BITS + CHECK_BITS + 5], list(range(100, 100 + MENDED))],
    ids=["key", "check bits", "masks", "as many as can be"],
)
def test_wrong_spins_that_are_held_least_are_mended_in_every_part(places, body):
    pattern = code.pattern(3, body, like=LIKE)
    wrong = pattern.clone()
    wrong[:, places] *= -1
    state, right = read(wrong, held_least(wrong, places))
    assert torch.equal(state, pattern)
    assert right.tolist() == [True]


def test_a_wrong_spin_that_is_held_firmly_leaves_a_state_unproven(body):
    wrong = code.pattern(3, body, like=LIKE)
    wrong[:, 200] *= -1
    state, right = read(wrong, held_least(wrong, list(range(MENDED))))
    assert right.tolist() == [False]
    assert torch.equal(state, wrong)


def test_a_pattern_of_a_number_that_was_never_given_is_unproven(body):
    """Its check bits are right, its key is no task's."""
    pattern = code.pattern(5, body, like=LIKE)
    assert read(pattern, count=5)[1].tolist() == [False]
    assert read(pattern, count=6)[1].tolist() == [True]


def test_the_negative_of_a_pattern_is_unproven(body):
    pattern = code.pattern(3, body, like=LIKE)
    negative = -pattern
    assert read(negative)[1].tolist() == [False]


def test_the_negative_of_a_key_is_no_key_even_where_check_bits_are_right(body):
    pattern = code.pattern(3, body, like=LIKE)
    pattern[:, :BITS] *= -1
    code._parity.seal(pattern)
    assert read(pattern)[1].tolist() == [False]


def test_rows_are_read_each_for_itself(body):
    states = torch.cat([code.pattern(task, body, like=LIKE) for task in (0, 4, 7)])
    assert read(states)[1].tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("sizes", "bits", "named"),
    [({}, 64, "sizes"), ({"h": 0}, 64, "'h'"), ({"h": 8}, 8, "key_bits")],
)
def test_a_code_of_sizes_or_bits_that_are_none_is_refused(sizes, bits, named):
    with pytest.raises(ConfigError, match=named):
        JointCode(sizes, seed=0, key_bits=bits)
