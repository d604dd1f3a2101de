"""Writers: who may change a file, which file that is, and what they clear away."""

import os
import shutil
import threading

import pytest

from hopmask.errors import CommitFailedError, StaleStoreError, StoreFileError, StoreLockedError
from hopmask.storage import read_stamped, write, writing
from hopmask.storage.commit import draft_of, previous_of

GONE = 2**22 - 1  # a number that no process here has


def number_of(path):
    return read_stamped(path)[0].about["number"]


def test_a_write_is_one_generation(path, counts, names):
    stamp = write(path, counts(3))
    assert read_stamped(path)[1] == stamp
    assert names(path.parent) == ["store.h5", "store.h5.lock"]


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "Path"])
def test_a_path_may_be_text_or_a_path(path, counts, kind):
    write(kind(path), counts(3))
    assert number_of(kind(path)) == 3


def test_a_writer_may_commit_more_than_once(path, counts):
    with writing(path) as writer:
        assert [writer.write(counts(n)).generation for n in range(3)] == [1, 2, 3]
    assert number_of(path) == 2
    assert number_of(previous_of(path)) == 1


def test_a_writer_knows_the_header_of_the_file(path, counts):
    with writing(path) as writer:
        assert writer.header is None
        stamp = writer.write(counts())
        assert writer.header.digest.hex() == stamp.sha256
        path.write_text("another")
        assert writer.header is None


def test_a_writer_that_does_not_write_changes_nothing(path, counts):
    write(path, counts())
    before = path.read_bytes()
    with writing(path):
        pass
    assert path.read_bytes() == before


def test_a_writer_that_fails_lets_others_write(path, counts):
    with pytest.raises(RuntimeError), writing(path):
        raise RuntimeError
    assert write(path, counts(), wait=0).generation == 1


def test_two_writers_of_a_file_wait_for_each_other(path, counts):
    with writing(path), pytest.raises(StoreLockedError):
        write(path, counts(), wait=0.01)
    assert not path.exists()


def test_writers_by_a_link_and_by_the_file_wait_for_each_other(path, counts, tmp_path):
    write(path, counts())
    (tmp_path / "link.h5").symlink_to(path)
    with writing(tmp_path / "link.h5") as writer:
        assert writer.path == path
        with pytest.raises(StoreLockedError):
            write(path, counts(1), wait=0)


def test_writers_by_a_relative_path_and_by_a_whole_one_wait(path, counts, monkeypatch):
    monkeypatch.chdir(path.parent)
    with writing(path.name), pytest.raises(StoreLockedError):
        write(path, counts(), wait=0)


def test_readers_do_not_wait(path, counts):
    write(path, counts(4))
    with writing(path):
        assert number_of(path) == 4


