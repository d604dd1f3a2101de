"""The files that a run leaves in its folder, finished or not."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hopmask import ConfigError
from supsup_bridge.runs import report
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.timing import Pace

_FIRST = 0.01  # seconds that one is first expected to take
_FINISHED = ("result.json", "memory.h5")


def check_unfinished(out: Path) -> None:
    """Refuse a folder that holds a finished run.

    Raises:
        ConfigError: it does.
    """
    if found := [name for name in _FINISHED if (out / name).exists()]:
        raise ConfigError(
            f"{out} holds {' and '.join(found)} of a finished run: choose another folder with "
            "--out, or give --overwrite"
        )


def make_writable(out: Path) -> None:
    """Make the output folder, and try to write there before any work is done.

    Raises:
        ConfigError: nothing can be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cannot write to {out} ({error}): choose another folder with --out"
        ) from error


def write(experiment: Experiment, out: Path, *, partial: bool) -> dict[str, Any]:
    """Write the memory and the result; the files of an unfinished run have `.partial` in the name.

    Returns:
        The result.
    """
    result = experiment.result()
    mark = ".partial" if partial else ""
    experiment.close()
    memory = out / f"memory{mark}.h5"
    if not partial:  # the file of a finished run shows nothing of the breaks in the run
        _discard(memory)
    report.write_json(result, out / f"result{mark}.json")
    experiment.memory.save(memory)
    if not partial:
        (out / "result.partial.json").unlink(missing_ok=True)
        _discard(out / "memory.partial.h5")
    return result


def write_plots(experiment: Experiment, result: dict[str, Any], out: Path) -> list[str]:
    """Draw the plots of a finished run; returns their names."""
    report.accuracy_plot(result).savefig(out / "accuracy.png")
    if experiment.settings.memory != "hopfield":
        return ["accuracy.png"]
    settings = experiment.settings
    title = f"{settings.benchmark}, seed {settings.seed}\nwhat each recall did, step by step"
    names, masks = experiment.names(), experiment.mask_names()
    report.recall_plot(list(experiment.record()), names, masks, title).savefig(out / "recall.png")
    return ["accuracy.png", "recall.png"]


class PartialResults:
    """Writes `result.partial.json` so seldom that it takes 2 % of a run's time.

    A result grows with the square of the number of tasks, so one after each task would take most of
    a long run.

    Args:
        experiment: the run.
        out: folder of the results.
        warn: called with the message of a failure; the run continues.
    """

    def __init__(self, experiment: Experiment, out: Path, warn: Callable[[str], None]) -> None:
        self._experiment, self._path, self._warn = experiment, out / "result.partial.json", warn
        self._pace, self._cost = Pace(), _FIRST

    def __call__(self) -> None:
        """Write the result so far if it is time to."""
        if not self._pace.is_due(cost=self._cost):
            return
        start = time.monotonic()
        try:
            report.write_json(self._experiment.result(), self._path)
        except OSError as error:
            self._warn(f"{self._path}: {error}")
        self._pace.done()
        self._cost = time.monotonic() - start


def _discard(memory: Path) -> None:
    """Delete a memory's file and the files that belong to it."""
    for mark in ("", ".prev", ".lock"):
        memory.with_name(memory.name + mark).unlink(missing_ok=True)
