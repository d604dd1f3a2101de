"""Checks pass where a memory keeps its promise, and say what was lost where it does not."""

import re

import pytest
import torch

from hopmask import (
    ConfigError,
    Damage,
    EmptyMemoryError,
    GivenMasks,
    HopmaskError,
    LearningRule,
    MaskMemory,
    NumericalError,
    RandomMasks,
    Reservoir,
    UnknownTaskError,
)
from hopmask.couplings.rules import (
    Hebbian,
)
from hopmask.testing import assert_capacity, assert_recallable

D = 64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def filled(count=3, *, rule="storkey", size=D, seed=0):
    """A reservoir and the patterns it holds."""
    patterns = RandomMasks(size=size).draw(count, generator(seed))
    reservoir = Reservoir(size, rule=rule)
    reservoir.store(patterns)
    return reservoir, patterns


def remembered(count=3, *, seed=0, **options):
    """A memory of two layers and the masks it holds."""
    masks = {
        name: torch.rand(count, *shape, generator=generator(seed + i)) < 0.5
        for i, (name, shape) in enumerate({"a": (40,), "b": (6, 8)}.items())
    }
    memory = MaskMemory(
        {"a": 40, "b": (6, 8)}, **({"key_bits": 64, "signature_features": 0} | options)
    )
    for task in range(count):
        memory.store({name: rows[task] for name, rows in masks.items()})
    return memory, masks


class Refusing(LearningRule):
    """Takes a given number of patterns, the sum of Hebb's, and no more."""

    name = "refusing"

    def __init__(self, most):
        self.left = most

    def update(self, psi, pattern):
        if not self.left:
            raise NumericalError("no room")
        self.left -= 1
        Hebbian().update(psi, pattern)


# assert_recallable


