"""Capacity: found where it is known, and told with the right interval."""

import itertools
import warnings
from math import nan, sqrt

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from hopmask import (
    ConfigError,
    Damage,
    DuplicateError,
    GivenMasks,
    HopmaskError,
    LearningRule,
    NumericalError,
    OverloadWarning,
    RandomMasks,
    Reservoir,
)
from hopmask.capacity.measurement import curve, measure
from hopmask.recall.dynamics import (
    SignPolish,
)

UNDAMAGED = Damage(share=0.0)


class Fixed:
    """An ensemble as a user would write it: the same patterns in every draw."""

    def __init__(self, patterns, most=None):
        self.patterns, self.most, self.size = patterns, most, patterns.shape[1]

    def draw(self, count, generator):
        return self.patterns[:count]


class Ending:
    """Random patterns, of which one, at another place in each draw, repeats the first."""

    size, most = 400, None

    def __init__(self, *places):
        self.places = iter(places)

    def draw(self, count, generator):
        patterns = RandomMasks(size=self.size).draw(count, generator)
        place = next(self.places)
        patterns[place : place + 1] = patterns[0]
        return patterns


# Measuring


def share_held(rule, patterns):
    """Share of these patterns that a new memory of them gives back; −1 where one is refused."""
    reservoir = Reservoir(patterns.shape[1], rule=rule)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        try:
            reservoir.store(patterns)
        except (DuplicateError, NumericalError):
            return -1.0
    return float((reservoir.recall(patterns).spins == patterns).all(-1).double().mean())


def test_bisection_finds_what_a_scan_of_all_numbers_finds(rule, random_spins):
    """Exhaustive: 1, 2, 3 ... patterns, a new memory each; the scan is monotone here."""
    patterns = random_spins(32, 32)
    shares = [share_held(rule, patterns[:count]) for count in range(1, 33)]
    for share in (0.5, 1.0):
        scan = [found >= share for found in shares]
        capacity = scan.index(False)
        assert not any(scan[capacity:])
        found = measure(rule, Fixed(patterns), damage=UNDAMAGED, recalled=share, trials=2)
        assert found.trials == (capacity, capacity)
        assert (found.patterns, found.low, found.high) == (capacity, capacity, capacity)


def test_the_capacity_holds_and_one_pattern_more_does_not(rule, random_spins):
    for seed in (1, 2):
        patterns = random_spins(32, 32, seed=seed)
        found = measure(rule, Fixed(patterns), damage=UNDAMAGED, trials=2).trials[0]
        assert share_held(rule, patterns[:found]) >= 0.9
        assert share_held(rule, patterns[: found + 1]) < 0.9


def test_capacity_is_told_draw_by_draw_where_it_is_known():
    found = measure("projection", Ending(3, 11, 7), trials=3)
    assert found.trials == (3, 11, 7)
    assert found.patterns == 7
    assert found.load == 7 / 400
    assert (found.rule, found.size, found.damage) == ("projection", 400, Damage())
    assert found.recalled == 0.9
    assert found.censored == 0


def test_the_interval_is_students():
    """mean ± t(97.5 %, n − 1) s / √n; t = 2.776 for five draws and 4.303 for three."""
    places = (6, 9, 8, 12, 10)
    found = measure("projection", Ending(*places), trials=5)
    mean, deviation = np.mean(places), np.std(places, ddof=1)
    assert found.low == pytest.approx(mean - 2.7764451 * deviation / sqrt(5))
    assert found.high == pytest.approx(mean + 2.7764451 * deviation / sqrt(5))
    assert (found.low, found.high) == pytest.approx(
        scipy.stats.t.interval(0.95, 4, loc=mean, scale=scipy.stats.sem(places))
    )
    found = measure("projection", Ending(4, 6, 5), trials=3)
    assert found.high - found.patterns == pytest.approx(4.3026527 / sqrt(3))


def test_the_interval_ends_at_no_patterns():
    found = measure("projection", Ending(1, 19), trials=2)
    assert found.trials == (1, 19)
    assert found.low == 0
    assert found.high > 100


