"""Commits: the file is one generation or the other, whole, whatever fails or dies in between."""

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hopmask.errors import (
    CommitFailedError,
    CommitUncertainError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StaleStoreError,
)
from hopmask.storage import Document, commit, container, read, read_stamped, system, write
from hopmask.storage.commit import previous_of
from hopmask.storage.container import read_header

LARGE = 5000  # numbers: ten steps of 4 KiB


@pytest.fixture
def committed(path, counts):
    """A file of two generations."""
    for number in range(2):
        write(path, counts(number))
    return path


def number_of(path):
    """The number in a file, which is whole."""
    document, _ = read_stamped(path)
    number = document.about["number"]
    assert document.arrays["counts"][0] == number
    return number


def raising(code, *, at=None, name=None):
    """before(name) that fails at the call of that number or name; `seen` are all calls."""
    seen = []

    def before(called):
        seen.append(called)
        if called == name or len(seen) - 1 == at:
            raise OSError(code, os.strerror(code))

    before.seen = seen
    return before


@pytest.fixture
def steps(watched, counts, tmp_path):
    """The system calls of one commit that replaces a file."""
    path = tmp_path / "rehearsal" / "store.h5"
    path.parent.mkdir()
    for number in range(2):
        write(path, counts(number))
    before = raising(0)
    with watched(before):
        write(path, counts(2))
    return before.seen


# Generations


def test_generations_are_counted(path, counts):
    stamps = [write(path, counts(number)) for number in range(4)]
    assert [stamp.generation for stamp in stamps] == [1, 2, 3, 4]
    assert read_header(previous_of(path)).generation == 3


def test_the_first_generation_has_no_prev(path, counts, names):
    write(path, counts())
    assert names(path.parent) == ["store.h5", "store.h5.lock"]


def test_the_generation_before_is_prev(committed, counts, names):
    before = committed.read_bytes()
    write(committed, counts(2))
    assert previous_of(committed).read_bytes() == before
    assert names(committed.parent) == ["store.h5", "store.h5.lock", "store.h5.prev"]


def test_the_same_document_again_is_a_generation_of_its_own(path, counts):
    first, second = write(path, counts()), write(path, counts())
    assert (first.sha256, second.generation) == (second.sha256, 2)


def test_a_file_that_was_lost_goes_on_after_its_prev(committed, counts):
    committed.unlink()
    assert write(committed, counts(2)).generation == 3
    assert number_of(committed) == 2


# What stays


@pytest.mark.parametrize("mode", [0o640, 0o200])
def test_mode_bits_are_kept(committed, counts, mode):
    committed.chmod(mode)
    write(committed, counts(2))
    assert stat.S_IMODE(committed.stat().st_mode) == mode
    assert stat.S_IMODE(previous_of(committed).stat().st_mode) == mode


def test_a_file_that_is_read_only_is_left_alone(committed, counts):
    committed.chmod(0o444)
    with pytest.raises(CommitFailedError, match="read-only") as caught:
        write(committed, counts(2))
    assert caught.value.errno == errno.EACCES
    assert number_of(committed) == 1


def test_a_file_of_a_newer_container_is_left_alone(committed, counts, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(container, "_VERSION", 2)
        write(committed.with_name("newer.h5"), counts(2))
    newer = committed.with_name("newer.h5")
    before = newer.read_bytes()
    with pytest.raises(SchemaTooNewError):
        write(newer, counts(3))
    assert newer.read_bytes() == before


def test_special_mode_bits_are_dropped(committed, counts):
    committed.chmod(0o4755)
    write(committed, counts(2))
    assert stat.S_IMODE(committed.stat().st_mode) == 0o755


def test_a_new_file_has_the_mode_of_the_mask(path, counts):
    before = os.umask(0o027)
    try:
        write(path, counts())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_is_followed_to_its_file(committed, counts, tmp_path, names):
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "link.h5").symlink_to(committed)
    stamp = write(folder / "link.h5", counts(2))
    assert stamp.generation == 3
    assert names(folder) == ["link.h5"]
    assert (folder / "link.h5").is_symlink()
    assert number_of(committed) == 2


def test_a_link_to_no_file_makes_the_file(tmp_path, counts):
    (tmp_path / "link.h5").symlink_to(tmp_path / "target.h5")
    write(tmp_path / "link.h5", counts())
    assert (tmp_path / "link.h5").is_symlink()
    assert number_of(tmp_path / "target.h5") == 0


