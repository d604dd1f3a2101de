"""A finished run, read from its folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hopmask import ConfigError
from hopmask.errors import CorruptStoreError, HopmaskError, SchemaTooNewError
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.learners import OURS
from supsup_bridge.runs.report import measured_in
from supsup_bridge.runs.settings import RunSettings

RESULT, PARTIAL = "result.json", "result.partial.json"
_FORMAT = 1
_SHARE = (float, int, type(None))
_TEXT, _COUNT = (str, type(None)), (int, type(None))  # None of a learner without masks
# What is read of a result: a name, or names inside one another, and the types it may have
_READ: tuple[tuple[tuple[str, ...], tuple[type, ...]], ...] = (
    (("benchmark",), (str,)),
    (("scenario",), (str,)),
    (("learner",), (str,)),
    (("memory",), _TEXT),
    (("masks",), _TEXT),
    (("network",), (str,)),
    (("protocol",), (str,)),
    (("infer_samples",), (int,)),
    (("masks_allocated",), _COUNT),
    (("task_names",), (list,)),
    (("accuracy",), _SHARE),
    (("accuracy_given_task",), _SHARE),
    (("task_inference_accuracy",), _SHARE),
    (("exact_recall_rate",), _SHARE),
    (("forgetting",), _SHARE),
    (("accuracy_per_task",), (list,)),
    (("accuracy_matrix",), (list, type(None))),
    (("curve",), (list,)),
    (("bytes", "memory"), (int,)),
    (("bytes", "packed_masks"), _COUNT),
    (("recall", "samples"), (int,)),
    (("seconds", "total"), (float, int)),
    (("settings",), (dict,)),
    (("versions",), (dict,)),
    (("config", "output_size"), (int,)),
    (("config", "preset", "bits"), _COUNT),
    (("config", "preset", "mask_init"), _TEXT),
    (("config", "preset", "training"), (dict,)),
)
# What a result of ours has, and a baseline's has not
_OF_MASKS = (("memory",), ("masks",), ("masks_allocated",), ("bytes", "packed_masks"))


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run's result.

    Attributes:
        name: of its folder.
        result: what `result.json` says.
        settings: of the run.
    """

    name: str
    result: dict[str, Any]
    settings: RunSettings


def read_run(folder: Path) -> FinishedRun:
    """Read the result in the folder of a finished run.

    Raises:
        ConfigError: no folder, no `result.json` in it, or a run that was interrupted.
        CorruptStoreError: a `result.json` that is damaged, or not of a run.
        SchemaTooNewError: a format that this version does not know.
    """
    path = folder / RESULT
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: give that of a finished run")
    if checkpoint.exists(folder) or (folder / PARTIAL).exists():
        remedy = f"continue it with supsup run --resume {folder}"
        if not checkpoint.exists(folder):  # a baseline has none
            remedy = "start it anew if it was interrupted"
        raise ConfigError(f"{folder} holds a run that is not finished: wait for it, or {remedy}")
    if not path.is_file():
        raise ConfigError(f"{folder} holds no {RESULT}: give the folder of a finished run")
    try:
        result = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # also text that is no UTF-8
        raise _damaged(path, str(error)) from error
    if not isinstance(result, dict):
        raise _damaged(path, f"it holds a {type(result).__name__}, not the figures of a run")
    if result.get("format") != _FORMAT:
        raise SchemaTooNewError(
            f"{path} has format {result.get('format')!r}, and this version reads {_FORMAT}: "
            "compare runs with the version that wrote them"
        )
    result = {"learner": OURS, **result}  # there was no other one at first
    for names, types in _READ:
        value = _inside(result, names)
        if not isinstance(value, types) or isinstance(value, bool):
            raise _damaged(path, f"'{'.'.join(names)}' is missing, or of another type")
        if types is _SHARE and isinstance(value, float | int) and not -1 <= value <= 1:
            raise _damaged(path, f"'{'.'.join(names)}' is {value!r:.40}, and no share")
    if result["recall"]["samples"] < 1:
        raise _damaged(path, "its recalls are fewer than one")
    try:
        settings = RunSettings(**result["settings"])
    except (TypeError, HopmaskError) as error:
        raise _damaged(path, f"its settings are none of a run: {error}") from error
    if settings.learner != result["learner"]:
        raise _damaged(path, "its learner is not that of its settings")
    for names in _OF_MASKS:
        if (_inside(result, names) is None) == (settings.learner == OURS):
            raise _damaged(path, f"'{'.'.join(names)}' does not go with its learner")
    _check_curve(result, path)
    return FinishedRun(name=folder.resolve().name, result=result, settings=settings)


def read_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """Read several runs; those whose folders have one name are named by their paths.

    Raises:
        ConfigError: fewer than two, or one twice; and see `read_run`.
    """
    if len(folders) < 2:
        raise ConfigError("one run has nothing to be compared with: give two folders, or more")
    places = [folder.resolve() for folder in folders]
    if twice := [
        str(f) for f, place in zip(folders, places, strict=True) if places.count(place) > 1
    ]:
        raise ConfigError(f"{' and '.join(twice)} are one folder: give each run once")
    runs = [read_run(folder) for folder in folders]
    names = [run.name for run in runs]
    return [
        replace(run, name=str(folder)) if names.count(run.name) > 1 else run
        for run, folder in zip(runs, folders, strict=True)
    ]


def _check_curve(result: dict[str, Any], path: Path) -> None:
    """Raise CorruptStoreError unless the points of the curve, and what they scored, can be read."""
    try:
        entries = [(row, task, value) for row, task, value in measured_in(result)]
        points = [(point["tasks"], point["accuracy"]) for point in result["curve"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"its curve or its accuracy matrix cannot be read: {error}") from error
    figures = [figure for row in (*entries, *points) for figure in row]
    if not all(isinstance(figure, int | float) for figure in figures):
        raise _damaged(path, "its curve or its accuracy matrix holds what is no number")
    if not all(0 <= row[-1] <= 1 for row in (*entries, *points)):
        raise _damaged(path, "its curve or its accuracy matrix holds what is no share")
    if not {tasks - 1 for tasks, _ in points} <= {row for row, _, _ in entries}:
        raise _damaged(path, "its accuracy matrix lacks rows that its curve has")


def _no_constant(text: str) -> float:
    """JSON has no NaN and no infinity, though Python reads them."""
    raise ValueError(f"it holds {text}")


def _inside(values: Any, names: tuple[str, ...]) -> Any:
    """The value under names inside one another; `...`, which JSON never holds, if there is none."""
    for name in names:
        if not isinstance(values, dict) or name not in values:
            return ...
        values = values[name]
    return values


def _damaged(path: Path, why: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"{path} is damaged, or of an earlier version ({why}): restore it from a copy, or run again"
    )
