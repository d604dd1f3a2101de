"""Capacity: found where it is known, told with the right interval, and estimated honestly."""

import itertools
import random
import warnings
from math import inf, isnan, log, nan, sqrt
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from hopmask import (
    ConfigError,
    Damage,
    DuplicateError,
    EmptyMemoryError,
    GivenMasks,
    HopmaskError,
    LearningRule,
    MaskError,
    MaskMemory,
    NumericalError,
    OverloadWarning,
    RandomMasks,
    Reservoir,
)
from hopmask.bisection import filled, largest, spread
from hopmask.capacity import curve, estimate, leaning, limits, measure

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


class Forgetful(LearningRule):
    """Keeps the newest pattern alone, and every pattern while there is one."""

    name = "forgetful"

    def update(self, psi, pattern):
        psi.copy_(pattern.outer(pattern) / len(pattern)).fill_diagonal_(0)


def untouched():
    """State of all global generators."""
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


# Bisection


def counter(start=0):
    """What stands for a reservoir whose Ψ is the list of what was written, as a bit set."""
    written = torch.tensor(2**start - 1)
    return SimpleNamespace(count=start, psi=written, mean=torch.tensor(0.0))


def written(fake, number):
    fake.psi += 2**number
    fake.count += 1


@pytest.mark.parametrize("most", [0, 1, 2, 3, 8, 17, 40])
@pytest.mark.parametrize("first", [1, 2, 5, 64])
def test_bisection_finds_every_threshold_that_a_scan_would(most, first):
    for start, truth in itertools.product((0, 6), range(most + 3)):
        found = largest(
            counter(start),
            written,
            lambda fake, limit=start + truth: fake.count <= limit,
            most=most,
            first=first,
        )
        assert found == min(truth, most), (start, truth)


def test_every_probe_holds_all_patterns_up_to_its_count_once():
    probes = []

    def holds(fake):
        probes.append((fake.count, int(fake.psi)))
        return fake.count <= 29

    assert largest(counter(3), written, holds, most=50, first=2) == 26
    assert probes == [(count, 2**count - 1) for count, _ in probes]


def test_probes_double_and_then_halve_the_rest():
    probes = []

    def holds(fake):
        probes.append(fake.count)
        return fake.count <= 21

    assert largest(counter(), written, holds, most=1000, first=3) == 21
    assert probes == [3, 6, 12, 24, 18, 21, 22]


def test_bisection_writes_on_from_the_last_probe_that_held():
    numbers, good = [], [0]

    def write(fake, number):
        numbers.append((number, good[-1]))
        written(fake, number)

    def holds(fake):
        if fake.count <= 21:
            good.append(fake.count)
        return fake.count <= 21

    largest(counter(), write, holds, most=1000, first=3)
    assert all(number >= held for number, held in numbers)


def test_bisection_leaves_its_reservoir_alone(random_spins):
    reservoir = Reservoir(32, rule="hebbian")
    patterns = random_spins(20, 32)
    reservoir.store(patterns[:2])
    psi, mean = reservoir.psi.clone(), reservoir.mean.clone()
    more = largest(
        reservoir,
        lambda trial, number: trial.store(patterns[number]),
        lambda trial: trial.count <= 4,
        most=18,
        first=1,
    )
    assert (more, reservoir.count) == (2, 2)
    assert torch.equal(reservoir.psi, psi)
    assert torch.equal(reservoir.mean, mean)


@pytest.mark.parametrize("error", [DuplicateError, NumericalError])
@pytest.mark.parametrize("place", [0, 1, 7, 12])
def test_a_refused_pattern_ends_the_search_just_before_it(error, place):
    def write(fake, number):
        if number == place:
            raise error("no")
        written(fake, number)

    assert largest(counter(), write, lambda fake: True, most=100, first=2) == place


def test_other_errors_are_not_taken_for_a_full_memory():
    def write(fake, number):
        raise MaskError("a fault of the caller's")

    with pytest.raises(MaskError, match="caller"):
        largest(counter(), write, lambda fake: True, most=8, first=1)


def test_where_recall_is_not_monotone_the_answer_still_holds_and_one_more_does_not():
    generator = random.Random(0)
    for _ in range(200):
        truth = [True, *(generator.random() < 0.6 for _ in range(40)), False]
        found = largest(
            counter(), written, lambda fake, truth=truth: truth[fake.count], most=41, first=1
        )
        assert truth[found]
        assert not truth[found + 1]


