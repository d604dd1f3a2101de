"""`supsup run`: learn a benchmark's tasks, infer them, score, and keep the results."""

import argparse
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from hopmask import ConfigError
from supsup_bridge.adapters.run_log import LOGS, check_logs, open_logs
from supsup_bridge.cli import results
from supsup_bridge.cli.baseline import run_baseline
from supsup_bridge.cli.options import add_options, check_code_named, workers_of
from supsup_bridge.cli.working import check_not_begun, learn_and_score
from supsup_bridge.continual.baselines.named import BASELINES
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.learners import OURS, RIVALS
from supsup_bridge.runs.settings import RunSettings


def run(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Run what the options say, from the start or from a checkpoint; returns the exit status."""
    given = {name: value for name, value in vars(options).items() if name != "run"}
    if "resume" in given:
        return _resume(given, console, errors)
    data, out, logs = given.pop("data", None), given.pop("out", None), given.pop("log", [])
    check_logs(logs)
    overwrite, workers = given.pop("overwrite", False), workers_of(given)
    settings = RunSettings(**given, workers=workers is not None)
    out = out or Path("runs") / f"{settings.benchmark}-{_now()}"
    if not overwrite and not checkpoint.exists(out):
        results.check_unfinished(out)
    if settings.learner != OURS:
        return run_baseline(
            settings,
            out,
            data=data,
            logs=logs,
            overwrite=overwrite,
            console=console,
            errors=errors,
        )
    experiment = Experiment(settings, data=data)
    results.make_writable(out)
    with checkpoint.locked(out):
        check_not_begun(out, overwrite=overwrite)
        checkpoints = checkpoint.Checkpoints(out, experiment, data=data)
        with open_logs(logs, out, overwrite=overwrite) as opened:
            checkpoints.begin()
            return learn_and_score(
                experiment, checkpoints, console, errors, workers=workers, logs=opened
            )


def _resume(given: dict[str, Any], console: Console, errors: Console) -> int:
    """Continue the run in a folder, with the settings of that run."""
    out, workers, logs = given["resume"], workers_of(given), given.pop("log", [])
    check_logs(logs)
    others = given.keys() - {"data", "resume", "network", "signature"}
    if others:
        names = ", ".join("--" + name.replace("_", "-") for name in sorted(others))
        raise ConfigError(
            f"--resume takes the settings of the interrupted run: leave out {names} (--data, "
            "--jobs and --log may be given)"
        )
    if not out.is_dir():
        raise ConfigError(f"there is no folder {out}: give --resume that of an interrupted run")
    checkpoint.read(out)  # before anything is made there
    with checkpoint.locked(out):
        saved = checkpoint.read(out)
        check_code_named(saved.settings, given)
        data = given.get("data", saved.data)
        if workers is not None and not saved.settings.workers:
            raise ConfigError(
                f"the run in {out} trains in its own process, and workers would round sums in "
                "another way: leave out --jobs"
            )
        experiment = checkpoint.resumed(out, saved, data=given.get("data"))
        left = experiment.ledger.tasks - experiment.ledger.count
        if saved.settings.workers and workers is None and left:
            raise ConfigError(
                f"workers train the tasks of the run in {out}, and {left} are left: say how many "
                "workers, --jobs N; any number gives the same result"
            )
        now = checkpoint.surroundings(experiment.device)
        changed = [name for name, value in now.items() if saved.surroundings.get(name) != value]
        if changed:
            errors.print(
                f"note: {', '.join(changed)} changed since the run began ({saved.surroundings}, "
                f"now {now}): figures may differ from those without a break",
                style="yellow",
                markup=False,
            )
        checkpoints = checkpoint.Checkpoints(out, experiment, slot=saved.slot, data=data)
        with open_logs(logs, out, continued=True) as opened:
            return learn_and_score(
                experiment, checkpoints, console, errors, workers=workers, logs=opened
            )


def add_command(commands: Any) -> None:
    """Add `supsup run`."""
    command = commands.add_parser(
        "run",
        help="learn a benchmark's tasks, infer them, and score",
        argument_default=argparse.SUPPRESS,
    )
    command.set_defaults(run=run)
    add_options(command)
    add = command.add_argument
    add(
        "--learner",
        help=f"{OURS} (default), or a baseline that has no memory of masks: "
        f"{', '.join(BASELINES)}, or Avalanche's (hopmask[rivals]): {', '.join(RIVALS)}",
    )
    add("--tasks", type=int, help="how many tasks (default: the benchmark's)")
    add(
        "--tasks-at-once",
        type=int,
        help="train so many tasks in one computation (default: as many as the device does best)",
    )
    add(
        "--evaluate-every",
        type=int,
        help="score all tasks (of more than 100: 100 of them) after every so many",
    )
    add(
        "--resume",
        type=Path,
        metavar="DIR",
        help="continue the run in DIR where it stopped, with the settings of that run",
    )
    add(
        "--log",
        action="append",
        help=f"log losses and accuracies into the run's folder, too: {', '.join(LOGS)}; may be "
        "repeated",
    )
    add("--out", type=Path, help="where results go (default: runs/BENCHMARK-TIME)")
    add("--overwrite", action="store_true", help="replace the results of a finished run in --out")


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
