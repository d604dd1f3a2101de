"""Rows: writers that are killed, and crowds of them."""

import argparse
import itertools
import multiprocessing
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hopmask
from hopmask import MaskMemory, storage
from hopmask.patterns.keys import key_bits
from torture_rows.memories import (
    CHECK,
    KEY,
    Child,
    Make,
    Name,
    begun,
    drafts,
    ended,
    equal,
    forked,
    maker,
    mask,
    prepared,
    replayed,
    reported,
    same,
    seconds_of_a_store,
    storing,
)
from torture_rows.tally import Row, Tally, scratch, share


def kill_one_writer(options: argparse.Namespace, generator: np.random.Generator) -> Row:
    """Kill the only writer at random moments of its commits."""
    tally, most = Tally(), 40
    make = maker(options.couplings, megabytes=4, rule="storkey")
    with scratch(options) as folder:
        store = seconds_of_a_store(begun(folder / "timed.h5", make()))
        path, names = Path(), [(0, 0)] * most
        for trial in range(1, (8 if options.quick else share(options, 1000)) + 1):
            if len(names) >= most:
                path, names = begun(folder / f"{trial}.h5", make()), []
            with tally.trial(f"trial {trial}"):
                child = forked(partial(storing, path=path, writer=trial))
                lines = [child[1].readline(), child[1].readline()]  # intent, acknowledgement
                time.sleep(generator.uniform(0, 3 * store))
                lines += ended(child, signal.SIGKILL)[0]
                tally.add("drafts left by the killed", len(drafts(path)))
                names += checked_stores(tally, path, lines, trial, first=len(names))
                if len(names) >= most:  # all of them once more, at the end of this memory
                    recalled(tally, path, names, range(len(names)))
    return tally.row(megabytes=4, rule="storkey", stores_a_memory=most, store_seconds=store)


def checked_stores(
    tally: Tally, path: Path, lines: list[str], writer: int, first: int
) -> list[Name]:
    """Names of a killed writer's masks in the file: those acknowledged, or one more."""
    acknowledged, flying = reported(lines, writer, tally)
    _, stamp = storage.read_stamped(path)
    names = [*acknowledged.values()]
    tally.add("acknowledged stores", len(names))
    tally.expect(bool(names), f"writer {writer} acknowledged nothing: {lines}")
    tally.expect([*acknowledged] == [*range(first, first + len(names))], f"numbers {acknowledged}")
    if flying is not None and stamp.generation == 1 + first + len(names) + 1:
        names.append(flying)
        tally.add("stored, killed before the acknowledgement")
    tally.expect(
        stamp.generation == 1 + first + len(names),
        f"writer {writer}: generation {stamp.generation}, acknowledged was {first + len(names)}",
    )
    recalled(tally, path, dict(enumerate(names, first)), range(first, first + len(names)))
    return names


def recalled(tally: Tally, path: Path, names: Any, tasks: range) -> None:
    """All these tasks are recalled bit for bit."""
    memory = hopmask.load(path)
    for task in tasks:
        hit = memory.recall(task=task)
        right = same(hit.masks, mask(memory.shapes, *names[task]))
        tally.expect(right and hit.verified, f"{path.name}: task {task} is not recalled")
        tally.add("masks recalled bit for bit", right)


def kill_four_writers(options: argparse.Namespace, generator: np.random.Generator) -> Row:
    """Kill one of four writers again and again; each file is what was acknowledged."""
    tally, make, a_round = Tally(), maker(options.couplings), 25
    with scratch(options) as folder:
        pause = 2 * seconds_of_a_store(begun(folder / "timed.h5", make()))
        for turn in range(1 if options.quick else share(options, 40)):
            path = begun(folder / f"{turn}.h5", make())
            writers = itertools.count(1 + turn * a_round)
            living: dict[int, Child] = {}
            acknowledged: dict[int, Name] = {}
            flying: list[Name] = []
            for kill in range(a_round):
                with tally.trial(f"round {turn}, kill {kill}"):
                    while len(living) < min(4, a_round - kill):
                        writer = next(writers)
                        living[writer] = forked(partial(storing, path=path, writer=writer))
                    time.sleep(generator.uniform(0, 2 * pause))
                    chosen = int(generator.choice([*living]))
                    lines, _ = ended(living.pop(chosen), signal.SIGKILL)
                    stored, last = reported(lines, chosen, tally)
                    tally.expect(not stored.keys() & acknowledged.keys(), "a number given twice")
                    acknowledged |= stored
                    flying += [last] if last else []
            with tally.trial(f"round {turn}"):
                tally.trials -= 1  # a kill is a trial, not a round
                whole(tally, path, make, acknowledged, flying)
    return tally.row(megabytes=1, rule=make().rule_name, writers=4, kills_a_memory=a_round)


