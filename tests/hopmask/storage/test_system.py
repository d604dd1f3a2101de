"""Operating systems: what one lacks has a replacement, and a lock that is lacking is an error."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hopmask.storage import system

# A program for a Python without what Windows lacks. It stores, and prints "verified" and "refused".
PROGRAM = """
import os, sys
import h5py, torch  # and what they need of POSIX
sys.modules["fcntl"] = None
for name in ("register_at_fork", "pread", "pwrite", "preadv", "pwritev", "readv", "fchmod",
             "posix_fallocate", "fdatasync", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK",
             "O_DIRECTORY", "statvfs"):
    if hasattr(os, name):
        delattr(os, name)
import hopmask
torch.set_num_threads(1)
path = sys.argv[1]
mask = {"h": torch.arange(200) % 3 == 0}
memory = hopmask.MaskMemory({"h": 200}, signature_features=0)
task = memory.store(mask)
stamps = [memory.save(path) for _ in range(2)]
assert [stamp.generation for stamp in stamps] == [1, 2]
hit = hopmask.load(path).recall(task=task)
print("verified" if hit.verified and torch.equal(hit.masks["h"], mask["h"]) else "wrong")
live = hopmask.open_memory(path)
assert live.count == 1
try:
    hopmask.open_memory(path, "r+").store({"h": ~mask["h"]})
except hopmask.errors.LockingUnsupportedError:
    print("refused")
assert live.count == 1
assert sorted(os.listdir(os.path.dirname(path))) == ["m.h5", "m.h5.lock", "m.h5.prev"]
"""


@pytest.fixture
def bare(monkeypatch):
    """A system without the calls of POSIX."""

    class Bare:
        def __getattr__(self, name):
            missing = ("pread", "pwrite", "readv", "fchmod", "posix_fallocate", "fdatasync")
            if name in (*missing, "O_DIRECTORY"):
                raise AttributeError(name)
            return getattr(os, name)

    monkeypatch.setattr(system, "os", Bare())


@pytest.fixture
def handle(tmp_path):
    """An open file of ten bytes."""
    (tmp_path / "file").write_bytes(b"0123456789")
    handle = os.open(tmp_path / "file", os.O_RDWR)
    yield handle
    os.close(handle)


def test_a_memory_is_stored_recalled_saved_and_loaded_without_posix(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "m.h5"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["verified", "refused"]


@pytest.mark.usefixtures("bare")
def test_bytes_are_read_and_written_in_place_without_positioned_calls(handle):
    system.write_at(handle, b"xyz", 3)
    assert system.read_at(handle, 5, 2) == b"2xyz6"
    assert system.read_at(handle, 99, 8) == b"89"
    os.lseek(handle, 0, os.SEEK_SET)
    buffer = bytearray(12)
    assert system.read_into(handle, memoryview(buffer)) == 10
    assert bytes(buffer) == b"012xyz6789\0\0"
    assert system.read_into(handle, memoryview(buffer)) == 0


@pytest.mark.usefixtures("bare")
def test_what_only_helps_is_left_out(handle, tmp_path):
    system.allocate(handle, 1 << 20)
    system.set_mode(handle, 0o600)
    system.sync_data(handle)
    system.sync_folder(tmp_path / "none")
    assert os.fstat(handle).st_size == 10


def test_a_time_that_only_a_name_can_set_is_left_as_it_is(handle, monkeypatch):
    def by_name(path, **_):
        raise TypeError("path should be string, bytes or os.PathLike, not int")

    before = os.fstat(handle).st_mtime_ns
    monkeypatch.setattr(os, "utime", by_name)
    system.set_time(handle, 1)
    assert os.fstat(handle).st_mtime_ns == before


def test_locks_of_bytes_are_used_where_there_is_no_flock(handle, monkeypatch):
    locked = set()

    def locking(number, mode, count):
        place = (os.lseek(number, 0, os.SEEK_CUR), count)
        if mode == "unlock":
            locked.remove(place)
        elif place in locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            locked.add(place)

    windows = SimpleNamespace(locking=locking, LK_NBLCK="lock", LK_UNLCK="unlock")
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "msvcrt", windows)
    assert system.has_locks()
    assert [system.lock(handle), system.lock(handle)] == [True, False]
    assert all(at > 1 << 20 for at, _ in locked)  # where nobody reads
    system.unlock(handle)
    assert not locked
    assert system.lock(handle)


def test_a_system_without_any_lock_says_so(handle, monkeypatch):
    monkeypatch.setattr(system, "fcntl", None)
    assert not system.has_locks()
    with pytest.raises(OSError, match="no locks") as caught:
        system.lock(handle)
    assert caught.value.errno == errno.ENOSYS


def test_a_lock_that_may_not_be_had_is_not_one_that_is_taken(handle, monkeypatch):
    def forbidden(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(system.fcntl, "flock", forbidden)
    with pytest.raises(PermissionError):
        system.lock(handle)
