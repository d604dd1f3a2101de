"""Recovery and migration: the previous generation comes back, and nothing is thrown away."""

import errno
import os
from pathlib import Path

import pytest

from hopmask.errors import (
    CommitUncertainError,
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreFileError,
    StoreLockedError,
    StoreNotFoundError,
    TruncatedStoreError,
)
from hopmask.storage import (
    commit,
    container,
    document,
    migrate,
    read,
    read_stamped,
    recover,
    recovery,
    write,
    writing,
)
from hopmask.storage.commit import draft_of, previous_of
from hopmask.storage.container import read_header


@pytest.fixture
def committed(path, counts):
    """A file of three generations."""
    for number in range(3):
        write(path, counts(number))
    return path


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return bytes(content)


def number_of(path):
    return read_stamped(path)[0].about["number"]


# Recovery


def test_a_whole_file_is_left_as_it_is(committed, names):
    before, begin = committed.read_bytes(), names(committed.parent)
    done = recover(committed)
    assert (done.damaged, done.cleared, done.restored) == (None, (), False)
    assert done.stamp == read_stamped(committed)[1]
    assert committed.read_bytes() == before
    assert names(committed.parent) == begin


def test_a_file_that_rots_unnoticed_does_not_become_the_previous_generation(committed):
    about = committed.stat()
    damage(committed)
    os.utime(committed, ns=(about.st_atime_ns, about.st_mtime_ns))
    before = read_stamped(previous_of(committed))[1]
    recover(committed)
    assert read_stamped(previous_of(committed))[1].sha256 == before.sha256
    assert read_stamped(committed)[1].sha256 == before.sha256


def test_the_previous_generation_comes_back_and_the_damaged_one_is_kept(committed, names):
    content = damage(committed)
    before, lost = read_stamped(previous_of(committed))[1], read_header(committed)
    done = recover(committed)
    assert done.restored
    assert done.source == before
    assert done.stamp == read_stamped(committed)[1]
    assert (done.stamp.generation, done.stamp.sha256) == (2, before.sha256)
    assert lost is not None
    assert done.stamp.store not in (before.store, lost.store.hex())
    assert number_of(committed) == 1
    assert done.damaged == committed.with_name("store.h5.damaged")
    assert done.damaged.read_bytes() == content
    found = ["store.h5", "store.h5.damaged", "store.h5.lock", "store.h5.prev"]
    assert names(committed.parent) == found


