"""Memory that files take: saving takes a few parts more than the arrays, reading one copy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hopmask.storage import Document, write

SIZE = 200 << 20
STATUS = Path("/proc/self/status")
PROGRAM = f"""
import os, sys, numpy as np
from hopmask.storage import Document, read, write
os.fsync = os.fdatasync = lambda handle: None
def peak():
    lines = open({str(STATUS)!r}).read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
def document(size):
    return Document(kind="hub", about={{}}, arrays={{"a": np.full((size // 100, 100), 3, np.int8)}})
path = sys.argv[1]
write(path + ".small", document(100))
read(path + ".small", kinds=("hub",))
"""
pytestmark = pytest.mark.skipif(
    not STATUS.exists() or "VmHWM" not in STATUS.read_text(),
    reason="this system does not report the most memory that a process had",
)


def grown(program, path):
    """Bytes that a fresh process takes more at its peak after `begin = peak()` in a program."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program + "\nprint(peak() - begin)", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture
def saved(path):
    """A large file, that another process wrote than those that read it or write over it."""
    arrays = {"a": np.full((SIZE // 100, 100), 3, np.int8)}
    write(path, Document(kind="hub", about={}, arrays=arrays))
    return path


@pytest.mark.parametrize("there", [False, True], ids=["new", "over"])
def test_saving_takes_little_more_than_the_arrays(path, request, there):
    if there:
        request.getfixturevalue("saved")
    program = f"large = document({SIZE}); begin = peak(); write(path, large)"
    assert grown(program, path) < SIZE / 10


def test_reading_takes_one_copy(saved):
    program = "begin = peak(); found = read(path, kinds=('hub',))"
    assert SIZE <= grown(program, saved) + (1 << 20) < SIZE * 1.2


def test_a_damaged_file_beside_a_whole_previous_one_takes_one_copy(saved):
    previous = saved.with_name(saved.name + ".prev")
    previous.write_bytes(saved.read_bytes())
    with saved.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    program = (
        "from hopmask.errors import CorruptStoreError\n"
        "begin = peak()\n"
        "try:\n"
        "    read(path, kinds=('hub',))\n"
        "except CorruptStoreError as error:\n"
        "    assert 'Generation 1 verifies' in str(error)\n"
        "else:\n"
        "    raise SystemExit('it was read')"
    )
    assert grown(program, saved) < SIZE * 1.2
