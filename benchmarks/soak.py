"""Constant use of one live file: a writer, four readers, and a process killed again and again.

    python benchmarks/soak.py [--seconds 3600] [--folder DIRECTORY] [--out FILE]

All work on one live memory file: masks of a LeNet 300-100 (266,200 bits each) on 64 hubs, with a
content address. The writer learns a mask, stores it durably, and forgets the oldest beyond 48 (the
file begins with 48 random masks). Each
reader loads the file, recalls every task that was acknowledged before the load and compares its
SHA-256, and recalls one task by its number, by a mask with a fifth of its bits flipped, and by
images; generations must never go backwards. A fifth process, another writer and another reader in
turn, is killed with SIGKILL at a random moment. What was stored and not acknowledged must be what
the killed writer had in flight.

JSON: operations of each kind, what was lost or wrong, latencies (of an operation that succeeded,
with its wait for the lock), and resident memory of every process over time. Ctrl-C ends it early
with what was measured. The exit status is 1 if anything was lost or wrong, or a process failed.
Runs on Linux.
"""

import argparse
import itertools
import json
import os
import select
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from soak_parts import workers
from soak_parts.journal import Journal
from soak_parts.tasks import HUBS
from soak_parts.watching import Memory, reports
from torture_rows.memories import Child, drafts, ended, forked, prepared

import hopmask
from supsup_bridge.networks.digests import mask_digest

READERS = 4
LONGEST = 2.0  # seconds that a process lives, once it has begun, before it is killed, at most
SAMPLES = 400  # of the memory of each process, over the whole time
_TICK = 0.02  # seconds


class Soak:
    """The processes of a soak in one folder.

    Args:
        folder: for the file and what is noted about it.
        seconds: how long.
        seed: of the moments of the kills.
    """

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self.folder, self.seconds = folder, seconds
        self._generator = np.random.default_rng(seed)
        self._longest = round(seconds) + 600  # a child's own alarm, if all else fails
        self.journal = Journal(folder / "journal")
        workers.fill(folder / "memory.h5", self.journal)
        self.children: dict[str, Child] = {}
        self.memory: dict[str, Memory] = {}
        self.kills = {"writer": 0, "reader": 0}
        self.stopped = False  # to end before the time is over
        self.failed: list[str] = []
        self._due = 0.0  # when memory is noted next

    def begin(self) -> None:
        """Start the writer and the readers, and wait until each has worked once."""
        self.children["writer"] = self._forked(partial(workers.write, folder=self.folder))
        self.children["writer"][1].readline()
        for number in range(READERS):
            name = f"reader {number}"
            work = partial(workers.read, folder=self.folder, name=name, seed=number)
            self.children[name] = self._forked(work)
        for number in range(READERS):
            self.children[f"reader {number}"][1].readline()
        self.memory = {name: Memory() for name in ("first", *self.children)}

    def run(self) -> None:
        """Kill writers and readers until the time is over, or one of the others failed."""
        end = time.monotonic() + self.seconds
        for number in itertools.count(1):
            kind = "writer" if number % 2 else "reader"
            victim = self._victim(kind, number)
            while not select.select([victim[1]], [], [], _TICK)[0]:
                self._sample()
            begun = victim[1].readline()
            death = time.monotonic() + self._generator.uniform(0, LONGEST)
            while (left := death - time.monotonic()) > 0:
                self._sample()
                time.sleep(min(_TICK, left))
            self.memory.setdefault(f"killed {kind}s", Memory()).sample(victim[0])
            lines, status = ended(victim, signal.SIGKILL)
            if kind == "writer":
                self.journal.bury(number)
            if begun != "begun\n" or status != -signal.SIGKILL or lines:
                self.failed.append(f"killed {kind} {number}: {begun}{lines}, status {status}")
            self.kills[kind] += 1
            if self.failed or self.stopped or time.monotonic() >= end:
                return

    def end(self) -> None:
        """Let every process end, and check the file once more."""
        for name, child in self.children.items():
            lines, status = ended(child, signal.SIGTERM)
            if lines or status:
                self.failed.append(f"{name}: {lines}, status {status}")
        self.journal.follow()
        memory, held = hopmask.load(self.folder / "memory.h5"), self.journal.held
        allowed = {entry.digest for entry in self.journal.unsure}
        for task in sorted({*memory.tasks} | held.keys()):
            there = task in memory.tasks and memory.recall(task=task)
            digest = mask_digest(there.masks) if there and there.verified else None
            right = digest == held[task].digest if task in held else digest in allowed
            if not right:
                self.failed.append(f"at the end, task {task} is lost or wrong")

    def figures(self, seconds: float) -> dict[str, Any]:
        """What the JSON file holds."""
        found = reports(sorted(self.folder.glob("*.report")))
        found["messages"] += self.failed
        found["wrong"] += len(self.failed)
        return {
            "seconds": round(seconds, 1),
            "killed": self.kills,
            "acknowledged stores": self.journal.stored - workers.WINDOW,
            "tasks let go": self.journal.forgotten,
            "generations": self.journal.generation,
            **found,
            "memory": {name: memory.figures() for name, memory in self.memory.items()},
            "file_mb": round((self.folder / "memory.h5").stat().st_size / 1e6, 1),
            "drafts left": len(drafts(self.folder / "memory.h5")),
        }

    def _victim(self, kind: str, number: int) -> Child:
        if kind == "writer":
            return self._forked(partial(workers.store, folder=self.folder, writer=number))
        work = partial(workers.read, folder=self.folder, name="killed", seed=number)
        return self._forked(work)

    def _forked(self, work: Any) -> Child:
        return forked(work, longest=self._longest)

    def _sample(self) -> None:
        """Note the memory of every process, where it is time to."""
        if (now := time.monotonic()) < self._due:
            return
        self._due = now + self.seconds / SAMPLES
        self.memory["first"].sample(os.getpid())
        for name, (process, _) in self.children.items():
            try:
                self.memory[name].sample(process)
            except (OSError, IndexError):
                self.failed.append(f"{name} ended by itself")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """One soak."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        soak = Soak(Path(name).resolve(), options.seconds, options.seed)
        load, start = os.getloadavg(), time.monotonic()

        def stop(sign: int, frame: FrameType | None) -> None:
            soak.stopped = True

        signal.signal(signal.SIGINT, stop)
        soak.begin()
        print("begun", flush=True)
        start = time.monotonic()
        soak.run()
        seconds = time.monotonic() - start
        soak.end()
        settings = {
            "asked_seconds": options.seconds,
            "stopped early": soak.stopped,
            "seed": options.seed,
            "readers": READERS,
            "hubs": HUBS,
            "tasks kept": workers.WINDOW,
            "bits flipped": workers.FLIPPED,
            "images of a recall": workers.SHOWN,
            "cores": os.cpu_count(),
            "load_before": round(load[0], 2),
            "load_after": round(os.getloadavg()[0], 2),
            "torch": str(torch.__version__),
        }
        return {"settings": settings, **soak.figures(seconds)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--seconds", type=float, default=3600.0)
    add("--folder", type=Path, help="where the files lie; default: the folder for temporary files")
    add("--seed", type=int, default=0, help="of the moments of the kills")
    add("--out", type=Path, default=Path("benchmarks/soak.json"))
    options = parser.parse_args()
    prepared()
    figures = measured(options)
    options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    return int(figures["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
