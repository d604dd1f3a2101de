"""`supsup learn`: learn some of a benchmark's tasks, for `supsup merge` to put together."""

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from hopmask import ConfigError, HopmaskError
from hopmask.errors import StoreFileError
from supsup_bridge.cli import results
from supsup_bridge.cli.options import add_options, workers_of
from supsup_bridge.cli.progress import Bars
from supsup_bridge.cli.working import stopping
from supsup_bridge.data.benchmarks import default_tasks
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.shard import Shard
from supsup_bridge.runs.workers import Workers


def learn(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Learn what is left of a shard; returns the exit status."""
    given = {name: value for name, value in vars(options).items() if name != "run"}
    data, out = given.pop("data", None), given.pop("out")
    workers = workers_of(given, jobs=1)
    assert workers is not None  # one job at least
    numbers = _numbers(given.pop("tasks"))
    settings = RunSettings(**given, tasks=_all_tasks(given, numbers), workers=True)
    results.check_unfinished(out)
    if settings.train_in is None and checkpoint.exists(out):  # what suited the first machine
        settings = replace(settings, train_in=checkpoint.read(out).settings.train_in)
    shard = Shard(settings, numbers, data=data)
    results.make_writable(out)
    with checkpoint.locked(out):
        results.check_unfinished(out)
        slot = None
        if checkpoint.exists(out):
            saved = checkpoint.read(out)
            _check_own(out, saved, shard)
            checkpoint.restore(shard, out, saved)
            slot = saved.slot
        checkpoints = checkpoint.Checkpoints(out, shard, slot=slot, data=data, shard=numbers)
        if slot is None:
            checkpoints.begin()
        if shard.ledger.count == len(numbers):
            console.print(f"{out} holds tasks {_named(numbers)} already", markup=False)
            return 0
        return _run(shard, checkpoints, console, errors, workers)


def _run(
    shard: Shard,
    checkpoints: checkpoint.Checkpoints,
    console: Console,
    errors: Console,
    workers: Workers,
) -> int:
    out, numbers = checkpoints.folder.parent, shard.numbers
    bars = Bars(
        console,
        tasks=len(numbers),
        learned=shard.ledger.count,
        jobs=workers.jobs or 1,
        first=numbers.start,
    )
    try:
        with bars, stopping(checkpoints):
            shard.run(bars, pause=checkpoints, workers=workers)
        checkpoints.write()
    except (KeyboardInterrupt, HopmaskError) as stop:
        why = "interrupted" if isinstance(stop, KeyboardInterrupt) else f"error: {stop}"
        done = f"After {shard.ledger.count} of {len(numbers)} tasks"
        try:
            checkpoints.write()
        except StoreFileError as error:
            done += f", of which the last could not be written ({error})"
        errors.print(
            f"{why}. {done}. Continue with the same command",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
        return 130 if isinstance(stop, KeyboardInterrupt) else 1
    console.print(
        f"{out} holds tasks {_named(numbers)} in {shard.kept.nbytes / 1e6:.1f} MB. When all shards "
        f"are learned: supsup merge {out} ... --out FOLDER",
        markup=False,
        soft_wrap=True,
    )
    return 0


def _numbers(text: str) -> range:
    if not re.fullmatch(r"[0-9]{1,9}:[0-9]{1,9}", text):
        raise ConfigError(f"--tasks of learn is A:B, tasks A to B - 1, got {text!r:.40}")
    start, end = map(int, text.split(":"))
    return range(start, end)


def _all_tasks(given: dict[str, Any], numbers: range) -> int | None:
    """How many tasks the whole run has, as far as a shard knows; they decide its hubs.

    Raises:
        ConfigError: the shard's own exceed the benchmark's number, and no hubs are given.
    """
    benchmark = given.get("benchmark", RunSettings().benchmark)
    own, hubs = default_tasks(benchmark), given.get("hubs")
    if own is None:
        return None
    if hubs is None and numbers.stop > own:
        raise ConfigError(
            f"{benchmark} has {own} tasks unless a run says otherwise, and the shard's go up to "
            f"{numbers.stop - 1}: give all shards the same --hubs K, for all tasks of the run"
        )
    return max(numbers.stop, own if hubs is None else min(own, hubs))


def _check_own(out: Path, saved: checkpoint.Saved, shard: Shard) -> None:
    """Raise ConfigError unless a checkpoint is of this very shard."""
    numbers = (shard.numbers.start, shard.numbers.stop)
    if saved.shard != numbers:
        kept = "a run" if saved.shard is None else f"tasks {saved.shard[0]}:{saved.shard[1]}"
        raise ConfigError(f"{out} holds {kept}: choose another folder with --out")
    for name in vars(shard.settings):
        mine, theirs = getattr(shard.settings, name), getattr(saved.settings, name)
        if mine != theirs:
            raise ConfigError(
                f"{out} was begun with {name} {theirs!r:.80}, got {mine!r:.80}: give the same "
                "options as before, or choose another folder with --out"
            )


def _named(numbers: range) -> str:
    return f"{numbers.start}:{numbers.stop}"


def add_command(commands: Any) -> None:
    """Add `supsup learn`."""
    command = commands.add_parser(
        "learn",
        help="learn some of a benchmark's tasks apart from the others, to be merged",
        argument_default=argparse.SUPPRESS,
    )
    command.set_defaults(run=learn)
    add_options(command)
    add = command.add_argument
    add("--tasks", required=True, metavar="A:B", help="learn tasks A to B - 1")
    add("--out", type=Path, required=True, help="folder of the shard; it is continued if it exists")
