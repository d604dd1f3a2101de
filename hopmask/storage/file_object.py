"""Files in memory for HDF5: one that holds bytes without a copy, one that keeps what is written."""

import io
import os

_PIECE = 1 << 20  # bytes that HDF5 may read at once: it never needs so many of what hopmask writes


class _FileInMemory(io.RawIOBase):
    """A file of some size, with a place in it. HDF5 seeks, reads, writes and truncates.

    Attributes:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        self.size, self._at = size, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the place: from the begin, or from the end for SEEK_END."""
        self._at = offset + (self.size if whence == os.SEEK_END else 0)
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at


class Window(_FileInMemory):
    """A file that can only be read: bytes in memory, of which no copy is made.

    Args:
        content: the bytes.
    """

    def __init__(self, content: memoryview) -> None:
        super().__init__(len(content))
        self._content = content

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the place on.

        Raises:
            OSError: the file ends before, or the buffer is larger than any that HDF5 needs.
        """
        count, end = len(buffer), self._at + len(buffer)
        if count > _PIECE or end > self.size:
            raise OSError(f"{count} bytes at {self._at} of {self.size} cannot be read at once")
        buffer[:] = self._content[self._at : end]
        return count


class Sparse(_FileInMemory):
    """A file that takes memory for what is written to it alone, however large it is."""

    def __init__(self) -> None:
        super().__init__(0)
        self._written: list[tuple[int, bytes]] = []

    def write(self, part: bytes) -> int:  # type: ignore[override]
        """Write at the place."""
        self._written.append((self._at, bytes(part)))
        self.size = max(self.size, self._at + len(part))
        return len(part)

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        self.size = self._at if size is None else size
        return self.size

    def between(self, begin: int, end: int) -> bytes:
        """What was written to a range; zeros where nothing was."""
        found = bytearray(end - begin)
        for at, part in self._written:
            first, last = max(at, begin), min(at + len(part), end)
            if first < last:
                found[first - begin : last - begin] = part[first - at : last - at]
        return bytes(found)
