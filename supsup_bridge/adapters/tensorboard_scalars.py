"""Scalars of a run for TensorBoard."""

from importlib import import_module
from pathlib import Path
from typing import Any

from hopmask.errors import MissingDependencyError

_WRITER = "torch.utils.tensorboard"
_OURS = ".supsup"  # ends the names of event files
_SECONDS = 10  # between two writings
_READER = "tensorboard.backend.event_processing.event_accumulator"


class TensorBoardScalars:
    """Writes event files into `tensorboard/`: one series, such as "loss/3 6 or 7", per task.

    `tensorboard --logdir FOLDER` shows those of all runs in a folder.

    Args:
        folder: where `tensorboard/` is, or will be.
        continued: append to the series that are there; else there are none yet.

    Raises:
        MissingDependencyError: TensorBoard is not installed.
        OSError: the folder cannot be read or written.
    """

    place = "tensorboard"

    def __init__(self, folder: Path, *, continued: bool = False) -> None:
        self.check()
        place = folder / self.place
        self._last = _last(place) if continued and place.exists() else {}
        self._writer: Any = import_module(_WRITER).SummaryWriter(
            str(place), flush_secs=_SECONDS, filename_suffix=_OURS
        )

    @staticmethod
    def check() -> None:
        """Raise MissingDependencyError unless TensorBoard is installed."""
        try:
            import_module(_WRITER)
        except ImportError as error:
            raise MissingDependencyError(
                f"a log for TensorBoard needs a package that is not installed ({error}): python -m "
                "pip install 'hopmask[log]', or use --log csv"
            ) from error

    @staticmethod
    def wrote(path: Path) -> bool:
        """Whether a folder holds event files alone."""
        return path.is_dir() and all("tfevents" in one.name for one in path.iterdir())

    @staticmethod
    def may_go(path: Path) -> bool:
        """Whether a folder holds event files of runs alone."""
        return path.is_dir() and all(one.name.endswith(_OURS) for one in path.iterdir())

    def last(self) -> dict[tuple[str, int], int]:
        """Figure and number of the task -> the last step that is there already."""
        return self._last

    def add(self, figure: str, number: int, name: str, step: int, value: float) -> None:
        """Append to the series of a figure of a task."""
        self._writer.add_scalar(f"{figure}/{number} {name}", value, step)

    def flush(self) -> None:
        """Bring the events into the file."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _last(place: Path) -> dict[tuple[str, int], int]:
    """The last step of each series that is there."""
    events = import_module(_READER).EventAccumulator(str(place))
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        figure, _, task = tag.partition("/")
        number, _, _ = task.partition(" ")
        if number.isdigit():  # others are no series of a run
            found[figure, int(number)] = int(events.Scalars(tag)[-1].step)
    return found
