"""How full a memory is: what is asked after each store, and what a report counts."""

import re
import warnings
from dataclasses import FrozenInstanceError

import pytest
import torch

from hopmask import MaskMemory, OverloadWarning
from hopmask.couplings.dense import DenseCouplings
from hopmask.memory.health import overload, recalled_by_key
from hopmask.patterns.check_bits import MENDED
from hopmask.patterns.joint_code import JointCode

BITS = 32


class Shelf:
    """Couplings, the code of its patterns, and the patterns themselves, to compare with."""

    def __init__(self, size, rule):
        self.code = JointCode({"h": size}, seed=0, key_bits=BITS)
        self.couplings = DenseCouplings(self.code.size, rule=rule)
        self.patterns = []

    def store(self, body):
        pattern = self.code.pattern(len(self.patterns), body, like=self.couplings.mean)
        self.couplings.write(pattern[0])
        self.patterns.append(pattern[0])

    def warning(self):
        """What is said after the last store."""
        return overload(
            self.couplings,
            self.code,
            task=len(self.patterns) - 1,
            pattern=self.patterns[-1][None],
            numbered=len(self.patterns),
        )

    def recalled(self, tasks, bits=BITS):
        return recalled_by_key(
            self.couplings, self.code, torch.tensor(tasks), bits=bits, numbered=len(self.patterns)
        )

    def turn(self, spins):
        """Make the couplings hold some spins weakly, and the wrong way round."""
        for spin in spins:
            self.couplings.psi[spin] *= -0.01
            self.couplings.psi[:, spin] *= -0.01


def shelf(tasks, random_spins, size=256, rule="storkey"):
    made = Shelf(size, rule)
    for body in random_spins(tasks, size):
        made.store(body)
    return made


# What is asked after each store


@pytest.mark.parametrize("tasks", [1, 2, 8])
def test_a_memory_that_holds_its_tasks_well_says_nothing(tasks, random_spins):
    assert shelf(tasks, random_spins).warning() == ""


