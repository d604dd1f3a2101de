"""The lock of a file's writers: flock on a sidecar, NAME.lock, that stays.

It excludes processes and threads alike, is free again the moment its holder dies, and is not
passed on to forked children. Readers never take it.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hopmask.errors import CommitFailedError, LockingUnsupportedError, StoreLockedError
from hopmask.storage.descriptor import Descriptor

WAIT = 60.0  # seconds
_PAUSES = (0.001, 0.02)  # seconds between two attempts: at first, at most
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_held: set[Descriptor] = set()  # of locks that this process holds


def _let_go() -> None:
    """In a forked child: the parent's locks are not the child's, and end with the parent."""
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path, clear: Callable[[int], object], *, wait: float = WAIT) -> Iterator[None]:
    """Hold the lock of a file, which need not exist.

    Args:
        path: the file itself, no link to it.
        clear: told the number of the process that held it last, whose leavings are nobody's now.
        wait: seconds to wait for another holder.

    Raises:
        StoreLockedError: another holder did not let go in time.
        LockingUnsupportedError: the file system has no locks, or none that hold.
        CommitFailedError: the sidecar cannot be made.
    """
    lock = _acquired(path, path.with_name(path.name + ".lock"), wait)
    _held.add(lock)
    try:
        clear(_signature(path, lock.number))
        _sign(path, lock.number)  # after that: whoever is killed in between leaves it to do
        yield
    finally:
        _held.discard(lock)
        if lock.number >= 0:  # not in a child forked meanwhile
            fcntl.flock(lock.number, fcntl.LOCK_UN)  # also where a child has the descriptor still
            lock.close()


def _acquired(path: Path, sidecar: Path, wait: float) -> Descriptor:
    """The sidecar, opened and locked."""
    until = time.monotonic() + wait
    pause, longest = _PAUSES
    while True:
        lock = _opened(path, sidecar)
        with suppress(FileNotFoundError):  # somebody deleted the sidecar: make another
            if _lock(path, lock.number) and _is(sidecar, lock.number):
                _tried(path, sidecar)
                return lock
        holder = _signature(path, lock.number)
        lock.close()
        if time.monotonic() >= until:
            raise StoreLockedError(
                f"{path} is being written by process {holder or 'unknown'}, and was for "
                f"{wait:g} s. Nothing was changed: try again, or end that process if it hangs; "
                "its lock ends with it"
            )
        time.sleep(pause)
        pause = min(2 * pause, longest)


def _opened(path: Path, sidecar: Path, make: int = os.O_CREAT) -> Descriptor:
    try:
        return Descriptor(sidecar, os.O_RDWR | make | os.O_NOFOLLOW)
    except (OSError, ValueError) as error:
        if not make and isinstance(error, FileNotFoundError):
            raise
        why = f"its lock {sidecar.name} cannot be made: {error}"
        raise _failed(path, why, error) from error


def _lock(path: Path, handle: int) -> bool:
    """Whether the lock could be had at once."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise _failed(path, f"it cannot be locked: {error}", error) from error
        raise LockingUnsupportedError(
            f"{path} lies on a file system without locks ({error}): two writers could lose each "
            "other's masks. Nothing was changed: keep it on a local disk"
        ) from error
    return True


def _is(sidecar: Path, handle: int) -> bool:
    """Whether the sidecar is still the one that was opened, not one put in its place."""
    return os.path.samestat(os.fstat(handle), sidecar.stat())


def _tried(path: Path, sidecar: Path) -> None:
    """Raise LockingUnsupportedError where a second lock is granted beside the first."""
    with _opened(path, sidecar, make=0) as second:
        if _lock(path, second):
            raise LockingUnsupportedError(
                f"{path} lies on a file system whose locks do not hold: two writers could lose "
                "each other's masks. Nothing was changed: keep it on a local disk"
            )


def _sign(path: Path, handle: int) -> None:
    """Write this process's number into the sidecar."""
    try:
        os.pwrite(handle, b"%20d\n" % os.getpid(), 0)
    except OSError as error:
        raise _failed(path, f"its lock cannot be written: {error}", error) from error


def _signature(path: Path, handle: int) -> int:
    """The number of the process that holds the lock, or held it last; 0 for none."""
    try:
        text = os.pread(handle, 21, 0).strip()
    except OSError as error:
        raise _failed(path, f"its lock cannot be read: {error}", error) from error
    return int(text) if text.isdigit() else 0


def _failed(path: Path, why: str, error: Exception) -> CommitFailedError:
    failed = CommitFailedError(f"cannot write {path}: {why}. Nothing was changed")
    failed.errno = getattr(error, "errno", None)
    return failed
