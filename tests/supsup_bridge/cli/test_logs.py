"""`supsup run --log`."""

import csv
import errno
from pathlib import Path
from typing import Any

import pytest

from supsup_bridge.cli import main, progress

SHORT = ["--quick", "--tasks", "2", "--device", "cpu"]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def interrupt_at(number: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt a run after a step of a task, of which no checkpoint was written."""

    def training(self: Any, task: Any, now: int, done: int, steps: int, loss: float) -> None:
        if (now, done) == (number, step):
            raise KeyboardInterrupt

    monkeypatch.setattr(progress.Bars, "training", training)


def test_an_interrupted_run_leaves_the_log_of_one_without_a_break() -> None:
    assert main(["run", *SHORT, "--log", "csv", "--out", "whole"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(1, 15, patch)
        assert main(["run", *SHORT, "--log", "csv", "--out", "broken"]) == 130
    before = Path("broken/log.csv").read_text(encoding="utf-8")
    assert before.count("\n") > 30  # steps of both tasks
    assert main(["run", "--resume", "broken"]) == 0
    whole, broken = (
        Path(name, "log.csv").read_text(encoding="utf-8") for name in ("whole", "broken")
    )
    assert broken.startswith(before)
    assert sorted(broken.splitlines()) == sorted(whole.splitlines())


def test_a_log_can_begin_with_the_continuation(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(0, 5, patch)
        assert main(["run", *SHORT, "--out", "out"]) == 130
    assert main(["run", "--resume", "out", "--log", "csv"]) == 0
    assert "accuracy,1," in Path("out/log.csv").read_text(encoding="utf-8")


def test_an_unknown_log_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    assert main(["run", *SHORT, "--log", "cvs", "--out", "out"]) == 2
    assert main(["run", "--resume", "out", "--log", "cvs"]) == 2
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_ends_a_run_with_1_and_leaves_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def writerow(self, row: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(csv, "writer", lambda *_, **__: Full())
        assert main(["run", *SHORT, "--log", "csv", "--out", "out"]) == 1
    assert not Path("out/log.csv").exists()
    assert main(["run", *SHORT, "--tasks", "1", "--log", "csv", "--out", "out"]) == 0


def test_a_run_without_logs_has_none() -> None:
    assert main(["run", *SHORT, "--tasks", "1", "--out", "out"]) == 0
    assert not Path("out/log.csv").exists()
    assert not Path("out/tensorboard").exists()
