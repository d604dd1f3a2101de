"""Logs of a run: what they write, and what they do not write twice."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hopmask import ConfigError
from supsup_bridge import Experiment, split_digits
from supsup_bridge.adapters.run_log import RunLog, check_logs, open_logs
from supsup_bridge.adapters.tensorboard_scalars import TensorBoardScalars
from supsup_bridge.runs.observer import Observers

TASK = split_digits(tasks=1)[0]


class Kept:
    """Scalars in a list."""

    def __init__(self, last: dict[tuple[str, int], int] | None = None) -> None:
        self.before, self.added, self.closed = last or {}, list[Any](), False

    def last(self) -> dict[tuple[str, int], int]:
        return self.before

    def add(self, *scalar: Any) -> None:
        self.added.append(scalar)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Full(Kept):
    """A disk that is full."""

    def add(self, *scalar: Any) -> None:
        super().add(*scalar)
        raise OSError("no space left")


def test_a_run_is_logged_whole(small: Any) -> None:
    scalars, others = Kept(), Kept()
    run = Experiment(small(batches=3))
    run.run(Observers(RunLog(scalars), RunLog(others)))
    assert scalars.added == others.added
    found = [(figure, number, step) for figure, number, _, step, _ in scalars.added]
    losses = [("loss", number, step) for number in range(2) for step in (1, 2, 3)]
    assert sorted(found) == sorted(
        [*losses, ("accuracy", 0, 1), ("accuracy", 0, 2), ("accuracy", 1, 2)]
    )
    accuracies = {(n, step): value for f, n, _, step, value in scalars.added if f == "accuracy"}
    matrix = run.result()["accuracy_matrix"]
    assert accuracies == {(0, 1): matrix[0][0], (0, 2): matrix[1][0], (1, 2): matrix[1][1]}


def test_what_is_there_already_is_not_written_again() -> None:
    scalars = Kept({("loss", 1): 5, ("accuracy", 0): 2})
    log = RunLog(scalars)
    for number, step in ((1, 4), (1, 5), (1, 6), (2, 1)):
        log.training(TASK, number, step, 10, 0.5)
    for after in (1, 2):
        log.evaluated(TASK, 0, after, 1.0)
    assert [(figure, number, step) for figure, number, _, step, _ in scalars.added] == [
        *(("loss", 1, 6), ("loss", 2, 1), ("accuracy", 0, 3))
    ]


def test_a_log_that_cannot_be_written_is_given_up_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scalars = Full()
    log = RunLog(scalars)
    with caplog.at_level(logging.WARNING):
        for step in (1, 2, 3):
            log.training(TASK, 0, step, 3, 0.5)
        log.learned(TASK, 0)
    assert len(scalars.added) == 1
    assert len(caplog.records) == 1


def test_logs_are_closed_and_continued_without_being_named(tmp_path: Path) -> None:
    with open_logs(["csv", "csv"], tmp_path) as logs:
        assert len(logs) == 1
        logs[0].training(TASK, 0, 1, 2, 0.5)
    with open_logs([], tmp_path) as logs:
        assert logs == []
    with open_logs([], tmp_path, continued=True) as (log,):
        log.training(TASK, 0, 1, 2, 0.5)
        log.training(TASK, 0, 2, 2, 0.5)
    lines = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == ["1", "2"]


def test_logs_of_an_earlier_run_are_deleted_only_where_it_is_replaced(tmp_path: Path) -> None:
    with open_logs(["csv"], tmp_path):
        pass
    events = tmp_path / "tensorboard" / "events.out.tfevents.1.here.supsup"
    events.parent.mkdir()
    events.touch()
    with open_logs([], tmp_path):
        assert (tmp_path / "log.csv").exists()
    with pytest.raises(ConfigError, match="there already"), open_logs(["csv"], tmp_path):
        pass
    with open_logs([], tmp_path, overwrite=True):
        assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["mine.txt", "events.out.tfevents.1.of.another.program"])
def test_what_is_no_log_is_never_replaced(name: str, overwrite: bool, tmp_path: Path) -> None:
    notes, other = tmp_path / "log.csv", tmp_path / "tensorboard" / name
    notes.write_text("precious")
    other.parent.mkdir()
    other.write_text("mine")
    with open_logs([], tmp_path, overwrite=overwrite):
        pass
    with pytest.raises(ConfigError), open_logs(["csv"], tmp_path, overwrite=overwrite):
        pass
    with pytest.raises(ConfigError), open_logs(["csv"], tmp_path, continued=True):
        pass
    if name == "mine.txt":  # event files are appended to, and none is replaced
        with open_logs([], tmp_path, continued=True) as logs:
            assert logs == []
    assert (notes.read_text(), other.read_text()) == ("precious", "mine")


def test_event_files_of_earlier_runs_are_continued_and_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    assert TensorBoardScalars.wrote(folder)
    assert TensorBoardScalars.may_go(folder)  # nothing is in it
    (folder / "events.out.tfevents.1.here").touch()
    assert TensorBoardScalars.wrote(folder)
    assert not TensorBoardScalars.may_go(folder)


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\rb", 'a, "b"', "a\nb", "\udcff"])
def test_a_log_of_odd_names_is_continued(name: str, tmp_path: Path) -> None:
    task = replace(TASK, name=name)
    for steps in ((1, 2), (2, 3)):
        with open_logs(["csv"], tmp_path, continued=steps[0] > 1) as (log,):
            for step in steps:
                log.training(task, 0, step, 3, 0.5)
    with open_logs([], tmp_path, continued=True) as (log,):
        assert log._scalars.last() == {("loss", 0): 3}


def test_an_unknown_log_and_a_folder_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        check_logs(["tensorbord"])
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(ConfigError), open_logs(["csv"], tmp_path):
        pass
