"""The sidecar NAME.lock: who locks a file, and which state the last commit left the file in.

Two lines of fixed width, in ASCII:

    process that holds the lock, or held it last
    inode and device of the sidecar, and the seals of the states that the file may be in

The seal of a state is the SHA-256 of its header. There are two seals only while a commit renames.

A file whose seal is not noted was changed by others than the writers that share the sidecar: it was
copied here, restored or renamed. A copy of the sidecar has another inode, and notes nothing.
"""

import os
from pathlib import Path

from hopmask.errors import CommitFailedError
from hopmask.storage.descriptor import Descriptor
from hopmask.storage.system import NO_FOLLOW, read_at, write_at

_SIGNED = 21  # bytes of the first line
_NOTE = "%40d %20d %64s %64s\n"
_NOTED = 192  # bytes of the second line


class Sidecar:
    """The sidecar of a file, open.

    Args:
        path: the file itself, no link to it.
        make: whether the sidecar is made where there is none.

    Raises:
        CommitFailedError: the sidecar cannot be made.
        FileNotFoundError: there is no sidecar, and none was to be made.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self.path = path
        self.place = path.with_name(path.name + ".lock")
        flags = os.O_RDWR | NO_FOLLOW | (os.O_CREAT if make else 0)
        try:
            self.file = Descriptor(self.place, flags)
        except (OSError, ValueError) as error:
            if not make and isinstance(error, FileNotFoundError):
                raise
            why = f"its lock {self.place.name} cannot be made: {error}"
            raise self.failed(why, error) from error

    @property
    def in_place(self) -> bool:
        """Whether this is still the file NAME.lock; FileNotFoundError where there is none."""
        return os.path.samestat(os.fstat(self.file.number), self.place.stat())

    def sign(self) -> None:
        """Write the number of this process."""
        self._write(b"%20d\n" % os.getpid(), 0)

    def signature(self) -> int:
        """The number of the process that holds the lock, or held it last; 0 for none."""
        text = self._read(_SIGNED, 0).strip()
        return int(text) if text.isdigit() else 0

    def note(self, *seals: bytes) -> None:
        """Write down the one or two states that the file may be in from now on."""
        about = os.fstat(self.file.number)
        first, last = seals[0].hex(), seals[-1].hex()
        line = _NOTE % (about.st_ino, about.st_dev, first, last)
        self._write(line.encode(), _SIGNED)

    def noted(self, seal: bytes) -> bool:
        """Whether the file is as its last writer left it, by its seal."""
        words, about = self._read(_NOTED, _SIGNED).split(), os.fstat(self.file.number)
        own = words[:2] == [b"%d" % about.st_ino, b"%d" % about.st_dev]
        return own and seal.hex().encode() in words[2:]

    def failed(self, why: str, error: Exception) -> CommitFailedError:
        """The error for a commit that the sidecar does not let happen."""
        failed = CommitFailedError(f"cannot write {self.path}: {why}. Nothing was changed")
        failed.errno = getattr(error, "errno", None)
        return failed

    def close(self) -> None:
        """Close the sidecar, and with it end the lock, if no child process has it open."""
        self.file.close()

    def _read(self, count: int, at: int) -> bytes:
        try:
            return read_at(self.file.number, count, at)
        except OSError as error:
            raise self.failed(f"its lock cannot be read: {error}", error) from error

    def _write(self, line: bytes, at: int) -> None:
        try:
            write_at(self.file.number, line, at)
        except OSError as error:
            raise self.failed(f"its lock cannot be written: {error}", error) from error
