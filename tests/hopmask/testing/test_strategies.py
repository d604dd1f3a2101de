"""Strategies draw what they promise, and a counterexample comes back small."""

import warnings
from math import log, sqrt

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from hopmask import MaskMemory, OverloadWarning, Reservoir
from hopmask.couplings.rules import Hebbian
from hopmask.errors import ConfigError
from hopmask.testing import (
    Filled,
    assert_recallable,
    damaged,
    mask_sets,
    masks,
    memories,
    reservoirs,
    spins,
)

FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None)
MANY = settings(FEW, max_examples=200)
KINDS = st.sampled_from(["flips", "erasures", "block"])


def smallest(strategy, condition=lambda example: True):
    """The counterexample that a failing test of this strategy would show."""
    return find(strategy, condition, settings=MANY)


def drawn(strategy, number=25):
    """So many examples."""
    seen = []

    @settings(FEW, max_examples=number)
    @given(example=strategy)
    def collect(example):
        seen.append(example)

    collect()
    return seen


def reach(places, length=1.0):
    """Hoeffding's bound, exceeded with probability 1e-6, on the mean over independent places."""
    return length * sqrt(log(2e6) / (2 * places))


def overlap_of(rows):
    """Mean of (1/d) Σ z z' over all pairs of bool masks (k, d)."""
    signs = rows.double() * 2 - 1
    together = signs @ signs.T / signs.shape[1]
    return float((together.sum() - together.trace()) / (len(rows) * (len(rows) - 1)))


def up_to_sign(rows):
    """The different masks among (k, *shape), a mask and its opposite being one."""
    flat = rows.flatten(1)
    return torch.unique(flat ^ flat[:, :1], dim=0)


# Masks and spins


@FEW
@given(mask=masks(st.integers(1, 90)))
def test_masks_are_bool_vectors_of_a_size_in_its_range(mask):
    assert mask.dtype == torch.bool
    assert mask.ndim == 1
    assert 1 <= len(mask) <= 90


@FEW
@given(mask=masks(st.tuples(st.integers(1, 4), st.just(3), st.integers(1, 5))))
def test_masks_may_have_a_shape(mask):
    assert mask.ndim == 3
    assert mask.shape[1] == 3


@pytest.mark.parametrize("bits", [1, 8, 9, 65])
def test_any_bit_of_a_mask_may_be_set_and_any_may_not(bits):
    seen = torch.stack(drawn(masks(bits), 60))
    assert seen.shape[1] == bits
    assert seen.any(0).all()
    assert not seen.all(0).any()


def test_all_masks_of_few_bits_are_drawn():
    seen = {tuple(mask.tolist()) for mask in drawn(masks(3), 200)}
    assert len(seen) == 8


@FEW
@given(mask=masks(20_000, density=0.2))
def test_masks_are_as_dense_as_asked_for(mask):
    assert abs(float(mask.double().mean()) - 0.2) < reach(20_000)


@FEW
@given(z=spins(st.integers(1, 90)))
def test_spins_are_plus_and_minus_one_in_float32(z):
    assert z.dtype == torch.float32
    assert z.ndim == 1
    assert (z.abs() == 1).all()


@FEW
@given(z=spins(20_000, density=0.9))
def test_spins_are_up_as_often_as_asked_for(z):
    assert abs(float((z > 0).double().mean()) - 0.9) < reach(20_000)


# Sets of masks


@FEW
@given(rows=mask_sets((3, 4), count=st.integers(2, 6)))
def test_sets_have_as_many_masks_as_asked_for_of_their_shape(rows):
    assert rows.dtype == torch.bool
    assert 2 <= len(rows) <= 6
    assert rows.shape[1:] == (3, 4)


def test_sets_have_one_to_four_masks_by_default():
    assert {len(rows) for rows in drawn(mask_sets(12), 60)} == {1, 2, 3, 4}