def test_overload_is_silent_while_reservoirs_are_filled_and_other_warnings_are_not():
    def overloading(fake, number):
        warnings.warn("full", OverloadWarning, stacklevel=1)
        written(fake, number)

    assert filled(counter(), 3, overloading)

    def strange(fake, number):
        warnings.warn("strange", RuntimeWarning, stacklevel=1)
        written(fake, number)

    with pytest.warns(RuntimeWarning, match="strange"):
        assert filled(counter(), 1, strange)


@pytest.mark.parametrize(
    ("count", "most"), [(1, 256), (2, 256), (256, 256), (257, 256), (5000, 32)]
)
def test_a_sample_is_spread_evenly_from_the_first_to_the_last(count, most):
    chosen = spread(count, most)
    assert len(chosen) == min(count, most)
    assert (int(chosen[0]), int(chosen[-1])) == (0, count - 1)
    gaps = chosen.diff()
    if len(gaps):
        even = (count - 1) / (len(chosen) - 1)
        assert gaps.min() >= max(1, even - 1)
        assert gaps.max() <= even + 1


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
    assert not found.whole


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


def test_a_users_rule_is_measured_under_its_name():
    found = measure(Forgetful(), RandomMasks(size=64), recalled=0.5, trials=2)
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
    assert found.whole
    assert found.trials == (9, 9, 9)
    assert str(found) == ("storkey, 10% flips: at least 9 (all there are) of 128 spins, load 0.070")


def test_where_some_given_masks_are_lost_the_capacity_is_less_than_their_number():
    masks = GivenMasks(RandomMasks(size=64).draw(40, torch.Generator().manual_seed(0)))
    found = measure("hebbian", masks, trials=3)
    assert not found.whole
    assert max(found.trials) < 40
    assert "at least" not in str(found)
    assert f"{found.patterns:.1f} [{found.low:.1f}, {found.high:.1f}] of 64 spins" in str(found)


def test_all_patterns_must_come_back_in_every_draw_to_say_that_the_capacity_is_at_least_that():
    masks = Ending(12, 5)
    masks.most = 10
    found = measure("projection", masks, trials=2)
    assert found.trials == (10, 5)
    assert not found.whole


def test_given_masks_come_in_another_order_in_each_draw():
    masks = GivenMasks(RandomMasks(size=64).draw(60, torch.Generator().manual_seed(0)))
    assert len(set(measure("storkey", masks, trials=4).trials)) > 1


def test_more_given_masks_than_bits_may_be_asked_for():
    """No rule holds 4 masks of 2 bits, of which two are the others' opposites."""
    masks = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.bool)
    found = measure("projection", GivenMasks(masks), damage=UNDAMAGED, trials=2)
    assert max(found.trials) <= 2
    assert not found.whole


@pytest.mark.parametrize("masks", [RandomMasks(size=48), RandomMasks(size=48, density=0.3)])
def test_measuring_depends_on_the_seed_alone(masks):
    torch.manual_seed(1)
    once = measure("hebbian", masks, trials=4, seed=5)
    torch.manual_seed(2)
    assert measure("hebbian", masks, trials=4, seed=5) == once
    assert measure("hebbian", masks, trials=4, seed=6).trials != once.trials


def test_the_first_draws_are_the_same_however_many_follow():
    few, many = (measure("hebbian", RandomMasks(size=48), trials=n).trials for n in (2, 4))
    assert many[:2] == few


def test_measuring_leaves_the_global_generators_alone():
    before = untouched()
    measure("hebbian", RandomMasks(size=32), trials=2)
    curve("hebbian", RandomMasks(size=32), [2], trials=2)
    assert untouched() == before


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
    "one trial": ({"trials": 1}, "at least 2 trials, got 1"),
    "trials as a bool": ({"trials": True}, "at least 2 trials, got True"),
    "trials as a real": ({"trials": 3.0}, "at least 2 trials, got 3.0"),
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
    found = measure(First(), Fixed(patterns), damage=UNDAMAGED, recalled=0.28, trials=2)
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
        assert point.asked == 2 * point.patterns