def whole(
    tally: Tally, path: Path, make: Make, acknowledged: dict[int, Name], flying: list[Name]
) -> None:
    """A file is exactly the acknowledged stores, and at most those in flight."""
    memory, stamp = hopmask.load(path), storage.read_stamped(path)[1]
    names, left = dict(acknowledged), list(flying)
    for task in sorted({*range(memory.count)} - acknowledged.keys()):
        if not tally.expect(bool(left), f"{path.name}: no writer stored task {task}"):
            return
        names[task] = min(left, key=lambda name: energy(memory, task, name))
        left.remove(names[task])
        tally.add("stored, killed before the acknowledgement")
    tally.add("acknowledged stores", len(acknowledged))
    lost = {*acknowledged} - {*range(memory.count)}
    tally.expect(not lost, f"{path.name}: acknowledged and lost: {sorted(lost)}")
    tally.expect(stamp.generation == 1 + memory.count, f"{path.name}: {stamp}, {memory.count}")
    plain = replayed([names[task] for task in sorted(names)], make)
    tally.expect(equal(memory, plain), f"{path.name} is not what was acknowledged")


def energy(memory: MaskMemory, task: int, name: Name) -> float:
    """Of a task's key and some masks, check bits unknown: low where that was stored."""
    bits, check = mask(memory.shapes, *name)["bits"].float() * 2 - 1, torch.zeros(CHECK)
    if memory.capacity is None:
        parts = key_bits(memory.seed, torch.tensor([task]), KEY)[0], check, bits
    else:
        parts = bits, check, memory.couplings.keys.of(torch.tensor([task]), hubs=memory.capacity)[0]
    return float(memory.couplings.energy(torch.cat(parts)))


def many_processes(options: argparse.Namespace, _: np.random.Generator) -> Row:
    """Many processes store into one file, forked and spawned; nothing is lost."""
    tally, make = Tally(), maker(options.couplings)
    crowd, stores = (4, 5) if options.quick else (16, share(options, 50))
    with scratch(options) as folder:
        for method in ("fork", "spawn"):
            path = begun(folder / f"{method}.h5", make())
            logs = [folder / f"{method}.{writer}" for writer in range(crowd)]
            made = multiprocessing.get_context(method).Process
            work = [made(target=logged, args=(log, path, w, stores)) for w, log in enumerate(logs)]
            for process in work:
                process.start()
            for process in work:
                process.join()
            acknowledged: dict[int, Name] = {}
            for writer, log in enumerate(logs):
                acknowledged |= reported(log.read_text().splitlines(), writer, tally)[0]
            tally.trials += crowd * stores
            missing = crowd * stores - len(acknowledged)
            tally.expect(missing == 0, f"{method}: {missing} stores were not acknowledged")
            tally.add(f"acknowledged, {method}", len(acknowledged))
            whole(tally, path, make, acknowledged, [])
    return tally.row(rule=make().rule_name, processes=crowd, stores_each=stores)


def logged(log: Path, path: Path, writer: int, stores: int) -> None:
    """Store masks; its reports go to a file."""
    prepared()
    with log.open("a", buffering=1) as file:
        try:
            storing(lambda line: print(line, file=file), path, writer, stores)
        except Exception as error:
            print(f"! {type(error).__name__}: {error}".replace("\n", " "), file=file)
