"""A memory lives through any sequence of operations as a plain dict of masks does."""

import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from hopmask import (
    Damage,
    DuplicateError,
    EmptyMemoryError,
    MaskMemory,
    NotForgettableError,
    UnknownTaskError,
    load,
)

SIZES = {"a": 128, "b": (8, 8)}
MOST = 6  # tasks at a time: a load of 0.02, where every rule is exact

SEEDS = st.integers(0, 2**16)
PICKS = st.integers(0, MOST - 1)  # which of the tasks that there are, modulo their number


def made(seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(size, generator=generator) < 0.5 for name, size in SIZES.items()}


def same(found, masks):
    return set(found) == set(masks) and all(torch.equal(found[n], masks[n]) for n in masks)


class Life(RuleBasedStateMachine):
    """A MaskMemory beside what it should hold: `tasks`, number -> masks."""

    learning: ClassVar[str]
    forgets: ClassVar[bool] = False

    @initialize(seed=SEEDS)
    def begin(self, seed):
        self.memory = MaskMemory(
            SIZES, rule=self.learning, seed=seed, key_bits=64, signature_features=0
        )
        self.bytes = self.memory.nbytes
        self.tasks, self.gone, self.next = {}, set(), 0

    def pick(self, place):
        return sorted(self.tasks)[place % len(self.tasks)]

    def refused(self, error, operation):
        """An operation fails with this error and changes nothing."""
        reservoir = self.memory.couplings
        psi, mean, count = reservoir.psi.clone(), reservoir.mean.clone(), reservoir.count
        with pytest.raises(error):
            operation()
        assert self.memory.couplings is reservoir
        assert torch.equal(reservoir.psi, psi)
        assert torch.equal(reservoir.mean, mean)
        assert reservoir.count == count

    # What it takes in

    @precondition(lambda self: len(self.tasks) < MOST)
    @rule(seed=SEEDS)
    def store(self, seed):
        masks = made(seed)
        if any(same(masks, others) for others in self.tasks.values()):
            return self.refused(DuplicateError, lambda: self.memory.store(masks))
        assert self.memory.store(masks) == self.next
        self.tasks[self.next] = masks
        self.next += 1

    @precondition(lambda self: self.tasks)
    @rule(place=PICKS)
    def store_again(self, place):
        masks = self.tasks[self.pick(place)]
        self.refused(DuplicateError, lambda: self.memory.store(masks))

    @precondition(lambda self: self.tasks)
    @rule(place=PICKS, seed=SEEDS)
    def replace(self, place, seed):
        task, masks = self.pick(place), made(seed)
        others = [held for number, held in self.tasks.items() if number != task]
        if any(same(masks, held) for held in others):
            self.refused(DuplicateError, lambda: self.memory.replace(task, masks))
        elif not self.forgets:
            self.refused(NotForgettableError, lambda: self.memory.replace(task, masks))
        else:
            self.memory.replace(task, masks)
            self.tasks[task] = masks

    @precondition(lambda self: self.tasks)
    @rule(place=PICKS)
    def replace_by_itself(self, place):
        task = self.pick(place)
        if not self.forgets:
            operation = self.memory.replace
            self.refused(NotForgettableError, lambda: operation(task, self.tasks[task]))
            return
        psi = self.memory.couplings.psi.clone()
        self.memory.replace(task, self.tasks[task])
        assert torch.equal(self.memory.couplings.psi, psi)

    @precondition(lambda self: self.tasks)
    @rule(place=PICKS)
    def forget(self, place):
        task = self.pick(place)
        if not self.forgets:
            self.refused(NotForgettableError, lambda: self.memory.forget(task))
            return
        self.memory.forget(task)
        del self.tasks[task]
        self.gone.add(task)

    # What it gives back

    @precondition(lambda self: self.tasks)
    @rule(
        place=PICKS,
        kind=st.sampled_from(["flips", "erasures", "block"]),
        share=st.floats(0, 0.15),
        seed=SEEDS,
    )
    def recall_by_damaged_masks(self, place, kind, share, seed):
        task = self.pick(place)
        damage, generator = Damage(kind=kind, share=share), torch.Generator().manual_seed(seed)
        cue = {}
        for name, mask in self.tasks[task].items():
            spins = mask.flatten()[None].float() * 2 - 1
            cue[name] = ((1 + damage.of(spins, generator)) / 2).reshape(mask.shape)
        self.answers(task, self.memory.recall(cue=cue))

    @precondition(lambda self: self.tasks)
    @rule(place=PICKS, layer=st.sampled_from(sorted(SIZES)))
    def recall_by_one_layer(self, place, layer):
        task = self.pick(place)
        self.answers(task, self.memory.recall(cue={layer: self.tasks[task][layer].float()}))

    def answers(self, task, hit):
        assert same(hit.masks, self.tasks[task])
        assert (hit.task, hit.verified, hit.recognized) == (task, True, True)

    # What it does not have

    @rule(beyond=st.integers(0, 3))
    def ask_for_a_number_never_given(self, beyond):
        task = self.next + beyond if beyond else -1
        error = UnknownTaskError if self.tasks else EmptyMemoryError
        self.refused(error, lambda: self.memory.recall(task=task))
        self.refused(error, lambda: self.memory.forget(task))

    @precondition(lambda self: self.gone)
    @rule(place=PICKS, seed=SEEDS)
    def ask_for_a_forgotten_number(self, place, seed):
        task = sorted(self.gone)[place % len(self.gone)]
        error = UnknownTaskError if self.tasks else EmptyMemoryError
        self.refused(error, lambda: self.memory.forget(task))
        if self.tasks:
            hit = self.memory.recall(task=task)
            assert (hit.verified, hit.recognized) == (False, False)

    # What must not matter

    @rule()
    def save_and_load(self):
        with tempfile.TemporaryDirectory() as folder:
            self.memory.save(Path(folder) / "memory.h5")
            again = load(Path(folder) / "memory.h5")
        assert torch.equal(again.couplings.psi, self.memory.couplings.psi)
        assert torch.equal(again.couplings.mean, self.memory.couplings.mean)
        self.memory = again

    @invariant()
    def counts_its_tasks(self):
        assert self.memory.count == len(self.tasks)

    @invariant()
    def takes_the_same_space(self):
        assert self.memory.nbytes == self.bytes

    @invariant()
    def gives_back_every_task_by_its_number(self):
        for task in self.tasks:
            self.answers(task, self.memory.recall(task=task))

    @invariant()
    def has_the_mean_of_its_masks(self):
        for name, mean in self.memory.mean.items():
            held = [masks[name].float() for masks in self.tasks.values()]
            expected = torch.stack(held).mean(0) if held else torch.full_like(mean, 0.5)
            torch.testing.assert_close(mean, expected, rtol=0, atol=1e-5)


def lived(learning, *, forgets=False):
    """Lives under one rule, a quarter as many as other tests have examples."""
    machine = type(f"Life{learning.title()}", (Life,), {"learning": learning, "forgets": forgets})
    case = machine.TestCase
    case.settings = settings(max_examples=settings().max_examples // 4, stateful_step_count=15)
    return case


TestHebbian = lived("hebbian", forgets=True)
TestStorkey = lived("storkey")
TestProjection = lived("projection")
