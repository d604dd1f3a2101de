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
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from hopmask.errors import (
    CommitFailedError,
    CommitUncertainError,
    SchemaTooNewError,
    StaleStoreError,
    StoreNotFoundError,
)
from hopmask.storage.container import DAMAGE, HEADER, Header, read_content, read_header
from hopmask.storage.descriptor import Descriptor

_log = logging.getLogger(__name__)
_PART = 4 << 20  # bytes written at once
_left: dict[Path, tuple[int, int, int]] = {}  # files as this process left them: inode, size, time
_MOST_LEFT = 256
_NO_ROOM_AHEAD = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
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
    store: bytes | None = None,
    generation: int | None = None,
) -> Header:
    """Write the next generation; returns once it is on the disk for good. The caller has the lock.

    Args:
        path: the file itself, no link to it.
        payload: its bytes, in order.
        before: the header of the file that stands there; None where it is none of this form.
        store: of a file that begins a store; by default the beginning of its SHA-256.
        generation: its number; by default one more than that of the file before.

    Raises:
        CommitFailedError: nothing was changed. Its errno is the system's.
        StaleStoreError: the file is no longer the one with that header; nothing was changed.
        CommitUncertainError: the file is the new generation, but may not outlast a loss of power.
    """
    draft = draft_of(path, os.getpid())
    _refuse_read_only(path)
    try:
        header = _written(
            draft, path, payload, partial(_successor, path, before, store, generation)
        )
        if header_or_none(path) != before:
            raise StaleStoreError(
                f"{path} was changed while it was written, by a program that does not heed its "
                "lock. Nothing was changed: open it again"
            )
        if _is_whole(path):
            _keep(path)
        draft.replace(path)
    except (StaleStoreError, SchemaTooNewError):
        raise
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise failed(path, error) from error
    finally:
        with suppress(OSError, ValueError):  # the folder itself may be what is missing
            draft.unlink(missing_ok=True)
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise uncertain(path, error) from error
    if len(_left) >= _MOST_LEFT:
        _left.clear()
    with suppress(OSError):
        _left[path] = _state(path)
    return header


def header_or_none(path: Path) -> Header | None:
    """The header of a file; None where there is no file, or none with a sound header.

    Raises:
        StoreFileError: that cannot be told now.
        SchemaTooNewError: a newer hopmask wrote the file.
    """
    with suppress(StoreNotFoundError, *DAMAGE):
        return read_header(path)
    return None


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    with Descriptor(folder, os.O_RDONLY | os.O_DIRECTORY) as handle:
        os.fsync(handle)


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
            os.fchmod(handle, path.stat().st_mode & 0o777)
        _allocate(handle, HEADER + length)
        at, done = HEADER, []
        for part in _parts(payload):  # hashed while it goes to the disk, and in one state
            done.append(hashing.submit(digest.update, part))
            _write(handle, part, at)
            at += len(part)
        getattr(os, "fdatasync", os.fsync)(handle)  # macOS has none
        for hashed in done:
            hashed.result()
        header = header_of(length, digest.digest())
        _write(handle, header.packed(), 0)
        os.utime(handle, ns=(time.time_ns(),) * 2)  # finer than the clock that a write goes by
        os.fsync(handle)
    return header


def _successor(
    path: Path,
    before: Header | None,
    store: bytes | None,
    generation: int | None,
    length: int,
    digest: bytes,
) -> Header:
    """The header of what comes after a file, or in the place of one that is damaged or lost."""
    older = before or header_or_none(previous_of(path))
    number = (older.generation + (1 if before else 2)) if older else 1
    return Header(
        generation=generation or number,
        length=length,
        digest=digest,
        store=store or (before.store if before else digest[:16]),
        parent=before.digest if before else bytes(32),
    )


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


def _parts(payload: Sequence[memoryview]) -> Iterator[bytes]:
    """Copies of a payload's bytes, part by part."""
    for piece in payload:
        for at in range(0, len(piece), _PART):
            yield bytes(piece[at : at + _PART])


def _write(handle: int, part: bytes, at: int) -> None:
    done = 0
    while done < len(part):
        done += os.pwrite(handle, memoryview(part)[done:], at + done)


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
        f"cannot write {path}: {error}. A file that stood there before is intact, and what you "
        "have in memory too: make room or choose another place, and try again"
    )
    found.errno = getattr(error, "errno", None)
    return found