def test_a_rule_that_holds_nothing_has_no_capacity():
    class Nothing(LearningRule):
        name = "nothing"

        def update(self, psi, pattern):
            psi.fill_diagonal_(1)

    found = measure(Nothing(), RandomMasks(size=32), trials=2)
    assert found.trials == (0, 0)
    assert (found.low, found.patterns, found.high, found.load) == (0, 0, 0, 0)


def test_a_users_rule_is_measured_under_its_name(forgetful):
    found = measure(forgetful, RandomMasks(size=64), recalled=0.5, trials=2)
    assert found.rule == "forgetful"
    assert found.trials == (2, 2)  # the newer of two is half of them


def test_rules_hold_as_many_patterns_as_theory_ranks_them():
    """hebbian < storkey-matrix < storkey < projection in every draw, which they have in common."""
    found = [
        measure(rule, RandomMasks(size=64), trials=3)
        for rule in ("hebbian", "storkey-matrix", "storkey", "projection")
    ]
    for less, more in itertools.pairwise(found):
        pairs = list(zip(less.trials, more.trials, strict=True))
        assert all(few < many for few, many in pairs), f"{less} against {more}: {pairs}"


def test_more_damage_leaves_less_capacity():
    light, heavy = (
        measure("storkey", RandomMasks(size=64), damage=Damage(share=share), trials=3)
        for share in (0.05, 0.4)
    )
    assert max(heavy.trials) < min(light.trials)
    assert (light.damage.share, heavy.damage.share) == (0.05, 0.4)


def test_a_larger_share_to_come_back_leaves_less_capacity(random_spins):
    patterns = Fixed(random_spins(64, 64))
    strict, lax = (
        measure("hebbian", patterns, damage=UNDAMAGED, recalled=share, trials=2).patterns
        for share in (1.0, 0.3)
    )
    assert strict < lax


def test_masks_that_are_alike_are_harder_to_hold_under_hebbian():
    apart = measure("hebbian", RandomMasks(size=64), trials=3)
    alike = measure("hebbian", RandomMasks(size=64, overlap=0.5), trials=3)
    assert alike.high < apart.low


def test_where_all_given_masks_come_back_the_capacity_is_at_least_their_number():
    masks = GivenMasks(RandomMasks(size=128).draw(9, torch.Generator().manual_seed(0)))
    found = measure("storkey", masks, trials=3)
    assert found.trials == (9, 9, 9)
    assert (found.censored, found.high) == (3, None)
    assert str(found) == (
        "storkey, 10% flips: at least 9.0 (3 of 3 draws held all that were tried) of 128 spins, "
        "load 0.070"
    )


def test_where_some_given_masks_are_lost_the_capacity_is_less_than_their_number():
    masks = GivenMasks(RandomMasks(size=64).draw(40, torch.Generator().manual_seed(0)))
    found = measure("hebbian", masks, trials=3)
    assert found.censored == 0
    assert max(found.trials) < 40
    assert "at least" not in str(found)
    assert f"{found.patterns:.1f} [{found.low:.1f}, {found.high:.1f}] of 64 spins" in str(found)


def test_one_draw_that_held_all_makes_the_mean_a_lower_bound():
    masks = Ending(12, 5)
    masks.most = 10
    found = measure("projection", masks, trials=2)
    assert found.trials == (10, 5)
    assert (found.censored, found.high) == (1, None)
    assert "at least 7.5 (1 of 2 draws" in str(found)


def test_a_rule_that_holds_one_pattern_a_spin_is_told_to_hold_at_least_that():
    """A rule as a user may write one, which lists patterns in Ψ: no end of it is found."""

    class Listing(LearningRule):
        name = "listing"

        def update(self, psi, pattern):
            psi[int(psi.any(-1).sum())] = pattern

        def field(self, psi, state):
            return psi[(state @ psi.T).argmax(-1)]

    patterns = torch.tensor([[(n >> i & 1) * 2.0 - 1 for i in range(8)] for n in range(64)])
    masks = Fixed(patterns[torch.randperm(64, generator=torch.Generator().manual_seed(0))])
    assert measure(Listing(), masks, damage=UNDAMAGED, trials=2).censored == 2


