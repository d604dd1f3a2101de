"""`supsup run --learner NAME`."""

import json
from pathlib import Path
from typing import Any

import pytest

from supsup_bridge import cli
from supsup_bridge.continual.baselines.contexts import Superposition
from supsup_bridge.continual.baselines.fitting import Fit

QUICK = ["run", "--learner", "psp", "--quick", "--tasks", "2", "--device", "cpu"]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def test_a_run_leaves_a_result_and_a_report_and_no_memory(capsys: Any) -> None:
    assert cli.main([*QUICK, "--out", "out"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {
        "result.json",
        "report.html",
        "accuracy.png",
    }
    said = capsys.readouterr().out
    assert "split-digits, GNu: learner psp" in said
    assert "kept: 0.2368 MB" in said
    assert json.loads(Path("out/result.json").read_text())["learner"] == "psp"


def test_a_finished_run_is_not_overwritten_unless_asked() -> None:
    Path("out").mkdir()
    Path("out/memory.h5").touch()
    assert cli.main([*QUICK, "--out", "out"]) == 2
    assert cli.main([*QUICK, "--out", "out", "--overwrite"]) == 0
    assert not Path("out/memory.h5").exists()


def test_a_run_that_is_interrupted_leaves_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    train = Superposition.train

    def stopped(self: Superposition, fit: Fit) -> None:
        if self.count == 1:
            raise KeyboardInterrupt
        train(self, fit)

    monkeypatch.setattr(Superposition, "train", stopped)
    assert cli.main([*QUICK, "--out", "out"]) == 130
    partial = json.loads(Path("out/result.partial.json").read_text())
    assert len(partial["task_names"]) == 1
    assert not Path("out/result.json").exists()
    assert "cannot be continued" in capsys.readouterr().err


def test_runs_of_two_learners_are_compared(capsys: Any) -> None:
    assert cli.main([*QUICK, "--out", "a"]) == 0
    assert cli.main(["run", "--quick", "--tasks", "2", "--device", "cpu", "--out", "b"]) == 0
    capsys.readouterr()
    assert cli.main(["compare", "a", "b", "--out", "compare.html"]) == 0
    said = capsys.readouterr().out
    assert "learner" in said
    assert "not like" not in said
    assert Path("compare.html").exists()


def test_a_log_is_written() -> None:
    assert cli.main([*QUICK, "--out", "out", "--log", "csv"]) == 0
    lines = Path("out/log.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 20 + 3  # losses, and accuracies after each task


@pytest.mark.parametrize("option", [["--hubs", "8"], ["--jobs", "2"], ["--memory", "bank"]])
def test_options_of_masks_are_refused(option: list[str], capsys: Any) -> None:
    assert cli.main([*QUICK, *option]) == 2
    assert "choose --learner supsup" in " ".join(capsys.readouterr().err.split())
