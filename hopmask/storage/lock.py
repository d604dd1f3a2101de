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

WAIT = 60.0  # seconds
_PAUSES = (0.001, 0.02)  # seconds between two attempts: at first, at most
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_held: set[int] = set()  # descriptors of locks that this process holds


def _let_go() -> None:
    """In a forked child: the parent's locks are not the child's, and end with the parent."""
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


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
    sidecar = path.with_name(path.name + ".lock")
    handle = _acquired(path, sidecar, wait)
    _held.add(handle)
    try:
        clear(_signature(path, handle))
        _sign(path, handle)  # after that, so that whoever is killed in between leaves it to do
        yield
    finally:
        if handle in _held:  # not in a child forked meanwhile
            _held.discard(handle)
            fcntl.flock(handle, fcntl.LOCK_UN)  # also where a child has the descriptor still
            os.close(handle)


def _acquired(path: Path, sidecar: Path, wait: float) -> int:
    """A descriptor of the sidecar, under lock."""
    until = time.monotonic() + wait
    pause, longest = _PAUSES
    while True:
        try:
            handle = os.open(sidecar, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except (OSError, ValueError) as error:
            raise _failed(
                path, f"its lock {sidecar.name} cannot be made: {error}", error
            ) from error
        try:
            with suppress(FileNotFoundError):  # somebody deleted the sidecar: make another
                if _lock(path, handle) and _is(sidecar, handle):
                    _tried(path, sidecar)
                    return handle
            holder = _signature(path, handle)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if time.monotonic() >= until:
            raise StoreLockedError(
                f"{path} is being written by process {holder or 'unknown'}, and was for "
                f"{wait:g} s. Nothing was changed: try again, or end that process if it hangs; "
                "its lock ends with it"
            )
        time.sleep(pause)
        pause = min(2 * pause, longest)


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
    second = os.open(sidecar, os.O_RDWR | os.O_CLOEXEC)
    try:
        if _lock(path, second):
            raise LockingUnsupportedError(
                f"{path} lies on a file system whose locks do not hold: two writers could lose "
                "each other's masks. Nothing was changed: keep it on a local disk"
            )
    finally:
        os.close(second)


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
