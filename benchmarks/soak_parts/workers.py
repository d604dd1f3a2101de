"""What the processes of a soak do: writers learn and store, readers load and recall."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import numpy as np
import torch

import hopmask
from hopmask import LiveMemory, UnknownTaskError
from soak_parts.journal import Entry, Journal
from soak_parts.tasks import HUBS, drawn, images_of, learned, learner_of, memory_of
from supsup_bridge.networks.digests import mask_digest

WINDOW = 48  # tasks that the first writer keeps, of the 64 that fit
SPARE = 8  # that the others leave to it
SHOWN = 8  # images of a recall by signature
FLIPPED = 0.2  # of the bits of a cue
Tell = Callable[[str], None]


class Worker:
    """A process at work in a soak's folder: the memory's file, the journal, and its own report.

    Args:
        folder: of the soak.
        name: of the process, and of its report: a line "kind seconds" for each operation, and a
            line "! what" for whatever was lost or wrong.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self.journal = folder / "memory.h5", Journal(folder / "journal")
        self._report = folder / f"{name}.report"
        self._ended = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the first process, which decides
        signal.signal(signal.SIGTERM, self._end)

    def rounds(self) -> Iterator[int]:
        """Numbers from 0 on, until a signal ends the process."""
        number = 0
        while not self._ended:
            yield number
            number += 1

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Report the seconds of one operation, if it succeeds."""
        start = time.perf_counter()
        yield
        self._note(f"{kind} {time.perf_counter() - start:.6f}")

    def expect(self, right: bool, what: str) -> None:
        """Report what is lost or wrong."""
        if not right:
            self._note(f"! {what}")

    def count(self, kind: str, times: int) -> None:
        """Report that something was done so many times, untimed."""
        self._note(f"{kind} x{times}")

    def _note(self, line: str) -> None:
        with self._report.open("a") as file:
            file.write(line + "\n")

    def _end(self, sign: int, frame: FrameType | None) -> None:
        self._ended = True


def fill(path: Path, journal: Journal) -> None:
    """Make the file, with random masks for the first tasks that the writer keeps."""
    memory = memory_of()
    entries = []
    for number in range(WINDOW):
        entry, masks, images = drawn(memory, 0, number)
        entries.append((entry, memory.store(masks, signature=images)))
    hopmask.open_memory(path, "x", new=memory).close()
    for entry, task in entries:
        journal.announce(entry)
        journal.acknowledge(entry, task, 1)


def write(tell: Tell, folder: Path) -> None:
    """Learn, store, and forget what is old, again and again."""
    worker, learner = Worker(folder, "writer"), learner_of()
    live = hopmask.open_memory(worker.path, "r+", wait=600)
    for number in worker.rounds():
        with worker.timed("learn"):
            entry, masks, images = learned(learner, 0, WINDOW + number)
        worker.journal.announce(entry)
        with worker.timed("store and save"):
            task = live.store(masks, signature=images)
        worker.journal.acknowledge(entry, task, live.stamp.generation)
        tidy(worker, live)
        if number == 0:
            tell("begun")


def tidy(worker: Worker, live: LiveMemory) -> None:
    """Forget what killed writers stored and could not acknowledge, and the oldest tasks."""
    journal, there = worker.journal, live.tasks
    journal.follow()
    strangers = [] if journal.flying else [task for task in there if task not in journal.held]
    for task in strangers:
        digest = mask_digest(live.recall(task=task).masks)
        known = digest in {entry.digest for entry in journal.unsure}
        worker.expect(known, f"task {task} was stored by nobody")
        forget(worker, live, task)
        worker.count("stored, killed before the acknowledgement", 1)
    while len(journal.held) > WINDOW:
        forget(worker, live, next(iter(journal.held)))


def forget(worker: Worker, live: LiveMemory, task: int) -> None:
    """Forget a task, once it is let go."""
    worker.journal.let_go(task)
    with worker.timed("forget and save"):
        live.forget(task)
    worker.journal.follow()


def store(tell: Tell, folder: Path, writer: int) -> None:
    """Store random masks beside the first writer, until killed."""
    worker = Worker(folder, "killed")
    live = hopmask.open_memory(worker.path, "r+", wait=600)
    for number in worker.rounds():
        while live.count > HUBS - SPARE:
            time.sleep(0.1)
        entry, masks, images = drawn(live, writer, number)
        worker.journal.announce(entry)
        if number == 0:
            tell("begun")
        task = live.store(masks, signature=images)
        worker.journal.acknowledge(entry, task, live.stamp.generation)


def read(tell: Tell, folder: Path, name: str, seed: int) -> None:
    """Load, and recall all tasks by number, one by a damaged mask, and one by images."""
    worker, generator = Worker(folder, name), np.random.default_rng(seed)
    last = 0
    for number in worker.rounds():
        worker.journal.follow()
        held, least = dict(worker.journal.held), max(last, worker.journal.generation)
        with worker.timed("load"):
            live = hopmask.open_memory(worker.path)
        last = live.stamp.generation
        worker.expect(last >= least, f"generation {last} was read after {least}")
        check(worker, live, held)
        if held:
            task = int(generator.choice([*held]))
            with suppress(UnknownTaskError):  # forgotten meanwhile: `check` has seen to it
                ask(worker, live, task, held[task], generator)
        if number == 0:
            tell("begun")


def check(worker: Worker, live: LiveMemory, held: dict[int, Entry]) -> None:
    """All tasks that were acknowledged before the load are there, bit for bit, or let go since."""
    try:
        there = [task for task in held if task in set(live.tasks)]
        hit = live.recall(there) if there else None
    except UnknownTaskError:
        return  # one was forgotten between two reads; the next round checks the others
    exact = set()
    for row, task in enumerate(there):
        assert hit is not None
        masks = {name: mask[row] for name, mask in hit.masks.items()}
        if bool(hit.verified[row]) and mask_digest(masks) == held[task].digest:
            exact.add(task)
    worker.journal.follow()
    now = worker.journal.held
    for task in held.keys() - exact:
        worker.expect(now.get(task) != held[task], f"task {task} of {held[task]} is lost or wrong")
    worker.count("tasks checked bit for bit", len(exact))


def ask(
    worker: Worker, live: LiveMemory, task: int, entry: Entry, generator: np.random.Generator
) -> None:
    """Recall one task in each of three ways; the answers are this task, exactly, or let go."""
    with worker.timed("recall by number"):
        hit = live.recall(task=task)
    answers = {"number": (task, hit)}
    cue = {}
    for name, mask in hit.masks.items():
        flipped = generator.random(tuple(mask.shape), dtype=np.float32) < FLIPPED
        cue[name] = mask ^ torch.from_numpy(flipped)
    with worker.timed("recall by cue"):
        hit = live.recall(cue=cue)
    answers["cue"] = (hit.task, hit)
    images, _ = images_of(entry.writer, entry.number, draw=1 + task, count=SHOWN)
    with worker.timed("recall by signature"):
        hit = live.recall(signature=images[None])
    masks = {name: mask[0] for name, mask in hit.masks.items()}
    wrong = [
        way
        for way, (found, one) in answers.items()
        if found != task or not one.verified or mask_digest(one.masks) != entry.digest
    ]
    if int(hit.task[0]) != task or mask_digest(masks) != entry.digest:
        wrong.append("signature")
    worker.journal.follow()
    if worker.journal.held.get(task) == entry:
        worker.expect(not wrong, f"task {task} of {entry} is wrong by {', '.join(wrong)}")
