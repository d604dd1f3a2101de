"""`hopmask.open_memory`: a file that many store into, never lost and always the newest."""

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import hopmask
from hopmask import (
    ConfigError,
    DuplicateError,
    LiveMemory,
    MaskError,
    MaskMemory,
    NotForgettableError,
    OverloadWarning,
    Reservoir,
    load,
    storage,
)
from hopmask.couplings.rules import (
    Hebbian,
)
from hopmask.errors import (
    CommitFailedError,
    CommitUncertainError,
    CorruptStoreError,
    NotAHopmaskStoreError,
    StaleStoreError,
    StoreExistsError,
    StoreFileError,
    StoreLockedError,
    StoreNotFoundError,
)
from hopmask.storage import commit, system

SIZES = {"a": 128, "b": (8, 8)}
STORES = (
    "import sys, torch, hopmask\n"
    "path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
    "def made(seed):\n"
    "    generator = torch.Generator().manual_seed(seed)\n"
    "    sizes = {'a': 128, 'b': (8, 8)}\n"
    "    return {n: torch.rand(s, generator=generator) < 0.5 for n, s in sizes.items()}\n"
    "with hopmask.open_memory(path, 'r+') as memory:\n"
    "    for seed in range(first, last):\n"
    "        print(seed, memory.store(made(seed)))\n"
)


