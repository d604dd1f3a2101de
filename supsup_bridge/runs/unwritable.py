"""The error about a file or folder that a run cannot write."""

from pathlib import Path

from hopmask import ConfigError, HopmaskError
from hopmask.errors import StoreFileError

_OF_THE_PLACE = (
    *(FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError),
    PermissionError,
)


def unwritable(path: Path, error: OSError, *, remedy: str) -> HopmaskError:
    """A ConfigError where another place would do; a StoreFileError else, as of a full disk.

    Args:
        path: of the file or folder.
        error: the system's.
        remedy: what to do where the place is wrong, or the disk full.

    Example:
        >>> unwritable(Path("out"), PermissionError("denied"), remedy="choose another")
        ConfigError('cannot write to out (denied): choose another')
    """
    kind = ConfigError if isinstance(error, _OF_THE_PLACE) else StoreFileError
    return kind(f"cannot write to {path} ({error}): {remedy}")
