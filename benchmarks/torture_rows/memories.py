"""Memories of known masks, and processes that store into them."""

import itertools
import os
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from math import isqrt
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

import hopmask
from hopmask import MaskMemory, OverloadWarning
from torture_rows.tally import Tally

COUPLINGS = ("dense", "hub")
KEY, CHECK = 64, 64  # spins of a joint vector beside those of the masks; hubs carry the key
HUBS = 256


Tell = Callable[[str], None]


Make = Callable[[], MaskMemory]


Child = tuple[int, TextIO]  # its process number, and the pipe that it sends lines to


Name = tuple[int, int]  # of masks: the writer, and how many it stored before


def dense(spins: int, rule: str = "hebbian") -> MaskMemory:
    """Dense couplings without a content address; they take 4 · spins² bytes."""
    bits = {"bits": spins - KEY - CHECK}
    return MaskMemory(bits, rule=rule, key_bits=KEY, signature_features=0)


def hub(neurons: int, hubs: int = HUBS) -> MaskMemory:
    """Hub couplings without a content address; they take neurons · (hubs + 4) bytes."""
    bits = {"bits": neurons - CHECK}
    return MaskMemory(bits, couplings="hub", hubs=hubs, signature_features=0)


def maker(couplings: str, *, megabytes: int = 1, rule: str = "hebbian") -> Make:
    """Makes memories whose couplings take so many megabytes; the rule is of dense ones."""
    if couplings == "hub":
        return partial(hub, 4096 * megabytes)
    return partial(dense, 512 * isqrt(megabytes), rule)


def begun(path: Path, new: MaskMemory) -> Path:
    """The file of a new memory, generation 1."""
    hopmask.open_memory(path, "x", new=new).close()
    return path


def mask(shapes: dict[str, tuple[int, ...]], *who: int) -> dict[str, torch.Tensor]:
    """The masks that a writer stores."""
    drawn = np.random.default_rng(who)
    return {n: torch.from_numpy(drawn.random(shape) < 0.5) for n, shape in shapes.items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether masks are equal bit for bit."""
    return all(torch.equal(one[name], other[name]) for name in other)


def equal(one: MaskMemory, other: MaskMemory) -> bool:
    """Whether two memories are equal bit for bit."""
    a, b = one.document(), other.document()
    return a.about == b.about and alike(a.arrays, b.arrays)


def alike(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether the arrays of two documents are equal bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def drafts(path: Path) -> list[Path]:
    """What writers of a file have left half-written."""
    return sorted(path.parent.glob(f".{path.name}.*.tmp"))


def storing(tell: Tell, path: Path, writer: int, stores: int | None = None) -> None:
    """Store masks, and report what is intended before each and what was acknowledged after it."""
    with hopmask.open_memory(path, "r+", wait=600) as live:
        for i in itertools.count() if stores is None else range(stores):
            tell(f"intent {i}")
            task = live.store(mask(live.shapes, writer, i))
            tell(f"ack {i} {task}")


def reported(lines: list[str], writer: int, tally: Tally) -> tuple[dict[int, Name], Name | None]:
    """Acknowledged tasks -> masks, and the masks in flight, if any."""
    acknowledged: dict[int, Name] = {}
    flying = None
    for line in lines:
        word, *rest = line.split()
        if word == "intent":
            flying = (writer, int(rest[0]))
        elif word == "ack":
            acknowledged[int(rest[1])], flying = (writer, int(rest[0])), None
        else:
            tally.fail(f"writer {writer}: {line}")
    return acknowledged, flying


def forked(work: Callable[[Tell], object], *, longest: int = 600) -> Child:
    """Run work in a forked child, which ends after so many seconds at the latest."""
    reading, writing = os.pipe()
    number = os.fork()
    if number:
        os.close(writing)
        return number, open(reading)  # noqa: PTH123

    def tell(line: str) -> None:
        os.write(writing, line.replace("\n", " ").encode() + b"\n")

    try:
        os.close(reading)
        signal.alarm(longest)
        work(tell)
        os._exit(0)
    except BaseException as error:
        tell(f"! {type(error).__name__}: {error}")
    finally:
        os._exit(1)


def ended(child: Child, by: int | None = None) -> tuple[list[str], int]:
    """End a child by a signal, or wait for it: the lines it sent since, and its exit status."""
    number, pipe = child
    if by is not None:
        os.kill(number, by)
    with pipe:
        lines = pipe.read().splitlines()
    return lines, os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def replayed(names: list[Name], make: Make) -> MaskMemory:
    """A plain memory in which exactly these masks are stored, in order."""
    plain = make()
    for name in names:
        plain.store(mask(plain.shapes, *name))
    return plain


def seconds_of_a_store(path: Path) -> float:
    """Median time of a store into a file."""
    times = []
    with hopmask.open_memory(path, "r+") as live:
        for i in range(5):
            start = time.perf_counter()
            live.store(mask(live.shapes, 0, i))
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def prepared() -> None:
    """One thread, and no warning of memories that are too full."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", OverloadWarning)
