"""Scalars of a run as a table of comma-separated values."""

import csv
import io
import os
from contextlib import suppress
from pathlib import Path

from hopmask import ConfigError

_HEAD = ["figure", "task", "name", "step", "value"]


class CsvScalars:
    """Writes `log.csv`: figure, task, name, step, value; one row per scalar.

    Args:
        folder: where the file is, or will be.
        continued: append to it; else there is none yet.

    Raises:
        OSError: it cannot be read or written.
        ConfigError: another file is there, which cannot be continued.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     scalars = CsvScalars(Path(folder))
        ...     scalars.add("loss", 0, "0 or 1", 1, 0.5)
        ...     scalars.close()
        ...     scalars = CsvScalars(Path(folder), continued=True)
        ...     scalars.close()
        >>> scalars.last()
        {('loss', 0): 1}
    """

    place = "log.csv"

    def __init__(self, folder: Path, *, continued: bool = False) -> None:
        path = folder / self.place
        rows = _rows(path) if continued and path.exists() else []
        self._last = {(figure, int(number)): int(step) for figure, number, _, step, _ in rows[1:]}
        self._file = path.open(
            "a" if rows else "w",
            buffering=1,
            newline="",
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not rows:
            try:
                self._rows.writerow(_HEAD)
            except OSError:
                with suppress(OSError):
                    self._file.close()
                path.unlink(missing_ok=True)  # nothing is in it, and it would be in a retry's way
                raise

    @staticmethod
    def check() -> None:
        """Nothing is needed."""

    @staticmethod
    def wrote(path: Path) -> bool:
        """Whether a file is a log of a run."""
        with suppress(OSError):
            return _begins(path.read_bytes())
        return False

    @staticmethod
    def may_go(path: Path) -> bool:
        """Whether a file is a log of a run."""
        return CsvScalars.wrote(path)

    def last(self) -> dict[tuple[str, int], int]:
        """Figure and number of the task -> the last step that is there already."""
        return self._last

    def add(self, figure: str, number: int, name: str, step: int, value: float) -> None:
        """Append a row."""
        plain = name.replace("\r", r"\r")  # which is not quoted, and would end a row for a reader
        self._rows.writerow([figure, number, plain, step, value])

    def flush(self) -> None:
        """Every row is in the file already, so that a kill loses none."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _rows(path: Path) -> list[list[str]]:
    """The rows of a log, its head first; a last one that a kill cut off is taken out of the file.

    Raises:
        ConfigError: another file.
    """
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    try:
        lines = io.StringIO(whole.decode("utf-8", errors="replace"), newline="")
        rows = [*csv.reader(lines)]
        fits = _begins(text) and all(len(row) == len(_HEAD) for row in rows)
        fits &= all(number.isdigit() and step.isdigit() for _, number, _, step, _ in rows[1:])
    except (ValueError, csv.Error):
        fits = False
    if not fits:
        raise ConfigError(f"{path} is no log of a run, whose columns are {_HEAD}: move it away")
    if whole != text:
        os.truncate(path, len(whole))
    return rows


def _begins(text: bytes) -> bool:
    """Whether a text begins as a log does, if it is long enough."""
    head = ",".join(_HEAD).encode() + b"\n"
    return text[: len(head)] == head[: len(text)]
