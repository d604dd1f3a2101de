"""Commit: one generation of a file takes the place of the one before, whole or not at all.

    under the lock:  write .NAME.PID.tmp beside the file, fsync
                     link the file to NAME.prev
                     rename the draft to the file, fsync the folder

Whoever is killed in between leaves the old generation or the new one, and a reader has either of
them, whole. HDF5 never writes to the disk, so that a full one is a plain error.
"""

import errno
import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hopmask.errors import (
    CommitFailedError,
    CommitUncertainError,
    StaleStoreError,
    StoreFileError,
)
from hopmask.storage.container import HEADER, Header, read_content, read_header

_log = logging.getLogger(__name__)
_PART = 4 << 20  # bytes written at once
_left: dict[Path, tuple[int, int, int]] = {}  # files as this process left them: inode, size, time
_NO_ROOM_AHEAD = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def draft_of(path: Path, process: int) -> Path:
    """Where a process writes what is to become the file."""
    return path.with_name(f".{path.name}.{process}.tmp")


def previous_of(path: Path) -> Path:
    """Where the generation before the present one is kept."""
    return path.with_name(path.name + ".prev")


def commit(
    path: Path, payload: Sequence[memoryview], *, before: Header | None, store: bytes | None = None
) -> Header:
    """Write the next generation; returns once it is on the disk for good. The caller has the lock.

    Args:
        path: the file itself, no link to it.
        payload: its bytes, in order.
        before: the header of the file that stands there; None where it is none of this form.
        store: of a file that begins a store; by default the beginning of its SHA-256.

    Raises:
        CommitFailedError: nothing was changed. Its errno is the system's.
        StaleStoreError: the file is no longer the one with that header; nothing was changed.
        CommitUncertainError: the file is the new generation, but may not outlast a loss of power.
    """
    draft = draft_of(path, os.getpid())
    try:
        header = _written(draft, path, payload, before, store)
        if header_or_none(path) != before:
            raise StaleStoreError(
                f"{path} was changed while it was written, by a program that does not heed its "
                "lock. Nothing was changed: open it again"
            )
        if _is_whole(path):
            _keep(path)
        draft.replace(path)
    except StaleStoreError:
        raise
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise _failed(path, error) from error
    finally:
        with suppress(OSError, ValueError):  # the folder itself may be what is missing
            draft.unlink(missing_ok=True)
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise uncertain(path, error) from error
    _left[path] = _state(path)
    return header


def header_or_none(path: Path) -> Header | None:
    """The header of a file; None where there is no file, or none with a sound header."""
    with suppress(StoreFileError):
        return read_header(path)
    return None


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def uncertain(path: Path, error: OSError) -> CommitUncertainError:
    """The error for a rename whose folder could not be synced."""
    found = CommitUncertainError(
        f"{path} is written and whole, but its folder could not be synced ({error}): after a loss "
        "of power either this generation or the one before may stand there. Check the disk"
    )
    found.errno = error.errno
    return found


def _written(
    draft: Path,
    path: Path,
    payload: Sequence[memoryview],
    before: Header | None,
    store: bytes | None,
) -> Header:
    """Write the draft and bring it to the disk; its header comes last."""
    length = sum(map(len, payload))
    digest = hashlib.sha256()
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with suppress(FileNotFoundError):
            os.fchmod(handle, path.stat().st_mode & 0o777)
        _allocate(handle, HEADER + length)
        hashing = threading.Thread(target=deque, args=(map(digest.update, payload), 0))
        hashing.start()  # while the payload goes to the disk
        try:
            at = HEADER
            for piece in payload:
                _write(handle, piece, at)
                at += len(piece)
            getattr(os, "fdatasync", os.fsync)(handle)  # macOS has none
        finally:
            hashing.join()
        header = _successor(path, before, store, length, digest.digest())
        _write(handle, memoryview(header.packed()), 0)
        os.utime(handle, ns=(time.time_ns(),) * 2)  # finer than the clock that a write goes by
        os.fsync(handle)
    finally:
        os.close(handle)
    return header


def _successor(
    path: Path, before: Header | None, store: bytes | None, length: int, digest: bytes
) -> Header:
    if before is not None:
        number, store, parent = before.generation, store or before.store, before.digest
    else:  # a file that is damaged or lost had the number after that of its .prev
        older = header_or_none(previous_of(path))
        number, parent = (older.generation + 1 if older else 0), bytes(32)
    return Header(
        generation=number + 1,
        length=length,
        digest=digest,
        store=store or digest[:16],
        parent=parent,
    )


def _is_whole(path: Path) -> bool:
    """Whether the file that stands there may become NAME.prev: a good one is not lost to a bad.

    It is read for that, unless it is as this process left it.
    """
    with suppress(OSError):
        return _left.get(path) == _state(path) or bool(read_content(path))
    return False


def _state(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _allocate(handle: int, size: int) -> None:
    """Find out at once, not half-way, that there is no room."""
    try:
        if hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in _NO_ROOM_AHEAD:
            raise


def _write(handle: int, piece: memoryview, at: int) -> None:
    done = 0
    while done < len(piece):
        done += os.pwrite(handle, piece[done : done + _PART], at + done)


def _keep(path: Path) -> None:
    """Make the present file NAME.prev as well."""
    spare = draft_of(previous_of(path), os.getpid())
    spare.unlink(missing_ok=True)
    try:
        os.link(path, spare)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _log.warning("%s: its file system has no hard links (%s): no .prev is kept", path, error)
        return
    try:
        spare.replace(previous_of(path))
    finally:  # it stays as well where both names were links to one file already
        spare.unlink(missing_ok=True)


def _failed(path: Path, error: Exception) -> CommitFailedError:
    failed = CommitFailedError(
        f"cannot write {path}: {error}. A file that stood there before is intact, and what you "
        "have in memory too: make room or choose another place, and try again"
    )
    failed.errno = getattr(error, "errno", None)
    return failed
