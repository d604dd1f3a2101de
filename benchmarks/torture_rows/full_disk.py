"""Row: disks that are full or fail."""

import argparse
import errno
import itertools
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial, partialmethod
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import numpy as np

import hopmask
from hopmask.errors import CommitFailedError, CommitUncertainError, StoreFileError
from hopmask.storage import commit, descriptor, system
from torture_rows.memories import begun, drafts, maker, mask, same
from torture_rows.tally import Row, Tally, scratch


class System:
    """The module os, some functions of which are others."""

    def __init__(self, **others: object) -> None:
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def disk_full(options: argparse.Namespace, _: np.random.Generator) -> Row:
    """The disk is full, or answers EIO, at every step of a commit."""
    tally, make = Tally(), maker(options.couplings)
    step = 4096 * (32 if options.quick else round(1 / options.share))
    with scratch(options) as folder:
        path = begun(folder / "memory.h5", make())
        steps = range(0, path.stat().st_size, step)
        for room in steps:
            full = mock.patch.object(system, "os", System(pwrite=partial(until_full, room)))
            survived(tally, path, f"room for {room} bytes", full, errno.ENOSPC)
            tally.add("full at a step, injected")
        for name, fault in faults().items():
            survived(tally, path, name, fault, errno.EIO, done=name == "fsync of the folder")
            tally.add("calls that answer EIO")
        with small_disk(folder, 5 * path.stat().st_size) as (disk, why):
            tally.counted["full at a step, tmpfs"] = f"skipped: {why}" if why else 0
            path = path if why else begun(disk / "memory.h5", make())
            no_room_ahead = System(posix_fallocate=failing(errno.EOPNOTSUPP))
            for room, calls in itertools.product(() if why else steps, (os, no_room_ahead)):
                with mock.patch.object(system, "os", calls):
                    survived(tally, path, f"tmpfs, {room} free", filled(disk, room), errno.ENOSPC)
                tally.add("full at a step, tmpfs")
    return tally.row(megabytes=1, step_bytes=step)


def survived(
    tally: Tally,
    path: Path,
    what: str,
    fault: AbstractContextManager[object],
    number: int,
    *,
    done: bool = False,
) -> None:
    """A store under a fault raises the right error, loses nothing, and can be done again."""
    wanted = CommitUncertainError if done else CommitFailedError
    with tally.trial(what), hopmask.open_memory(path, "r+") as live:
        before, new = path.read_bytes(), mask(live.shapes, tally.trials)
        generation, count = live.stamp.generation, live.count
        try:
            with fault:
                live.store(new)
            tally.fail(f"{what}: stored all the same")
        except StoreFileError as error:
            right = type(error) is wanted and error.errno == number
            tally.expect(right, f"{what}: {type(error).__name__}, errno {error.errno}: {error}")
        tally.expect(live.count == count + done, f"{what}: {live.count} tasks, not {count + done}")
        tally.expect(done or path.read_bytes() == before, f"{what}: the file was changed")
        if not done:
            live.store(new)
        hit = live.recall(cue={name: bits.float() for name, bits in new.items()})
        tally.expect(
            hit.recognized and same(hit.masks, new), f"{what}: not recalled after the next"
        )
        live.forget(hit.task)
        tally.expect(live.stamp.generation == generation + 2, f"{what}: {live.stamp}")
        tally.expect(not drafts(path), f"{what}: left {drafts(path)}")


def until_full(room: int, handle: int, data: memoryview, at: int) -> int:
    """Write as long as there is room for so many bytes of the file."""
    if at >= room:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return os.pwrite(handle, data[: room - at], at)


def failing(number: int) -> Callable[..., NoReturn]:
    """A function that raises the OSError of that number."""

    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@contextmanager
def patched(calls: System) -> Iterator[None]:
    """Other system calls wherever a commit makes them."""
    with mock.patch.object(commit, "os", calls), mock.patch.object(system, "os", calls):
        yield


def faults() -> dict[str, AbstractContextManager[object]]:
    """EIO of each call of a commit."""
    eio, replace = failing(errno.EIO), Path.replace

    def fsync(kind: Callable[[int], bool], handle: int) -> None:
        (eio if kind(os.fstat(handle).st_mode) else os.fsync)(handle)

    def renaming(kept: bool, draft: Path, to: Path) -> Path:
        return eio() if (".prev." in draft.name) == kept else replace(draft, to)

    calls = {
        "allocate": {"posix_fallocate": eio},
        "write": {"pwrite": eio},
        "fdatasync": {"fdatasync": eio},
        "fsync of the file": {"fsync": partial(fsync, stat.S_ISREG)},
        "link": {"link": eio},
        "fsync of the folder": {"fsync": partial(fsync, stat.S_ISDIR)},
    }
    found: dict[str, AbstractContextManager[object]] = {
        "open": mock.patch.object(descriptor, "os", System(open=eio)),
        **{n: patched(System(**call)) for n, call in calls.items()},
    }
    for name, kept in (("rename to NAME.prev", True), ("rename to NAME", False)):
        renamed = partialmethod(lambda draft, kept, to: renaming(kept, draft, to), kept)
        found[name] = mock.patch.object(Path, "replace", renamed)
    return found


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[tuple[Path, str]]:
    """A tmpfs of so many bytes, or why there is none."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        why = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        why = str(error)
    try:
        yield disk, why
    finally:
        if not why:
            subprocess.run(["umount", str(disk)], check=True)


@contextmanager
def filled(disk: Path, room: int) -> Iterator[None]:
    """A disk on which only so many bytes are free."""
    about, ballast = os.statvfs(disk), disk / "ballast"
    try:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, about.f_bavail * about.f_frsize - room)
        yield
    finally:
        ballast.unlink()
