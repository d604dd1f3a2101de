"""What a worker process does: it makes a learner of its own, trains a task, and returns it."""

import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock, Thread
from uuid import uuid4

import torch

from hopmask import ConfigError, HopmaskError
from supsup_bridge.continual.building import device_named
from supsup_bridge.continual.learned import Learned
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.data.task import Task
from supsup_bridge.runs.factories import TaskForm, learner_of
from supsup_bridge.runs.presets import Preset
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.task_data import data_on

_HUBS = 2  # of a worker's memory, which describes tasks and stores none
_LOOK = 2.0  # seconds between two looks for the parent
_ALONE = Lock()  # of the learner of this process, and of torch's number of threads


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process needs to train any task of a run: small, and compared by value.

    Attributes:
        settings: of the run, complete.
        preset: with what the settings leave open.
        form: of the run's tasks.
        data: folder of the data set's files.
        run: a name that no other run has, so that no process takes the data of one for another's.
        process: that stores what is learned.
    """

    settings: RunSettings
    preset: Preset
    form: TaskForm
    data: Path | None
    run: str = field(default_factory=lambda: uuid4().hex)
    process: int = field(default_factory=os.getpid)


@dataclass(frozen=True)
class Failed:
    """A task that could not be trained, and why; not a worker that was lost."""

    error: Exception


def trained(job: Job, number: int, task: Task | None = None) -> Learned | Failed:
    """Train one task with one thread; called in a worker process.

    Args:
        job: of the run.
        number: of the task.
        task: the task; None for that of the run's benchmark, which the process then reads itself.

    Returns:
        What the task adds, on the CPU; or the error that training ended with.
    """
    with _ALONE, _one_thread():
        try:
            if os.getppid() == job.process:
                _end_with(job.process)
            learner = _learner(job)
            data, shape = data_on(
                _stream(job)[number] if task is None else task, learner.network.device
            )
            data.check(learner.network.outputs)
            masks = learner.lesson(data, task=number).run()
            learned = learner.learned(masks, data, image_shape=shape, task=number)
            return learned.to(torch.device("cpu"))
        except Exception as error:
            if not isinstance(error, HopmaskError):  # others may not survive the way back
                kind = type(error).__name__
                error = HopmaskError(f"a worker could not train task {number}: {kind}: {error}")
            error.add_note(f"While a worker trained task {number}:\n{traceback.format_exc()}")
            return Failed(error)


def forget() -> None:
    """Let go of the learner and the data that this process read for its last job."""
    with _ALONE:
        _learner.cache_clear()
        _stream.cache_clear()


@cache
def _end_with(parent: int) -> None:
    """End this process once its parent has: nobody takes what it learns."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os.kill(os.getpid(), signal.SIGKILL)  # also out of a write that nobody reads

    Thread(target=watch, daemon=True).start()


@lru_cache(maxsize=1)
def _learner(job: Job) -> SupSup:
    try:
        return learner_of(
            job.settings,
            job.preset,
            job.form,
            hubs=_HUBS,
            device=device_named(job.settings.device),
            closed=lambda number, masks: None,
        )
    except ConfigError as error:
        raise ConfigError(
            f"a worker process could not make the learner of the run: {error}. Code of yours must "
            "be in an installed package, or on the workers' PYTHONPATH"
        ) from error


@lru_cache(maxsize=1)
def _stream(job: Job) -> Sequence[Task]:
    return task_stream(
        job.settings.benchmark,
        seed=job.settings.seed,
        tasks=job.settings.tasks,
        data=job.data,
        classes_per_task=job.settings.classes_per_task,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums round in one way, however many cores a process may use."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
