"""Memory that hub memories take: never a second copy of A, whatever is done."""

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
PROGRAM = f"""
import os, sys, torch
from hopmask import MaskMemory, load
torch.set_num_threads(1)
os.fsync = os.fdatasync = lambda handle: None
folder = sys.argv[1]
def peak():
    lines = open({str(STATUS)!r}).read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
def memory(size, hubs):
    made = MaskMemory({{"a": size}}, couplings="hub", hubs=hubs, signature_features=0)
    made.couplings.narrow.fill_(0)
    return made
def masks(size):
    return {{"a": torch.arange(size) % 3 == 0}}
def life(one, size, file):
    one.store(masks(size))
    one.store(masks(size), task=5)
    one.replace(5, masks(size))
    one.forget(0)
    one.recall(5)
    one.recall(cue={{"a": masks(size)["a"].float()}})
    one.recall(penalty=lambda of: of["a"].mean())
    one.save(folder + file)
"""
ROWS, HUBS = 400_000, 256  # beside which a tile, of 65,536 rows at most, is small
A = ROWS * HUBS
pytestmark = pytest.mark.skipif(
    not STATUS.exists() or "VmHWM" not in STATUS.read_text(),
    reason="this system does not report the most memory that a process had",
)


def grown(program, folder):
    """Bytes that a fresh process takes more at its peak after `begin = peak()` in a program."""
    code = PROGRAM + 'life(memory(500, 8), 500, "/small.h5"); load(folder + "/small.h5")\n'
    done = subprocess.run(
        [sys.executable, "-c", f"{code}begin = peak()\n{program}\nprint(peak() - begin)", folder],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_life_takes_one_a_and_so_does_loading(tmp_path):
    program = f'life(memory({ROWS}, {HUBS}), {ROWS}, "/memory.h5")'
    assert grown(program, tmp_path) < 1.3 * A
    assert grown('load(folder + "/memory.h5").recall(5)', tmp_path) < 1.3 * A


def test_a_rounded_memory_is_opened_in_place(tmp_path):
    program = f'made = memory({ROWS}, {HUBS}); made.save(folder + "/memory.h5", bits=2)'
    assert grown(program, tmp_path) < 1.7 * A  # A, its planes, and the file of them
    assert grown('load(folder + "/memory.h5")', tmp_path) < 1.5 * A  # A and its planes
