"""Where the files of a data set lie, and how missing ones are downloaded."""

import os
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from hopmask import HopmaskError

_TIMEOUT = 30  # seconds to wait for a mirror


class DataError(HopmaskError, OSError):
    """A data set that is missing, truncated, altered, or cannot be downloaded."""


def given_place(given: str | Path | None, *, what: str) -> Path | None:
    """The folder or archive that a caller, or else the variable HOPMASK_DATA, names; None if none.

    Args:
        given: by the caller.
        what: what belongs there, for the error.

    Raises:
        DataError: it does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     given_place(folder, what="images") == Path(folder)
        True
    """
    place = given if given is not None else os.environ.get("HOPMASK_DATA") or None
    if place is None:
        return None
    if not Path(place).exists():
        raise DataError(f"there is no folder {place}: give the one with {what}")
    return Path(place)


def given_folder(given: str | Path | None, *, what: str) -> Path:
    """The same, of a data set that cannot be downloaded: a folder.

    Raises:
        DataError: none is named, or it is no folder.
    """
    place = given_place(given, what=what)
    if place is None:
        raise DataError(f"no folder with {what} is named: give one as --data, or in HOPMASK_DATA")
    if not place.is_dir():
        raise DataError(f"{place} is no folder: give the one with {what}")
    return place


def printable(name: str) -> str:
    """A name of a file that can be printed, also where the file system's is no text.

    Example:
        >>> printable("caf\\udce9")
        'caf\\\\xe9'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_file(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from error


def cache(name: str) -> Path:
    """Where downloads of a data set go; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hopmask" / name


def download(
    target: Path, urls: Sequence[str], check: Callable[[bytes, str], object], *, by_hand: str
) -> None:
    """Download a file that is missing, from the first address whose answer is right.

    Args:
        target: the file; what is there already stays as it is.
        urls: where to ask, in this order.
        check: called with an answer and its address; raises DataError unless it is right.
        by_hand: what to do where that fails.

    Raises:
        DataError: no right answer, or the folder cannot be written to; nothing is left there.
    """
    if target.is_file():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write to {target.parent} ({error}): set XDG_CACHE_HOME, or {by_hand}"
        ) from error
    reasons = []
    for url in urls:
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                raw = answer.read()
            check(raw, url)
            part.write_bytes(raw)
            part.replace(target)
            return
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {error}")
        finally:
            part.unlink(missing_ok=True)
    raise DataError(
        f"{target.name} is not in {target.parent} and no mirror could be reached "
        f"({'; '.join(reasons)}): {by_hand}"
    )
