"""Check bits: proof that a pattern is right, and repair of its last wrong spins."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask.patterns.check_bits import CHECK_BITS, MENDED, CheckBits

SIZE, WHERE = 500, slice(128, 128 + CHECK_BITS)
parity = CheckBits(seed=4, size=SIZE, where=WHERE)


def sealed(seed: int = 0, rows: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    spins = (torch.rand(rows, SIZE, generator=g) < 0.5).float() * 2 - 1
    parity.seal(spins)
    return spins


def margin(spins: torch.Tensor, weakest: list[int]) -> torch.Tensor:
    """Firmness of spins among which some are held least."""
    firm = torch.rand(spins.shape, generator=torch.Generator().manual_seed(9)) + 1
    firm[:, weakest] = 0.01
    return firm


def flipped(spins: torch.Tensor, places: list[int]) -> torch.Tensor:
    wrong = spins.clone()
    wrong[:, places] *= -1
    return wrong


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_sealed_pattern_holds(seed):
    assert bool(parity.holds(sealed(seed)).all())


def test_sealing_changes_the_check_bits_alone():
    spins = sealed()
    again = spins.clone()
    again[:, WHERE] = 1
    parity.seal(again)
    assert torch.equal(again, spins)
    assert torch.equal(spins.abs(), torch.ones_like(spins))


@settings(max_examples=50, deadline=None)
@given(places=st.sets(st.integers(0, SIZE - 1), min_size=1, max_size=9))
def test_a_pattern_with_wrong_spins_does_not_hold(places):
    assert not bool(parity.holds(flipped(sealed(), sorted(places))).any())


@settings(max_examples=50, deadline=None)
@given(places=st.sets(st.integers(0, SIZE - 1), min_size=1, max_size=MENDED))
def test_weak_spins_are_mended_wherever_they_are(places):
    right, wrong = sealed(), flipped(sealed(), sorted(places))
    assert torch.equal(parity.mended(wrong, margin(wrong, sorted(places))), right)


def test_more_wrong_spins_than_can_be_mended_are_left_as_they_are():
    places = list(range(MENDED + 1))
    wrong = flipped(sealed(), places)
    assert torch.equal(parity.mended(wrong, margin(wrong, places)), wrong)


def test_a_wrong_spin_that_is_held_firmly_is_left_as_it_is():
    wrong = flipped(sealed(), [7])
    assert torch.equal(parity.mended(wrong, margin(wrong, list(range(50, 90)))), wrong)


def test_a_right_pattern_stays_as_it_is_and_no_input_changes():
    right = sealed()
    before = right.clone()
    assert torch.equal(parity.mended(right, margin(right, [1, 2])), right)
    assert torch.equal(right, before)


def test_rows_are_mended_each_for_itself():
    right = sealed(rows=4)
    wrong = right.clone()
    wrong[1, 5] *= -1
    wrong[2, [5, 130]] *= -1
    wrong[3, [5, 6, 300]] *= -1  # 300 is held firmly
    mended = parity.mended(wrong, margin(wrong, [5, 6, 130, *range(400, 429)]))
    assert torch.equal(mended[:3], right[:3])
    assert torch.equal(mended[3], wrong[3])
    assert parity.holds(mended).tolist() == [True, True, True, False]


def test_another_seed_has_other_words():
    other = CheckBits(seed=5, size=SIZE, where=WHERE)
    assert not bool(other.holds(sealed()).any())


def test_patterns_shorter_than_what_is_tried_are_mended_too():
    small = CheckBits(seed=0, size=CHECK_BITS + 3, where=slice(0, CHECK_BITS))
    spins = torch.ones(1, CHECK_BITS + 3)
    small.seal(spins)
    wrong = spins.clone()
    wrong[0, -1] *= -1
    assert torch.equal(small.mended(wrong, -torch.arange(CHECK_BITS + 3.0)[None]), spins)


def test_the_words_stay_the_same_from_version_to_version():
    """Memories on disk hold check bits made of them."""
    spins = torch.ones(1, SIZE)
    parity.seal(spins)
    bits = "".join("1" if bit > 0 else "0" for bit in spins[0, WHERE].tolist())
    assert f"{int(bits, 2):016x}" == EXPECTED_CHECK


EXPECTED_CHECK = "a9a70cf970869b7d"


@pytest.mark.parametrize("rows", [1, 5])
def test_any_number_of_rows(rows):
    assert parity.holds(sealed(rows=rows)).shape == (rows,)
