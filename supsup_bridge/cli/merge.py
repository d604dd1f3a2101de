"""`supsup merge`: put shards of `supsup learn` together, score all tasks, and write the results."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from supsup_bridge.cli import results
from supsup_bridge.cli.options import check_code_named
from supsup_bridge.cli.working import check_not_begun, learn_and_score
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.merging import merged


def merge(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Merge and score; returns the exit status. An interrupted scoring is continued by `run`."""
    out: Path = options.out
    if not options.overwrite and not checkpoint.exists(out):
        results.check_unfinished(out)
    results.make_writable(out)
    with checkpoint.locked(out):
        check_not_begun(out, overwrite=options.overwrite)
        for shard in options.shards:
            check_code_named(checkpoint.read(shard).settings, vars(options))
        data = options.data or checkpoint.read(options.shards[0]).data
        experiment = merged(options.shards, data=data, tasks=options.tasks, device=options.device)
        checkpoints = checkpoint.Checkpoints(out, experiment, data=data)
        checkpoints.write()
        return learn_and_score(experiment, checkpoints, console, errors, workers=None)


def add_command(commands: Any) -> None:
    """Add `supsup merge`."""
    command = commands.add_parser(
        "merge", help="put together what supsup learn learned apart, and score it"
    )
    command.set_defaults(run=merge)
    add = command.add_argument
    add("shards", nargs="+", type=Path, metavar="SHARD", help="folders of supsup learn")
    add("--out", type=Path, required=True, help="where results go, as those of supsup run")
    add("--data", type=Path, help="where the data set's files lie (default: as of the shards)")
    add("--tasks", type=int, help="how many tasks the run has (default: the benchmark's)")
    add("--device", help="where to score: cpu or cuda (default: as of the first shard)")
    add("--network", help="package.module:function, where the shards have one")
    add("--signature", help="package.module:function, where the shards have one")
    add("--overwrite", action="store_true", help="replace the results of a finished run in --out")
