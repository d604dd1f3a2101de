"""A hub memory lives through any sequence of operations as a plain dict of tasks does."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hopmask import (
    DuplicateError,
    EmptyMemoryError,
    MaskMemory,
    MemoryFullError,
    UnknownTaskError,
    load,
)

SIZES, EXTRAS, BORN, MOST = {"a": 40, "b": (4, 4)}, {"x": 2}, 4, 16
SEEDS = st.integers(0, 2**16)
PLACES = st.integers(0, MOST - 1)  # which of the tasks, modulo their number


def made(seed, signed=True, groups=1):
    """A task from a seed; where there are groups, of one or more of them."""
    g = torch.Generator().manual_seed(seed)
    masks = {name: torch.rand(size, generator=g) < 0.5 for name, size in SIZES.items()}
    task = {"masks": masks, "extras": {"x": torch.randn(2, generator=g)}}
    if signed:
        task["signature"] = torch.randn(1, 4, generator=g) * 9 + torch.randn(6, 4, generator=g)
    if signed and groups > 1:
        task["groups"] = torch.randint(0, groups, (6,), generator=g)
    return task


def empty(seed, groups, hubs=BORN):
    memory = MaskMemory(
        SIZES,
        couplings="hub",
        hubs=BORN,
        extras=EXTRAS,
        signature_features=32,  # some answer to any sample
        signature_groups=groups,
        seed=seed,
    )
    while memory.capacity < hubs:
        memory.grow()
    return memory


class HubLife(RuleBasedStateMachine):
    """A hub memory beside what it should hold: `tasks`, number -> what was stored."""

    @initialize(seed=SEEDS, groups=st.sampled_from([1, 2]))
    def begin(self, seed, groups):
        self.seed, self.groups, self.memory = seed, groups, empty(seed, groups)
        self.tasks, self.next = {}, 0
        self.bytes, self.file = {}, {}  # by number of hubs

    def made(self, seed, signed=True):
        return made(seed, signed, self.groups)

    def pick(self, place):
        return sorted(self.tasks)[place % len(self.tasks)]

    def refused(self, error, operation):
        before = {name: array.copy() for name, array in self.memory.document().arrays.items()}
        with pytest.raises(error):
            operation()
        after = self.memory.document().arrays
        assert all((after[name] == array).all() for name, array in before.items())

    def free(self):
        """The number that the next task should get, or None."""
        if self.next < self.memory.capacity:
            return self.next
        free = [n for n in range(self.memory.capacity) if n not in self.tasks]
        return free[0] if free else None

    # Changes

    @rule(seed=SEEDS, signed=st.booleans())
    def store(self, seed, signed):
        number, task = self.free(), self.made(seed, signed)
        if number is None:
            return self.refused(MemoryFullError, lambda: self.memory.store(**task))
        assert self.memory.store(**task) == number
        self.tasks[number], self.next = task, max(self.next, number + 1)

    @rule(seed=SEEDS, number=st.integers(0, 2 * MOST))
    def store_under_a_number(self, seed, number):
        def store():
            return self.memory.store(task=number, **self.made(seed))

        if number >= self.memory.capacity:
            self.refused(MemoryFullError, store)
        elif number in self.tasks:
            self.refused(DuplicateError, store)
        else:
            assert store() == number
            self.tasks[number], self.next = self.made(seed), max(self.next, number + 1)

    @precondition(lambda self: self.tasks)
    @rule(place=PLACES, seed=SEEDS, signed=st.booleans())
    def replace(self, place, seed, signed):
        number, task = self.pick(place), self.made(seed, signed)
        self.memory.replace(number, **task)
        self.tasks[number] = self.tasks[number] | task

    @precondition(lambda self: self.tasks)
    @rule(place=PLACES)
    def forget(self, place):
        number = self.pick(place)
        self.memory.forget(number)
        del self.tasks[number]

    @rule(number=st.integers(-1, 2 * MOST))
    def ask_for_a_number_that_is_not_there(self, number):
        if number in self.tasks:
            return
        error = UnknownTaskError if self.tasks else EmptyMemoryError
        self.refused(error, lambda: self.memory.recall(number))
        self.refused(error, lambda: self.memory.forget(number))
        self.refused(UnknownTaskError, lambda: self.memory.replace(number, **self.made(0)))

    @precondition(lambda self: self.memory.capacity < MOST)
    @rule()
    def grow(self):
        hubs = self.memory.capacity
        self.memory.grow()
        assert self.memory.capacity == 2 * hubs

    @rule(seeds=st.dictionaries(PLACES, SEEDS, max_size=4), either=st.booleans())
    def merge(self, seeds, either):
        other = empty(self.seed, self.groups, self.memory.capacity)
        seeds = {n: seed for n, seed in seeds.items() if n < self.memory.capacity}
        for number, seed in seeds.items():
            other.store(task=number, **self.made(seed))
        if seeds.keys() & self.tasks.keys():
            self.refused(DuplicateError, lambda: self.memory.merge(other))
            return
        if either:
            self.memory.merge(other)
        else:
            other.merge(self.memory)
            self.memory = other
        self.tasks |= {number: self.made(seed) for number, seed in seeds.items()}
        self.next = max([self.next, *(number + 1 for number in seeds)])

    @rule()
    def save_and_load(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "memory.h5"
            self.memory.save(path)
            hubs = self.memory.capacity
            assert self.file.setdefault(hubs, path.stat().st_size) == path.stat().st_size
            self.memory = load(path)

    # Always

    @invariant()
    def says_what_it_holds(self):
        assert self.memory.tasks == tuple(sorted(self.tasks))
        assert self.memory.count == len(self.tasks)
        assert self.memory.numbered == self.next

    @invariant()
    def takes_the_same_space(self):
        hubs, nbytes = self.memory.capacity, self.memory.nbytes
        assert self.bytes.setdefault(hubs, nbytes) == nbytes

    @invariant()
    def gives_back_every_task_by_its_number(self):
        if not self.tasks:
            return
        hit = self.memory.recall(sorted(self.tasks))
        assert bool(hit.verified.all())
        for row, task in enumerate(self.tasks[number] for number in sorted(self.tasks)):
            for name, mask in task["masks"].items():
                assert torch.equal(hit.masks[name][row], mask)
            assert torch.equal(hit.extras["x"][row], task["extras"]["x"].half().float())

    @invariant()
    def has_the_means_of_its_tasks(self):
        if not self.tasks:
            assert self.memory.mean_extras["x"].tolist() == [0, 0]
            return
        held = [task["extras"]["x"].half().double() for task in self.tasks.values()]
        expected = torch.stack(held).mean(0).float()
        torch.testing.assert_close(self.memory.mean_extras["x"], expected, rtol=0, atol=1e-6)
        masks = torch.stack([task["masks"]["a"].float() for task in self.tasks.values()])
        torch.testing.assert_close(self.memory.mean["a"], masks.mean(0), rtol=0, atol=1e-6)

    @invariant()
    def knows_the_signatures_given(self):
        addressed = self.memory.address.addressed.nonzero()[:, 0].tolist()
        assert addressed == [n for n in sorted(self.tasks) if "signature" in self.tasks[n]]

    @invariant()
    def keeps_the_sums_of_a_memory_that_stored_what_it_holds(self):
        fresh = empty(self.seed, self.groups, self.memory.capacity)
        for number, task in self.tasks.items():
            fresh.store(task=number, **task)
        ours, theirs = self.memory.document().arrays, fresh.document().arrays
        for name in ("narrow", "wide", "flags", "extras", "link"):
            assert (ours[name] == theirs[name]).all(), name


TestHubLife = HubLife.TestCase
TestHubLife.settings = settings(max_examples=settings().max_examples, stateful_step_count=20)