def test_a_foreign_file_is_replaced_and_not_made_prev(path, counts, names):
    path.write_text("mine")
    assert write(path, counts()).generation == 1
    assert names(path.parent) == ["store.h5", "store.h5.lock"]


@pytest.mark.parametrize("at", [24, -1], ids=["header", "payload"])
def test_a_damaged_file_is_never_made_prev(committed, counts, at):
    content = bytearray(committed.read_bytes())
    content[at] ^= 1
    committed.write_bytes(content)
    write(committed, counts(2))
    assert number_of(committed) == 2
    assert number_of(previous_of(committed)) == 0


def test_a_file_cut_short_is_never_made_prev(committed, counts):
    os.truncate(committed, 700)
    write(committed, counts(2))
    assert number_of(previous_of(committed)) == 0


@pytest.mark.parametrize("at", [24, -1])
def test_generations_go_on_over_a_damaged_file(committed, counts, at):
    content = bytearray(committed.read_bytes())
    content[at] ^= 1
    committed.write_bytes(content)
    assert write(committed, counts(2)).generation >= 2


def test_a_reader_with_the_old_file_open_reads_it_to_its_end(committed, counts):
    with committed.open("rb") as handle:
        begin = handle.read(100)
        whole = committed.read_bytes()
        write(committed, counts(2))
        assert begin + handle.read() == whole


def test_an_array_that_changes_while_it_is_written_leaves_a_file_that_is_whole(
    path, counts, monkeypatch
):
    """Which of the numbers it holds nobody knows; but never a digest of others."""
    numbers, write_part = counts(1, 3_000_000), commit.write_at

    def changing(handle, part, at):
        numbers.arrays["counts"][:] += 1
        write_part(handle, part, at)

    monkeypatch.setattr(commit, "write_at", changing)
    write(path, numbers)
    assert read_stamped(path)[0].about["number"] == 1


# Failures


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_any_system_call_may_fail(committed, counts, steps, watched, names, code):
    assert len(steps) > 8
    assert {"open", "pwrite", "fsync", "close", "link", "replace", "unlink"} <= set(steps)
    present, caught = 1, None
    for at in range(len(steps)):
        before, caught = raising(code, at=at), None
        try:
            with watched(before):
                write(committed, counts(present + 1))
        except (CommitFailedError, CommitUncertainError) as error:
            caught = error
        failed = isinstance(caught, CommitFailedError)
        harmless = before.seen[at] in ("unlink", "posix_fallocate", "link", "close")
        harmless |= before.seen[at] == "pwrite" and before.seen[:at].count("replace") == 2
        assert caught is not None or harmless, (at, steps[at])
        assert caught is None or caught.errno == code
        assert not failed or "intact" in str(caught) or "Nothing was changed" in str(caught)
        present += not failed
        assert number_of(committed) == present, (at, steps[at])
        assert number_of(previous_of(committed)) in (present - 1, present)
        drafts = [name for name in names(committed.parent) if name.endswith(".tmp")]
        assert drafts == [], (at, steps[at])
    write(committed, counts(present + 1))
    assert names(committed.parent) == ["rehearsal", "store.h5", "store.h5.lock", "store.h5.prev"]


@pytest.mark.parametrize("ahead", [True, False], ids=["found ahead", "found while writing"])
def test_a_disk_may_be_full_after_any_step(committed, counts, monkeypatch, names, ahead):
    before, begin = committed.read_bytes(), names(committed.parent)
    real, room = os.pwrite, [0]

    def allocate(handle, offset, size):
        raise OSError(errno.ENOSPC if ahead else errno.EOPNOTSUPP, "No space left on device")

    def limited(handle, piece, at):
        if "lock" in Path(f"/proc/self/fd/{handle}").readlink().name:
            return real(handle, piece, at)
        piece = piece[: max(0, room[0] - at)]
        if not piece:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, piece, at)

    class Full:
        posix_fallocate, pwrite = staticmethod(allocate), staticmethod(limited)

        def __getattr__(self, name):
            return getattr(os, name)

    with monkeypatch.context() as patch:
        patch.setattr(system, "os", Full())
        for room[0] in range(0, 8 * LARGE, 4096):
            with pytest.raises(CommitFailedError, match="No space left") as caught:
                write(committed, counts(2, LARGE))
            assert caught.value.errno == errno.ENOSPC
            assert committed.read_bytes() == before
            assert names(committed.parent) == begin
    write(committed, counts(2, LARGE))
    assert number_of(committed) == 2