def test_a_point_says_all_about_itself():
    (point,) = curve("hebbian", RandomMasks(size=50), [10], damages=[Damage(share=0.2)])
    assert (point.rule, point.patterns, point.load) == ("hebbian", 10, 0.2)
    assert point.damage == Damage(share=0.2)
    assert point.asked == 20


def test_the_interval_of_a_point_is_wilsons():
    points = curve("hebbian", RandomMasks(size=64), [2, 6, 8, 10, 12, 40], trials=3)
    assert any(0 < point.recalled < 1 for point in points)
    for point in points:
        low, high = wilson(round(point.recalled * point.asked), point.asked)
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
    assert all(point.asked == 2 * point.patterns for point in points)


def test_a_draw_that_is_refused_counts_as_much_as_one_that_is_held():
    points = curve("projection", Ending(400, 5), [4, 8], trials=2)
    assert [(point.recalled, point.asked) for point in points] == [(1.0, 8), (0.5, 16)]


def test_of_more_than_256_patterns_256_are_asked():
    points = curve("hebbian", RandomMasks(size=260), [256, 257, 260], damages=[UNDAMAGED])
    assert [point.asked for point in points] == [512, 512, 512]


def test_a_refused_draw_of_more_than_256_patterns_counts_as_much_as_one_that_is_held():
    (point,) = curve("projection", Ending(400, 5), [270], damages=[UNDAMAGED], trials=2)
    assert (point.recalled, point.asked) == (0.5, 512)


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
    assert [point.asked for point in points] == [8]


@pytest.mark.parametrize("counts", [[], [0], [-4], [33, 64]])
def test_a_curve_of_no_number_is_refused(counts):
    with pytest.raises(ConfigError, match="numbers of patterns from 1 to 32"):
        curve("hebbian", RandomMasks(size=32), counts)


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_a_curve_that_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        curve(**({"rule": "hebbian", "masks": RandomMasks(size=16), "counts": [2]} | options))


def test_a_curve_depends_on_the_seed_alone():
    once = curve("hebbian", RandomMasks(size=48), [5, 10], seed=5)
    assert curve("hebbian", RandomMasks(size=48), [5, 10], seed=5) == once
    assert curve("hebbian", RandomMasks(size=48), [5, 10], seed=6) != once


# Limits


def by_formula(size, damage=None):
    return {limit.formula: limit.patterns for limit in limits(size, damage)}


def test_limits_are_those_of_the_formulas_worked_out_by_hand():
    """ln 512 = 6.238325, √(2 ln 512) = 3.532230; ln 1000 = 6.907755, √(2 ln 1000) = 3.716922."""
    assert by_formula(512) == pytest.approx(
        {
            "0.138 n": 70.656,
            "n / (2 ln n)": 41.03666,
            "n / (4 ln n)": 20.51833,
            "n / √(2 ln n)": 144.95092,
            "n": 512.0,
        },
        rel=1e-6,
    )
    assert by_formula(1000) == pytest.approx(
        {
            "0.138 n": 138.0,
            "n / (2 ln n)": 72.38241,
            "n / (4 ln n)": 36.19121,
            "n / √(2 ln n)": 269.0398,
            "n": 1000.0,
        },
        rel=1e-6,
    )


def test_flips_shrink_the_limits_of_mceliece_and_no_others():
    """ρ = 0.1: (1 − 2ρ)² = 0.64."""
    plain, turned = by_formula(512), by_formula(512, Damage(share=0.1))
    assert turned.pop("(1 − 2ρ)² n / (2 ln n)") == pytest.approx(0.64 * plain.pop("n / (2 ln n)"))
    assert turned.pop("(1 − 2ρ)² n / (4 ln n)") == pytest.approx(0.64 * plain.pop("n / (4 ln n)"))
    assert turned == plain


@pytest.mark.parametrize(
    "damage", [None, UNDAMAGED, Damage(kind="erasures", share=0.3), Damage(kind="block", share=0.3)]
)
def test_other_damage_leaves_the_limits_as_they_are(damage):
    assert limits(100, damage) == limits(100)


def test_where_half_of_the_spins_are_turned_nothing_is_left():
    turned = by_formula(512, Damage(share=0.5))
    assert turned["(1 − 2ρ)² n / (2 ln n)"] == turned["(1 − 2ρ)² n / (4 ln n)"] == 0


