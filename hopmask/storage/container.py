"""The container of a file: a header of 512 bytes, then a payload, both under SHA-256.

Bytes of the header, little-endian; those not named are zero:

    0    16   magic, b"\\x89HOPMASK\\r\\n\\x1a\\n" and zeros
    16   4    version of the container, 1
    20   4    size of the header, 512
    24   8    generation, 1 for the first commit of a file
    32   8    length of the payload
    40   32   SHA-256 of the payload
    72   32   SHA-256 of the header, with these 32 bytes zero
    104  16   the store, random: all generations of one store follow each other in one line
    120  16   the store from which this one branched off; zeros for none
    136  8    the generation of that store from which this one branched off; 0 for none

HDF5 takes such a header for a user block, so that the file opens in any HDF5 tool.
"""

import hashlib
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from hopmask.errors import (
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
    StoreTooLargeError,
    TruncatedStoreError,
)
from hopmask.storage.descriptor import Descriptor
from hopmask.storage.system import NO_WAIT, read_into

HEADER = 512
LARGEST = 8 << 30  # bytes of a file
PART = 4 << 20  # bytes hashed, read or written at once where a copy is taken
MAGIC = b"\x89HOPMASK\r\n\x1a\n".ljust(16, b"\0")
_VERSION = 1
_FIELDS = struct.Struct("<16sIIQQ32s32s16s16sQ")
DAMAGE = (CorruptStoreError, NotAHopmaskStoreError)  # what a file that was whole may have become
_LAST = 1 << 63  # no generation comes so far
_OWN = slice(72, 104)  # the header's own SHA-256


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a header says.

    Attributes:
        generation: 1 for the first commit.
        length: bytes of the payload.
        digest: SHA-256 of the payload.
        store: 16 random bytes, the same in all generations that follow each other in one line.
        origin: the store from which this one branched off; zeros for none.
        branched: the generation of `origin` from which this store branched off; 0 for none.
    """

    generation: int
    length: int
    digest: bytes
    store: bytes
    origin: bytes = bytes(16)
    branched: int = 0

    @property
    def seal(self) -> bytes:
        """SHA-256 of the header: no other state of any file has it."""
        return self.packed()[_OWN]

    def packed(self) -> bytes:
        """The 512 bytes."""
        numbers = (MAGIC, _VERSION, HEADER, self.generation, self.length)
        names = (self.digest, bytes(32), self.store, self.origin, self.branched)
        block = bytearray(_FIELDS.pack(*numbers, *names).ljust(HEADER, b"\0"))
        block[_OWN] = hashlib.sha256(block).digest()
        return bytes(block)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a file holds, read once and verified."""

    header: Header
    payload: memoryview


def read_header(path: Path) -> Header:
    """The header of a file, checked against the file's size.

    Raises:
        StoreFileError: the file cannot be read, does not begin as one of hopmask's, or its header
            is not whole.
    """
    with _Opened(path) as file:
        return _header(path, file.read(HEADER), file.size)


def read_content(path: Path) -> Content:
    """Header and payload of a file, both verified.

    Raises:
        StoreNotFoundError, NotAHopmaskStoreError: there is no such file, or it is another's.
        StoreTooLargeError: more bytes than any memory needs, or than there is memory for.
        TruncatedStoreError, CorruptStoreError, SchemaTooNewError: as they say; nothing was parsed.
    """
    with _Opened(path) as file:
        header = _bounded_header(file)
        try:
            payload = file.read(header.length)
        except MemoryError as error:
            raise StoreTooLargeError(
                f"{path} takes {header.length} bytes of memory, more than there are. Nothing was "
                "loaded: free some memory"
            ) from error
        _check_payload(file, header, len(payload), hashlib.sha256(payload).digest())
    return Content(header=header, payload=memoryview(payload))


