"""The soak: it finds what is lost or wrong, finds nothing else, and ends on Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import hopmask

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A reader's worker at a full file, and what was acknowledged."""
    monkeypatch.syspath_prepend(FOLDER)
    workers, journal = import_module("soak_parts.workers"), import_module("soak_parts.journal")
    monkeypatch.setattr(workers.signal, "signal", lambda sign, handler: None)
    workers.fill(tmp_path / "memory.h5", journal.Journal(tmp_path / "journal"))
    worker = workers.Worker(tmp_path, "reader")
    worker.journal.follow()
    return workers, worker


def reported(folder: Path) -> list[str]:
    report = folder / "reader.report"
    lines = report.read_text().splitlines() if report.exists() else []
    return [line for line in lines if line.startswith("! ")]


def test_a_task_that_is_another_is_wrong_and_one_let_go_is_not(filled: Any, tmp_path: Path) -> None:
    workers, worker = filled
    live = hopmask.open_memory(worker.path, "r+")
    workers.check(worker, live, dict(worker.journal.held))
    assert reported(tmp_path) == []
    worker.journal.let_go(5)
    live.forget(5)
    workers.check(worker, live, dict(worker.journal.held))
    assert reported(tmp_path) == []
    live.forget(7)
    held = worker.journal.held
    held[3] = replace(held[3], digest="another")
    workers.check(worker, live, dict(held))
    assert [line.split()[2] for line in sorted(reported(tmp_path))] == ["3", "7"]


def test_a_task_that_nobody_announced_is_wrong(filled: Any, tmp_path: Path) -> None:
    workers, worker = filled
    live = hopmask.open_memory(worker.path, "r+")
    stranger = {name: mask ^ True for name, mask in live.recall(task=0).masks.items()}
    task = live.store(stranger)
    workers.tidy(worker, live)
    assert task not in live.tasks
    assert len(reported(tmp_path)) == 1


def test_a_soak_ends_on_ctrl_c_with_what_it_measured_and_nothing_wrong(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    soak = subprocess.Popen(
        [
            sys.executable,
            FOLDER / "soak.py",
            "--seconds",
            "600",
            "--folder",
            tmp_path,
            "--out",
            out,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert soak.stdout is not None
    assert soak.stdout.readline() == "begun\n"
    soak.send_signal(signal.SIGINT)
    text, _ = soak.communicate(timeout=600)
    assert soak.returncode == 0, text
    found = json.loads(out.read_text())
    assert found["settings"]["stopped early"]
    assert found["wrong"] == 0
    assert found["killed"]["writer"] >= 1
    assert found["tasks let go"] >= 1
    kinds = {"learn", "store and save", "forget and save", "load", "tasks checked bit for bit"}
    kinds |= {f"recall by {way}" for way in ("number", "cue", "signature")}
    assert kinds <= found["operations"].keys()
    assert all(sizes["most_mb"] > 0 for sizes in found["memory"].values())
    assert not list(tmp_path.glob("tmp*"))
