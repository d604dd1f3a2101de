"""Damage: exactly as much as was asked for, in every cue, and nothing else."""

from itertools import product

import pytest
import torch

from hopmask import ConfigError, Damage, HopmaskError, MaskError
from hopmask.capacity.damage import KINDS

SHARES = (0.0, 0.1, 0.25, 0.5, 1 / 3, 0.99, 1.0)
SIZES = (1, 2, 5, 64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def places(patterns, cues):
    """Where a cue differs from its pattern, bool (k, d)."""
    return cues != patterns


def test_every_row_is_damaged_in_exactly_the_number_asked_for(kind, random_spins):
    for size, share in product(SIZES, SHARES):
        patterns = random_spins(20, size, seed=1)
        cues = Damage(kind=kind, share=share).of(patterns, generator())
        number = round(share * size)
        assert places(patterns, cues).sum(-1).tolist() == [number] * 20, (size, share)


def test_what_is_damaged_is_turned_by_flips_and_unknown_otherwise(kind, random_spins):
    patterns = random_spins(50, 40)
    cues = Damage(kind=kind, share=0.3).of(patterns, generator())
    wrong = places(patterns, cues)
    expected = -patterns[wrong] if kind == "flips" else torch.zeros(int(wrong.sum()))
    assert torch.equal(cues[wrong], expected)
    assert torch.equal(cues[~wrong], patterns[~wrong])


def test_no_damage_gives_the_patterns_back(kind, random_spins):
    patterns = random_spins(7, 30)
    assert torch.equal(Damage(kind=kind, share=0.0).of(patterns, generator()), patterns)


def test_all_spins_turned_is_the_negative(random_spins):
    patterns = random_spins(7, 30)
    assert torch.equal(Damage(kind="flips", share=1.0).of(patterns, generator()), -patterns)


@pytest.mark.parametrize("blank", ["erasures", "block"])
def test_all_spins_unknown_leaves_nothing(blank, random_spins):
    cues = Damage(kind=blank, share=1.0).of(random_spins(7, 30), generator())
    assert not cues.any()


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_input_is_never_changed_nor_handed_back(kind, share, random_spins):
    patterns = random_spins(9, 20)
    before = patterns.clone()
    cues = Damage(kind=kind, share=share).of(patterns, generator())
    assert torch.equal(patterns, before)
    cues.fill_(7)
    assert torch.equal(patterns, before)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.95])
def test_a_block_follows_on_without_a_gap_and_does_not_wrap_around(share, random_spins):
    patterns, size = random_spins(300, 20), 20
    gone = places(patterns, Damage(kind="block", share=share).of(patterns, generator()))
    for row in gone:
        where = row.nonzero()[:, 0]
        assert torch.equal(where, torch.arange(int(where[0]), int(where[0]) + round(share * size)))


def test_a_block_begins_at_every_place_where_it_fits_and_equally_often():
    """n cues, s places: counts are binomial(n, 1/s), here within 5 standard deviations."""
    rows, size, share = 20_000, 10, 0.3
    cues = Damage(kind="block", share=share).of(torch.ones(rows, size), generator(3))
    first = (cues == 0).float().argmax(-1)
    slots = size - round(share * size) + 1
    counts = torch.bincount(first, minlength=size)
    deviation = (rows / slots * (1 - 1 / slots)) ** 0.5
    assert not counts[slots:].any()
    assert ((counts[:slots] - rows / slots).abs() < 5 * deviation).all()


@pytest.mark.parametrize("scattered", ["flips", "erasures"])
def test_scattered_damage_strikes_every_spin_and_every_pair_equally_often(scattered):
    """Hits of a spin are binomial(n, p), of a pair binomial(n, p (m − 1)/(d − 1)); p = m/d."""
    rows, size, number = 20_000, 12, 3
    damage = Damage(kind=scattered, share=number / size)
    hit = (damage.of(torch.ones(rows, size), generator(4)) != 1).double()
    together = hit.T @ hit
    p = number / size
    both = p * (number - 1) / (size - 1)
    off = ~torch.eye(size, dtype=torch.bool)
    for found, share in ((together.diagonal(), p), (together[off], both)):
        deviation = (rows * share * (1 - share)) ** 0.5
        assert ((found - rows * share).abs() < 5 * deviation).all()