def verified_header(path: Path) -> Header:
    """The header of a file whose payload is verified too, part by part: it takes no memory.

    Raises:
        StoreFileError: as `read_content` says.
    """
    with _Opened(path) as file:
        header, digest, done = _bounded_header(file), hashlib.sha256(), 0
        while part := file.read(min(PART, header.length - done)):
            digest.update(part)
            done += len(part)
        _check_payload(file, header, done, digest.digest())
    return header


class _Opened:
    """A plain file, open for reading; nothing else is opened, and nothing can block."""

    def __init__(self, path: Path) -> None:
        try:
            self._open = Descriptor(path, os.O_RDONLY | NO_WAIT)
        except FileNotFoundError as error:
            raise StoreNotFoundError(f"there is no file {path}") from error
        except (OSError, ValueError) as error:  # ValueError: NUL in the name
            raise _unreadable(path, "opened", error) from error
        self.path, self._handle = path, self._open.number
        about = os.fstat(self._handle)
        self.size = about.st_size
        if not stat.S_ISREG(about.st_mode):
            raise NotAHopmaskStoreError(f"{path} is no file but a folder or a device")

    def read(self, count: int) -> bytearray:
        """So many bytes, or fewer at the end of the file."""
        found = bytearray(count)
        view, done = memoryview(found), 0
        try:
            while done < count and (step := read_into(self._handle, view[done:])):
                done += step
        except OSError as error:
            raise _unreadable(self.path, "read", error) from error
        return found if done == count else found[:done]

    def __enter__(self) -> "_Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _bounded_header(file: _Opened) -> Header:
    """The header of a file that is small enough to be read."""
    if file.size > LARGEST:
        raise StoreTooLargeError(
            f"{file.path} has {file.size} bytes, more than the {LARGEST} that hopmask reads"
        )
    return _header(file.path, file.read(HEADER), file.size)


def _check_payload(file: _Opened, header: Header, length: int, digest: bytes) -> None:
    """Raise unless a payload of that length and SHA-256 is the header's."""
    if length != header.length:
        raise TruncatedStoreError(_cut(file.path, HEADER + length, file.size))
    if digest != header.digest:
        raise CorruptStoreError(
            f"{file.path}: payload SHA-256 does not match its header (generation "
            f"{header.generation})"
        )


def _header(path: Path, block: bytearray, size: int) -> Header:
    if block[: len(MAGIC)] != MAGIC:
        if block and MAGIC.startswith(bytes(block)):
            raise TruncatedStoreError(_cut(path, size, HEADER))
        raise NotAHopmaskStoreError(
            f"{path} is no file of hopmask's: it does not begin as one. Save memories with "
            "memory.save()"
        )
    if len(block) < HEADER:
        raise TruncatedStoreError(_cut(path, size, HEADER))
    blank = bytearray(block)
    blank[_OWN] = bytes(32)
    if hashlib.sha256(blank).digest() != block[_OWN]:
        raise CorruptStoreError(f"{path}: its header does not match the header's own SHA-256")
    _, version, header, *fields = _FIELDS.unpack_from(block)
    generation, length, digest, _, store, origin, branched = fields
    if version > _VERSION:
        raise SchemaTooNewError(
            f"{path} is a container of version {version}, this hopmask reads up to {_VERSION}: "
            "install a newer one"
        )
    known = Header(
        generation=generation,
        length=length,
        digest=digest,
        store=store,
        origin=origin,
        branched=branched,
    )
    if not 1 <= generation < _LAST or header != HEADER or known.packed() != block:
        raise CorruptStoreError(f"{path}: no hopmask writes such a header")
    if size < HEADER + length:
        raise TruncatedStoreError(_cut(path, size, HEADER + length))
    if size > HEADER + length:
        raise CorruptStoreError(f"{path} has {size - HEADER - length} bytes behind its end")
    return known


def _unreadable(path: Path, what: str, error: Exception) -> StoreFileError:
    found = StoreFileError(f"{path} cannot be {what}: {error}")
    found.errno = getattr(error, "errno", None)
    return found


def _cut(path: Path, size: int, whole: int) -> str:
    return f"{path} is cut short: {size} of {whole} bytes"