def test_a_reservoir_that_holds_its_patterns_passes(rule):
    reservoir, patterns = filled(rule=rule)
    assert_recallable(reservoir, patterns)
    assert_recallable(reservoir, patterns > 0)
    assert_recallable(reservoir, patterns.double())
    assert_recallable(reservoir, patterns.flip(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cues_may_be_damaged_and_of_any_kind(dtype):
    _, patterns = filled()
    reservoir = Reservoir(D, dtype=dtype)
    reservoir.store(patterns)
    for kind in ("flips", "erasures", "block"):
        assert_recallable(
            reservoir, patterns, cues=Damage(kind=kind, share=0.2).of(patterns, generator(1))
        )


def test_a_check_leaves_reservoir_patterns_and_cues_alone():
    reservoir, patterns = filled()
    cues = Damage(share=0.1).of(patterns, generator(1))
    tensors = [reservoir.psi, reservoir.mean, patterns, cues]
    before = [tensor.clone() for tensor in tensors]
    assert_recallable(reservoir, patterns, cues=cues)
    assert all(map(torch.equal, tensors, before))


def test_a_failure_names_rule_spins_load_number_and_first_wrong_pattern_with_its_bits():
    reservoir, patterns = filled(3)
    claimed = patterns.clone()
    claimed[1, :2] *= -1  # stored with two other bits
    claimed[2, 10:15] *= -1
    with pytest.raises(AssertionError) as raised:
        assert_recallable(reservoir, claimed)
    assert str(raised.value) == (
        "rule 'storkey', 64 spins, 3 patterns (load 0.047): 2 of 3 patterns came back wrong by "
        "cue; the first is 1, in 2 of 64 bits"
    )


def test_a_failure_names_the_rule_at_work():
    reservoir, patterns = filled(2, rule="hebbian")
    with pytest.raises(AssertionError, match=r"rule 'hebbian', 64 spins, 2 patterns \(load 0.031"):
        assert_recallable(reservoir, patterns, cues=patterns.flip(0))


def test_one_wrong_bit_of_one_pattern_is_enough_to_fail():
    reservoir, patterns = filled()
    claimed = patterns.clone()
    claimed[2, 63] *= -1
    with pytest.raises(AssertionError, match=r"1 of 3 .* the first is 2, in 1 of 64 bits"):
        assert_recallable(reservoir, claimed)


def test_the_negative_of_a_pattern_is_not_that_pattern():
    reservoir, patterns = filled()
    with pytest.raises(AssertionError, match=r"3 of 3 .* the first is 0, in 64 of 64 bits"):
        assert_recallable(reservoir, patterns, cues=-patterns)


def test_a_pattern_that_was_never_stored_fails():
    reservoir, patterns = filled()
    strange = RandomMasks(size=D).draw(1, generator(99))
    with pytest.raises(AssertionError, match=r"1 of 4 patterns .* the first is 3"):
        assert_recallable(reservoir, torch.cat([patterns, strange]))


def test_the_cues_and_not_the_patterns_are_what_is_asked():
    """Under hebbian a pattern is its own answer even where half-turned cues lead elsewhere."""
    reservoir, patterns = filled()
    assert_recallable(reservoir, patterns)
    with pytest.raises(AssertionError, match="came back wrong by cue"):
        assert_recallable(reservoir, patterns, cues=Damage(share=0.45).of(patterns, generator(2)))


def test_an_empty_reservoir_is_a_typed_error():
    with pytest.raises(EmptyMemoryError):
        assert_recallable(Reservoir(D), torch.ones(1, D))


def test_a_memory_that_holds_its_masks_passes(rule):
    memory, masks = remembered(rule=rule)
    assert_recallable(memory, masks)
    assert_recallable(memory, {name: rows.float() for name, rows in masks.items()})


def test_the_first_tasks_of_a_memory_may_be_asked_alone():
    memory, masks = remembered(4)
    assert_recallable(memory, {name: rows[:2] for name, rows in masks.items()})


def test_a_memory_is_asked_by_cue_too():
    memory, masks = remembered()
    half = {name: rows.float() for name, rows in masks.items()}
    half["b"][:, :3] = 0.5
    assert_recallable(memory, masks, cues=half)
    assert_recallable(memory, masks, cues={"a": half["a"]})


@pytest.mark.parametrize("cues", [None, "undamaged"])
def test_masks_of_another_order_fail_by_number_at_the_first_task_that_is_wrong(cues):
    memory, masks = remembered()
    swapped = {name: rows[[0, 2, 1]] for name, rows in masks.items()}
    bits = int(sum((masks[name][1] != masks[name][2]).sum() for name in masks))
    cues = cues and {name: rows.float() for name, rows in swapped.items()}
    with pytest.raises(AssertionError) as raised:
        assert_recallable(memory, swapped, cues=cues)
    assert str(raised.value) == (
        "rule 'storkey', 216 spins, 3 patterns (load 0.014): 2 of 3 patterns came back wrong by "
        f"number; the first is 1, in {bits} of 88 bits"
    )


def test_a_memory_that_answers_by_number_but_not_by_cue_fails_by_cue():
    memory, masks = remembered()
    cues = {name: rows[[0, 1, 1]].float() for name, rows in masks.items()}
    with pytest.raises(AssertionError, match=r"1 of 3 .* wrong by cue; the first is 2, in "):
        assert_recallable(memory, masks, cues=cues)


def test_tasks_that_were_never_stored_are_a_typed_error():
    memory, masks = remembered(2)
    more = {name: torch.cat([rows, ~rows]) for name, rows in masks.items()}
    with pytest.raises(UnknownTaskError):
        assert_recallable(memory, more)


def test_the_masks_of_a_memory_come_by_name():
    memory, masks = remembered()
    with pytest.raises(ConfigError):
        assert_recallable(memory, masks["a"])


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]], ids=["one too few", "one too many"])
def test_the_masks_are_those_of_the_memorys_layers(names):
    memory, masks = remembered()
    with pytest.raises(ConfigError):
        assert_recallable(memory, {name: masks.get(name, masks["a"]) for name in names})


def test_the_layers_may_come_in_any_order():
    memory, masks = remembered()
    turned = {"b": masks["b"], "a": masks["a"]}
    cues = {name: rows.float() for name, rows in masks.items()}
    assert_recallable(memory, turned)
    assert_recallable(memory, turned, cues=cues)


def test_a_single_wrong_pattern_fails_like_several():
    reservoir, patterns = filled()
    claimed = patterns[0].clone()
    claimed[0] *= -1
    with pytest.raises(AssertionError, match="in 1 of 64 bits"):
        assert_recallable(reservoir, claimed)


@pytest.mark.parametrize("size", [32, 48, 96, 192])
def test_patterns_of_another_size_are_refused_even_where_end_to_end_they_would_do(size):
    reservoir, patterns = filled()
    with pytest.raises(HopmaskError):
        assert_recallable(reservoir, patterns.reshape(-1, size))


def test_patterns_of_a_size_that_does_not_divide_are_refused():
    reservoir, patterns = filled()
    with pytest.raises(HopmaskError):
        assert_recallable(reservoir, patterns[:, :-1])


def test_a_check_of_no_patterns_is_refused():
    reservoir, patterns = filled()
    with pytest.raises(HopmaskError):
        assert_recallable(reservoir, patterns[:0])