def test_each_row_is_damaged_in_places_of_its_own(kind):
    cues = Damage(kind=kind, share=0.25).of(torch.ones(200, 64), generator())
    assert len(torch.unique(cues, dim=0)) > 30


def test_the_generator_alone_decides(kind, random_spins):
    damage, patterns = Damage(kind=kind, share=0.2), random_spins(20, 40)
    once = damage.of(patterns, generator(1))
    assert torch.equal(once, damage.of(patterns, generator(1)))
    assert not torch.equal(once, damage.of(patterns, generator(2)))


def test_the_same_places_are_struck_whatever_the_patterns(kind, random_spins):
    damage, patterns = Damage(kind=kind, share=0.2), random_spins(20, 40)
    expected = places(patterns, damage.of(patterns, generator(1)))
    assert torch.equal(places(-patterns, damage.of(-patterns, generator(1))), expected)


def test_one_generator_gives_new_places_at_each_call(kind):
    one, damage = generator(), Damage(kind=kind, share=0.2)
    patterns = torch.ones(20, 40)
    assert not torch.equal(damage.of(patterns, one), damage.of(patterns, one))


def test_torchs_own_generator_is_left_alone(kind, random_spins):
    patterns, before = random_spins(3, 40), torch.get_rng_state()
    Damage(kind=kind, share=0.2).of(patterns, generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cues_are_of_the_patterns_type_and_hit_the_same_places(kind, dtype, random_spins):
    patterns = random_spins(5, 40)
    cues = Damage(kind=kind, share=0.2).of(patterns.to(dtype), generator())
    assert cues.dtype == dtype
    assert torch.equal(cues.float(), Damage(kind=kind, share=0.2).of(patterns, generator()))


def test_patterns_that_are_a_view_are_damaged_alike(kind, random_spins):
    wide = random_spins(20, 8)
    found = Damage(kind=kind, share=0.2).of(wide.T, generator())
    expected = Damage(kind=kind, share=0.2).of(wide.T.contiguous(), generator())
    assert torch.equal(found, expected)


@pytest.mark.parametrize("unknown", ["flip", "", "Flips", None, 3])
def test_an_unknown_kind_is_refused_and_the_known_are_named(unknown):
    with pytest.raises(ConfigError):
        Damage(kind=unknown)


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan"), float("inf"), -1, 2])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ConfigError) as raised:
        Damage(share=share)
    assert isinstance(raised.value, HopmaskError)
    assert isinstance(raised.value, ValueError)


def test_it_says_what_it_is():
    assert str(Damage()) == "10% flips"
    assert str(Damage(kind="block", share=0.5)) == "50% block"
    assert str(Damage(share=0.004)) == "0.4% flips"
    assert str(Damage(share=0.125)) == "12.5% flips"
    assert str(Damage(kind="erasures", share=0.0)) == "undamaged"


def test_it_is_a_value_that_is_never_changed():
    assert Damage(share=0.2) == Damage(kind="flips", share=0.2) != Damage(share=0.3)
    assert len({Damage(), Damage(), Damage(kind="block")}) == 2
    with pytest.raises(AttributeError):
        Damage().share = 0.5


@pytest.mark.parametrize(
    "patterns",
    [torch.ones(8), torch.ones(2, 2, 8), torch.zeros(2, 8), torch.ones(2, 8) > 0],
    ids=["one dimension", "three", "zeros", "bool"],
)
def test_what_are_no_spins_is_not_damaged(patterns):
    with pytest.raises(MaskError):
        Damage().of(patterns, torch.Generator())
