"""The lock of writers: one at a time, free when its holder dies, never passed on."""

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hopmask.errors import CommitFailedError, LockingUnsupportedError, StoreLockedError
from hopmask.storage import lock
from hopmask.storage.sidecar import Sidecar

HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from hopmask.storage.lock import locked\n"
    "with locked(Path(sys.argv[1]), print):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(600)\n"
)


def locked(path, clear=lambda process: None, **options):
    return lock.locked(path, clear, **options)


@pytest.fixture
def holder(path):
    """Another process that holds the lock until it is ended."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"0\n"  # the last holder's number
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def free(path):
    """Whether the lock can be had at once, as another process sees it."""
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def counted(path, counter, times):
    """Raise the number in a file, which takes a reading and a writing each time."""
    for _ in range(times):
        with locked(path):
            number = int(counter.read_text())
            counter.write_text(str(number + 1))


def test_a_lock_is_held_and_let_go(path):
    with locked(path):
        assert not free(path)
    assert free(path)


def test_a_lock_is_let_go_after_an_error(path):
    with pytest.raises(RuntimeError), locked(path):
        raise RuntimeError
    assert free(path)


def test_a_sidecar_stays_and_the_file_is_not_made(path, names):
    with locked(path):
        pass
    assert names(path.parent) == ["store.h5.lock"]


def test_the_clearing_gets_the_last_holder(path):
    cleared = []
    for _ in range(2):
        with locked(path, cleared.append):
            pass
    assert cleared == [0, os.getpid()]


def test_what_the_last_holder_left_is_cleared_under_the_lock_before_it_is_signed(path):
    sidecar = path.with_name("store.h5.lock")
    sidecar.write_text(f"{77:20d}\n")

    def clear(process):
        assert process == 77
        assert not free(path)
        assert int(sidecar.read_text()) == 77

    with locked(path, clear):
        assert int(sidecar.read_text()) == os.getpid()


def test_a_clearing_that_fails_lets_go_and_is_left_to_the_next(path):
    path.with_name("store.h5.lock").write_text(f"{77:20d}\n")

    def clear(process):
        raise RuntimeError

    with pytest.raises(RuntimeError), locked(path, clear):
        pass
    cleared = []
    with locked(path, cleared.append, wait=0):
        pass
    assert cleared == [77]


@pytest.mark.parametrize("text", [b"", b"\xff" * 300, b"-1\n", "٣\n".encode()])
def test_a_sidecar_with_any_text_is_a_lock(path, text):
    path.with_name("store.h5.lock").write_bytes(text)
    cleared = []
    with locked(path, cleared.append):
        assert cleared == [0]


def test_files_have_locks_of_their_own(tmp_path):
    with locked(tmp_path / "a"), locked(tmp_path / "b"):
        assert not free(tmp_path / "a")


def test_a_second_holder_in_the_same_thread_is_refused(path):
    with (
        locked(path),
        pytest.raises(StoreLockedError, match=f"by process {os.getpid()}"),
        locked(path, wait=0),
    ):
        pass
    assert free(path)


def test_another_thread_is_refused(path):
    caught = []

    def attempt():
        try:
            with locked(path, wait=0.05):
                pass
        except StoreLockedError as error:
            caught.append(error)

    with locked(path):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert len(caught) == 1


def test_a_waiting_thread_gets_the_lock_when_it_is_free(path):
    order = []

    def wait():
        with locked(path):
            order.append("second")

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_threads_take_turns(path, tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    threads = [threading.Thread(target=counted, args=(path, counter, 20)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "80"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_processes_take_turns(path, tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=counted, args=(path, counter, 20)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert counter.read_text() == "80"


def test_a_lock_of_another_process_names_it(path, holder):
    with pytest.raises(StoreLockedError) as caught, locked(path, wait=0.05):
        pass
    assert f"is being written by process {holder.pid}" in str(caught.value)
    assert "0.05 s" in str(caught.value)


def test_a_holder_of_whom_nothing_is_known_is_called_so(path):
    sidecar = path.with_name("store.h5.lock")
    with sidecar.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(StoreLockedError, match="process unknown"), locked(path, wait=0):
            pass


def test_a_killed_holder_lets_go(path, holder):
    assert not free(path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    cleared = []
    with locked(path, cleared.append, wait=0):
        assert cleared == [holder.pid]


def forked(act):
    """What act() says in a forked child: 0 if it is true."""
    child = os.fork()
    if not child:
        code = 2
        try:
            code = 0 if act() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_meanwhile_has_no_lock(path):
    def refused():
        try:
            with locked(path, wait=0):
                return False
        except StoreLockedError:
            return not lock._held

    with locked(path):
        assert forked(refused) == 0
        assert not free(path)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_leaves_the_block_lets_nothing_go(path):
    with locked(path):
        context = locked(path.with_name("other"))
        context.__enter__()
        assert forked(lambda: not context.__exit__(None, None, None)) == 0
        assert not free(path.with_name("other"))
        context.__exit__(None, None, None)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_meanwhile_does_not_keep_the_lock(path):
    begin, end = os.pipe()
    with locked(path):
        child = os.fork()
        if not child:
            os.close(end)
            os.read(begin, 1)  # lives until the parent lets it end
            os._exit(0)
    try:
        assert free(path)
    finally:
        os.close(end)
        os.close(begin)
        os.waitpid(child, 0)


def test_a_program_started_meanwhile_does_not_keep_the_lock(path):
    with locked(path):
        process = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
        )
    try:
        assert free(path)
    finally:
        process.communicate(b"\n")


def test_a_sidecar_unlinked_meanwhile_is_no_lock_anymore(path, monkeypatch):
    sidecar, first = path.with_name("store.h5.lock"), []
    real = lock._lock

    def unlinking(opened):
        if not first:
            first.append(opened)
            sidecar.unlink()
        return real(opened)

    monkeypatch.setattr(lock, "_lock", unlinking)
    with locked(path, wait=5):
        assert sidecar.exists()
        assert not free(path)


def test_a_sidecar_replaced_meanwhile_is_no_lock_anymore(path, monkeypatch, tmp_path):
    sidecar, first = path.with_name("store.h5.lock"), []
    real = lock._lock

    def replacing(opened):
        if not first:
            first.append(opened)
            (tmp_path / "another").touch()
            (tmp_path / "another").replace(sidecar)
        return real(opened)

    monkeypatch.setattr(lock, "_lock", replacing)
    with locked(path, wait=5):
        assert not free(path)


def test_a_sidecar_unlinked_at_the_last_moment_is_no_lock_anymore(path, monkeypatch):
    sidecar, first = path.with_name("store.h5.lock"), []
    real = Sidecar.in_place.fget

    def unlinking(opened):
        found = real(opened)
        if not first:
            first.append(opened)
            sidecar.unlink()
        return found

    monkeypatch.setattr(Sidecar, "in_place", property(unlinking))
    with locked(path, wait=5):
        assert sidecar.exists()
        assert not free(path)


def test_a_sidecar_that_is_a_link_is_not_followed(path, tmp_path):
    path.with_name("store.h5.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(CommitFailedError, match="cannot be made"), locked(path):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_folder_in_the_place_of_the_sidecar_is_said(path):
    path.with_name("store.h5.lock").mkdir()
    with pytest.raises(CommitFailedError) as caught, locked(path):
        pass
    assert caught.value.errno == errno.EISDIR


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with (
        pytest.raises(CommitFailedError, match=r"store\.h5\.lock cannot be made") as caught,
        locked(tmp_path / "none" / "store.h5"),
    ):
        pass
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused(path, monkeypatch, code):
    def without(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.raises(LockingUnsupportedError, match="file system without locks"), locked(path):
        pass


def test_locks_that_do_not_hold_are_refused(path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(LockingUnsupportedError, match="locks do not hold"), locked(path):
        pass


def test_another_error_of_the_lock_keeps_its_errno(path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(CommitFailedError, match="cannot be locked") as caught, locked(path):
        pass
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("name", ["pwrite", "pread"])
def test_an_error_of_the_sidecar_is_a_failed_commit_and_lets_go(path, monkeypatch, name):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, broken)
        with pytest.raises(CommitFailedError) as caught, locked(path):
            pass
    assert caught.value.errno == errno.EIO
    assert free(path)


@pytest.mark.parametrize("name", ["flock", "pwrite"])
def test_an_attempt_that_fails_leaves_no_descriptor(path, monkeypatch, name):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    before = len([*Path("/proc/self/fd").iterdir()])
    monkeypatch.setattr(fcntl if name == "flock" else os, name, broken)
    with pytest.raises(CommitFailedError), locked(path):
        pass
    assert len([*Path("/proc/self/fd").iterdir()]) <= before
    assert not lock._held


def test_a_child_that_was_forked_has_nothing_to_let_go(path):
    """What runs in a child at once, run here."""
    with locked(path):
        lock._let_go()
        assert not lock._held
        with locked(path):  # the lock was closed, and with it let go
            pass
