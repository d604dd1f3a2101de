"""Row: readers while a writer commits."""

import argparse
import itertools
import json
import select
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

import hopmask
from hopmask import (
    storage,
)
from torture_rows.memories import Tell, begun, empty, ended, forked, mask
from torture_rows.tally import Row, Tally, scratch

WINDOW = 8  # tasks that the writer of row `readers` keeps


def readers(options: argparse.Namespace, _: np.random.Generator) -> Row:
    """Readers read while a writer commits without pause, and while another holds the lock."""
    tally, spins, crowd, slow = Tally(), 512, 4, 2.0
    each = 20 if options.quick else 2500
    with scratch(options) as folder:
        path = begun(folder / "memory.h5", spins)
        writer = forked(partial(sliding, path=path), longest=3600)
        writer[1].readline()  # it has begun
        reading = [forked(partial(watching, path=path, reads=each)) for _ in range(crowd)]
        reports = [ended(child)[0] for child in reading]
        errors, status = ended(writer, signal.SIGKILL)
        tally.expect(not errors and status == -signal.SIGKILL, f"the writer: {errors}, {status}")
        holder = forked(partial(holding, path=path))
        holder[1].readline()
        reports.append(ended(forked(partial(watching, path=path, reads=each // 10)))[0])
        held = not select.select([holder[1]], [], [], 0)[0]
        tally.expect(held, "the lock was not held all the time")
        ended(holder, signal.SIGKILL)
        longest = []
        for lines in reports:
            report = json.loads(lines[-1]) if lines[-1].startswith("{") else {"bad": lines}
            for message in report["bad"]:
                tally.fail(message)
            tally.trials += report.get("reads", 0)
            tally.add("changes seen", report.get("seen", 0))
            longest.append(report.get("longest", np.inf))
        tally.expect(tally.trials == crowd * each + each // 10, f"{tally.trials} reads")
        tally.counted["last generation"] = storage.read_stamped(path)[1].generation
        tally.counted["longest read, seconds"] = max(longest[:-1])
        tally.counted["longest read beside a held lock, seconds"] = longest[-1]
        tally.expect(max(longest) < slow, f"a read took {max(longest)} s")
    return tally.row(spins=spins, megabytes=1, readers=crowd, too_slow_seconds=slow)


def sliding(tell: Tell, path: Path) -> None:
    """Store without end, and forget what is eight tasks old."""
    with hopmask.open_memory(path, "r+") as live:
        for task in itertools.count():
            live.store(mask(live.shapes, 0, task))
            if task >= WINDOW:
                live.forget(task - WINDOW)
            if task == 0:
                tell("begun")


def window(generation: int) -> range:
    """The tasks that the file of the writer above holds."""
    done = generation - 1  # generation 1 is empty
    if done <= WINDOW:
        return range(done)
    first, half = divmod(done - WINDOW, 2)
    return range(first, first + WINDOW + half)


def watching(tell: Tell, path: Path, reads: int) -> None:
    """Read again and again; each must be one generation, whole, and none older than the last."""
    like = empty(512)
    patterns: dict[int, torch.Tensor] = {}
    bad, seen, last, longest = [], set(), 0, 0.0
    for _ in range(reads):
        start = time.perf_counter()
        found, stamp = storage.read_stamped(path)
        longest = max(longest, time.perf_counter() - start)
        tasks = window(stamp.generation)
        patterns = {n: p for n, p in patterns.items() if n in tasks}
        for task in tasks:
            body = like.code.layout.join(mask(like.shapes, 0, task))
            patterns.setdefault(task, like.code.pattern(task, body, like=body)[0])
        stacked = torch.stack([patterns[n] for n in tasks])
        psi = (stacked.T @ stacked).fill_diagonal_(0).numpy()  # whole numbers: exact
        if not np.array_equal(found.arrays["psi"], psi):
            bad.append(f"generation {stamp.generation} is torn")
        if found.arrays["counters"].tolist() != [len(tasks), tasks.stop, 0]:
            bad.append(f"generation {stamp.generation}: {found.arrays['counters']}")
        if stamp.generation < last:
            bad.append(f"back from generation {last} to {stamp.generation}")
        last = stamp.generation
        seen.add(last)
    tell(json.dumps({"reads": reads, "bad": bad, "seen": len(seen), "longest": longest}))


def holding(tell: Tell, path: Path) -> None:
    """Hold the writers' lock until killed."""
    with storage.writing(path):
        tell("held")
        signal.pause()