def test_where_more_than_half_of_the_spins_are_turned_no_more_is_promised_than_at_half():
    limit = {one.meaning: one.patterns for one in limits(512, Damage(share=0.9))}
    assert limit["all of them, exactly"] == 0


def test_limits_name_rules_that_there_are_what_they_mean_and_who_found_them():
    found = limits(64)
    assert {limit.rule for limit in found} == {"hebbian", "storkey", "projection"}
    assert all(limit.meaning and limit.source for limit in found)


def test_the_limits_of_hebb_are_kept_by_what_is_measured():
    """At d = 256 the exact capacity lies below 0.138 d, within which a few bits may be wrong."""
    found = measure("hebbian", RandomMasks(size=256), damage=UNDAMAGED, trials=2)
    assert by_formula(256)["n / (4 ln n)"] < found.patterns < by_formula(256)["0.138 n"]


@pytest.mark.parametrize("size", [1, 0, -5, True, 512.0, "512", None, inf])
def test_limits_of_fewer_than_2_spins_are_refused(size):
    with pytest.raises(ConfigError, match="2 spins and more, got"):
        limits(size)


# What a given memory still takes


def memory_of(masks, *, rule="hebbian", **options):
    """A memory of bool masks (k, bits), without a content address unless asked for."""
    options = {"key_bits": 64, "signature_features": 0} | options
    memory = MaskMemory({"h": masks.shape[1]}, rule=rule, **options)
    fill(memory, masks)
    return memory


def fill(memory, masks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for mask in masks:
            memory.store({"h": mask})


def drawn(count, *, bits=128, overlap=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return RandomMasks(size=bits, overlap=overlap).draw(count, generator) > 0


def mean_overlap(masks):
    spins = masks.double() * 2 - 1
    return float(np.mean([float(a @ b) / len(a) for a, b in itertools.combinations(spins, 2)]))


@pytest.mark.parametrize("overlap", [None, 0.3, 0.8])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_overlap_of_the_masks_follows_from_their_mean(count, overlap):
    masks = drawn(count, overlap=overlap)
    found = estimate(memory_of(masks, rule="storkey"), most=1)
    assert found.overlap == pytest.approx(mean_overlap(masks), abs=1e-5)
    assert found.tasks == count


def test_the_overlap_is_that_of_the_masks_left_after_one_was_forgotten():
    masks = drawn(5, bits=192, overlap=0.1)
    memory = memory_of(masks)
    memory.forget(task=2)
    found = estimate(memory, most=1)
    assert found.tasks == 4
    assert found.overlap == pytest.approx(mean_overlap(masks[[0, 1, 3, 4]]), abs=1e-5)


def test_the_overlap_is_that_of_all_layers_together():
    masks = drawn(4, bits=160)
    memory = MaskMemory({"a": (8, 12), "b": 64}, key_bits=64, signature_features=0)
    for mask in masks:
        memory.store({"a": mask[:96].reshape(8, 12), "b": mask[96:]})
    assert estimate(memory, most=1).overlap == pytest.approx(mean_overlap(masks), abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"signature_features": 64}, {"dtype": torch.float64}])
def test_an_estimate_changes_nothing_of_the_memory(rule, options, tmp_path):
    masks = drawn(4)
    memory = memory_of(masks[:3], rule=rule, **options)
    memory.save(tmp_path / "before.h5")
    tensors = [memory.reservoir.psi, memory.reservoir.mean]
    before = [tensor.clone() for tensor in tensors]
    estimate(memory, most=3)
    memory.save(tmp_path / "after.h5")
    assert (tmp_path / "after.h5").read_bytes() == (tmp_path / "before.h5").read_bytes()
    assert all(map(torch.equal, tensors, before))
    assert tensors[0] is memory.reservoir.psi
    assert memory.store({"h": masks[3]}) == 3


def really_kept(memory, masks, first):
    """Share of an even sample of old and new tasks that `recall(task=...)` gives back exactly."""
    tasks = [*range(first), *(first + spread(memory.count - first, 6)).tolist()]
    back = [torch.equal(memory.recall(task=task).masks["h"], masks[task]) for task in tasks]
    return sum(back) / len(back)


