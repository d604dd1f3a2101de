"""Logs of a run, for other programs to read: an observer that writes scalars."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Protocol

from hopmask import ConfigError
from hopmask.errors import unknown_name
from supsup_bridge.adapters.csv_scalars import CsvScalars
from supsup_bridge.adapters.tensorboard_scalars import TensorBoardScalars
from supsup_bridge.data.task import Task
from supsup_bridge.runs.unwritable import unwritable

_log = logging.getLogger(__name__)


class Scalars(Protocol):
    """Where a log is written: series of numbers, each of a figure of one task, by step."""

    def last(self) -> dict[tuple[str, int], int]:
        """Figure and number of the task -> the last step that is there already."""
        ...

    def add(self, figure: str, number: int, name: str, step: int, value: float) -> None:
        """Append to a series: its figure, the task's number and name, the step, the value."""
        ...

    def flush(self) -> None:
        """Bring what was added into the files."""
        ...

    def close(self) -> None:
        """Nothing more is added."""
        ...


class RunLog:
    """An observer that logs "loss" by training step, and "accuracy" by tasks learned.

    A run that continues from a checkpoint repeats some steps: what is there already is not written
    again. Workers report no losses. Where a log cannot be written, the run continues without it.

    Args:
        scalars: where it is written.

    Example:
        >>> import tempfile
        >>> from supsup_bridge import Experiment, RunSettings
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open_logs(["csv"], Path(folder)) as (log,):
        ...         Experiment(RunSettings(quick=True, tasks=1)).run(log)
        ...     lines = (Path(folder) / "log.csv").read_text().splitlines()
        >>> lines[0], len(lines)
        ('figure,task,name,step,value', 22)
    """

    def __init__(self, scalars: Scalars) -> None:
        self._scalars, self._last, self._works = scalars, scalars.last(), True

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        self._add("loss", number, task.name, step, loss)

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        self._add("accuracy", number, task.name, after + 1, accuracy)

    def learned(self, task: Task, number: int) -> None:
        self._try(self._scalars.flush)

    def close(self) -> None:
        """Nothing more is logged."""
        self._try(self._scalars.close)

    def _add(self, figure: str, number: int, name: str, step: int, value: float) -> None:
        if step > self._last.get((figure, number), 0):
            self._try(lambda: self._scalars.add(figure, number, name, step, value))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            if self._works:
                write()
        except (OSError, ValueError) as error:
            self._works = False
            _log.warning("a log cannot be written, and the run continues without it: %s", error)


_LOGS: dict[str, type[CsvScalars] | type[TensorBoardScalars]] = {
    "csv": CsvScalars,
    "tensorboard": TensorBoardScalars,
}
LOGS = tuple(_LOGS)


def check_logs(names: Sequence[str]) -> None:
    """Raise unless there are logs of these names, and what they need is installed.

    Raises:
        ConfigError: an unknown name.
        MissingDependencyError: a package is not installed.
    """
    for name in names:
        if name not in _LOGS:
            raise ConfigError(unknown_name("log", name, LOGS))
        _LOGS[name].check()


@contextmanager
def open_logs(
    names: Sequence[str], folder: Path, *, continued: bool = False, overwrite: bool = False
) -> Iterator[list[RunLog]]:
    """Logs of a run in a folder, closed at the end of the block.

    Args:
        names: of "csv" and "tensorboard".
        folder: of the run.
        continued: append to the logs that are there, also to those without a name.
        overwrite: delete the logs of an earlier run; nothing that is no log of a run is deleted.

    Raises:
        ConfigError: an unknown name, a folder that cannot be written to, or something in the place
            of a log that is not continued.
        StoreFileError: a log that cannot be written for another reason, such as a full disk.
        MissingDependencyError: a package is not installed.
    """
    begun = [name for name, log in _LOGS.items() if continued and log.wrote(folder / log.place)]
    chosen = [*dict.fromkeys([*names, *begun])]
    check_logs(chosen)
    for name, log in _LOGS.items():
        place = folder / log.place
        if overwrite and log.may_go(place):
            _delete(place)
        if name in names and not continued and place.exists():
            raise ConfigError(
                f"{place} is there already: leave out --log {name}, choose another folder with "
                "--out, or move it away"
            )
    with ExitStack() as stack:
        logs = []
        for name in chosen:
            try:
                opened = RunLog(_LOGS[name](folder, continued=continued))
            except OSError as error:
                remedy = f"leave out --log {name}, move what is there away, or make room"
                raise unwritable(folder / _LOGS[name].place, error, remedy=remedy) from error
            logs.append(stack.enter_context(closing(opened)))
        yield logs


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
