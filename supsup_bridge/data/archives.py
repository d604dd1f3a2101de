"""Files of a data set in their authors' layout: unpacked in a folder, or in the .tar.gz itself."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from supsup_bridge.data.files import DataError, read_file

_MOST = 1 << 30  # bytes of an unpacked archive


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names in one of the forms in which a data set is published.

    Args:
        folder: that the archive unpacks to.
        archive: name of the .tar.gz.
        files: in the folder.
    """

    folder: str
    archive: str
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Content:
    """Bytes of one file, and its name for errors."""

    name: str
    raw: bytes


def contents(
    place: Path, layouts: Sequence[Layout], *, what: str
) -> tuple[Layout, dict[str, Content]]:
    """The first layout that is there, and its files by their names in it.

    Nothing is unpacked to the disk.

    Args:
        place: a folder with the files, one that holds the layout's folder or archive, or an
            archive, under whatever name.
        layouts: those that may be there.
        what: the data set's name, for errors.

    Raises:
        DataError: none is there, one is incomplete, or a file or an archive cannot be read.
    """
    if place.is_file():
        return _packed(place, layouts, what)
    for layout in layouts:
        for folder in (place, place / layout.folder):
            if any((folder / name).is_file() for name in layout.files):
                return layout, {name: _read(folder / name, what) for name in layout.files}
        if (place / layout.archive).is_file():
            return _packed(place / layout.archive, layouts, what)
    known = ", ".join(f"{layout.folder} or {layout.archive}" for layout in layouts)
    raise DataError(
        f"{place} does not hold {what} ({known}): put one of these there, or leave out --data to "
        "download it"
    )


def _read(path: Path, what: str) -> Content:
    if not path.is_file():
        raise DataError(f"{path} is missing beside other files of {what}: unpack its archive again")
    return Content(name=str(path), raw=read_file(path))


def _packed(path: Path, layouts: Sequence[Layout], what: str) -> tuple[Layout, dict[str, Content]]:
    """The files of whichever layout an archive holds."""
    wanted = {f"{one.folder}/{name}": (one, name) for one in layouts for name in one.files}
    found: dict[str, dict[str, Content]] = {layout.folder: {} for layout in layouts}
    try:
        with gzip.open(path) as packed:
            raw = packed.read(_MOST)  # to its end, where its checksum is compared
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            for member in archive:
                where = member.name.removeprefix("./")
                file = archive.extractfile(member) if where in wanted and member.isfile() else None
                if file is not None:
                    layout, name = wanted[where]
                    content = Content(name=f"{path}: {where}", raw=file.read(_MOST))
                    found[layout.folder][name] = content
    except (tarfile.TarError, EOFError, zlib.error, OSError, OverflowError, ValueError) as error:
        raise DataError(
            f"{path} cannot be unpacked ({error}): it is truncated, altered or no .tar.gz; fetch "
            "it again"
        ) from error
    for layout in layouts:
        if len(found[layout.folder]) == len(layout.files):
            return layout, found[layout.folder]
    missing = next(name for name, (one, file) in wanted.items() if file not in found[one.folder])
    raise DataError(
        f"{path} does not hold {what}: it has no {missing}. Fetch the archive of that name from "
        "the authors"
    )