def test_threads_lose_no_generation(path, counts):
    def raise_by(times):
        for _ in range(times):
            with writing(path) as writer:
                writer.write(counts(number_of(path) + 1))

    write(path, counts(0))
    threads = [threading.Thread(target=raise_by, args=(5,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number_of(path) == 20
    assert read_stamped(path)[1].generation == 21


def test_what_a_killed_writer_left_is_cleared_away(path, counts, names):
    write(path, counts())
    path.with_name("store.h5.lock").write_text(f"{GONE:20d}\n")
    for draft in (draft_of(path, GONE), draft_of(previous_of(path), GONE)):
        draft.write_bytes(b"half")
    write(path, counts(1))
    assert names(path.parent) == ["store.h5", "store.h5.lock", "store.h5.prev"]


def test_a_draft_of_ones_own_number_is_no_hindrance(path, counts, names):
    """Left by a process of the same number, before the machine was started anew."""
    write(path, counts())
    for draft in (draft_of(path, os.getpid()), draft_of(previous_of(path), os.getpid())):
        draft.write_bytes(b"half")
    write(path, counts(1))
    assert names(path.parent) == ["store.h5", "store.h5.lock", "store.h5.prev"]


def test_files_of_other_names_are_left_alone(path, counts, names):
    others = [".store.h5.x.tmp", ".store.tmp", "store.h5.tmp", ".other.h5.1.tmp", "store.h5.prev2"]
    for other in others:
        (path.parent / other).write_text("mine")
    write(path, counts())
    assert set(others) < set(names(path.parent))


@pytest.mark.parametrize("nothing", ["", "..", "a\0b"])
def test_a_path_that_names_no_file_is_refused(tmp_path, monkeypatch, counts, names, nothing):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreFileError):
        write(nothing, counts())
    assert names(tmp_path) == []


def test_a_name_that_is_too_long_is_refused(tmp_path, counts, names):
    with pytest.raises(StoreFileError):
        write(tmp_path / ("a" * 300), counts())
    assert names(tmp_path) == []


def test_a_name_that_is_too_long_with_its_ending_is_refused(tmp_path, counts, names):
    with pytest.raises(CommitFailedError):
        write(tmp_path / ("a" * 252), counts())
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", [246, 240])
def test_a_long_name_is_written_whole_or_not_at_all(tmp_path, counts, length):
    path = tmp_path / ("a" * length)
    for number in range(2):
        try:
            write(path, counts(number))
        except CommitFailedError:
            assert not [entry for entry in tmp_path.iterdir() if entry.suffix == ".tmp"]
            return
    assert number_of(path) == 1


def test_a_folder_is_not_written_to(tmp_path, counts, names):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreFileError, match="it is a folder"):
        write(tmp_path / "folder", counts())
    assert names(tmp_path) == ["folder"]


def test_a_link_in_a_circle_is_not_written_to(tmp_path, counts):
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    with pytest.raises(StoreFileError):
        write(tmp_path / "loop.h5", counts())


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "link"])
def test_a_pipe_is_not_replaced(tmp_path, counts, linked):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link.h5").symlink_to(pipe)
    handle = os.open(pipe, os.O_RDWR)
    try:
        os.write(handle, bytes(64))  # so that whoever reads it does not wait for ever
        with pytest.raises(StoreFileError):
            write(tmp_path / "link.h5" if linked else pipe, counts())
    finally:
        os.close(handle)
    assert pipe.is_fifo()


# Lines of generations


def test_a_document_made_from_the_file_continues_its_store(path, counts):
    first = write(path, counts(0))
    with writing(path) as writer:
        second = writer.write(counts(1), after=first)
        third = writer.write(counts(2), after=second)
    assert first.store == second.store == third.store
    assert third.succeeds(first)
    assert not first.succeeds(third)


def test_a_document_made_from_nothing_begins_a_store(path, counts):
    first, second = write(path, counts()), write(path, counts())
    assert first.sha256 == second.sha256
    assert first.store != second.store
    assert not second.succeeds(first)


def test_a_document_made_from_another_state_than_the_file_is_stale(path, counts):
    first = write(path, counts(0))
    write(path, counts(1))
    with writing(path) as writer, pytest.raises(StaleStoreError):
        writer.write(counts(2), after=first)
    assert number_of(path) == 1


def test_a_copy_branches_off_where_it_was_copied(path, counts, tmp_path):
    copy, stamps = tmp_path / "copy.h5", [write(path, counts(0))]
    for number in range(1, 4):
        with writing(path) as writer:
            stamps.append(writer.write(counts(number), after=stamps[-1]))
        if number == 2:
            shutil.copy2(path, copy)
    with writing(copy) as writer:
        branch = writer.write(counts(9), after=read_stamped(copy)[1])
        later = writer.write(counts(10), after=branch)
    for stamp in (branch, later):
        assert [stamp.succeeds(before) for before in stamps] == [True, True, True, False]
    assert (later.origin, later.branched) == (stamps[2].store, stamps[2].generation)
    assert later.succeeds(branch)
    assert stamps[3].generation == branch.generation
    assert not stamps[3].succeeds(branch)
