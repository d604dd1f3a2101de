"""Row: a state machine against a plain model."""

import argparse
import copy
import itertools
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial, partialmethod
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import numpy as np
import torch
from hypothesis import stateful
from hypothesis import strategies as st

import hopmask
from hopmask import MaskMemory, storage
from hopmask.errors import ReadOnlyMemoryError, StoreFileError
from hopmask.memory.live import LiveMemory
from hopmask.storage import commit, descriptor, system
from hopmask.storage.container import MAGIC
from torture_rows.full_disk import System
from torture_rows.memories import Tell, dense, drafts, ended, equal, forked, hub, mask, same
from torture_rows.tally import Row, Tally, scratch, share

Change = tuple[Callable[[MaskMemory | LiveMemory], object], dict[int, int]]


class Life(stateful.RuleBasedStateMachine):
    """One file's life against a memory that is never in a file."""

    folder = Path()
    tally = Tally()

    def __init__(self) -> None:
        super().__init__()
        type(self).tally.trials += 1
        self.path = self.folder / f"{self.tally.trials}.h5"
        self.states: dict[str, tuple[MaskMemory, dict[int, int]]] = {}
        self.masks = 0
        hopmask.open_memory(self.path, "x", new=self.empty()).close()
        self.model, self.tasks = self.empty(), {}
        self.reopen()
        self.remember()

    def empty(self) -> MaskMemory:
        """The memory with which a life begins."""
        return dense(384)

    def remember(self) -> None:
        """The file is now in the state of the model."""
        self.states[self.live.stamp.sha256] = (copy.deepcopy(self.model), dict(self.tasks))

    def new(self) -> dict[str, torch.Tensor]:
        """Masks never stored before."""
        self.masks += 1
        return mask(self.model.shapes, 1, self.masks)

    def task(self, choice: int) -> int:
        """One of the tasks."""
        return sorted(self.tasks)[choice % len(self.tasks)]

    def possible(self) -> list[Callable[[int], Change]]:
        """Changes that can be made now, each with the tasks that there are after it."""
        room = len(self.tasks) < min(8, self.model.capacity or 8)
        found: list[Callable[[int], Change]] = [self.store] if room else []
        return found + ([self.forget, self.replace] if self.tasks else [])

    def store(self, choice: int) -> Change:
        """Store masks."""
        masks = self.new()
        task = copy.deepcopy(self.model).store(masks)
        return lambda memory: memory.store(masks), self.tasks | {task: self.masks}

    def forget(self, choice: int) -> Change:
        """Forget one of the tasks."""
        task = self.task(choice)
        left = {number: masks for number, masks in self.tasks.items() if number != task}
        return lambda memory: memory.forget(task), left

    def replace(self, choice: int) -> Change:
        """Put other masks in the place of a task's."""
        task, masks = self.task(choice), self.new()
        return lambda memory: memory.replace(task, masks), self.tasks | {task: self.masks}

    @stateful.rule()
    def reopen(self) -> None:
        """Open the file anew."""
        self.live = hopmask.open_memory(self.path, "r+")

    @stateful.rule(kind=st.integers(0, 59), choice=st.integers(0, 7))
    def change(self, kind: int, choice: int) -> None:
        """Make a change."""
        possible = self.possible()
        change, tasks = possible[kind % len(possible)](choice)
        assert change(self.live) == change(self.model)
        self.tasks = tasks
        self.remember()
        assert not drafts(self.path)

    @stateful.rule(
        kind=st.integers(0, 59),
        choice=st.integers(0, 7),
        call=st.integers(0, 40),
        half=st.booleans(),
    )
    def crash(self, kind: int, choice: int, call: int, half: bool) -> None:
        """A process dies at a call of its commit: the file is as before, or as after."""
        possible = self.possible()
        change, tasks = possible[kind % len(possible)](choice)
        before, after = copy.deepcopy(self.model), copy.deepcopy(self.model)
        change(after)
        lines, status = ended(
            forked(partial(crashing, path=self.path, change=change, at=call, half=half))
        )
        assert status == 9 or (status == 0 and not lines), lines
        found = hopmask.load(self.path)
        self.tally.add("crashes", status == 9)
        if equal(found, after):
            self.tally.add("crashes after the rename", status == 9)
            self.model, self.tasks = after, tasks
            self.remember()
        else:
            assert status == 9
            assert equal(found, before)

    @stateful.rule(share=st.floats(0, 1, exclude_max=True))
    def cut_and_recover(self, share: float) -> None:
        """Cut the file short: it is refused; the generation before can be put in its place."""
        previous = self.path.with_name(self.path.name + ".prev")
        whole, known = self.path.read_bytes(), None
        if previous.exists() and not previous.samefile(self.path):
            known = storage.read_stamped(previous)[1].sha256
        os.truncate(self.path, max(len(MAGIC), int(share * len(whole))))
        with suppress(StoreFileError):
            self.live.store(self.new())
            raise AssertionError("stored into a file that was cut")
        if known is None:
            self.path.write_bytes(whole)  # there is nothing to recover from
            return
        found = storage.recover(self.path)
        assert found.source is not None
        assert found.source.sha256 == known
        model, tasks = self.states[known]
        self.model, self.tasks = copy.deepcopy(model), dict(tasks)
        self.reopen()
        self.remember()
        self.tally.add("recoveries")

    @stateful.precondition(lambda self: len(self.tasks) > 2)
    @stateful.rule()
    def save_over(self) -> None:
        """Save another memory over the file."""
        self.model, self.tasks = self.empty(), {}
        task = self.model.store(self.new())
        self.tasks[task] = self.masks
        self.model.save(self.path)
        self.reopen()
        self.remember()

    @stateful.invariant()
    def as_the_model(self) -> None:
        """The file is the model, bit for bit, and every task is recalled."""
        assert equal(self.live._newest(), self.model)
        assert self.live.count == len(self.tasks)
        for task, number in self.tasks.items():
            hit = self.live.recall(task=task)
            assert same(hit.masks, mask(self.model.shapes, 1, number))
        self.tally.add("steps")


