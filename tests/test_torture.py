"""Rows of `benchmarks/torture.py` in their quick form; the others' stand with what they test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "torture.py"


ROWS = {
    "dense": ("kill-one-writer", "readers"),
    "hub": (
        *("hub-kill-one-writer", "hub-kill-four-writers", "hub-flips-and-cuts", "hub-disk-full"),
        *("hub-readers", "hub-state-machine", "hub-resume"),
    ),
}


@pytest.mark.parametrize("couplings", ROWS)
def test_a_quick_torture_breaks_nothing(couplings: str, tmp_path: Path) -> None:
    out, rows = tmp_path / "torture.json", ROWS[couplings]
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--only", *rows, "--folder", tmp_path, "--out", out],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert {row["name"] for row in found} == {*rows}
    assert all(row["trials"] > 0 and row["failures"] == 0 for row in found)