@pytest.mark.parametrize("options", [{}, {"density": 0.5}, {"overlap": 0.3}])
def test_no_mask_of_a_set_comes_twice_nor_its_opposite(options):
    for rows in drawn(mask_sets(6, count=4, **options), 60):
        assert len(up_to_sign(rows)) == 4


@pytest.mark.parametrize("options", [{}, {"density": 0.5}])
def test_masks_come_twice_or_as_opposites_where_that_is_allowed(options):
    strategy = mask_sets(2, count=2, distinct=False, **options)
    same = smallest(strategy, lambda rows: torch.equal(rows[0], rows[1]))
    assert torch.equal(same[0], same[1])
    opposite = smallest(strategy, lambda rows: torch.equal(rows[0], ~rows[1]))
    assert torch.equal(opposite[0], ~opposite[1])


def test_as_many_masks_as_there_are_up_to_sign_can_be_drawn():
    """Of 3 bits there are 4."""
    for rows in drawn(mask_sets(3, count=4), 20):
        assert len(up_to_sign(rows)) == 4


@pytest.mark.parametrize(
    ("density", "overlap", "expected"),
    [
        (0.5, None, (0.5, 0.0)),
        (None, 0.6, (0.5, 0.6)),
        (0.2, None, (0.2, 0.36)),
        (0.2, 0.7, (0.2, 0.7)),
    ],
)
def test_sets_have_the_density_and_overlap_asked_for(density, overlap, expected):
    for rows in drawn(mask_sets(10_000, count=5, density=density, overlap=overlap), 10):
        assert abs(float(rows.double().mean()) - expected[0]) < reach(10_000)
        assert abs(overlap_of(rows) - expected[1]) < reach(10_000, 1 + 1 / 4)


def test_sets_of_a_density_differ_from_example_to_example():
    seen = {tuple(rows.flatten().tolist()) for rows in drawn(mask_sets(32, count=2, density=0.5))}
    assert len(seen) > 20


def test_a_density_or_overlap_that_there_is_not_is_refused():
    with pytest.raises(ConfigError):
        drawn(mask_sets(8, density=1.5))
    with pytest.raises(ConfigError):
        drawn(mask_sets(8, density=0.1, overlap=0.2))


# Damaged cues

PATTERNS = torch.rand(3, 40, generator=torch.Generator().manual_seed(0)) < 0.5
SIGNS = PATTERNS.float() * 2 - 1


