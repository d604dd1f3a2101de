"""Shards of a run, learned apart, put together as the run that learned all of their tasks."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import hopmask
from hopmask import ConfigError, MaskMemory
from hopmask.errors import CorruptStoreError, DuplicateError
from supsup_bridge.data.fingerprint import fingerprints
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.checkpoint import Saved
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.settings import power_of_two
from supsup_bridge.training.settings import is_count

_log = logging.getLogger(__name__)
_FREE = ("tasks", "device")  # settings that shards of one run may differ in


def merged(
    folders: Sequence[Path],
    *,
    data: str | Path | None = None,
    tasks: int | None = None,
    device: str | None = None,
) -> Experiment:
    """The run of shards: it has learned their tasks, and scored none.

    The memories are added one after the other, exactly and in any order; beside the sum one is held
    at a time.

    Args:
        folders: of the shards, as `supsup learn` leaves them.
        data: folder of the data set's files; None for the one of the first shard.
        tasks: of the run; default the benchmark's own number, or more where shards have more.
        device: where the run scores; default that of the first shard's settings.

    Raises:
        ConfigError: no shards, shards of different runs or not whole, tasks that none holds, or
            shards of more tasks than the run has.
        DuplicateError: tasks that two hold.
        StoreFileError: a shard that is damaged.
        DataError: as for `Experiment`; or a shard learned from other data.
    """
    if tasks is not None and not is_count(tasks):
        raise ConfigError(f"tasks must be a positive whole number, got {tasks!r}")
    shards = sorted(
        ((folder, checkpoint.read(folder)) for folder in folders),
        key=lambda shard: shard[1].shard or (0, 0),
    )
    _check(shards, tasks)
    _, first = shards[0]
    settings = replace(first.settings, tasks=_tasks(shards), device=device or first.settings.device)
    if tasks is not None:  # the hubs stay those of the shards
        hubs = settings.hubs or power_of_two(_tasks(shards))
        settings = replace(settings, tasks=tasks, hubs=hubs)
    run = Experiment(settings, data=first.data if data is None else data)
    seconds: dict[str, float] = {}
    ledger, kept = Ledger(tasks=0), run.hopfield
    now = fingerprints(run.stream)
    for folder, saved in shards:
        checkpoint.check_defaults(run, folder, saved)
        checkpoint.check_data(run, now, folder, saved)
    for folder, saved in shards:
        memory = _memory(folder, saved, run)
        kept.merge(memory)
        del memory  # before the next one is read
        state = saved.state or {}
        part = Ledger(tasks=0)
        part.restore(state["ledger"])
        ledger.extend(part)
        for name, value in state["seconds"].items():
            seconds[name] = seconds.get(name, 0.0) + value
    ledger.start_anew()
    run.restore(
        {
            "ledger": ledger.state(),
            "seconds": {**run.watch.seconds(), **seconds},
            "scoring": None,
            "task": {"together": None, "batches": None},
            "learner": (first.state or {})["learner"],
        },
        kept,
    )
    return run


def _check(shards: Sequence[tuple[Path, Saved]], tasks: int | None) -> None:
    """Raise unless these are all shards of one run, without gap and overlap."""
    if not shards:
        raise ConfigError("there is nothing to merge: give the folders of one shard or more")
    for folder, saved in shards:
        if saved.shard is None:
            raise ConfigError(f"{folder} holds a run, not a shard: make one with supsup learn")
        start, end = saved.shard
        done = 0 if saved.state is None else len(saved.state["ledger"]["used"])
        if done < end - start:
            raise ConfigError(
                f"the shard in {folder} has learned {done} of its {end - start} tasks: run its "
                "supsup learn again to its end"
            )
    (where, first), missing, reached = shards[0], list[str](), 0
    for folder, saved in shards:
        _check_alike(where, first, folder, saved)
        start, end = saved.shard or (0, 0)
        if start > reached:
            missing.append(f"{reached}:{start}")
        reached = end
    all_tasks = tasks or _tasks(shards)
    if reached > all_tasks:
        raise ConfigError(
            f"a run of {all_tasks} tasks was asked for, and the shards hold tasks up to "
            f"{reached - 1}: leave out those, or give --tasks {reached}"
        )
    if reached < all_tasks:
        missing.append(f"{reached}:{all_tasks}")
    for (one, before), (other, after) in pairwise(shards):
        if before.shard and after.shard and after.shard[0] < before.shard[1]:
            raise DuplicateError(
                f"{one} and {other} both hold task {after.shard[0]}: tasks are learned once each"
            )
    if missing:
        raise ConfigError(
            f"no shard holds the tasks {', '.join(missing)}: learn them with supsup learn --tasks, "
            "or merge a run of fewer tasks with --tasks N"
        )


def _tasks(shards: Sequence[tuple[Path, Saved]]) -> int:
    """How many tasks the run has that the shards are of."""
    return max(saved.settings.tasks or 0 for _, saved in shards)


def _check_alike(where: Path, first: Saved, folder: Path, saved: Saved) -> None:
    mine = {**asdict(first.settings), **first.preset}
    theirs = {**asdict(saved.settings), **saved.preset}
    for name, value in mine.items():
        if name not in _FREE and theirs.get(name) != value:
            raise ConfigError(
                f"the shards are of different runs: {name} is {value!r:.300} in {where} and "
                f"{theirs.get(name)!r:.300} in {folder}"
            )
    names = ("hopmask", "python", "torch", "numpy", "device")
    if changed := [n for n in names if first.surroundings.get(n) != saved.surroundings.get(n)]:
        _log.warning(
            "%s and %s were not learned with the same %s: their sums may round otherwise",
            where,
            folder,
            ", ".join(changed),
        )


def _memory(folder: Path, saved: Saved, run: Experiment) -> MaskMemory:
    assert saved.slot is not None  # of a state
    path = checkpoint.slot_file(folder / checkpoint.FOLDER, saved.slot.number)
    memory = hopmask.load(path, device=run.device, expect_sha256=saved.slot.sha256)
    if not isinstance(memory, MaskMemory):
        raise CorruptStoreError(f"{path} is whole, but holds no masks: {type(memory).__name__}")
    return memory