def test_fewer_or_more_cues_than_patterns_are_refused():
    reservoir, patterns = filled()
    for cues in (patterns[:2], patterns.repeat(2, 1)):
        with pytest.raises(HopmaskError):
            assert_recallable(reservoir, patterns, cues=cues)


def test_one_cue_for_all_patterns_or_several_for_one_are_refused():
    reservoir, patterns = filled()
    with pytest.raises(HopmaskError):
        assert_recallable(reservoir, patterns[:1], cues=patterns[:1].repeat(2, 1))


# assert_capacity


@pytest.mark.parametrize("load", [0.03, 0.1])
def test_a_light_load_passes(rule, load):
    assert_capacity(lambda: Reservoir(128, rule=rule), load=min(load, LIGHT[rule]))


LIGHT = {"hebbian": 0.04, "storkey-matrix": 0.1, "storkey": 0.1, "projection": 0.1}


def test_a_heavy_load_fails_and_says_what_and_how_much():
    with pytest.raises(AssertionError) as raised:
        assert_capacity(lambda: Reservoir(128, rule="hebbian"), load=0.3, trials=3)
    assert re.fullmatch(
        r"rule 'hebbian', 128 spins, 38 patterns \(load 0\.297\): \d+ of 114 came back bit for bit "
        r"from cues \(10% flips\), fewer than 90%: lower the load, or use a rule that holds more "
        r"\(hopmask capacity\)",
        str(raised.value),
    )


def test_what_one_rule_fails_another_passes():
    assert_capacity(lambda: Reservoir(96, rule="projection"), load=0.3)
    with pytest.raises(AssertionError, match="rule 'hebbian', 96 spins, 29 patterns"):
        assert_capacity(lambda: Reservoir(96, rule="hebbian"), load=0.3)


def test_the_share_that_must_come_back_decides():
    """One of two patterns: the newer, under a rule that keeps the newest alone."""

    class Newest(LearningRule):
        name = "newest"

        def update(self, psi, pattern):
            psi.copy_(pattern.outer(pattern) / len(pattern)).fill_diagonal_(0)

    assert_capacity(lambda: Reservoir(D, rule=Newest()), load=2 / D, recalled=0.5)
    with pytest.raises(AssertionError, match=r"2 of 4 came back .* fewer than 51%"):
        assert_capacity(lambda: Reservoir(D, rule=Newest()), load=2 / D, recalled=0.51)


@pytest.mark.parametrize(("load", "count"), [(0.0, 1), (0.001, 1), (0.1, 6), (0.11, 7), (1, 64)])
def test_the_load_is_rounded_to_patterns_and_at_least_one(load, count):
    stored = []

    class Counting(LearningRule):
        name = "counting"

        def update(self, psi, pattern):
            stored.append(pattern.clone())
            Hebbian().update(psi, pattern)

    with pytest.raises(AssertionError, match=f"{count} patterns .* 0 of {count} came back"):
        assert_capacity(lambda: Reservoir(D, rule=Counting()), load=load, noise=1.0, trials=1)
    assert len(stored) == count
    assert len(torch.unique(torch.stack(stored), dim=0)) == count


def test_the_factory_is_called_once_a_trial():
    made = []

    def factory():
        made.append(Reservoir(D))
        return made[-1]

    assert_capacity(factory, load=0.05, trials=4)
    assert [reservoir.count for reservoir in made] == [3] * 4
    assert not torch.equal(made[0].psi, made[1].psi)


@pytest.mark.parametrize(
    "noise",
    [0.0, 0.2, Damage(kind="erasures", share=0.6), Damage(kind="block", share=0.5)],
    ids=str,
)
def test_noise_is_a_share_of_flips_or_any_damage(noise):
    assert_capacity(lambda: Reservoir(128), load=0.05, noise=noise)


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        (0.45, "45% flips"),
        (Damage(kind="erasures", share=0.95), "95% erasures"),
        (Damage(kind="block", share=0.95), "95% block"),
    ],
)
def test_too_much_noise_fails_and_is_named(noise, said):
    with pytest.raises(AssertionError, match=rf"from cues \({said}\)"):
        assert_capacity(lambda: Reservoir(128), load=0.1, noise=noise)


def test_double_precision_passes():
    assert_capacity(lambda: Reservoir(D, dtype=torch.float64), load=0.05)


def memory_factory(**options):
    options = {"key_bits": 32, "signature_features": 0} | options
    return lambda: MaskMemory({"a": 56, "b": (5, 8)}, **options)


