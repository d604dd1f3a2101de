"""The files that a run leaves in its folder, finished or not."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hopmask import ConfigError
from supsup_bridge.runs import finished_run, report
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.report_page import report_page
from supsup_bridge.runs.report_plots import accuracy_plot
from supsup_bridge.runs.report_recalls import recall_plot
from supsup_bridge.runs.timing import Pace
from supsup_bridge.runs.unwritable import unwritable

_FIRST = 0.01  # seconds that one is first expected to take
RESULT, PARTIAL = finished_run.RESULT, finished_run.PARTIAL
MEMORY, LEARNER = "memory.h5", "learner.h5"
REPORT = "report.html"
PARTIAL_MEMORY = "memory.partial.h5"


def check_unfinished(out: Path) -> None:
    """Refuse a folder that holds a finished run, or a learner that was saved there.

    Raises:
        ConfigError: it does.
    """
    if found := [name for name in (RESULT, MEMORY, LEARNER, REPORT) if (out / name).exists()]:
        raise ConfigError(
            f"{out} holds {' and '.join(found)} of a finished run or learner: choose another "
            "folder with --out, or give --overwrite"
        )


def make_writable(out: Path) -> None:
    """Make the output folder, and try to write there before any work is done.

    Raises:
        ConfigError: nothing can be written there.
        StoreFileError: nothing can be written there now, as to a full disk.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        remedy = "choose another folder with --out, or make room"
        raise unwritable(out, error, remedy=remedy) from error


def write(experiment: Experiment, out: Path) -> dict[str, Any]:
    """Write the memory and the result of a finished run; returns the result."""
    result = experiment.result()
    experiment.close()
    _discard_all(out)  # the files of a finished run show nothing of the breaks in the run
    report.write_json(result, out / RESULT)
    experiment.save(out)
    _discard_partial(out)
    return result


def write_alone(result: dict[str, Any], out: Path) -> list[str]:
    """Write the result and the pages of a learner that leaves no files; returns their names."""
    _discard_all(out)
    report.write_json(result, out / RESULT)
    accuracy_plot(result).savefig(out / "accuracy.png")
    page = report_page(result, records=None, masks=result["task_names"])
    report.write_text(page, out / REPORT)
    _discard_partial(out)
    return [RESULT, REPORT, "accuracy.png"]


def write_partial(experiment: Experiment, out: Path) -> None:
    """Write the memory and the result of an unfinished run; the run cannot learn on."""
    _write_partial(experiment, out)
    experiment.close()
    experiment.memory.save(out / PARTIAL_MEMORY)


def write_pages(experiment: Experiment, result: dict[str, Any], out: Path) -> list[str]:
    """Draw the plots of a finished run, and write its report; returns their names."""
    names, masks, records = experiment.names(), experiment.mask_names(), None
    written = [REPORT, "accuracy.png"]
    accuracy_plot(result).savefig(out / "accuracy.png")
    if experiment.settings.memory == "hopfield":
        settings, records = experiment.settings, list(experiment.record())
        title = f"{settings.benchmark}, seed {settings.seed}\nwhat each recall did, step by step"
        recall_plot(records, names, masks, title).savefig(out / "recall.png")
        written.append("recall.png")
    report.write_text(report_page(result, records=records, masks=masks), out / REPORT)
    return written


class PartialResults:
    """Writes `result.partial.json` at points of the curve, in at most 2 % of the time.

    By default these are at 1, 2, 5, 10, 20, 50 ... tasks, and a partial result holds only what was
    measured, so all of them together take bytes in proportion to the number of tasks.

    Args:
        experiment: the run.
        out: folder of the results.
        warn: called with the message of a failure; the run continues.
    """

    def __init__(self, experiment: Experiment, out: Path, warn: Callable[[str], None]) -> None:
        self._experiment, self._out, self._warn = experiment, out, warn
        self._pace, self._cost = Pace(), _FIRST

    def __call__(self) -> None:
        """Write the result so far if it is time to; called after each task."""
        ledger = self._experiment.ledger
        point = bool(ledger.curve) and ledger.curve[-1]["tasks"] == ledger.count
        if not (point and self._pace.is_due(cost=self._cost)):
            return
        start = time.monotonic()
        try:
            _write_partial(self._experiment, self._out)
        except OSError as error:
            self._warn(f"{self._out / PARTIAL}: {error}")
        self._pace.done()
        self._cost = time.monotonic() - start


def _write_partial(experiment: Experiment, out: Path) -> None:
    """Write the result so far, with the accuracies that were measured in place of the matrix."""
    partial = {"accuracy_matrix": None, "measured": experiment.ledger.measured()}
    report.write_json({**experiment.result(), **partial}, out / PARTIAL)


def _discard_all(out: Path) -> None:
    """Delete what a finished run left in the folder, but for its result."""
    _discard(out / MEMORY)
    _discard(out / LEARNER)
    for page in (REPORT, "accuracy.png", "recall.png"):
        (out / page).unlink(missing_ok=True)


def _discard_partial(out: Path) -> None:
    """Delete what an unfinished run left in the folder."""
    (out / PARTIAL).unlink(missing_ok=True)
    _discard(out / PARTIAL_MEMORY)


def _discard(memory: Path) -> None:
    """Delete a memory's file and the files that belong to it."""
    for mark in ("", ".prev", ".lock"):
        memory.with_name(memory.name + mark).unlink(missing_ok=True)