def test_a_file_system_without_allocation_is_written_to(path, counts, watched):
    with watched(raising(errno.EOPNOTSUPP, name="posix_fallocate")):
        write(path, counts(7))
    assert number_of(path) == 7


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_has_no_prev(path, counts, watched, names, caplog, code):
    write(path, counts(0))
    with watched(raising(code, name="link")):
        assert write(path, counts(1)).generation == 2
    assert names(path.parent) == ["store.h5", "store.h5.lock"]
    assert "no hard links" in caplog.text


def test_writes_that_take_less_than_they_are_given_go_on(path, counts, monkeypatch):
    class Slow:
        @staticmethod
        def pwrite(handle, piece, at):
            return os.pwrite(handle, piece[:100], at)

        def __getattr__(self, name):
            return getattr(os, name)

    monkeypatch.setattr(system, "os", Slow())
    write(path, counts(3, LARGE))
    assert number_of(path) == 3


def test_a_file_that_is_written_in_parts_is_whole(path, counts, monkeypatch):
    monkeypatch.setattr(commit, "PART", 64)
    write(path, counts(3, LARGE))
    assert number_of(path) == 3


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("dtype", ["i1", "<i2", "<i4"])
def test_arrays_that_end_about_the_end_of_a_part_come_back(path, monkeypatch, dtype, length):
    for module in (commit, container):
        monkeypatch.setattr(module, "PART", 64)
    arrays = {name: np.arange(length, dtype=dtype) * sign for name, sign in (("a", 1), ("b", -1))}
    for _ in range(2):  # anew, and over a file that is verified first
        commit._left.clear()
        write(path, Document(kind="any", about={}, arrays=arrays))
    found = read(path, kinds=("any",)).arrays
    assert all(found[name].tobytes() == arrays[name].tobytes() for name in arrays)


def test_parts_do_not_pile_up_before_they_are_hashed(path, counts, monkeypatch):
    seen = []

    class Slow:
        def __init__(self):
            self._digest = hashlib.sha256()
            self.digest = self._digest.digest

        def update(self, part):
            time.sleep(0.001)
            seen.append("hashed")
            self._digest.update(part)

    def noted(*arguments):
        seen.append("written")
        return system.write_at(*arguments)

    monkeypatch.setattr(commit, "PART", 4096)
    monkeypatch.setattr(commit, "hashlib", SimpleNamespace(sha256=Slow))
    monkeypatch.setattr(commit, "write_at", noted)
    write(path, counts(3, LARGE))
    assert number_of(path) == 3
    ahead = [seen[:i].count("written") - seen[:i].count("hashed") for i in range(len(seen) + 1)]
    assert max(ahead) == 1


def test_a_failed_fsync_is_not_tried_again(committed, counts, watched):
    before = raising(errno.EIO, name="fsync")
    with watched(before), pytest.raises(CommitFailedError) as caught:
        write(committed, counts(2))
    assert before.seen.count("fsync") == 1
    assert caught.value.errno == errno.EIO
    assert number_of(committed) == 1


def test_a_folder_that_cannot_be_synced_makes_the_commit_uncertain(committed, counts, monkeypatch):
    def broken(folder):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(commit, "sync_folder", broken)
    with pytest.raises(CommitUncertainError, match="loss of power") as caught:
        write(committed, counts(2))
    assert caught.value.errno == errno.EIO
    assert number_of(committed) == 2
    assert read_header(committed).generation == 3