@FEW
@given(data=st.data(), kind=KINDS, share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_cues_of_spins_are_wrong_in_as_many_places_as_asked_for(data, kind, share):
    before = SIGNS.clone()
    cues = data.draw(damaged(SIGNS, kind=kind, share=share))
    assert torch.equal(SIGNS, before)
    assert ((cues != SIGNS).sum(-1) == round(40 * share)).all()
    assert (cues.abs() == (1 if kind == "flips" else (cues == SIGNS).float())).all()


@FEW
@given(data=st.data(), kind=KINDS, share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_cues_of_masks_are_levels_with_a_half_where_a_bit_is_unknown(data, kind, share):
    cues = data.draw(damaged(PATTERNS, kind=kind, share=share))
    assert cues.shape == PATTERNS.shape
    assert cues.is_floating_point()
    wrong = cues != PATTERNS.float()
    assert (wrong.sum(-1) == round(40 * share)).all()
    expected = 1 - PATTERNS.float() if kind == "flips" else torch.full(PATTERNS.shape, 0.5)
    assert torch.equal(cues[wrong], expected[wrong])


@FEW
@given(cue=damaged(SIGNS[0], share=0.2))
def test_a_single_pattern_gives_a_single_cue(cue):
    assert cue.shape == (40,)
    assert int((cue != SIGNS[0]).sum()) == 8


@FEW
@given(cues=damaged({"a": PATTERNS, "b": PATTERNS.reshape(3, 5, 8)}, share=0.25))
def test_the_layers_of_a_task_are_damaged_as_a_whole(cues):
    assert list(cues) == ["a", "b"]
    a, b = (cues["a"] != PATTERNS), (cues["b"] != PATTERNS.reshape(3, 5, 8))
    assert (a.sum(-1) + b.sum((-2, -1)) == 20).all()


@FEW
@given(cues=damaged({"a": PATTERNS, "b": PATTERNS.reshape(3, 5, 8)}, kind="block", share=0.5))
def test_a_block_may_be_a_whole_layer(cues):
    unknown = torch.cat([cues["a"], cues["b"].flatten(1)], 1) == 0.5
    first = unknown.float().argmax(-1)
    assert (unknown.sum(-1) == 40).all()
    assert all(bool(row[at : at + 40].all()) for row, at in zip(unknown, first, strict=True))


def test_a_set_of_no_masks_is_refused():
    with pytest.raises(ConfigError):
        smallest(mask_sets(4, count=0))


@FEW
@given(cues=damaged(SIGNS.double(), kind="flips", share=0.2))
def test_cues_of_double_precision_stay_so(cues):
    assert cues.dtype == torch.float64


def test_damage_falls_on_other_places_in_other_examples():
    seen = {tuple((cue < 0).tolist()) for cue in drawn(damaged(torch.ones(40), share=0.2))}
    assert len(seen) > 15


def test_damage_of_a_drawn_kind_and_share_takes_all_of_them():
    cues = drawn(damaged(torch.ones(10), kind=KINDS, share=st.sampled_from([0.2, 0.4])), 200)
    turned = {int((cue < 0).sum()) for cue in cues}
    unknown = {int((cue == 0).sum()) for cue in cues}
    assert turned == unknown == {0, 2, 4}


def test_damage_that_there_is_not_is_refused():
    with pytest.raises(ConfigError):
        drawn(damaged(SIGNS, kind="melted"))
    with pytest.raises(ConfigError):
        drawn(damaged(SIGNS, share=1.5))


# Filled reservoirs and memories


def restored(reservoir, patterns):
    """A reservoir of the same kind in which the patterns are stored one by one."""
    again = Reservoir(reservoir.size, rule=reservoir.rule, dtype=reservoir.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for pattern in patterns:
            again.store(pattern)
    return again


def test_reservoirs_hold_exactly_the_patterns_they_return(rule):
    for filled in drawn(reservoirs(rule=rule, count=st.integers(1, 6))):
        assert isinstance(filled, Filled)
        assert isinstance(filled.store, Reservoir)
        assert filled.store.rule.name == rule
        assert filled.patterns.shape == (filled.store.count, filled.store.size)
        assert (filled.patterns.abs() == 1).all()
        again = restored(filled.store, filled.patterns)
        assert torch.equal(again.psi, filled.store.psi)
        assert torch.equal(again.mean, filled.store.mean)


def test_reservoirs_have_32_to_128_spins_and_one_to_four_patterns_by_default():
    stores = [filled.store for filled in drawn(reservoirs(), 100)]
    assert {store.rule.name for store in stores} == {"storkey"}
    assert {store.count for store in stores} == {1, 2, 3, 4}
    assert min(store.size for store in stores) == 32
    assert 100 < max(store.size for store in stores) <= 128


def test_reservoirs_may_be_of_drawn_rules_and_sizes_and_of_double_precision():
    rules = st.sampled_from(["hebbian", Hebbian(), "projection"])
    some = drawn(reservoirs(rule=rules, size=st.sampled_from([40, 50]), dtype=torch.float64), 60)
    assert {filled.store.rule.name for filled in some} == {"hebbian", "projection"}
    assert {filled.store.size for filled in some} == {40, 50}
    assert {filled.store.dtype for filled in some} == {torch.float64}
    assert {filled.patterns.dtype for filled in some} == {torch.float64}


def test_the_patterns_of_reservoirs_are_as_dense_and_alike_as_asked_for():
    for filled in drawn(reservoirs(size=1000, count=4, density=0.3, overlap=0.4), 5):
        rows = filled.patterns > 0
        assert abs(float(rows.double().mean()) - 0.3) < reach(1000)
        assert abs(overlap_of(rows) - 0.4) < reach(1000, 1 + 1 / 3)


def test_the_patterns_of_reservoirs_may_be_any_at_all():
    filled = smallest(
        reservoirs(size=st.integers(32, 40), count=2, density=None),
        lambda filled: bool((filled.patterns[1] > 0).any()),
    )
    assert int((filled.patterns > 0).sum()) <= 2


def test_overloaded_reservoirs_are_drawn_without_a_warning():
    """Warnings are errors here."""
    for filled in drawn(reservoirs(rule="hebbian", size=32, count=16), 5):
        assert filled.store.count == 16


def test_memories_hold_exactly_the_masks_they_return(rule):
    for filled in drawn(memories(rule=rule, count=st.integers(1, 3)), 8):
        assert isinstance(filled.store, MaskMemory)
        assert filled.store.couplings.rule.name == rule
        again = MaskMemory(
            filled.store.shapes,
            rule=rule,
            seed=filled.store.seed,
            key_bits=filled.store.key_bits,
            signature_features=0,
        )
        for task in range(filled.store.count):
            again.store({name: rows[task] for name, rows in filled.patterns.items()})
        assert torch.equal(again.couplings.psi, filled.store.couplings.psi)
        assert torch.equal(again.couplings.mean, filled.store.couplings.mean)
        assert again.count == filled.store.count


def test_memories_have_two_layers_by_default_and_the_layers_asked_for_otherwise():
    (default,) = drawn(memories(count=2), 1)
    assert default.store.shapes == {"first": (96,), "second": (8, 8)}
    assert default.store.key_bits == 64
    (own,) = drawn(memories(count=2, sizes={"x": 40, "y": (2, 3, 4)}, key_bits=32), 1)
    assert own.store.shapes == {"x": (40,), "y": (2, 3, 4)}
    assert own.store.key_bits == 32
    assert {name: rows.shape for name, rows in own.patterns.items()} == {
        "x": (2, 40),
        "y": (2, 2, 3, 4),
    }


def test_memories_are_of_many_seeds():
    assert len({filled.store.seed for filled in drawn(memories(sizes={"h": 8}), 20)}) > 10


def test_memories_give_their_masks_back():
    for filled in drawn(memories(), 10):
        for task in range(filled.store.count):
            hit = filled.store.recall(task=task)
            assert all(
                torch.equal(hit.masks[name], filled.patterns[name][task]) for name in hit.masks
            )


def test_the_masks_of_memories_are_as_dense_and_alike_as_asked_for():
    sizes = {"a": 1000, "b": (10, 100)}
    for filled in drawn(memories(sizes=sizes, count=4, density=0.3, overlap=0.4), 3):
        for rows in filled.patterns.values():
            assert abs(float(rows.double().mean()) - 0.3) < reach(1000)
            assert abs(overlap_of(rows.flatten(1)) - 0.4) < reach(1000, 1 + 1 / 3)


def test_sets_of_a_drawn_size_have_no_more_masks_than_there_are():
    for rows in drawn(mask_sets(st.integers(1, 8), count=st.integers(1, 6)), 60):
        assert len(up_to_sign(rows)) == len(rows)


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "projection", "density": None, "count": 4},
        {"rule": "projection", "overlap": 0.9, "count": 8},
        {"rule": "hebbian", "overlap": 0.9, "count": 8},
    ],
)
def test_patterns_that_a_rule_refuses_are_not_drawn(options):
    for filled in drawn(reservoirs(**options), 100):
        assert filled.store.count == options["count"]