@pytest.mark.parametrize(("rule", "bits", "overlap"), [("hebbian", 64, None), ("storkey", 32, 0.5)])
def test_as_many_more_tasks_as_estimated_can_really_be_stored(rule, bits, overlap):
    """Other masks of the same kind: 0.6 of the estimate are kept, 1.6 of it are not."""
    masks, few = drawn(120, bits=bits, overlap=overlap, seed=3), 4
    memory = memory_of(masks[:few], rule=rule)
    found = estimate(memory, recalled=0.9)
    assert found.more > 5
    assert not found.open
    fill(memory, masks[few : few + round(0.6 * found.more)])
    assert really_kept(memory, masks, few) >= 0.9
    fill(memory, masks[memory.count : few + round(1.6 * found.more)])
    assert really_kept(memory, masks, few) < 0.9


def test_an_estimate_is_smaller_for_masks_that_are_alike():
    apart, alike = (
        estimate(memory_of(drawn(4, overlap=overlap)), recalled=0.9) for overlap in (None, 0.2)
    )
    assert alike.more < apart.more


def test_an_estimate_shrinks_by_about_what_is_stored():
    """Rows of a Hadamard matrix overlap by 0: both estimates are of independent masks."""
    masks = torch.from_numpy(scipy.linalg.hadamard(128)[1:13] > 0)
    early, late = (estimate(memory_of(masks[:count]), recalled=0.9) for count in (2, 12))
    assert abs(early.overlap) < 1e-6
    assert abs(late.overlap) < 1e-6
    assert late.more < early.more
    assert 0.7 < (late.more + 12) / (early.more + 2) < 1.4


def test_a_memory_that_is_too_full_takes_no_more():
    found = estimate(memory_of(drawn(40, bits=64)))
    assert found.more == 0
    assert not found.open
    assert str(found).endswith("); 0 more of their kind")


def test_forgetting_makes_room():
    masks = drawn(16, seed=2)
    memory = memory_of(masks)
    full = estimate(memory, recalled=0.9)
    for task in range(0, 12):
        memory.forget(task=task)
    emptied = estimate(memory, recalled=0.9)
    assert emptied.tasks == 4
    assert emptied.more > full.more


def test_after_forgetting_an_estimate_is_that_of_a_memory_which_never_held_those():
    """Ψ is the same to the bit; only the numbers, and so the keys, of the tasks differ."""
    masks = drawn(8, bits=192, seed=1)
    memory = memory_of(masks)
    for task in (0, 1, 2, 6):
        memory.forget(task=task)
    never = memory_of(masks[[3, 4, 5, 7]])
    found, expected = estimate(memory, recalled=0.9), estimate(never, recalled=0.9)
    assert found.tasks == expected.tasks == 4
    assert found.overlap == pytest.approx(expected.overlap, abs=1e-6)
    assert 0.6 <= found.more / expected.more <= 1.6


def test_an_estimate_of_one_task_knows_no_overlap():
    found = estimate(memory_of(drawn(1)), most=2)
    assert found.tasks == 1
    assert isnan(found.overlap)
    assert found.more == 2


def test_a_single_task_stands_for_its_density():
    dense = leaning(memory_of(torch.arange(128)[None] % 4 == 0)).mean[-128:]
    torch.testing.assert_close(dense, torch.full((128,), -0.5))


def test_where_the_trial_ends_first_the_estimate_is_open():
    memory = memory_of(drawn(3), rule="projection")
    found = estimate(memory, most=5)
    assert found.open
    assert found.more == 5
    assert "at least 5 more of their kind" in str(found)
    assert str(found).startswith("3 tasks held (mean overlap ")


def test_where_the_memory_ends_first_the_estimate_is_not_open():
    found = estimate(memory_of(drawn(3), rule="projection", key_bits=64), most=400, recalled=0.9)
    assert not found.open
    assert 50 < found.more < 256
    assert "at least" not in str(found)


def test_an_estimate_is_open_from_where_the_trial_ends_with_the_memory():
    """n more are taken: asked for n + 1 at most the end is known, asked for n it is not."""
    memory = memory_of(drawn(5))
    n = estimate(memory).more
    beyond, just = (estimate(memory, most=most) for most in (n + 1, n))
    assert (beyond.more, beyond.open) == (n, False)
    assert (just.more, just.open) == (n, True)


def test_tasks_that_are_held_already_must_stay():
    """Under a rule that keeps the newest pattern alone each new task is recalled, the old not."""
    memory = memory_of(drawn(1), rule=Forgetful())
    assert memory.recall(task=0).converged
    assert estimate(memory, recalled=1.0, most=1).more == 0
    assert estimate(memory, recalled=0.5, most=1).more == 1


