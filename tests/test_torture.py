"""Rows of `benchmarks/torture.py` in their quick form; the others' stand with what they test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "torture.py"


@pytest.mark.parametrize(
    "row",
    [
        *("kill-one-writer", "kill-four-writers", "readers", "resume"),
        *("hub-kill-one-writer", "hub-kill-four-writers", "hub-flips-and-cuts", "hub-disk-full"),
        *("hub-readers", "hub-state-machine", "hub-resume"),
    ],
)
def test_a_quick_torture_breaks_nothing(row: str, tmp_path: Path) -> None:
    out = tmp_path / "torture.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--only", row, "--folder", tmp_path, "--out", out],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(out.read_text())
    assert found["trials"] > 0
    assert found["failures"] == 0
