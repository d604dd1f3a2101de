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
from hopmask.errors import StoreFileError
from hopmask.storage import commit, descriptor, system
from hopmask.storage.container import MAGIC
from torture_rows.full_disk import System
from torture_rows.memories import Tell, drafts, empty, ended, equal, forked, mask, same
from torture_rows.tally import Row, Tally, scratch


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
        hopmask.open_memory(self.path, "x", new=empty(384)).close()
        self.model, self.tasks = empty(384), {}
        self.reopen()
        self.remember()

    def remember(self) -> None:
        """The file is now in the state of the model."""
        self.states[self.live.stamp.sha256] = (copy.deepcopy(self.model), dict(self.tasks))

    def new(self) -> dict[str, torch.Tensor]:
        """Masks never stored before."""
        self.masks += 1
        return mask(self.model.shapes, 1, self.masks)

    @stateful.rule()
    def reopen(self) -> None:
        """Open the file anew."""
        self.live = hopmask.open_memory(self.path, "r+")

    @stateful.precondition(lambda self: len(self.tasks) < 8)
    @stateful.rule()
    def store(self) -> None:
        """Store masks."""
        masks = self.new()
        task = self.live.store(masks)
        assert task == self.model.store(masks)
        self.tasks[task] = self.masks
        self.remember()
        assert not drafts(self.path)

    @stateful.precondition(lambda self: self.tasks)
    @stateful.rule(choice=st.integers(0, 7))
    def forget(self, choice: int) -> None:
        """Forget one of the tasks."""
        task = sorted(self.tasks)[choice % len(self.tasks)]
        self.live.forget(task)
        self.model.forget(task)
        del self.tasks[task]
        self.remember()

    @stateful.precondition(lambda self: len(self.tasks) < 8)
    @stateful.rule(call=st.integers(0, 40), half=st.booleans())
    def crash(self, call: int, half: bool) -> None:
        """A process dies at a call of its commit: the file is as before, or as after."""
        masks = self.new()
        before, after = copy.deepcopy(self.model), copy.deepcopy(self.model)
        task = after.store(masks)
        lines, status = ended(
            forked(partial(crashing, path=self.path, masks=masks, at=call, half=half))
        )
        assert status == 9 or (status == 0 and not lines), lines
        found = hopmask.load(self.path)
        self.tally.add("crashes", status == 9)
        if equal(found, after):
            self.tally.add("crashes after the rename", status == 9)
            self.model, self.tasks[task] = after, self.masks
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
        self.model, self.tasks = empty(384), {}
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


def crashing(tell: Tell, path: Path, masks: dict[str, torch.Tensor], at: int, half: bool) -> None:
    """Store masks, and end at a call of the commit; half of what it writes is written."""
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
        hopmask.open_memory(path, "r+").store(masks)


def state_machine(options: argparse.Namespace, _: np.random.Generator) -> Row:
    """Random lives of a file, drawn by Hypothesis, against a plain memory."""
    sequences = 10 if options.quick else 500
    with scratch(options) as folder:
        Life.folder, Life.tally = folder, Tally()
        drawn = hypothesis.settings(
            max_examples=sequences,
            stateful_step_count=20,
            deadline=None,
            report_multiple_bugs=False,
            database=None,
            suppress_health_check=[*hypothesis.HealthCheck],
        )
        try:
            stateful.run_state_machine_as_test(hypothesis.seed(options.seed)(Life), settings=drawn)
        except Exception as error:
            notes = "; ".join(getattr(error, "__notes__", []))
            Life.tally.fail(f"{type(error).__name__}: {error} {notes}")
    return Life.tally.row(steps_at_most=20)