def test_an_estimate_asks_for_the_share_it_was_told():
    memory = memory_of(drawn(4, bits=192))
    all_of_them, half = (estimate(memory, recalled=share) for share in (1.0, 0.5))
    assert (all_of_them.recalled, half.recalled) == (1.0, 0.5)
    assert all_of_them.more < half.more


def test_an_estimate_depends_on_the_seed_alone():
    memory = memory_of(drawn(3))
    before = untouched()
    found = [estimate(memory, seed=seed).more for seed in (1, 1, 2, 3, 4)]
    assert untouched() == before
    assert found[0] == found[1]
    assert len(set(found)) > 1


def test_an_estimate_is_the_same_in_double_precision():
    """Hebb's couplings are whole numbers in either: the same recalls, bit for bit."""
    masks = drawn(3)
    single, double = (
        estimate(memory_of(masks, dtype=dtype), most=64) for dtype in (torch.float32, torch.float64)
    )
    assert single.more == double.more
    assert single.overlap == pytest.approx(double.overlap, abs=1e-6)


@pytest.mark.parametrize("options", [{"recalled": 0.0}, {"recalled": 1.5}, {"recalled": nan}])
def test_an_estimate_of_no_share_is_refused(options):
    with pytest.raises(ConfigError, match=r"share in \(0, 1\], got"):
        estimate(memory_of(drawn(1)), **options)


@pytest.mark.parametrize("most", [0, -1, True, 2.5, None, "8"])
def test_an_estimate_of_no_tasks_is_refused(most):
    with pytest.raises(ConfigError, match="most must be a positive number of tasks, got"):
        estimate(memory_of(drawn(1)), most=most)


@pytest.mark.parametrize("thing", [Reservoir(16), None, "memory.h5"])
def test_an_estimate_is_of_a_mask_memory_and_nothing_else(thing):
    with pytest.raises(ConfigError, match=f"MaskMemory, got {type(thing).__name__}.*measure"):
        estimate(thing)


def test_an_empty_memory_has_no_estimate():
    memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=64, signature_features=0)
    with pytest.raises(EmptyMemoryError, match="store"):
        estimate(memory)
    with pytest.raises(EmptyMemoryError, match="store"):
        leaning(memory)
    memory.store({"h": torch.arange(64) % 3 == 0})
    memory.forget(task=0)
    with pytest.raises(EmptyMemoryError, match="store"):
        estimate(memory)


# Masks like those of a memory


@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_masks_like_those_of_a_reservoir_lean_as_they_do_and_overlap_as_they_do(overlap):
    """Means M + (μ − M) √((q − M²)/(m − M²)), worked out from the masks in float64."""
    masks = drawn(6, bits=2000, overlap=overlap)
    reservoir = Reservoir(2000, rule="hebbian")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        reservoir.store(masks)
    spins = masks.double() * 2 - 1
    mu, q = spins.mean(0), mean_overlap(masks)
    found = leaning(reservoir)
    middle = float(mu.mean())
    share = (q - middle**2) / (float(mu.square().mean()) - middle**2)
    expected = middle + (mu - middle) * sqrt(share)
    torch.testing.assert_close(found.mean.double(), expected, rtol=1e-5, atol=1e-6)
    more = found.draw(40, torch.Generator().manual_seed(0)) > 0
    assert mean_overlap(more) == pytest.approx(q, abs=0.05)


def test_masks_that_shun_each_other_leave_no_lean():
    """q < M², which independent bits cannot have: what is left is the density, M = 1/8."""
    reservoir = Reservoir(64, rule="hebbian")
    stripes = torch.arange(64)
    reservoir.store(torch.stack([stripes < 32, stripes >= 24]))
    assert leaning(reservoir).mean.tolist() == [0.125] * 64


def test_masks_like_those_of_a_memory_leave_key_and_check_bits_to_chance():
    memory = memory_of(drawn(5, overlap=0.5), rule="storkey")
    found = leaning(memory)
    body = slice(memory.reservoir.size - 128, None)
    assert found.size == memory.reservoir.size
    assert not found.mean[: body.start].any()
    assert found.mean[body].any()
    assert log(found.mean.abs().max()) <= 0
