"""A file descriptor that closes with the last reference to it, wherever an interruption strikes."""

import os
from contextlib import suppress
from pathlib import Path

from hopmask.storage.system import BINARY


class Descriptor:
    """An open file, by its number.

    Args:
        path: what to open.
        flags: of `os.open`. Programs that are started do not inherit the descriptor.
        mode: of a file that is made.

    Raises:
        OSError, ValueError: it cannot be opened.
    """

    number = -1

    def __init__(self, path: Path, flags: int, mode: int = 0o666) -> None:
        self.number = os.open(path, flags | BINARY, mode)

    def close(self) -> None:
        """Close it, if it is open. An error here says nothing that fsync has not said before."""
        number, self.number = self.number, -1
        if number >= 0:
            with suppress(OSError):
                os.close(number)

    def __enter__(self) -> int:
        return self.number

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