@pytest.fixture(autouse=True, scope="module")
def _hasty():
    """No test outlasts a loss of power: no test waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def made(seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(size, generator=generator) < 0.5 for name, size in SIZES.items()}


def same(found, masks):
    return set(found) == set(masks) and all(torch.equal(found[n], masks[n]) for n in masks)


def blank(**options):
    return MaskMemory(SIZES, **{"key_bits": 64, "signature_features": 0, "seed": 3} | options)


def small():
    return MaskMemory({"a": 16}, rule="hebbian", key_bits=32, signature_features=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.h5"


@pytest.fixture
def live(path):
    """A live memory of two tasks."""
    memory = hopmask.open_memory(path, "x", new=blank())
    for seed in range(2):
        memory.store(made(seed))
    return memory


def psi_of(path):
    return load(path).couplings.psi


def agree(live, path):
    """Whether a live memory and its file are one and the same."""
    return (
        torch.equal(live._newest().couplings.psi, psi_of(path)) and live.count == load(path).count
    )


# Opening


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_a_file_that_is_there_is_opened(live, path, mode):
    with hopmask.open_memory(path, mode) as memory:
        assert isinstance(memory, LiveMemory)
        assert memory.count == 2
        assert same(memory.recall(task=1).masks, made(1))


@pytest.mark.parametrize("mode", ["x", "a"])
def test_a_file_that_is_not_there_is_made(path, mode):
    with hopmask.open_memory(path, mode, new=blank()) as memory:
        assert memory.stamp.generation == 1
        assert memory.store(made(0)) == 0
    assert load(path).count == 1


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_a_file_that_is_not_there_is_not_found(path, mode):
    with pytest.raises(StoreNotFoundError, match=r"hopmask\.open_memory\(.*, 'x', new=MaskMemory"):
        hopmask.open_memory(path, mode)
    assert not path.exists()


def test_a_file_that_is_there_is_not_made_again(live, path):
    before = path.read_bytes()
    with pytest.raises(StoreExistsError):
        hopmask.open_memory(path, "x", new=blank())
    assert path.read_bytes() == before


def test_mode_a_takes_the_file_where_there_is_one(live, path):
    assert hopmask.open_memory(path, "a", new=blank()).count == 2


@pytest.mark.parametrize("options", [{"seed": 4}, {"rule": "hebbian"}, {"key_bits": 32}], ids=str)
def test_mode_a_refuses_a_memory_of_another_kind(live, path, options):
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="new= is one of"):
        hopmask.open_memory(path, "a", new=blank(**options))
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["w", "", None])
def test_an_unknown_mode_is_refused(path, mode):
    with pytest.raises(ConfigError, match="mode must be one of r, r\\+, a, x"):
        hopmask.open_memory(path, mode)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_mode_that_makes_nothing_takes_no_new_memory(live, path, mode):
    with pytest.raises(ConfigError, match=r"does not take new="):
        hopmask.open_memory(path, mode, new=blank())


def test_mode_x_needs_a_new_memory(path):
    with pytest.raises(ConfigError, match="needs new="):
        hopmask.open_memory(path, "x")


def test_a_new_memory_is_a_mask_memory(path):
    with pytest.raises(ConfigError, match="new= takes a MaskMemory"):
        hopmask.open_memory(path, "x", new=Reservoir(8))


def test_a_new_memory_may_hold_tasks_and_is_not_kept(path):
    memory = blank()
    memory.store(made(0))
    live = hopmask.open_memory(path, "x", new=memory)
    memory.store(made(1))
    assert live.count == 1
    assert live.store(made(2)) == 1
    assert memory.count == 2


def test_a_reservoir_is_not_opened(path):
    Reservoir(8).save(path)
    with pytest.raises(NotAHopmaskStoreError):
        hopmask.open_memory(path)


def test_a_rule_is_given_to_the_memory(path, forgetful):
    with hopmask.open_memory(path, "x", new=blank(rule=forgetful), rule=forgetful) as memory:
        memory.store(made(0))
    assert hopmask.open_memory(path, rule=forgetful).count == 1
    with pytest.raises(ConfigError, match="forgetful"):
        hopmask.open_memory(path)
    with pytest.raises(ConfigError, match="not by 'hebbian'"):
        hopmask.open_memory(path, rule=Hebbian())


# What it answers


def test_it_answers_as_the_memory_in_the_file_does(live, path):
    memory = load(path)
    assert (live.count, live.shapes, live.nbytes) == (memory.count, memory.shapes, memory.nbytes)
    assert same(live.mean, memory.mean)
    assert live.report() == memory.report()
    assert same(live.recall(cue={"a": made(0)["a"].float()}).masks, made(0))
    assert live.stamp == storage.read_stamped(path)[1]


def test_it_says_what_it_is(live, path):
    assert repr(live) == f"LiveMemory({str(path)!r}, generation 3)"
    live.close()
    assert repr(live) == f"LiveMemory({str(path)!r}, closed)"


def test_an_unchanged_file_of_an_older_schema_is_read_once(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(storage.document, "SCHEMA", 3)
        blank().save(path)
    with hopmask.open_memory(path, "r") as memory:
        assert memory.stamp.schema == 3
        monkeypatch.setattr(storage, "read_stamped", lambda *_, **__: pytest.fail("it was read"))
        assert memory.count == 0


def test_an_unchanged_file_is_read_once(live, monkeypatch):
    live.recall(task=0)
    monkeypatch.setattr(storage, "read_stamped", lambda *_, **__: pytest.fail("it was read"))
    assert same(live.recall(task=1).masks, made(1))


def test_a_store_is_in_the_file_when_it_returns(live, path):
    assert live.store(made(2)) == 2
    assert same(load(path).recall(task=2).masks, made(2))
    assert agree(live, path)


def test_two_live_memories_see_each_others_stores(live, path):
    other = hopmask.open_memory(path, "r+")
    reader = hopmask.open_memory(path)
    assert [live.store(made(2)), other.store(made(3)), live.store(made(4))] == [2, 3, 4]
    for memory in (live, other, reader):
        assert memory.count == 5
        assert all(same(memory.recall(task=task).masks, made(task)) for task in range(5))


def test_a_mask_that_another_stored_is_a_duplicate(live, path):
    hopmask.open_memory(path, "r+").store(made(2))
    with pytest.raises(DuplicateError):
        live.store(made(2))
    assert live.count == 3


def test_tasks_are_forgotten_and_replaced_in_the_file(path):
    live = hopmask.open_memory(path, "x", new=blank(rule="hebbian"))
    for seed in range(3):
        live.store(made(seed))
    live.forget(1)
    live.replace(2, made(9))
    found = load(path)
    assert found.count == 2
    assert same(found.recall(task=2).masks, made(9))
    assert live.store(made(5)) == 3


def test_signatures_are_stored(path):
    live = hopmask.open_memory(path, "x", new=blank(signature_features=64))
    for seed in range(2):
        live.store(made(seed), signature=torch.eye(6)[seed])
    assert same(hopmask.open_memory(path).recall(signature=torch.eye(6)[1]).masks, made(1))


def test_every_store_is_one_generation_of_one_store(live):
    stamps = [live.stamp]
    for seed in range(2, 5):
        live.store(made(seed))
        stamps.append(live.stamp)
    assert [stamp.generation for stamp in stamps] == [3, 4, 5, 6]
    assert len({stamp.store for stamp in stamps}) == 1


# Many at once


def test_processes_lose_no_store(path):
    live = hopmask.open_memory(path, "x", new=blank(rule="projection"))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", STORES, str(path), str(10 * i), str(10 * i + 10)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    stored = {}
    for child in children:
        out, _ = child.communicate(timeout=300)
        assert child.returncode == 0
        stored |= {int(task): int(seed) for seed, task in map(str.split, out.splitlines())}
    assert sorted(stored) == list(range(20))
    assert live.count == load(path).count == 20
    assert all(same(live.recall(task=task).masks, made(seed)) for task, seed in stored.items())
    assert storage.read_stamped(path)[1].generation == 21


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_processes_lose_no_store(path):
    live = hopmask.open_memory(path, "x", new=blank(rule="projection"))
    live.store(made(100))
    children = []
    for i in range(4):
        child = os.fork()
        if not child:
            code = 1
            try:
                for seed in range(10 * i, 10 * i + 10):
                    live.store(made(seed))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert live.count == load(path).count == 41
    for seed in range(40):
        with pytest.raises(DuplicateError):
            live.store(made(seed))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_stores_and_then_the_parent(live):
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if live.store(made(2)) == 2 else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert live.store(made(3)) == 3
    assert same(live.recall(task=2).masks, made(2))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_readers_see_whole_generations_only_and_never_older_ones(live, path):
    child = os.fork()
    if not child:
        code = 1
        try:
            for seed in range(2, 22):
                live.store(made(seed))
            code = 0
        finally:
            os._exit(code)
    reader, seen, mixed, ended = hopmask.open_memory(path), [], [], (0, 0)
    while not ended[0]:
        ended = os.waitpid(child, os.WNOHANG)
        seen.append((reader.stamp.generation, reader.count))
        document, stamp = storage.read_stamped(path)
        if document.arrays["counters"][0] != stamp.generation - 1:
            mixed.append(stamp)
    assert ended[1] == 0
    assert seen == sorted(seen)
    assert mixed == []
    assert seen[-1] == (23, 22)


# What goes wrong


def failing(monkeypatch, name, error):
    """A context in which a function of the commit fails."""

    @contextmanager
    def context():
        def broken(*_, **__):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(commit, name, broken)
            yield

    return context()


def test_a_failed_commit_leaves_memory_and_file_as_they_were(live, path, monkeypatch):
    before = path.read_bytes()
    full = OSError(28, "No space left on device")
    with failing(monkeypatch, "allocate", full), pytest.raises(CommitFailedError, match="space"):
        live.store(made(2))
    assert path.read_bytes() == before
    assert live.count == 2
    assert agree(live, path)
    assert live.store(made(2)) == 2


def test_an_uncertain_commit_is_in_memory_as_in_the_file(live, path, monkeypatch):
    broken = OSError(5, "Input/output error")
    with failing(monkeypatch, "sync_folder", broken), pytest.raises(CommitUncertainError):
        live.store(made(2))
    assert live.count == 3
    assert agree(live, path)
    assert live.store(made(3)) == 3


@pytest.mark.parametrize("masks", [{"a": torch.ones(128)}, {}, {"a": 3, "b": 4}])
def test_masks_that_are_refused_change_nothing(live, path, masks):
    before = path.read_bytes()
    with pytest.raises(MaskError):
        live.store(masks)
    assert path.read_bytes() == before
    assert agree(live, path)
    assert live.store(made(2)) == 2


@pytest.mark.parametrize("change", [lambda m: m.forget(0), lambda m: m.replace(0, made(7))])
def test_what_a_rule_cannot_do_changes_nothing(live, path, change):
    before = path.read_bytes()
    with pytest.raises(NotForgettableError):
        change(live)
    assert path.read_bytes() == before
    assert agree(live, path)


def test_an_overload_that_is_an_error_leaves_memory_and_file_at_one(path):
    live = hopmask.open_memory(path, "x", new=small())
    stored = []

    def overload():
        for seed in range(100):
            generator = torch.Generator().manual_seed(seed)
            stored.append(live.store({"a": torch.rand(16, generator=generator) < 0.5}))

    with pytest.raises(OverloadWarning):
        overload()
    assert live.count == load(path).count == len(stored) > 0
    assert agree(live, path)


def test_an_overload_that_is_a_warning_is_stored(path):
    live = hopmask.open_memory(path, "x", new=small())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(30):
            generator = torch.Generator().manual_seed(seed)
            live.store({"a": torch.rand(16, generator=generator) < 0.5})
    assert any(issubclass(warning.category, OverloadWarning) for warning in caught)
    assert live.count == load(path).count == 30


def test_a_reader_does_not_store(live, path):
    before = path.read_bytes()
    reader = hopmask.open_memory(path)
    for change in (
        lambda: reader.store(made(2)),
        lambda: reader.forget(0),
        lambda: reader.replace(0, made(2)),
    ):
        with pytest.raises(StoreFileError, match="was opened to read"):
            change()
    assert path.read_bytes() == before


def test_a_closed_memory_answers_nothing(live, path):
    before = path.read_bytes()
    with live:
        pass
    for use in (
        lambda: live.count,
        lambda: live.stamp,
        lambda: live.recall(task=0),
        lambda: live.store(made(2)),
    ):
        with pytest.raises(StoreFileError, match="was closed"):
            use()
    live.close()
    assert path.read_bytes() == before


def test_a_writer_that_waits_in_vain_says_so(live, path):
    impatient = hopmask.open_memory(path, "r+", wait=0.01)
    with storage.writing(path), pytest.raises(StoreLockedError):
        impatient.store(made(2))
    assert impatient.count == 2
    assert impatient.store(made(2)) == 2


def test_readers_do_not_wait_for_writers(live, path):
    with storage.writing(path):
        assert hopmask.open_memory(path).recall(task=0).recognized
        assert live.count == 2


def damaged(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    content[80] ^= 1
    path.write_bytes(content)


def test_a_recovered_file_is_stale_to_those_who_had_it_open(live, path):
    assert live.count == 2
    damaged(path)
    with pytest.raises(CorruptStoreError, match="hopmask recover"):
        live.recall(task=0)
    storage.recover(path)
    before = path.read_bytes()
    for use in (lambda: live.count, lambda: live.store(made(5))):
        with pytest.raises(StaleStoreError, match="did not come of it"):
            use()
    assert path.read_bytes() == before
    assert hopmask.open_memory(path, "r+").store(made(5)) == 1


def test_a_recovered_file_that_was_written_on_is_stale_still(live, path):
    assert live.count == 2
    damaged(path)
    storage.recover(path)
    other = hopmask.open_memory(path, "r+")
    other.store(made(8))
    with pytest.raises(StaleStoreError):
        live.store(made(9))
    for seed in range(20, 23):
        other.store(made(seed))
    assert other.count == 5


def test_a_file_of_another_store_is_stale(live, path, tmp_path):
    other = tmp_path / "other.h5"
    with hopmask.open_memory(other, "x", new=blank(seed=9)) as memory:
        for seed in range(8):
            memory.store(made(seed))
    other.replace(path)
    with pytest.raises(StaleStoreError):
        live.recall(task=0)


def test_a_file_that_was_lost_is_not_found(live, path):
    path.unlink()
    with pytest.raises(StoreNotFoundError):
        live.store(made(2))
    assert not path.exists()


# Whose successor a file is


def other_with(tasks, seed=50, **options):
    """A memory of the same sizes and seed that holds other masks."""
    memory = blank(**options)
    for task in range(tasks):
        memory.store(made(seed + task))
    return memory


def is_stale(live):
    """Whether a live memory answers nothing, and stores nothing."""
    for use in (lambda: live.count, lambda: live.recall(task=0), lambda: live.store(made(99))):
        with pytest.raises(StaleStoreError):
            use()
    return True


def test_a_file_that_was_deleted_and_begun_anew_is_no_successor(live, path):
    path.unlink()
    path.with_name("memory.h5.prev").unlink()
    with hopmask.open_memory(path, "x", new=blank()) as anew:
        for seed in range(50, 55):
            anew.store(made(seed))
        assert anew.stamp.generation > 3
    assert is_stale(live)


def test_equal_empty_memories_are_different_stores(tmp_path):
    stamps = [hopmask.open_memory(tmp_path / n, "x", new=blank()).stamp for n in ("a", "b")]
    assert stamps[0].sha256 == stamps[1].sha256
    assert stamps[0].store != stamps[1].store


def test_a_link_turned_to_another_memory_is_no_successor(tmp_path):
    for number, name in enumerate(("a.h5", "b.h5")):
        with hopmask.open_memory(tmp_path / name, "x", new=blank()) as memory:
            for seed in range(3):
                memory.store(made(10 * number + seed))
    link = tmp_path / "link.h5"
    link.symlink_to("a.h5")
    live = hopmask.open_memory(link, "r+")
    with hopmask.open_memory(tmp_path / "b.h5", "r+") as memory:
        memory.store(made(30))
    link.unlink()
    link.symlink_to("b.h5")
    assert is_stale(live)


@pytest.mark.parametrize("options", [{}, {"seed": 8}], ids=["same seed", "other seed"])
def test_a_save_over_the_file_is_no_successor(live, path, options):
    other_with(4, **options).save(path)
    assert is_stale(live)
    assert hopmask.open_memory(path).count == 4


def diverged(path, copy):
    """Copy a file, and let the copy go on by three masks."""
    shutil.copy(path, copy)
    with hopmask.open_memory(copy, "r+") as other:
        for seed in range(50, 53):
            other.store(made(seed))


def test_a_copy_that_went_on_is_no_successor_of_the_original(live, path, tmp_path):
    shutil.copy(path, tmp_path / "copy.h5")
    live.store(made(2))
    copy = hopmask.open_memory(tmp_path / "copy.h5", "r+")
    for seed in range(50, 53):
        copy.store(made(seed))
    assert copy.stamp.generation > live.stamp.generation
    (tmp_path / "copy.h5").replace(path)
    assert is_stale(live)


def test_a_copied_folder_that_went_on_is_no_successor_of_the_original(live, path, tmp_path):
    """With the folder, NAME.lock was copied: it is the copy's no more than the original's."""
    shutil.copytree(path.parent, tmp_path / "other", ignore=shutil.ignore_patterns("other"))
    live.store(made(2))
    with hopmask.open_memory(tmp_path / "other" / path.name, "r+") as copy:
        for seed in range(50, 53):
            copy.store(made(seed))
    (tmp_path / "other" / path.name).replace(path)
    assert is_stale(live)


def test_a_backup_put_back_and_gone_on_with_is_no_successor(live, path, tmp_path):
    """As writers see it who come after, to one who slept meanwhile."""
    shutil.copy2(path, tmp_path / "backup.h5")
    live.store(made(2))
    shutil.copy2(tmp_path / "backup.h5", path)
    with hopmask.open_memory(path, "r+") as other:
        for seed in range(50, 53):
            other.store(made(seed))
    assert is_stale(live)


def test_a_copy_that_went_on_is_a_successor_of_what_was_copied(live, path, tmp_path):
    reader = hopmask.open_memory(path)
    diverged(path, tmp_path / "copy.h5")
    (tmp_path / "copy.h5").replace(path)
    assert reader.count == live.count == 5
    assert same(live.recall(task=4).masks, made(52))


def test_readers_of_a_copy_follow_its_first_store(live, path, tmp_path):
    copy = tmp_path / "copy.h5"
    shutil.copy(path, copy)
    first, second, reader = (hopmask.open_memory(copy, mode) for mode in ("r+", "r+", "r"))
    first.store(made(2))
    second.store(made(3))
    assert reader.count == first.count == 4


def test_a_reader_that_slept_for_a_hundred_stores_reads_on(path):
    live = hopmask.open_memory(path, "x", new=small())
    reader = hopmask.open_memory(path)
    with storage.writing(path) as writer:
        stamp = live.stamp
        for _ in range(100):
            stamp = writer.write(small().document(), after=stamp)
    assert reader.stamp.generation == 101
    assert live.stamp.store == reader.stamp.store


def test_a_file_that_was_renamed_is_followed_at_its_new_name(live, path, tmp_path):
    new = tmp_path / "new.h5"
    path.rename(new)
    moved = [hopmask.open_memory(new, mode) for mode in ("r+", "r")]
    moved[0].store(made(2))
    assert moved[1].count == 3
    with pytest.raises(StoreNotFoundError):
        live.recall(task=0)


def test_a_folder_that_was_renamed_goes_on_in_its_store(tmp_path):
    (tmp_path / "a").mkdir()
    live = hopmask.open_memory(tmp_path / "a" / "m.h5", "x", new=blank())
    live.store(made(0))
    before = live.stamp
    (tmp_path / "a").rename(tmp_path / "b")
    with hopmask.open_memory(tmp_path / "b" / "m.h5", "r+") as moved:
        moved.store(made(1))
        assert moved.stamp.store == before.store


def test_a_hard_link_stays_behind_and_branches_off(live, path, tmp_path):
    other = tmp_path / "other.h5"
    os.link(path, other)
    live.store(made(2))
    linked = hopmask.open_memory(other, "r+")
    assert linked.count == 2
    linked.store(made(50))
    assert linked.stamp.store != live.stamp.store
    assert live.count == 3


def test_writers_by_a_link_and_by_the_file_go_on_in_one_store(live, path, tmp_path):
    (tmp_path / "link.h5").symlink_to(path.name)
    linked = hopmask.open_memory(tmp_path / "link.h5", "r+")
    linked.store(made(2))
    assert live.store(made(3)) == 3
    assert linked.count == 4
    assert linked.stamp.store == live.stamp.store


def test_without_its_sidecar_a_file_branches_off_and_is_followed_once(live, path):
    """So it is on a file system whose inodes change: refused too often, never believed wrongly."""
    reader, sleeper = (hopmask.open_memory(path, mode) for mode in ("r", "r+"))
    for seed in range(2, 4):
        path.with_name("memory.h5.lock").unlink()
        live.store(made(seed))
        assert reader.count == seed + 1
    assert is_stale(sleeper)


def test_a_killed_writer_breaks_no_line(live, path, monkeypatch):
    """Between rename and the last note, and before the rename."""
    reader, store = hopmask.open_memory(path), live.stamp.store
    for at, name in enumerate(("replace", "sync_folder"), 2):
        owner = Path if name == "replace" else commit
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                live.store(made(40 + at))
        live.store(made(at))
    assert live.stamp.store == reader.stamp.store == store
    assert reader.count == live.count


# A life


class Crash(BaseException):
    """The process is gone: nothing after it happens."""


@contextmanager
def crashing(at):
    """From the system call of that number on, no call of a commit happens."""
    calls = iter(range(10_000))

    def wrapped(name, real):
        def call(*arguments, **options):
            if name == "close":
                real(*arguments, **options)
            if next(calls) >= at:
                raise Crash
            return None if name == "close" else real(*arguments, **options)

        return call

    class Dying:
        def __getattr__(self, name):
            value = getattr(os, name)
            return value if name.startswith("O_") or name == "getpid" else wrapped(name, value)

    with pytest.MonkeyPatch.context() as patch:
        for module in (commit, system):
            patch.setattr(module, "os", Dying())
        for name in ("unlink", "replace"):
            patch.setattr(Path, name, wrapped(name, getattr(Path, name)))
        yield


class Life(RuleBasedStateMachine):
    """A live memory beside the masks that it should hold: `tasks`, number -> masks."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "memory.h5"
        self.history = {}
        self.live = hopmask.open_memory(self.path, "x", new=blank(rule="hebbian"))
        self.changed({}, 0)

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def masks(self, seed):
        generator = torch.Generator().manual_seed(seed)
        return {n: torch.rand(s, generator=generator) < 0.5 for n, s in self.live.shapes.items()}

    def changed(self, tasks, number):
        self.tasks, self.next = tasks, number
        self.history[self.live.stamp.sha256] = (dict(tasks), number)

    def stored(self, masks):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OverloadWarning)
            return self.live.store(masks)

    def news(self, seed):
        masks = self.masks(seed)
        return None if any(same(masks, held) for held in self.tasks.values()) else masks

    @rule(seed=st.integers(0, 30))
    def store(self, seed):
        masks = self.news(seed)
        if masks is None:
            with pytest.raises(DuplicateError):
                self.stored(self.masks(seed))
            return
        assert self.stored(masks) == self.next
        self.changed({**self.tasks, self.next: masks}, self.next + 1)

    @precondition(lambda self: self.tasks)
    @rule(place=st.integers(0, 99))
    def forget(self, place):
        task = sorted(self.tasks)[place % len(self.tasks)]
        self.live.forget(task)
        self.changed({n: m for n, m in self.tasks.items() if n != task}, self.next)

    @rule(seed=st.integers(31, 60), at=st.integers(0, 24))
    def crash(self, seed, at):
        masks, before = self.news(seed), self.live.stamp
        if masks is None:
            return
        try:
            with crashing(at):
                self.stored(masks)
        except (Crash, DuplicateError):
            pass
        self.live = hopmask.open_memory(self.path, "r+")
        if self.live.stamp != before:
            assert self.live.stamp.generation == before.generation + 1
            self.changed({**self.tasks, self.next: masks}, self.next + 1)

    @rule()
    def reopen(self):
        self.live.close()
        self.live = hopmask.open_memory(self.path, "a")

    @precondition(lambda self: (self.folder / "memory.h5.prev").exists())
    @rule(share=st.floats(0.001, 0.999))
    def truncate_and_recover(self, share):
        content = self.path.read_bytes()
        cut = self.folder / "cut"
        cut.write_bytes(content[: max(1, int(share * len(content)))])
        cut.replace(self.path)
        with pytest.raises(StoreFileError):
            hopmask.open_memory(self.path)
        done = storage.recover(self.path)
        self.live = hopmask.open_memory(self.path, "r+")
        tasks, number = self.history[done.source.sha256]
        self.changed(tasks, number)

    @invariant()
    def holds_what_was_stored(self):
        assert self.live.count == load(self.path).count == len(self.tasks)
        assert load(self.path).numbered == self.next
        for name, mean in self.live.mean.items():
            held = [masks[name].to(mean) for masks in self.tasks.values()]
            expected = torch.stack(held).mean(0) if held else torch.full_like(mean, 0.5)
            torch.testing.assert_close(mean, expected, rtol=0, atol=1e-5)

    @invariant()
    def leaves_no_drafts_but_those_of_the_killed(self):
        left = {entry.name for entry in self.folder.iterdir() if entry.suffix == ".tmp"}
        number = os.getpid()
        assert left <= {f".memory.h5.{number}.tmp", f".memory.h5.prev.{number}.tmp"}


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=15, stateful_step_count=12)


