"""The files that a run leaves in its folder."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from supsup_bridge import Experiment, RunSettings, Task
from supsup_bridge.cli.results import PartialResults
from supsup_bridge.runs import report
from supsup_bridge.runs.evaluation import Scores
from supsup_bridge.runs.schedule import is_point


def written(tasks: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of all partial results of a run of so many tasks, an hour per task."""
    now, total = [0.0], [0]
    write = report.write_json

    def counted(result: dict[str, Any], path: Path) -> None:
        write(result, path)
        total[0] += path.stat().st_size

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(report, "write_json", counted)
    settings = RunSettings(benchmark="permuted-mnist", tasks=tasks, masks="unit", bits=16)
    experiment = Experiment(settings, tasks=synthetic())
    keep, ledger = PartialResults(experiment, folder, warn=pytest.fail), experiment.ledger
    for number in range(tasks):
        now[0] += 3600
        whole = is_point(number + 1, settings)
        row = dict.fromkeys(range(0 if whole else number, number + 1), 0.5)
        ledger.begun(experiment.stream[0])
        ledger.learned({number: 10})
        ledger.scored(Scores(row=row), point=whole)
        keep()
    monkeypatch.undo()
    return total[0]


def synthetic() -> list[Task]:
    images, labels = torch.randn(64, 4), torch.arange(64) % 2
    parts = dict.fromkeys(("train_images", "inference_images", "scored_images"), images)
    return [Task(name="synthetic", train_labels=labels, scored_labels=labels, **parts)]


def test_partial_results_grow_with_the_number_of_tasks_not_with_a_power_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole matrices after each task would take 64 times as many bytes for 4 times the tasks."""
    few, many = (written(tasks, tmp_path, monkeypatch) for tasks in (100, 400))
    assert 0 < many < 5 * few


def test_a_partial_result_that_cannot_be_written_is_said_and_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small
) -> None:
    now, said = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    experiment = Experiment(small(tasks=1))
    keep = PartialResults(experiment, tmp_path / "nowhere", warn=said.append)
    experiment.ledger.learned({0: 1})
    experiment.ledger.scored(Scores(row={0: 0.5}), point=True)
    keep()
    assert said == []
    now[0] = 10
    keep()
    assert len(said) == 1
    assert "result.partial.json" in said[0]
