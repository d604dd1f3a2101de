"""The lock of a file's writers, on a sidecar NAME.lock that stays.

The lock excludes processes and threads alike and ends with the process that holds it. Forked
children do not inherit it. Readers never take it.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hopmask.errors import LockingUnsupportedError, StoreLockedError
from hopmask.storage import system
from hopmask.storage.sidecar import Sidecar

WAIT = 60.0  # seconds
_PAUSES = (0.001, 0.02)  # seconds between two attempts: at first, at most
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_held: set[Sidecar] = set()  # locked by this process


def _let_go() -> None:
    """In a forked child: the parent's locks are not the child's, and end with the parent."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path, clear: Callable[[int], object], *, wait: float = WAIT) -> Iterator[Sidecar]:
    """Hold the lock of a file, which need not exist.

    Args:
        path: the file itself, no link to it.
        clear: called with the number of the process that held the lock last: drafts of that process
            are left over.
        wait: seconds to wait for another holder.

    Yields:
        The sidecar.

    Raises:
        StoreLockedError: another holder did not let go in time.
        LockingUnsupportedError: the file system has no locks, or none that hold.
        CommitFailedError: the sidecar cannot be made.
    """
    sidecar = _acquired(path, wait)
    _held.add(sidecar)
    try:
        clear(sidecar.signature())
        sidecar.sign()  # after the clearing: if this process is killed between, the next one clears
        yield sidecar
    finally:
        _held.discard(sidecar)
        if sidecar.file.number >= 0:  # not in a child forked meanwhile
            system.unlock(sidecar.file.number)  # also where a child has the descriptor still
            sidecar.close()


def _acquired(path: Path, wait: float) -> Sidecar:
    """The sidecar, opened and locked."""
    until = time.monotonic() + wait
    pause, longest = _PAUSES
    while True:
        sidecar = Sidecar(path)
        with suppress(FileNotFoundError):  # the sidecar was deleted meanwhile: make another
            if _lock(sidecar) and sidecar.in_place:
                _try_out(path)
                return sidecar
        holder = sidecar.signature()
        sidecar.close()
        if time.monotonic() >= until:
            raise StoreLockedError(
                f"{path} is being written by process {holder or 'unknown'}, and was for "
                f"{wait:g} s. Nothing was changed: try again, or end that process if it hangs; "
                "its lock ends with it"
            )
        time.sleep(pause)
        pause = min(2 * pause, longest)


def _lock(sidecar: Sidecar) -> bool:
    """Whether the lock could be had at once."""
    try:
        return system.lock(sidecar.file.number)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise sidecar.failed(f"it cannot be locked: {error}", error) from error
        raise LockingUnsupportedError(
            f"{sidecar.path} lies on a file system without locks ({error}): two writers could lose "
            "each other's masks. Nothing was changed: keep it on a local disk"
        ) from error


def _try_out(path: Path) -> None:
    """Raise LockingUnsupportedError where a second lock is granted beside the first."""
    second = Sidecar(path, make=False)
    try:
        if _lock(second):
            raise LockingUnsupportedError(
                f"{path} lies on a file system whose locks do not hold: two writers could lose "
                "each other's masks. Nothing was changed: keep it on a local disk"
            )
    finally:
        second.close()