def test_a_file_copied_over_during_a_store_is_not_written_over(live, path, tmp_path, monkeypatch):
    other = tmp_path / "other.h5"
    backup = blank()
    for seed in range(5):
        backup.store(made(10 + seed))
    backup.save(other)
    store = MaskMemory.store

    def meanwhile(self, *arguments, **options):
        shutil.copy(other, path)  # by a program that does not know of the lock
        return store(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MaskMemory, "store", meanwhile)
        with pytest.raises(StaleStoreError, match="ignores its lock"):
            live.store(made(31))
    assert load(path).count == 5


def test_what_was_stored_after_a_recovery_is_no_successor_of_what_was_lost(live, path):
    for seed in range(31, 34):
        live.store(made(seed))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    storage.recover(path)
    with hopmask.open_memory(path, "r+") as other:
        for seed in range(40, 44):
            other.store(made(seed))
        assert other.stamp.generation > 5
    with pytest.raises(StaleStoreError, match="did not come of it"):
        live.recall(task=1)


def test_a_lost_file_is_not_begun_anew_over_its_previous_generation(live, path):
    live.store(made(31))
    path.unlink()
    for mode in ("a", "x"):
        with pytest.raises(StoreNotFoundError, match="hopmask recover"):
            hopmask.open_memory(path, mode, new=blank())
    storage.recover(path)
    assert hopmask.open_memory(path, "a", new=blank()).count >= 0