class HubLife(Life):
    """The same of hub couplings, which also grow, merge, and are saved with few bits."""

    def empty(self) -> MaskMemory:
        """The memory with which a life begins."""
        return hub(1024, hubs=4)

    def possible(self) -> list[Callable[[int], Change]]:
        """Changes that can be made now, each with the tasks that there are after it."""
        found = super().possible()
        found += [self.grow] if self.model.capacity < 16 else []
        return found + ([self.merge] if len(self.tasks) < self.model.capacity else [])

    def grow(self, choice: int) -> Change:
        """Twice the hubs."""
        return lambda memory: memory.grow(), self.tasks

    def merge(self, choice: int) -> Change:
        """Add the one task of another memory."""
        free = sorted({*range(self.model.capacity)} - self.tasks.keys())
        other, task, masks = self.empty(), free[choice % len(free)], self.new()
        while other.capacity < self.model.capacity:
            other.grow()
        other.store(masks, task=task)
        return lambda memory: memory.merge(other), self.tasks | {task: self.masks}

    @stateful.precondition(lambda self: self.tasks)
    @stateful.rule(bits=st.integers(1, 4))
    def save_rounded(self, bits: int) -> None:
        """Save the memory with few bits elsewhere: it recalls, proves, and takes no change."""
        path = self.path.with_suffix(".rounded.h5")
        stamp = self.live._newest().save(path, bits=bits)
        found = hopmask.open_memory(path, "r+")
        assert found.tasks == self.live.tasks == tuple(sorted(self.tasks))
        for task, number in self.tasks.items():
            hit = found.recall(task=task)
            right = same(hit.masks, mask(self.model.shapes, 1, number))
            assert hit.verified == right
            self.tally.add(f"recalled from {bits} bits", right)
            self.tally.add(f"not, from {bits} bits", not right)
        for change in self.possible():
            with suppress(ReadOnlyMemoryError):
                change(0)[0](found)
                raise AssertionError("a rounded memory was changed")
        assert found.stamp == stamp
        assert hopmask.load(path).save(path).sha256 == stamp.sha256


def crashing(
    tell: Tell, path: Path, change: Callable[[LiveMemory], object], at: int, half: bool
) -> None:
    """Change a file, and end at a call of the commit; half of what it writes is written."""
    calls = itertools.count()

    def counted(function: Callable[..., Any], *arguments: Any) -> Any:
        if next(calls) == at:
            if half and function is os.pwrite:
                handle, data, place = arguments
                os.pwrite(handle, data[: len(data) // 2], place)
            os._exit(9)
        return function(*arguments)

    names = ("open", "fchmod", "posix_fallocate", "pwrite", "fdatasync", "fsync", "close", "link")
    others = {name: partial(counted, getattr(os, name)) for name in names}
    replace = Path.replace
    renamed = partialmethod(lambda draft, to: counted(replace, draft, to))
    with ExitStack() as patched:
        for module in (commit, descriptor, system):
            patched.enter_context(mock.patch.object(module, "os", System(**others)))
        patched.enter_context(mock.patch.object(Path, "replace", renamed))
        change(hopmask.open_memory(path, "r+"))


def state_machine(options: argparse.Namespace, _: np.random.Generator) -> Row:
    """Random lives of a file, drawn by Hypothesis, against a plain memory."""
    life = HubLife if options.couplings == "hub" else Life
    sequences = 10 if options.quick else share(options, 500)
    with scratch(options) as folder:
        life.folder, life.tally = folder, Tally()
        drawn = hypothesis.settings(
            max_examples=sequences,
            stateful_step_count=20,
            deadline=None,
            report_multiple_bugs=False,
            database=None,
            suppress_health_check=[*hypothesis.HealthCheck],
        )
        try:
            stateful.run_state_machine_as_test(hypothesis.seed(options.seed)(life), settings=drawn)
        except Exception as error:
            notes = "; ".join(getattr(error, "__notes__", []))
            life.tally.fail(f"{type(error).__name__}: {error} {notes}")
    return life.tally.row(steps_at_most=20)