def test_the_load_of_a_memory_counts_key_and_check_bits():
    """96 mask bits, 32 key bits, 64 check bits: 192 spins, of which 0.05 are 10 tasks."""
    memories = []

    def factory():
        memories.append(memory_factory()())
        return memories[-1]

    assert_capacity(factory, load=0.05)
    assert [memory.count for memory in memories] == [10, 10]
    with pytest.raises(AssertionError) as raised:
        assert_capacity(memory_factory(rule="hebbian"), load=0.1, trials=1)
    assert re.match(
        r"rule 'hebbian', 192 spins, 19 patterns \(load 0\.099\): \d+ of 19 came back",
        str(raised.value),
    )


def test_a_memory_is_asked_by_its_masks_alone():
    """Where nothing of the masks is left, its number would still name a task."""
    assert_capacity(memory_factory(), load=0.03, noise=Damage(kind="erasures", share=0.5))
    with pytest.raises(AssertionError, match="95% erasures"):
        assert_capacity(memory_factory(), load=0.03, noise=Damage(kind="erasures", share=0.95))


def test_memories_with_a_content_address_or_of_double_precision_pass_too():
    assert_capacity(memory_factory(signature_features=64), load=0.03, trials=1)
    assert_capacity(memory_factory(dtype=torch.float64), load=0.03, trials=1)


def test_a_users_masks_are_what_is_stored():
    masks = RandomMasks(size=D).draw(9, generator())
    seen = []

    class Watching(Hebbian):
        name = "watching"

        def update(self, psi, pattern):
            seen.append(pattern.tolist())
            super().update(psi, pattern)

    with pytest.raises(AssertionError):
        assert_capacity(
            lambda: Reservoir(D, rule=Watching()), load=9 / D, masks=GivenMasks(masks), trials=1
        )
    assert sorted(seen) == sorted(masks.tolist())


def test_a_users_masks_are_those_of_all_layers_of_a_memory_together():
    masks = RandomMasks(size=96).draw(4, generator()) > 0
    memories = []

    def factory():
        memories.append(memory_factory()())
        return memories[-1]

    assert_capacity(factory, load=4 / 192, masks=GivenMasks(masks), trials=1)
    found = [memories[0].recall(task=task).masks for task in range(4)]
    joined = torch.stack([torch.cat([hit["a"], hit["b"].flatten()]) for hit in found])
    assert sorted(joined.tolist()) == sorted(masks.tolist())


def test_masks_that_are_alike_fail_where_random_ones_pass():
    assert_capacity(lambda: Reservoir(128, rule="hebbian"), load=0.05)
    with pytest.raises(AssertionError, match="rule 'hebbian'"):
        assert_capacity(
            lambda: Reservoir(128, rule="hebbian"),
            load=0.05,
            masks=RandomMasks(size=128, overlap=0.6),
        )


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (RandomMasks(size=D + 1), "64 bits, 6 of them, got 65 bits and None"),
        (GivenMasks(torch.eye(D, dtype=torch.bool)[:5]), "64 bits, 6 of them, got 64 bits and 5"),
    ],
    ids=["of another size", "too few"],
)
def test_masks_that_do_not_fit_are_refused(masks, said):
    with pytest.raises(ConfigError, match=said) as raised:
        assert_capacity(lambda: Reservoir(D), load=0.1, masks=masks)
    assert isinstance(raised.value, HopmaskError)
    assert_capacity(lambda: Reservoir(D), load=0.06, masks=RandomMasks(size=D), trials=1)


def test_masks_of_a_memory_have_its_mask_bits_and_not_its_spins():
    with pytest.raises(ConfigError):
        assert_capacity(memory_factory(), load=0.03, masks=RandomMasks(size=192))


def test_a_rule_that_refuses_a_pattern_fails_and_says_so():
    with pytest.raises(AssertionError) as raised:
        assert_capacity(lambda: Reservoir(D, rule=Refusing(2)), load=0.05)
    assert str(raised.value) == (
        "rule 'refusing', 64 spins, 3 patterns (load 0.047): a pattern was refused: no room"
    )
    assert isinstance(raised.value.__cause__, NumericalError)


def test_masks_that_are_opposites_are_refused_as_duplicates():
    class Opposites:
        size, most = D, None

        def draw(self, count, generator):
            one = torch.where(torch.arange(D) % 3 == 0, 1.0, -1.0)
            return torch.stack([one, -one])

    with pytest.raises(AssertionError, match=r"a pattern was refused: .*stored already"):
        assert_capacity(lambda: Reservoir(D), load=2 / D, masks=Opposites())