def test_one_damaged_file_after_the_other_is_kept(committed, counts):
    contents = []
    for _ in range(3):
        contents.append(damage(committed))
        recover(committed)
    ends = ("", ".1", ".2")
    asides = [committed.with_name(f"store.h5.damaged{end}") for end in ends]
    assert [aside.read_bytes() for aside in asides] == contents


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read_now_is_not_taken_for_damaged(
    committed, names, monkeypatch, number
):
    begin, before = names(committed.parent), committed.read_bytes()

    def broken(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(container, "read_into", broken)
        with pytest.raises(StoreFileError, match="cannot be read"):
            recover(committed)
    assert names(committed.parent) == begin
    assert committed.read_bytes() == before


@pytest.mark.parametrize("length", [0, 100, 600])
def test_a_file_cut_short_is_recovered(committed, length):
    os.truncate(committed, length)
    assert recover(committed).restored
    assert number_of(committed) == 1


def test_a_file_overwritten_by_zeros_is_recovered(committed):
    committed.write_bytes(bytes(committed.stat().st_size))
    assert recover(committed).restored
    assert number_of(committed) == 1


def test_a_missing_file_is_recovered(committed, names):
    committed.unlink()
    done = recover(committed)
    assert (done.restored, done.damaged) == (True, None)
    assert number_of(committed) == 1
    assert names(committed.parent) == ["store.h5", "store.h5.lock", "store.h5.prev"]


def test_a_link_is_followed(committed, tmp_path):
    (tmp_path / "link.h5").symlink_to(committed)
    damage(committed)
    assert recover(tmp_path / "link.h5").restored
    assert (tmp_path / "link.h5").is_symlink()
    assert number_of(committed) == 1


def test_a_recovered_file_is_written_on(committed, counts):
    damage(committed)
    done = recover(committed)
    with writing(committed) as writer:
        stamp = writer.write(counts(7), after=done.stamp)
    assert (stamp.store, stamp.generation) == (done.stamp.store, done.stamp.generation + 1)
    assert number_of(previous_of(committed)) == 1


def test_recovering_twice_is_recovering_once(committed):
    damage(committed)
    first, second = recover(committed), recover(committed)
    assert (first.restored, second.restored) == (True, False)
    assert first.stamp == second.stamp


def test_nothing_to_recover_from_is_not_found(path, names):
    with pytest.raises(StoreNotFoundError, match=r"no previous generation .*\.prev either"):
        recover(path)
    assert names(path.parent) == ["store.h5.lock"]


def test_a_damaged_first_generation_cannot_be_recovered(path, counts):
    write(path, counts())
    content = damage(path)
    with pytest.raises(CorruptStoreError, match=r"no previous generation .* Nothing was changed"):
        recover(path)
    assert path.read_bytes() == content


def test_a_truncated_first_generation_is_called_truncated(path, counts):
    write(path, counts())
    os.truncate(path, 600)
    with pytest.raises(TruncatedStoreError, match="no previous generation"):
        recover(path)


@pytest.mark.parametrize("gone", [False, True], ids=["damaged", "missing"])
def test_a_damaged_previous_generation_is_not_put_in_place(committed, names, gone):
    contents = [damage(committed), damage(previous_of(committed))]
    if gone:
        committed.unlink()
    begin = names(committed.parent)
    with pytest.raises(CorruptStoreError, match="previous generation cannot be read either"):
        recover(committed)
    assert names(committed.parent) == begin
    assert previous_of(committed).read_bytes() == contents[1]
    assert gone or committed.read_bytes() == contents[0]


def test_a_file_of_a_newer_schema_is_not_taken_for_damaged(committed, counts, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(document, "OLDEST", 9)
        write(committed, counts(9))
    before = committed.read_bytes()
    with pytest.raises(SchemaTooNewError):
        recover(committed)
    assert committed.read_bytes() == before


def test_drafts_of_killed_writers_are_cleared_away(committed, names):
    drafts = [draft_of(committed, 1), draft_of(committed, 99), draft_of(previous_of(committed), 7)]
    others = [".store.h5.x.tmp", ".other.h5.1.tmp", "store.h5.tmp"]
    for draft in [*drafts, *(committed.parent / other for other in others)]:
        draft.write_bytes(b"half")
    assert sorted(recover(committed).cleared) == sorted(drafts)
    assert set(others) < set(names(committed.parent))
    assert not any(draft.exists() for draft in drafts)


def test_a_file_that_is_being_written_is_not_recovered(committed, monkeypatch):
    content = damage(committed)
    monkeypatch.setattr(recovery, "writing", lambda path: writing(path, wait=0))
    with writing(committed), pytest.raises(StoreLockedError):
        recover(committed)
    assert committed.read_bytes() == content


def test_a_recovery_whose_folder_cannot_be_synced_is_uncertain(committed, monkeypatch):
    def broken(folder):
        raise OSError(errno.EIO, "Input/output error")

    damage(committed)
    monkeypatch.setattr(commit, "sync_folder", broken)
    with pytest.raises(CommitUncertainError) as caught:
        recover(committed)
    assert caught.value.errno == errno.EIO
    assert number_of(committed) == 1


def test_a_recovery_that_fails_throws_nothing_away(committed, monkeypatch):
    content = damage(committed)
    before = previous_of(committed).read_bytes()

    def broken(source, target):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        with pytest.raises(StoreFileError, match="Input/output error"):
            recover(committed)
    assert committed.read_bytes() == content
    assert previous_of(committed).read_bytes() == before
    assert recover(committed).restored
    assert number_of(committed) == 1


# Migration


def test_an_older_schema_is_written_anew_in_the_same_store(committed, counts, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(document, "SCHEMA", 3)
        write(committed, counts(5))
    before, after = migrate(committed)
    assert (before.generation, before.schema) == (4, 3)
    assert (after.generation, after.schema) == (5, 4)
    assert read(committed, kinds=("counts",)).about == {"number": 5}
    assert after.succeeds(before)
    assert after == read_stamped(committed)[1]


def test_a_file_of_the_newest_schema_is_left_as_it_is(committed, names):
    content, begin = committed.read_bytes(), names(committed.parent)
    before, after = migrate(committed)
    assert before == after == read_stamped(committed)[1]
    assert committed.read_bytes() == content
    assert names(committed.parent) == begin


def test_a_missing_file_is_not_migrated(path):
    with pytest.raises(StoreNotFoundError):
        migrate(path)


def test_a_foreign_file_is_not_migrated(path):
    path.write_text("mine")
    with pytest.raises(NotAHopmaskStoreError):
        migrate(path)
    assert path.read_text() == "mine"


def test_without_hard_links_the_damaged_file_is_copied(committed, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    content = damage(committed)
    with monkeypatch.context() as patch:
        patch.setattr(recovery.os, "link", unsupported)
        done = recover(committed)
    assert done.damaged is not None
    assert done.damaged.read_bytes() == content
    assert number_of(committed) == 1
