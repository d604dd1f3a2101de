"""The files that a run leaves in its folder, finished or not."""

import os
from pathlib import Path
from typing import Any

from hopmask import ConfigError
from supsup_bridge.runs import report
from supsup_bridge.runs.experiment import Experiment


def writable(out: Path) -> Path:
    """The output folder, made and tried before any work is done.

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
    return out


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
    title = f"{settings.benchmark}, seed {settings.seed}: what each recall did, step by step"
    names, masks = experiment.names(), experiment.mask_names()
    report.recall_plot(list(experiment.record()), names, masks, title).savefig(out / "recall.png")
    return ["accuracy.png", "recall.png"]


def _discard(memory: Path) -> None:
    """Delete a memory's file and the files that belong to it."""
    for mark in ("", ".prev", ".lock"):
        memory.with_name(memory.name + mark).unlink(missing_ok=True)
