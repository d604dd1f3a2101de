"""Row: readers while a writer commits."""

import argparse
import itertools
import json
import select
import signal
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

import hopmask
from hopmask import MaskMemory, storage
from hopmask.memory.live import LiveMemory
from torture_rows.memories import Make, Tell, alike, begun, ended, forked, maker, mask
from torture_rows.tally import Row, Tally, scratch, share

WINDOW = 8  # tasks that the writer of row `readers` keeps


def readers(options: argparse.Namespace, _: np.random.Generator) -> Row:
    """Readers read while a writer commits without pause, and while another holds the lock."""
    tally, make, crowd, slow = Tally(), maker(options.couplings), 4, 2.0
    each = 20 if options.quick else share(options, 2500)
    kinds = (None, 3) if options.couplings == "hub" else (None,)  # bits of a rounded file
    with scratch(options) as folder:
        for bits in kinds:
            path = begun(folder / f"{bits}.h5", make())
            read(tally, path, make, bits, crowd=crowd, each=each // len(kinds))
    for what in ("longest read, seconds", "longest read beside a held lock, seconds"):
        tally.expect(tally.counted[what] < slow, f"{what}: {tally.counted[what]}")
    return tally.row(megabytes=1, readers=crowd, too_slow_seconds=slow, bits=kinds)


def read(tally: Tally, path: Path, make: Make, bits: int | None, *, crowd: int, each: int) -> None:
    """So many readers of one file, so many reads each, and then one beside a held lock."""
    writer = forked(partial(sliding, path=path, bits=bits), longest=3600)
    writer[1].readline()  # it has begun
    watch = partial(watching, path=path, make=make, bits=bits)
    reading = [forked(partial(watch, reads=each)) for _ in range(crowd)]
    reports = [ended(child)[0] for child in reading]
    errors, status = ended(writer, signal.SIGKILL)
    tally.expect(not errors and status == -signal.SIGKILL, f"the writer: {errors}, {status}")
    holder = forked(partial(holding, path=path))
    holder[1].readline()
    reports.append(ended(forked(partial(watch, reads=each // 10)))[0])
    held = not select.select([holder[1]], [], [], 0)[0]
    tally.expect(held, "the lock was not held all the time")
    ended(holder, signal.SIGKILL)
    before = tally.trials
    for number, lines in enumerate(reports):
        report = json.loads(lines[-1]) if lines[-1].startswith("{") else {"bad": lines}
        for message in report["bad"]:
            tally.fail(message)
        tally.trials += report.get("reads", 0)
        tally.add("changes seen", report.get("seen", 0))
        what = (
            "longest read, seconds"
            if number < crowd
            else "longest read beside a held lock, seconds"
        )
        longest = max(tally.counted.get(what, 0.0), report.get("longest", np.inf))
        tally.counted[what] = longest
    done = tally.trials - before
    tally.expect(done == crowd * each + each // 10, f"{done} reads")
    tally.add("generations", storage.read_stamped(path)[1].generation)


def changes(memory: MaskMemory | LiveMemory) -> Iterator[None]:
    """Store without end, and forget what is eight tasks old; each change is one generation."""
    held: deque[int] = deque()
    for number in itertools.count():
        held.append(memory.store(mask(memory.shapes, 0, number)))
        yield
        if len(held) > WINDOW:
            memory.forget(held.popleft())
            yield


def sliding(tell: Tell, path: Path, bits: int | None) -> None:
    """Change a file without end: a live one, or, rounded to so many bits, one saved anew."""
    memory = hopmask.open_memory(path, "r+") if bits is None else hopmask.load(path)
    for done, _ in enumerate(changes(memory)):
        if bits is not None:
            memory.save(path, bits=bits)
        if done == 0:
            tell("begun")


def watching(tell: Tell, path: Path, make: Make, bits: int | None, reads: int) -> None:
    """Read again and again; each must be one generation, whole, and none older than the last."""
    plain, bad, seen, last, longest = make(), [], set(), 1, 0.0  # generation 1 is empty
    following, wanted = changes(plain), plain.document(bits=bits)
    for _ in range(reads):
        start = time.perf_counter()
        found, stamp = storage.read_stamped(path)
        longest = max(longest, time.perf_counter() - start)
        if stamp.generation < last:
            bad.append(f"back from generation {last} to {stamp.generation}")
            continue
        for _ in range(last, stamp.generation):
            next(following)
        wanted = plain.document(bits=bits) if stamp.generation > last else wanted
        if found.about != wanted.about or not alike(found.arrays, wanted.arrays):
            bad.append(f"generation {stamp.generation} is torn")
        last = stamp.generation
        seen.add(last)
    tell(json.dumps({"reads": reads, "bad": bad, "seen": len(seen), "longest": longest}))


def holding(tell: Tell, path: Path) -> None:
    """Hold the writers' lock until killed."""
    with storage.writing(path):
        tell("held")
        signal.pause()
