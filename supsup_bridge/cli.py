"""The command `supsup`: the only place that parses arguments and prints."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hopmask import ConfigError, HopmaskError
from supsup_bridge import report
from supsup_bridge.experiment import SCENARIOS, Experiment, RunSettings
from supsup_bridge.inference import RECALLS
from supsup_bridge.tasks import BENCHMARKS, Task


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 failed, 2 bad input, 130 Ctrl-C)."""
    options = _parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False)
    try:
        return _run(options, Console(highlight=False), errors)
    except KeyboardInterrupt:
        errors.print("interrupted", style="yellow")
        return 130
    except HopmaskError as error:
        errors.print(f"error: {error}", style="red", markup=False)
        return 2 if isinstance(error, ValueError) else 1


def _run(options: argparse.Namespace, console: Console, errors: Console) -> int:
    settings = RunSettings(
        benchmark=options.benchmark,
        scenario=options.scenario,
        masks=options.masks or ("unit" if options.network == "paper" else "hashed"),
        bits=options.bits,
        recall=options.recall,
        tasks=options.tasks,
        seed=options.seed,
        infer_samples=options.infer_samples,
        network=options.network,
        quick=options.quick,
        device=options.device,
    )
    experiment = Experiment(settings, data=options.data)
    out = _writable(options.out or Path("runs") / f"{settings.benchmark}-{_now()}")
    names = [task.name for task in experiment.stream]
    try:
        with _Bars(console, len(names)) as bars:
            experiment.run(bars)
    except KeyboardInterrupt:
        report.write_json(experiment.result(), out / "result.partial.json")
        experiment.memory.save(out / "memory.partial.h5")
        errors.print(
            f"interrupted after {experiment.memory.count} of {len(names)} tasks: what was done is "
            f"in {out}/result.partial.json and memory.partial.h5",
            style="yellow",
            markup=False,
        )
        return 130
    result = experiment.result()
    report.write_json(result, out / "result.json")
    experiment.memory.save(out / "memory.h5")
    title = f"{settings.benchmark}, seed {settings.seed}: what each recall did, step by step"
    report.recall_plot(list(experiment.record()), names, title).savefig(out / "recall.png")
    console.print(report.summary_table(result, names))
    console.print(f"{out}/result.json, memory.h5, recall.png", markup=False)
    return 0


class _Bars:
    """Progress of a run: one bar for the tasks, one for the training steps of the present one."""

    def __init__(self, console: Console, tasks: int) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self.all = self.progress.add_task("tasks", total=tasks)
        self.steps = self.progress.add_task("training", total=None)

    def __enter__(self) -> "_Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        self.progress.update(
            self.steps,
            total=steps,
            completed=step,
            description=f"{task.name}: loss {loss:.3f}",
        )

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        self.progress.update(
            self.steps, description=f"after task {after}: {task.name} {accuracy:.4f}"
        )
        if number == after:
            self.progress.update(self.all, completed=after + 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="supsup",
        description="Learn tasks as masks of a fixed random network, keep the masks in one "
        "Hopfield network of constant size, and recall the right one from unlabelled images.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="learn a benchmark's tasks and recall them",
    )
    add = run.add_argument
    add(
        "benchmark",
        nargs="?",
        default="split-digits",
        help=f"{', '.join(BENCHMARKS)} (default: %(default)s)",
    )
    add("--scenario", default="GNu", help=f"{', '.join(SCENARIOS)} (default: %(default)s)")
    add("--masks", default=None, help="hashed or unit (default: hashed; with --network paper unit)")
    add("--bits", type=int, help="mask bits (hashed) or hidden units a layer (unit)")
    add("--recall", default=None, help=f"{', '.join(RECALLS)} (default: both)")
    add(
        "--network",
        default="standard",
        help="standard (default), or paper: batch-norm and its schedule",
    )
    add("--tasks", type=int, default=5, help="how many tasks (default: %(default)s)")
    add("--seed", type=int, default=0, help="of everything (default: %(default)s)")
    add("--infer-samples", type=int, help="images a recall sees (default: 1; unit masks 64)")
    add("--data", type=Path, help="folder of the data set's files (default: $HOPMASK_DATA)")
    add("--out", type=Path, help="where results go (default: runs/BENCHMARK-TIME)")
    add("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    add("--quick", action="store_true", help="20 training steps a task: a look, not a result")
    add("--memory", default="hopfield", choices=["hopfield"], help="what keeps the masks")
    return parser


def _writable(out: Path) -> Path:
    """The output folder, made and tried before any work is done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cannot write to {out} ({error}): choose another folder with --out"
        ) from error
    return out


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")


if __name__ == "__main__":
    sys.exit(main())
