"""What operating systems do differently: every call that is missing somewhere stands here.

POSIX has positioned reads and writes, flock, fsync of folders and modes of open files. Windows has
none of these, and locks bytes instead. Where a call is missing, the next best one takes its place;
only a lock has no replacement.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

msvcrt: ModuleType | None
try:
    import msvcrt
except ImportError:  # POSIX
    msvcrt = None

BINARY = getattr(os, "O_BINARY", 0)  # Windows changes line ends without it
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_LOCKED_AT = (
    1 << 30
)  # on Windows no other handle can read a locked byte: lock one that is never read
_PART = 4 << 20  # bytes read at once where reading takes a copy
_NO_ROOM_AHEAD = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


def has_locks() -> bool:
    """Whether this system has locks of files at all."""
    return fcntl is not None or msvcrt is not None


def lock(handle: int) -> bool:
    """Lock a file unless it is locked already; whether that worked.

    Raises:
        OSError: the file cannot be locked; ENOSYS where the system has no locks.
    """
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(handle, _LOCKED_AT, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            raise OSError(errno.ENOSYS, "this system has no locks of files")
    except BlockingIOError:
        return False
    except PermissionError:  # how Windows calls a byte that is locked
        if fcntl is not None:
            raise
        return False
    return True


def unlock(handle: int) -> None:
    """Unlock a file, also for child processes that have it open."""
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_UN)
    elif msvcrt is not None:
        os.lseek(handle, _LOCKED_AT, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)


def read_into(handle: int, buffer: memoryview) -> int:
    """Read the next bytes of a file; how many there were, 0 at its end."""
    if hasattr(os, "readv"):
        return os.readv(handle, [buffer])
    found = os.read(handle, min(len(buffer), _PART))
    buffer[: len(found)] = found
    return len(found)


def read_at(handle: int, count: int, at: int) -> bytes:
    """So many bytes of a file from a place on, or fewer at its end."""
    if hasattr(os, "pread"):
        return os.pread(handle, count, at)
    os.lseek(handle, at, os.SEEK_SET)
    return os.read(handle, count)


def write_at(handle: int, part: bytes, at: int) -> None:
    """Write all of these bytes to a file from a place on."""
    done = 0
    while done < len(part):
        left = memoryview(part)[done:]
        if hasattr(os, "pwrite"):
            done += os.pwrite(handle, left, at + done)
        else:
            os.lseek(handle, at + done, os.SEEK_SET)
            done += os.write(handle, left)


def allocate(handle: int, size: int) -> None:
    """Find out at once, not half-way, that a disk has no room; nothing where that is impossible."""
    try:
        if hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in _NO_ROOM_AHEAD:
            raise


def sync_data(handle: int) -> None:
    """Bring the bytes of a file to the disk."""
    getattr(os, "fdatasync", os.fsync)(handle)  # macOS has none


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk; nothing where folders cannot be opened (Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        with suppress(OSError):
            os.close(handle)


def set_mode(handle: int, mode: int) -> None:
    """Set the permissions of an open file, where there are any."""
    if hasattr(os, "fchmod"):
        os.fchmod(handle, mode)


def set_time(handle: int, nanoseconds: int) -> None:
    """Set the time of change of an open file; the clock's own stays where that is impossible."""
    with suppress(TypeError, NotImplementedError):  # Windows sets times by a file's name alone
        os.utime(handle, ns=(nanoseconds, nanoseconds))