def test_the_file_and_its_folder_are_synced_in_that_order(committed, counts, monkeypatch):
    calls, real = [], Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: calls.append(stat.S_IFMT(os.fstat(handle).st_mode))
    )

    def replace(source, target):
        calls.append(Path(target).name)
        return real(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    write(committed, counts(2))
    assert calls == [stat.S_IFREG, "store.h5.prev", "store.h5", stat.S_IFDIR]


def test_a_file_changed_behind_the_lock_is_stale(committed, counts, watched, tmp_path, names):
    write(tmp_path / "other.h5", counts(5))
    other, done = (tmp_path / "other.h5").read_bytes(), []

    def meddle(name):
        if name == "fsync" and not done:
            done.append(name)
            committed.write_bytes(other)

    with watched(meddle), pytest.raises(StaleStoreError, match="ignores its lock"):
        write(committed, counts(2))
    assert committed.read_bytes() == other
    assert not [name for name in names(tmp_path) if name.endswith(".tmp")]


def test_a_file_made_behind_the_lock_is_not_replaced(path, counts, watched, tmp_path):
    write(tmp_path / "other.h5", counts(5))
    other = (tmp_path / "other.h5").read_bytes()

    def meddle(name):
        if name == "fsync":
            path.write_bytes(other)

    with watched(meddle), pytest.raises(StaleStoreError):
        write(path, counts(2))
    assert path.read_bytes() == other


def test_a_file_lost_behind_the_lock_is_stale(committed, counts, watched):
    def meddle(name):
        if name == "fsync":
            committed.unlink(missing_ok=True)

    with watched(meddle), pytest.raises(StaleStoreError):
        write(committed, counts(2))
    assert number_of(previous_of(committed)) == 0


def test_a_failed_commit_leaves_no_descriptor_and_no_thread(committed, counts, steps, watched):
    before = len([*Path("/proc/self/fd").iterdir()]), threading.active_count()
    for at in range(len(steps)):
        with (
            suppress(CommitFailedError, CommitUncertainError),
            watched(raising(errno.EIO, at=at)),
        ):
            write(committed, counts(2))
    assert (len([*Path("/proc/self/fd").iterdir()]), threading.active_count()) == before


# Death


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_writer_may_be_killed_before_any_system_call(committed, counts, steps, watched, names):
    present = 1
    for at in range(len(steps)):
        left, step = at, iter(range(len(steps)))

        def kill(_, step=step, left=left):
            if next(step) == left:
                os.kill(os.getpid(), signal.SIGKILL)

        child = os.fork()
        if not child:
            with watched(kill):
                write(committed, counts(present + 1))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, at
        assert number_of(committed) in (present, present + 1), at
        assert number_of(previous_of(committed)) in (present - 1, present)
        present = number_of(committed) + 1
        write(committed, counts(present))
        assert names(committed.parent) == [
            "rehearsal",
            "store.h5",
            "store.h5.lock",
            "store.h5.prev",
        ]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_first_writer_may_be_killed_before_any_system_call(tmp_path, counts, watched):
    status = -signal.SIGKILL
    for at in count():
        path, step = tmp_path / f"{at}.h5", iter(range(99))

        def kill(_, step=step, at=at):
            if next(step) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        child = os.fork()
        if not child:
            with watched(kill):
                write(path, counts(1))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert not path.exists() or number_of(path) == 1
        assert write(path, counts(2)).generation in (1, 2)
        assert not [entry for entry in tmp_path.iterdir() if entry.suffix == ".tmp"]
        if status == 0:  # no system call was left to die before
            break
    assert at > 8


def test_a_draft_without_its_header_is_nothing_that_can_be_read(path, counts, watched):
    """The header comes last: a draft that somebody opens is no file of hopmask's until then."""
    drafts, written = [], []

    def look(name):
        draft = commit.draft_of(path, os.getpid())
        written.extend([name] if name == "fsync" else [])
        if name == "pwrite" and draft.exists() and not written:
            with pytest.raises(NotAHopmaskStoreError):
                container.read_header(draft)
            drafts.append(draft)

    with watched(look):
        write(path, counts())
    assert drafts


def test_a_system_that_cannot_reserve_room_writes_all_the_same(committed, counts, monkeypatch):
    class Bare:
        def __getattr__(self, name):
            if name in ("posix_fallocate", "fdatasync"):
                raise AttributeError(name)
            return getattr(os, name)

    monkeypatch.setattr(system, "os", Bare())
    write(committed, counts(2))
    assert number_of(committed) == 2


def test_a_memory_is_saved_while_the_interpreter_shuts_down(tmp_path):
    path = tmp_path / "memory.h5"
    code = f"""
import atexit
from hopmask import Reservoir
atexit.register(lambda: Reservoir(16).save({str(path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert read_stamped(path)[1].generation == 1