def test_a_relative_path_stays_the_same_file(live, path, tmp_path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with hopmask.open_memory(path.name, "r+") as relative:
        monkeypatch.chdir(tmp_path.parent)
        relative.store(made(5))
    assert live.count == load(path).count


def test_an_interrupted_store_lets_go_of_the_lock(live, path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(commit, "_written", interrupted)
        with pytest.raises(KeyboardInterrupt):
            live.store(made(31))
    before = live.count
    live.store(made(31))
    assert load(path).count == before + 1


def test_a_file_that_another_makes_first_is_taken_as_it_is(path, monkeypatch):
    writing = storage.writing

    @contextmanager
    def late(*arguments, **options):
        blank().save(path)
        with writing(*arguments, **options) as writer:
            yield writer

    with monkeypatch.context() as patch:
        patch.setattr(hopmask.storage, "writing", late)
        live = hopmask.open_memory(path, "a", new=blank())
    assert live.stamp.generation == 1


def test_an_older_copy_of_the_file_that_is_put_back_is_noticed(live, path, tmp_path):
    copy = tmp_path / "copy.h5"
    shutil.copy(path, copy)
    live.store(made(31))
    shutil.copy(copy, path)
    for use in (lambda: live.recall(task=0), lambda: live.store(made(32))):
        with pytest.raises(StaleStoreError, match="did not come of it"):
            use()