def test_levels_are_not_taken_for_spins():
    """What `damaged` gives for masks is for a MaskMemory; a Reservoir would read 0 as unknown."""
    reservoir, patterns = filled()
    masks = patterns > 0
    assert_recallable(reservoir, masks, cues=2 * masks.float() - 1)
    with pytest.raises(ConfigError):
        assert_recallable(reservoir, masks, cues=masks.float())


@pytest.mark.parametrize("masks", [torch.ones(3, D), "masks", 3])
def test_what_is_no_ensemble_is_refused(masks):
    with pytest.raises(ConfigError):
        assert_capacity(lambda: Reservoir(D), load=0.05, masks=masks)


def test_a_refusal_of_a_memory_fails_alike():
    with pytest.raises(AssertionError, match=r"192 spins, 6 patterns .*: a pattern was refused"):
        assert_capacity(memory_factory(rule=Refusing(3)), load=0.03)


@pytest.mark.parametrize(
    "factory",
    [lambda: filled()[0], lambda: remembered()[0], lambda: None, dict, lambda: Hebbian()],
    ids=["filled reservoir", "filled memory", "nothing", "a dict", "a rule"],
)
def test_a_factory_of_anything_but_empty_memories_is_refused(factory):
    with pytest.raises(ConfigError):
        assert_capacity(factory, load=0.05)


def test_a_factory_that_makes_the_same_memory_twice_is_refused():
    """Its second trial would begin with what the first one stored."""
    reservoir = Reservoir(D)
    with pytest.raises(ConfigError):
        assert_capacity(lambda: reservoir, load=0.05)


def test_noise_that_there_is_not_is_refused():
    with pytest.raises(ConfigError):
        assert_capacity(lambda: Reservoir(D), load=0.05, noise=1.5)


def lost(seed):
    """How the message of a failing check reads."""
    with pytest.raises(AssertionError) as raised:
        assert_capacity(lambda: Reservoir(D, rule="hebbian"), load=0.14, seed=seed, recalled=1.0)
    return str(raised.value)


def test_a_check_depends_on_its_seed_alone():
    before = torch.get_rng_state()
    once = lost(3)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)  # moves the global generator on
        assert lost(3) == once
    assert len({lost(seed) for seed in range(6)}) > 1


@pytest.mark.parametrize("load", [-0.5, float("nan"), float("inf")])
def test_a_load_that_there_is_not_is_refused(load):
    with pytest.raises(ConfigError):
        assert_capacity(lambda: Reservoir(D), load=load)


@pytest.mark.parametrize("options", [{"trials": 0}, {"recalled": 0.0}, {"recalled": -1.0}])
def test_a_check_of_nothing_is_refused(options):
    with pytest.raises(ConfigError):
        assert_capacity(lambda: Reservoir(D, rule="hebbian"), load=0.9, **options)


def test_exactly_the_share_asked_for_is_enough():
    """Of 25 patterns 7 come back, 0.28 of them: each is its own, under a rule that drops 18."""

    class First(LearningRule):
        name = "first"

        def __init__(self):
            self.left = 7

        def update(self, psi, pattern):
            if self.left:
                self.left -= 1
                Hebbian().update(psi, pattern)

    assert_capacity(
        lambda: Reservoir(250, rule=First()), load=0.1, noise=0.0, recalled=0.28, trials=1
    )


def test_a_memory_in_place_of_its_factory_is_refused():
    with pytest.raises(ConfigError):
        assert_capacity(Reservoir(D), load=0.05)


# Hub memories


def test_a_hub_memory_that_lost_a_mask_is_told_by_the_load_of_its_hubs(hub_memory, hub_task):
    memory = hub_memory(4)
    masks = [hub_task(number)["masks"] for number in range(4)]
    stacked = {name: torch.stack([mask[name] for mask in masks]) for name in ("a", "b")}
    assert_recallable(memory, stacked)
    memory.couplings.narrow[:10] = 0
    with pytest.raises(AssertionError, match=re.escape("4 patterns (load 0.500)")):
        assert_recallable(memory, stacked)


def test_the_capacity_of_a_hub_memory_is_a_share_of_its_hubs():
    def made():
        return MaskMemory({"a": 128}, couplings="hub", hubs=8, signature_features=0)

    assert_capacity(made, load=1.0, noise=0.1, recalled=1.0)
    with pytest.raises(AssertionError, match="refused"):
        assert_capacity(made, load=1.2)