def test_memories_may_have_a_layer_of_few_bits():
    for filled in drawn(memories(sizes={"h": 64, "gate": 1}, count=3), 5):
        assert filled.store.count == 3


# Counterexamples come back small


def test_masks_shrink_to_no_bit_and_a_bit_set_to_one_bit_the_first():
    assert smallest(masks(64)).tolist() == [False] * 64
    assert smallest(masks(64), lambda mask: bool(mask.any())).nonzero().tolist() == [[0]]


def test_masks_shrink_in_size_and_in_bits():
    mask = smallest(masks(st.integers(1, 100)), lambda mask: int(mask.sum()) >= 3)
    assert int(mask.sum()) == 3
    assert len(mask) <= 8
    mask = smallest(masks(st.integers(1, 100)), lambda mask: len(mask) >= 17)
    assert mask.tolist() == [False] * 17


def test_masks_with_a_shape_shrink_in_it():
    shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
    mask = smallest(masks(shapes), lambda mask: int(mask.sum()) >= 2)
    assert mask.numel() == 2


def test_spins_shrink_to_all_down():
    assert smallest(spins(st.integers(1, 64))).tolist() == [-1.0]
    assert smallest(spins(8), lambda z: z.sum() > -8).tolist() == [1.0] + [-1.0] * 7