def test_recall_is_a_part_of_what_is_measured():
    """Sign updates alone leave every fixed point where it is; annealing may leave a shallow one."""
    options = {"damage": UNDAMAGED, "trials": 3}
    annealed = measure("hebbian", RandomMasks(size=128), **options)
    signs = measure("hebbian", RandomMasks(size=128), dynamics=[SignPolish()], **options)
    assert signs.patterns > annealed.patterns
    points = curve(
        "hebbian", RandomMasks(size=128), [12], damages=[UNDAMAGED], dynamics=[SignPolish()]
    )
    assert (
        points[0].recalled
        > curve("hebbian", RandomMasks(size=128), [12], damages=[UNDAMAGED])[0].recalled
    )


def test_an_ensemble_that_draws_too_few_is_refused():
    with pytest.raises(ConfigError):
        measure("hebbian", Fixed(RandomMasks(size=16).draw(3, torch.Generator()), most=8))


def test_given_masks_come_in_another_order_in_each_draw():
    masks = GivenMasks(RandomMasks(size=64).draw(60, torch.Generator().manual_seed(0)))
    assert len(set(measure("storkey", masks, trials=4).trials)) > 1


def test_more_given_masks_than_bits_may_be_asked_for():
    """No rule here holds the 4 masks of 3 bits that are neither alike nor opposite."""
    masks = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]], dtype=torch.bool)
    found = measure("projection", GivenMasks(masks), damage=UNDAMAGED, trials=2)
    assert max(found.trials) <= 3
    assert found.censored == 0


@pytest.mark.parametrize("masks", [RandomMasks(size=48), RandomMasks(size=48, density=0.3)])
def test_measuring_depends_on_the_seed_alone(masks):
    once = measure("hebbian", masks, trials=4, seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)  # moves the global generator on
        assert measure("hebbian", masks, trials=4, seed=5) == once
    assert measure("hebbian", masks, trials=4, seed=6).trials != once.trials


def test_the_first_draws_are_the_same_however_many_follow():
    few, many = (measure("hebbian", RandomMasks(size=48), trials=n).trials for n in (2, 4))
    assert many[:2] == few


def test_measuring_leaves_the_global_generators_alone(global_generators):
    before = global_generators()
    measure("hebbian", RandomMasks(size=32), trials=2)
    curve("hebbian", RandomMasks(size=32), [2], trials=2)
    assert global_generators() == before


def test_measuring_leaves_given_masks_alone():
    masks = torch.rand(12, 32, generator=torch.Generator().manual_seed(0)) < 0.5
    before = masks.clone()
    measure("storkey", GivenMasks(masks), trials=2)
    assert torch.equal(masks, before)


def test_double_precision_finds_the_same(random_spins):
    patterns = Fixed(random_spins(64, 64))
    single, double = (
        measure("hebbian", patterns, damage=UNDAMAGED, trials=2, dtype=dtype).trials
        for dtype in (torch.float32, torch.float64)
    )
    assert single == double


def test_a_reservoir_of_few_spins_is_measured_too():
    for size in (1, 2, 3):
        found = measure("projection", RandomMasks(size=size), damage=UNDAMAGED, trials=2)
        assert 0 <= min(found.trials) <= max(found.trials) <= size


def test_results_are_values_that_are_never_changed():
    found = measure("hebbian", RandomMasks(size=16), trials=2)
    with pytest.raises(AttributeError):
        found.patterns = 99


WRONG = {
    "one trial": ({"trials": 1}, "trials .* got 1"),
    "trials as a bool": ({"trials": True}, "trials .* got True"),
    "trials as a real": ({"trials": 3.0}, "trials .* got 3.0"),
    "rule": ({"rule": "storky"}, "did you mean 'storkey'"),
    "type": ({"dtype": torch.float16}, "float32 or torch.float64"),
    "device": ({"device": "nowhere"}, "nowhere"),
}
SHARES = {
    "no share": ({"recalled": 0}, r"share in \(0, 1\], got 0"),
    "more than all": ({"recalled": 1.01}, r"share in \(0, 1\], got 1.01"),
    "less than none": ({"recalled": -0.5}, r"share in \(0, 1\], got -0.5"),
    "not a number": ({"recalled": nan}, r"share in \(0, 1\], got nan"),
}


