"""Shards of a run, merged: the bits of the run that learned all tasks; and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hopmask import ConfigError, MaskMemory
from hopmask.errors import CorruptStoreError, DuplicateError, MemoryFullError
from supsup_bridge import Experiment, Workers
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.merging import merged
from supsup_bridge.runs.shard import Shard

ONE = Workers(jobs=1, engine="loky")


@pytest.fixture(scope="module")
def shards(small, quiet, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Numbers and settings -> the folder of a shard."""

    def make(numbers: range, *, learn: bool = True, **changes: Any) -> Path:
        out = tmp_path_factory.mktemp("shard")
        shard = Shard(small(**{"tasks": 4, "workers": True, **changes}), numbers)
        keeper = checkpoint.Checkpoints(out, shard, shard=numbers)
        with checkpoint.locked(out):
            keeper.begin()
            if learn:
                shard.run(quiet, workers=ONE)
                keeper.write()
        return out

    return make


@pytest.fixture(scope="module")
def three(shards: Callable[..., Path]) -> list[Path]:
    """The shards of a run of four tasks."""
    return [shards(range(0, 1)), shards(range(1, 3)), shards(range(3, 4))]


def held(memory: object) -> dict[str, Any]:
    assert isinstance(memory, MaskMemory)
    return {name: array.tolist() for name, array in memory.document().arrays.items()}


def test_shards_merged_in_any_order_are_the_run_that_learned_all(three, small, quiet) -> None:
    whole = Experiment(small(tasks=4, workers=True, evaluate_every=4))
    whole.run(quiet, workers=ONE)
    for order in ((0, 1, 2), (2, 0, 1)):
        run = merged([three[number] for number in order])
        assert run.ledger.count == 4
        assert held(run.kept) == held(whole.kept)
    run.run(quiet)
    mine, wanted = run.result(), whole.result()
    for name in ("accuracy", "accuracy_per_task", "task_names", "images", "bytes", "recall"):
        assert mine[name] == wanted[name]
    assert mine["exact_recall_rate"] == wanted["exact_recall_rate"] == 1.0
    assert mine["accuracy_matrix"][-1] == wanted["accuracy_matrix"][-1]


def test_a_merge_adds_one_memory_at_a_time_to_its_own(three, monkeypatch) -> None:
    merges: list[int] = []
    merge = MaskMemory.merge
    monkeypatch.setattr(
        MaskMemory, "merge", lambda self, other: merges.append(other.count) or merge(self, other)
    )
    merged(three)
    assert merges == [1, 2, 1]


def test_shards_of_the_first_tasks_are_a_run_of_fewer(three, small, quiet, caplog) -> None:
    fewer = merged(three[:2], tasks=3, device="cpu")
    fewer.run(quiet)
    whole = Experiment(small(tasks=3, hubs=4, workers=True))
    whole.run(quiet, workers=ONE)
    assert held(fewer.kept) == held(whole.kept)
    assert fewer.result()["config"] == whole.result()["config"]
    assert fewer.result()["accuracy"] == whole.result()["accuracy"]
    assert "same" not in caplog.text
    with pytest.raises(ConfigError, match=r"run of 2 tasks .* up to 3: .*--tasks 4"):
        merged(three, tasks=2)


def test_a_merge_says_what_shards_were_not_learned_with_alike(three, caplog, monkeypatch) -> None:
    read = checkpoint.read

    def elsewhere(folder: Path) -> checkpoint.Saved:
        saved = read(folder)
        if folder == three[1]:
            saved.surroundings["device"] = "cuda:0"
        return saved

    monkeypatch.setattr(checkpoint, "read", elsewhere)
    merged(three)
    assert f"{three[0]} and {three[1]} were not learned with the same device" in caplog.text


def test_a_shard_is_continued_where_it_stopped(shards, small, quiet, tmp_path: Path) -> None:
    settings, numbers = small(tasks=4, workers=True), range(1, 3)
    shard = Shard(settings, numbers)
    keeper = checkpoint.Checkpoints(tmp_path, shard, shard=numbers)

    def pause() -> None:
        keeper.write()
        raise KeyboardInterrupt

    with checkpoint.locked(tmp_path), pytest.raises(KeyboardInterrupt):
        shard.run(quiet, pause=pause, workers=ONE)
    again = Shard(settings, numbers)
    checkpoint.restore(again, tmp_path, checkpoint.read(tmp_path))
    assert again.ledger.count == 1
    again.run(quiet, workers=ONE)
    alone = Shard(settings, numbers)
    alone.run(quiet, workers=ONE)
    assert held(again.kept) == held(alone.kept)
    assert again.ledger.digests == alone.ledger.digests


def test_a_shard_is_no_run_to_continue(three) -> None:
    with pytest.raises(ConfigError, match="supsup learn"):
        checkpoint.resumed(three[0], checkpoint.read(three[0]))


def test_shards_that_are_not_of_one_whole_run_are_not_merged(three, shards, tmp_path) -> None:
    with pytest.raises(ConfigError, match="nothing to merge"):
        merged([])
    with pytest.raises(ConfigError, match=r"no shard holds the tasks 0:1, 3:4"):
        merged([three[1], shards(range(4, 5), tasks=5)])
    with pytest.raises(ConfigError, match=r"no shard holds the tasks 3:4"):
        merged(three[:2])
    with pytest.raises(DuplicateError, match="both hold task 1"):
        merged([*three, shards(range(1, 2))])
    with pytest.raises(ConfigError, match=r"seed is 0 .* and 1 "):
        merged([three[0], shards(range(1, 4), seed=1)])
    with pytest.raises(ConfigError, match="0 of its 3 tasks"):
        merged([three[0], shards(range(1, 4), learn=False)])
    with pytest.raises(ConfigError, match="no checkpoint"):
        merged([tmp_path])


def test_a_damaged_shard_is_not_merged(shards) -> None:
    folder = shards(range(0, 1), tasks=1)
    (memory,) = (folder / "checkpoint").glob("memory.?.h5")
    content = bytearray(memory.read_bytes())
    content[-9] ^= 1
    memory.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        merged([folder])


@pytest.mark.parametrize("changes", [{"memory": "bank"}, {"masks": "hashed"}])
def test_memories_that_do_not_add_up_have_no_shards(changes: dict[str, Any], small) -> None:
    with pytest.raises(ConfigError, match="add up on hubs"):
        Shard(small(workers=True, **changes), range(0, 1))


def test_tasks_that_there_are_not_are_refused(small) -> None:
    for numbers in (range(2, 5), range(1, 1), range(3, 2)):
        with pytest.raises(ConfigError, match="A:B"):
            Shard(small(tasks=4, workers=True), numbers)
    with pytest.raises(MemoryFullError):
        Shard(small(tasks=4, workers=True, hubs=2), range(2, 3))
    with pytest.raises(ConfigError, match="workers=True"):
        Shard(small(), range(0, 1))