@pytest.mark.parametrize("spins", [0, 1, MENDED // 8])
def test_a_few_spins_to_mend_are_no_trouble(spins, random_spins):
    held = shelf(4, random_spins)
    held.turn(range(200, 200 + spins))
    assert held.warning() == ""


@pytest.mark.parametrize("spins", [MENDED // 8 + 1, MENDED])
def test_a_memory_that_mends_many_spins_is_full(spins, random_spins):
    held = shelf(4, random_spins)
    held.turn(range(200, 200 + spins))
    said = held.warning()
    assert said.startswith("the memory is full (4 tasks, rule 'storkey', 352 spins, load 0.011)")
    assert f"by mending as far as its {spins} least firm spins" in said
    assert f"the check bits mend {MENDED}" in said
    assert said.endswith("before the next task")


@pytest.mark.parametrize("tasks", [1, 4])
def test_a_memory_that_has_more_spins_wrong_than_it_mends_is_too_full(tasks, random_spins):
    held = shelf(tasks, random_spins)
    held.turn(range(200, 201 + MENDED))
    said = held.warning()
    assert said.startswith("the memory is too full")
    assert f"task {tasks - 1} is stored, but {MENDED + 1} of its spins would flip" in said
    assert not said.endswith("before the next task")


def test_bits_that_many_other_masks_have_set_are_lost_where_a_new_mask_has_not():
    """Under hebbian the others outweigh what is new; h = (Σ z zᵀ − k) z / d."""
    memory = MaskMemory({"h": 256}, rule="hebbian", key_bits=BITS, signature_features=0)
    generator = torch.Generator().manual_seed(1)
    leaning = torch.rand(12, 256, generator=generator) < 0.9
    mask = torch.rand(256, generator=generator) < 0.75
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for alike in leaning:
            memory.store({"h": alike})
    with pytest.warns(OverloadWarning, match="the memory is too full") as caught:
        memory.store({"h": mask})

    patterns = torch.cat(
        [
            memory.code.pattern(task, body * 2.0 - 1, like=torch.zeros(1))
            for task, body in enumerate([*leaning, mask])
        ]
    )
    last = patterns[-1]
    field = patterns.T @ (patterns @ last) - len(patterns) * last
    wrong = int((field * last <= 0).sum())
    assert wrong > MENDED
    assert f"task 12 is stored, but {wrong} of its spins would flip" in str(caught[0].message)
    assert memory.count == 13


def filled_until(said, random_spins, rule="hebbian"):
    """A memory filled until it says so, and the task that it names."""
    held = Shelf(64, rule)
    for body in random_spins(80, 64, seed=3):
        held.store(body)
        found = re.search(rf"task (\d+) {said}", held.warning())
        if found:
            return held, int(found[1])
    raise AssertionError(f"no task {said}")


def test_a_task_named_as_weak_is_recalled_by_its_key_but_not_by_half_of_it(random_spins):
    held, weak = filled_until("is recalled by its number, but not by half", random_spins)
    whole, by_whole, _ = held.recalled([weak])
    part, by_part, _ = held.recalled([weak], bits=BITS // 2)
    assert torch.equal(whole[0], held.patterns[weak])
    assert not torch.equal(part[0], held.patterns[weak])
    assert (bool(by_whole), bool(by_part)) == (True, False)
    assert held.warning().startswith("the memory is full")


def test_a_task_named_as_lost_is_not_recalled_by_its_key(random_spins):
    held, lost = filled_until("is no longer recalled", random_spins)
    state, recalled, _ = held.recalled([lost])
    assert not torch.equal(state[0], held.patterns[lost])
    assert not bool(recalled)
    assert held.warning().startswith("the memory is too full")


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [
        ("storkey", "Use a larger memory or rule 'projection' before"),
        ("projection", "Use a larger memory before"),
    ],
)
def test_the_remedy_is_not_the_rule_that_is_used_already(rule, remedy, random_spins):
    held = shelf(4, random_spins, rule=rule)
    held.turn(range(200, 210))
    assert remedy in held.warning()


def test_a_task_that_was_forgotten_is_not_warned_of(random_spins):
    """It is not known which one is gone: the newest alone is asked."""
    memory = MaskMemory({"h": 256}, rule="hebbian", key_bits=BITS, signature_features=0)
    masks = random_spins(6, 256) > 0
    for mask in masks[:5]:
        memory.store({"h": mask})
    memory.forget(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        memory.store({"h": masks[5]})
    assert caught == []


# Recall by key


@pytest.mark.parametrize("rule", ["storkey", "hebbian"])
@pytest.mark.parametrize("bits", [BITS // 2, BITS])
def test_a_task_counts_as_recalled_when_every_bit_is_right(rule, bits, random_spins):
    held, seen = Shelf(64, rule), set()
    for body in random_spins(40, 64, seed=2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OverloadWarning)
            held.store(body)
        if len(held.patterns) % 8 == 0:
            tasks = list(range(len(held.patterns)))
            state, recalled, _ = held.recalled(tasks, bits=bits)
            right = [torch.equal(state[task], held.patterns[task]) for task in tasks]
            assert recalled.tolist() == right
            seen |= set(right)
    assert seen == {True, False}


def test_a_number_that_was_never_given_is_not_recalled(random_spins):
    held = shelf(3, random_spins)
    assert held.recalled([0, 7, 2])[1].tolist() == [True, False, True]


@pytest.mark.parametrize("spins", [0, 1, 5, MENDED])
def test_mending_reaches_as_far_as_the_firmest_spin_that_it_turns(spins, random_spins):
    """Spins turned round are the least firm, so the firmest of them is in that place."""
    held = shelf(4, random_spins)
    held.turn(range(200, 200 + spins))
    assert held.recalled([0, 1, 2, 3])[2].tolist() == [spins] * 4


# Reports


def hebbian(tasks, random_spins, size=256):
    memory = MaskMemory({"h": size}, rule="hebbian", key_bits=64, signature_features=0)
    for spins in random_spins(tasks, size):
        memory.store({"h": spins > 0})
    return memory


@pytest.mark.parametrize(
    ("forgotten", "recalled"), [(None, 1.0), (4, 2 / 3 * 9 / 8), (3, 1.0)], ids=str
)
def test_a_sample_is_spread_evenly_and_stands_for_all(forgotten, recalled, random_spins):
    """Three of nine are numbers 0, 4 and 8; what is missing in it is missing in 9 of 8 held."""
    memory = hebbian(9, random_spins)
    if forgotten is not None:
        memory.forget(forgotten)
    report = memory.report(sample=3)
    assert report.sampled == 3
    assert report.recalled == pytest.approx(recalled)


def test_a_report_counts_all_that_is_left_when_some_were_forgotten(random_spins):
    memory = hebbian(8, random_spins)
    for task in (0, 3, 5):
        memory.forget(task)
    report = memory.report()
    assert (report.tasks, report.sampled) == (5, 8)
    assert report.recalled == 1.0


def test_a_plain_list_takes_whole_bytes_a_task(random_mask):
    memory = MaskMemory({"h": 130}, key_bits=64, signature_features=0)
    for task in range(3):
        memory.store({"h": random_mask(130, seed=task)})
    assert memory.report().packed_nbytes == 3 * 17


def test_a_report_reads_as_one_sentence_of_its_figures(random_spins):
    report = hebbian(4, random_spins).report()
    assert str(report) == (
        "4 tasks in 384 spins (rule 'hebbian', load 0.0104): 100% of 4 recalled by number, "
        "100% by half of their keys, at most 0 unstable spins"
    )


def test_a_report_changes_nothing(random_spins):
    memory = hebbian(4, random_spins)
    psi, mean = memory.couplings.psi.clone(), memory.couplings.mean.clone()
    first = memory.report()
    assert torch.equal(memory.couplings.psi, psi)
    assert torch.equal(memory.couplings.mean, mean)
    assert memory.report() == first


def test_a_report_cannot_be_changed(random_spins):
    report = hebbian(2, random_spins).report()
    with pytest.raises(FrozenInstanceError):
        report.recalled = 1.0