@pytest.mark.parametrize(
    ("options", "message"), [*WRONG.values(), *SHARES.values()], ids=[*WRONG, *SHARES]
)
def test_a_measurement_that_cannot_be_made_is_refused(options, message):
    with pytest.raises(ConfigError, match=message) as raised:
        measure(**({"rule": "hebbian", "masks": RandomMasks(size=16)} | options))
    assert isinstance(raised.value, HopmaskError)


@pytest.mark.parametrize(
    "options",
    [{"seed": -1}, {"seed": 1.5}, {"masks": torch.ones(3, 16)}],
    ids=["negative seed", "real seed", "a tensor for an ensemble"],
)
def test_a_seed_or_ensemble_that_there_is_not_is_a_typed_error(options):
    with pytest.raises(HopmaskError):
        measure(**({"rule": "hebbian", "masks": RandomMasks(size=16)} | options))


def test_exactly_the_share_asked_for_is_enough():
    """The first 7 of 25 patterns are kept, 0.28 of them, whatever follows."""

    class First(LearningRule):
        name = "first"

        def update(self, psi, pattern):
            if int(psi[0, 0]) < 7:
                psi.addr_(pattern, pattern)

    patterns = RandomMasks(size=256).draw(40, torch.Generator().manual_seed(0))
    found = measure(First(), Fixed(patterns, 40), damage=UNDAMAGED, recalled=0.28, trials=2)
    assert found.trials == (25, 25)


# Curves


def wilson(right, asked, z=1.959963985):
    """Wilson's interval, as it is written in textbooks."""
    share = right / asked
    middle = (share + z**2 / (2 * asked)) / (1 + z**2 / asked)
    half = z / (1 + z**2 / asked) * sqrt(share * (1 - share) / asked + z**2 / (4 * asked**2))
    return middle - half, middle + half


def test_a_curve_is_the_share_that_comes_back_of_each_number(rule, random_spins):
    patterns = random_spins(40, 40, seed=1)
    points = curve(rule, Fixed(patterns), [3, 8, 20, 30], damages=[UNDAMAGED], trials=2)
    for point in points:
        reservoir = Reservoir(40, rule=rule)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OverloadWarning)
            reservoir.store(patterns[: point.patterns])
        stored = patterns[: point.patterns]
        back = sum(torch.equal(reservoir.recall(one).spins, one) for one in stored)
        assert point.recalled == back / point.patterns
        assert point.sample == 2 * point.patterns


def test_a_point_says_all_about_itself():
    (point,) = curve("hebbian", RandomMasks(size=50), [10], damages=[Damage(share=0.2)])
    assert (point.rule, point.patterns, point.load) == ("hebbian", 10, 0.2)
    assert point.damage == Damage(share=0.2)
    assert point.sample == 20


def test_the_interval_of_a_point_is_wilsons():
    points = curve("hebbian", RandomMasks(size=64), [2, 6, 8, 10, 12, 40], trials=3)
    assert any(0 < point.recalled < 1 for point in points)
    for point in points:
        low, high = wilson(round(point.recalled * point.sample), point.sample)
        assert (point.low, point.high) == pytest.approx((low, high), abs=1e-8)
        assert 0 <= point.low <= point.recalled <= point.high <= 1


def test_points_come_damage_by_damage_each_by_number():
    damages = [Damage(share=0.2), UNDAMAGED, Damage(kind="block", share=0.5)]
    points = curve("hebbian", RandomMasks(size=32), [5, 2, 9, 2], damages=damages)
    assert [(point.damage, point.patterns) for point in points] == [
        (damage, count) for damage in damages for count in (2, 5, 9)
    ]


def test_cues_of_a_curve_are_damaged_by_a_tenth_by_default():
    assert {p.damage for p in curve("hebbian", RandomMasks(size=32), [2, 3])} == {Damage()}


def test_more_damage_is_recalled_less_often():
    damages = [Damage(share=share) for share in (0.1, 0.3, 0.45)]
    points = curve("storkey", RandomMasks(size=64), [16], damages=damages)
    light, middle, heavy = (point.recalled for point in points)
    assert light > middle > heavy