def test_sets_shrink_to_the_fewest_masks_of_the_fewest_bits():
    rows = smallest(
        mask_sets(st.integers(3, 64), count=st.integers(1, 4)), lambda rows: len(rows) >= 3
    )
    assert rows.shape == (3, 3)
    assert int(rows.sum()) <= 3
    rows = smallest(
        mask_sets(st.integers(1, 64), count=st.integers(1, 6), density=0.5),
        lambda rows: len(rows) >= 3,
    )
    assert rows.shape == (3, 3)


def test_cues_shrink_to_no_damage_of_the_first_kind():
    cue = smallest(damaged(SIGNS, kind=KINDS, share=st.floats(0, 0.3)))
    assert torch.equal(cue, SIGNS)


def test_damage_in_steps_shrinks_to_the_fewest_spins():
    """Shares drawn as whole numbers of spins; hypothesis has an order of its own for reals."""
    share = st.integers(0, 20).map(lambda spins: spins / 40)
    cue = smallest(damaged(SIGNS[0], share=share), lambda cue: bool((cue != SIGNS[0]).any()))
    assert int((cue != SIGNS[0]).sum()) == 1


def overloaded(filled):
    return bool(filled.store.unstable(filled.patterns).any())


def test_an_overloaded_reservoir_shrinks_to_the_fewest_spins_and_few_patterns():
    """Of up to 128 spins and 40 patterns."""
    found = smallest(
        reservoirs(rule="hebbian", size=st.integers(32, 128), count=st.integers(1, 40)), overloaded
    )
    assert found.store.size == 32
    assert found.store.count <= 8


def test_a_failing_test_reports_a_small_reservoir():
    """What a user sees: the last example run is the smallest that fails."""
    last = []

    @settings(MANY)
    @given(filled=reservoirs(rule="hebbian", count=st.integers(1, 40)))
    def all_patterns_are_stable(filled):
        last[:] = [filled.store.size, filled.store.count]
        assert not overloaded(filled)

    with pytest.raises(AssertionError):
        all_patterns_are_stable()
    assert last[0] == 32
    assert last[1] <= 8


def test_memories_shrink_to_the_fewest_tasks_and_the_first_seed():
    found = smallest(
        memories(sizes={"h": 16}, count=st.integers(1, 4)), lambda filled: filled.store.count >= 3
    )
    assert found.store.count == 3
    assert found.store.seed == 0


# Hub memories


@FEW
@given(filled=memories(hubs=st.sampled_from([2, 4, 8]), count=st.integers(1, 8)))
def test_hub_memories_hold_what_was_drawn(filled):
    assert filled.store.capacity in (2, 4, 8)
    assert 1 <= filled.store.count <= filled.store.capacity
    assert_recallable(filled.store, filled.patterns)


@FEW
@given(data=st.data())
def test_hub_memories_come_back_from_damage(data):
    filled = data.draw(memories(hubs=8, count=8, overlap=0.4))
    cues = data.draw(damaged(filled.patterns, share=0.1))
    assert_recallable(filled.store, filled.patterns, cues=cues)


def test_hub_memories_shrink_to_one_task():
    found = smallest(memories(hubs=4, count=st.integers(1, 4)))
    assert found.store.count == 1
