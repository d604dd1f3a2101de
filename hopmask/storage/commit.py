"""Commit: one generation of a file takes the place of the one before, whole or not at all.

    under the lock:  write .NAME.PID.tmp beside the file, fsync
                     link the file to NAME.prev
                     note the seals of the file and of the draft in the sidecar
                     rename the draft to the file
                     note the new seal alone, fsync the folder

A process that is killed in between leaves the old generation or the new one, whole, and so a reader
finds the one or the other. HDF5 never writes to the disk: a full disk is a plain error.
"""

import errno
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from hopmask.errors import (
    CommitFailedError,
    CommitUncertainError,
    SchemaTooNewError,
    StaleStoreError,
    StoreFileError,
    StoreNotFoundError,
)
from hopmask.storage.container import DAMAGE, HEADER, PART, Header, read_header, verified_header
from hopmask.storage.descriptor import Descriptor
from hopmask.storage.system import (
    allocate,
    set_mode,
    set_time,
    sync_data,
    sync_folder,
    write_at,
)

_log = logging.getLogger(__name__)
_left: dict[Path, tuple[int, int, int]] = {}  # files as this process left them: inode, size, time
_MOST_LEFT = 256
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def draft_of(path: Path, process: int) -> Path:
    """Where a process writes what is to become the file."""
    return path.with_name(f".{path.name}.{process}.tmp")


def previous_of(path: Path) -> Path:
    """Where the generation before the present one is kept."""
    return path.with_name(path.name + ".prev")


def commit(
    path: Path,
    payload: Sequence[memoryview],
    *,
    before: Header | None,
    header_of: Callable[[int, bytes], Header],
    note: Callable[..., object],
) -> Header:
    """Write the next generation; returns once it is on the disk for good. The caller has the lock.

    Args:
        path: the file itself, no link to it.
        payload: its bytes, in order.
        before: the header of the file that stands there; None where there is none that is sound.
        header_of: called with the payload's length and SHA-256; returns the new header.
        note: called with the seals of the states that the file may be in from now on.

    Raises:
        CommitFailedError: nothing was changed. Its errno is the system's.
        StaleStoreError: the file is no longer the one with that header; nothing was changed.
        CommitUncertainError: the file is the new generation, but may not outlast a loss of power.
    """
    draft = draft_of(path, os.getpid())
    _refuse_read_only(path)
    try:
        header = _written(draft, path, payload, header_of)
        if header_or_none(path) != before:
            raise StaleStoreError(
                f"{path} was changed while it was written, by a program that ignores its lock. "
                "Nothing was changed: open it again"
            )
        if _is_whole(path):
            _keep(path)
        note(*([before.seal] if before else []), header.seal)
        draft.replace(path)
    except (StaleStoreError, SchemaTooNewError):
        raise
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise failed(path, error) from error
    finally:
        with suppress(OSError, ValueError):  # the folder itself may be what is missing
            draft.unlink(missing_ok=True)
    with suppress(StoreFileError):  # both seals stay noted: the new one is among them
        note(header.seal)
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise uncertain(path, error) from error
    if len(_left) >= _MOST_LEFT:
        _left.clear()
    with suppress(OSError):
        _left[path] = _state(path)
    return header


def distrust(path: Path) -> None:
    """Let the next commit read the file before it becomes NAME.prev."""
    _left.pop(path, None)


def header_or_none(path: Path) -> Header | None:
    """The header of a file; None where there is no file, or none with a sound header.

    Raises:
        StoreFileError: the file cannot be read now.
        SchemaTooNewError: a newer hopmask wrote the file.
    """
    with suppress(StoreNotFoundError, *DAMAGE):
        return read_header(path)
    return None


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
    header_of: Callable[[int, bytes], Header],
) -> Header:
    """Write the draft and bring it to the disk; its header comes last."""
    length = sum(map(len, payload))
    digest = hashlib.sha256()
    draft.unlink(missing_ok=True)
    with (
        Descriptor(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as handle,
        ThreadPoolExecutor(max_workers=1) as hashing,
    ):
        with suppress(FileNotFoundError):
            set_mode(handle, path.stat().st_mode & 0o777)
        allocate(handle, HEADER + length)
        at = HEADER
        for part in _parts(payload):  # hashed while it goes to the disk, and in one state
            hashed = _hashed(hashing, digest, part)
            write_at(handle, part, at)
            at += len(part)
            if hashed is not None:
                hashed.result()  # so that one part at a time is in memory
        sync_data(handle)
        header = header_of(length, digest.digest())
        write_at(handle, header.packed(), 0)
        set_time(handle, time.time_ns())  # finer than the clock that a write goes by
        os.fsync(handle)
    return header


def _hashed(pool: ThreadPoolExecutor, digest: Any, part: bytes) -> "Future[None] | None":
    """Hash a part in the pool's thread; here and now where the interpreter is shutting down."""
    try:
        return pool.submit(digest.update, part)
    except RuntimeError:
        digest.update(part)
        return None


def _refuse_read_only(path: Path) -> None:
    try:
        writable = path.stat().st_mode & 0o222
    except (OSError, ValueError):
        return
    if not writable:
        raise failed(path, PermissionError(errno.EACCES, "the file is read-only"))


def _is_whole(path: Path) -> bool:
    """Whether the file that stands there may become NAME.prev: a good one is not lost to a bad.

    It is read for that, unless it is as this process left it.
    """
    with suppress(FileNotFoundError, *DAMAGE):
        return _left.get(path) == _state(path) or bool(verified_header(path))
    return False


def _state(path: Path) -> tuple[int, int, int]:
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _parts(payload: Sequence[memoryview]) -> Iterator[bytes]:
    """Copies of a payload's bytes, part by part."""
    for piece in payload:
        for at in range(0, len(piece), PART):
            yield bytes(piece[at : at + PART])


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


def failed(path: Path, error: Exception) -> CommitFailedError:
    """The error for a commit that has not happened."""
    found = CommitFailedError(
        f"cannot write {path}: {error}. A file that stood there before is intact, and so is the "
        "memory that you have: make room or choose another place, and try again"
    )
    found.errno = getattr(error, "errno", None)
    return found