@pytest.mark.parametrize("error", ["duplicate", "dependent"])
def test_from_a_refused_pattern_on_none_counts_as_recalled(error):
    """In both draws the sixth pattern is refused: as a copy, or as made up of the first three."""
    patterns = RandomMasks(size=64).draw(20, torch.Generator().manual_seed(0))
    made = patterns[0] if error == "duplicate" else patterns[:3].sum(0).sign()
    if error == "dependent":  # ± z z' z'': no majority of the three, yet in their span
        patterns[2] = patterns[0] * torch.where(torch.arange(64) < 32, 1, -1)
        patterns[3] = patterns[1] * torch.where(torch.arange(64) < 32, 1, -1)
        patterns[4] = torch.where(torch.arange(64) < 32, patterns[0], patterns[1])
        made = torch.where(torch.arange(64) < 32, patterns[1], patterns[0])
    patterns[5] = made
    points = curve("projection", Fixed(patterns), [4, 5, 6, 12], damages=[UNDAMAGED], trials=2)
    shares = {point.patterns: point.recalled for point in points}
    assert shares[6] == shares[12] == 0
    assert shares[4] == 1
    assert all(point.sample == 2 * point.patterns for point in points)


def test_a_draw_that_is_refused_counts_as_much_as_one_that_is_held():
    points = curve("projection", Ending(400, 5), [4, 8], trials=2)
    assert [(point.recalled, point.sample) for point in points] == [(1.0, 8), (0.5, 16)]


def test_of_more_than_256_patterns_256_are_asked():
    points = curve("hebbian", RandomMasks(size=260), [256, 257, 260], damages=[UNDAMAGED])
    assert [point.sample for point in points] == [512, 512, 512]


def test_a_refused_draw_of_more_than_256_patterns_counts_as_much_as_one_that_is_held():
    (point,) = curve("projection", Ending(400, 5), [270], damages=[UNDAMAGED], trials=2)
    assert (point.recalled, point.sample) == (0.5, 512)


def test_numbers_beyond_what_there_are_are_left_out():
    masks = GivenMasks(torch.eye(6, dtype=torch.bool))
    points = curve("storkey", masks, [-1, 0, 2, 6, 7, 100])
    assert [point.patterns for point in points] == [2, 6]
    points = curve("storkey", RandomMasks(size=16), [1, 16, 17])
    assert [point.patterns for point in points] == [1, 16]


def test_a_curve_of_broken_numbers_is_refused():
    with pytest.raises(ConfigError):
        curve("hebbian", RandomMasks(size=32), [2.5])


def test_a_damage_that_is_named_twice_is_asked_once():
    points = curve("hebbian", RandomMasks(size=32), [4], damages=[Damage(), Damage()])
    assert [point.sample for point in points] == [8]


@pytest.mark.parametrize("counts", [[], [0], [-4], [33, 64]])
def test_a_curve_of_no_number_is_refused(counts):
    with pytest.raises(ConfigError):
        curve("hebbian", RandomMasks(size=32), counts)


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_a_curve_that_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        curve(**({"rule": "hebbian", "masks": RandomMasks(size=16), "counts": [2]} | options))


def test_a_curve_depends_on_the_seed_alone():
    once = curve("hebbian", RandomMasks(size=48), [5, 10], seed=5)
    assert curve("hebbian", RandomMasks(size=48), [5, 10], seed=5) == once
    assert curve("hebbian", RandomMasks(size=48), [5, 10], seed=6) != once


def test_progress_is_told_before_each_probe():
    told = []
    found = measure(
        "hebbian", RandomMasks(size=64), trials=2, progress=lambda *what: told.append(what)
    )
    assert {trial for trial, _ in told} == {0, 1}
    for trial, held in enumerate(found.trials):
        assert {held, held + 1} <= {count for of, count in told if of == trial}


@pytest.mark.parametrize("damage", ["flips:0.1", 0.1])
def test_what_is_no_damage_is_refused(damage):
    with pytest.raises(ConfigError):
        measure("hebbian", RandomMasks(size=32), damage=damage)
    with pytest.raises(ConfigError):
        curve("hebbian", RandomMasks(size=32), [4], damages=[damage])
