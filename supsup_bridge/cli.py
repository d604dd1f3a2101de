"""The command `supsup`: the only place that parses arguments and prints."""

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

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
from supsup_bridge.data.benchmarks import BENCHMARKS
from supsup_bridge.data.task import Task
from supsup_bridge.inference.named import INFERENCES
from supsup_bridge.inference.recall import RECALLS
from supsup_bridge.runs import checkpoint, report
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.settings import SCENARIOS, RunSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 failed, 2 bad input, 130 Ctrl-C)."""
    options, given = _parsed(arguments)
    errors = Console(stderr=True, highlight=False)
    try:
        return _run(options, given, Console(highlight=False), errors)
    except KeyboardInterrupt:
        errors.print("interrupted", style="yellow")
        return 130
    except HopmaskError as error:
        errors.print(f"error: {error}", style="red", markup=False)
        return 2 if isinstance(error, ValueError) else 1
    except OSError as error:
        errors.print(f"error: {error}", style="red", markup=False)
        return 1


def _parsed(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, set[str]]:
    """The options, and the names of those that were given."""
    options, bare = _parser().parse_args(arguments), argparse.ArgumentParser(add_help=False)
    run = bare.add_subparsers().add_parser("run", argument_default=argparse.SUPPRESS)
    _add_options(run)
    for action in run._actions:
        action.default = argparse.SUPPRESS
    return options, {*vars(bare.parse_args(arguments))}


def _run(options: argparse.Namespace, given: set[str], console: Console, errors: Console) -> int:
    if options.resume is not None:
        return _resume(options, given, console, errors)
    known = {field.name for field in fields(RunSettings)}
    settings = RunSettings(**{n: v for n, v in vars(options).items() if n in known})
    experiment = Experiment(settings, data=options.data)
    out = _writable(options.out or Path("runs") / f"{settings.benchmark}-{_now()}")
    with checkpoint.locked(out):
        if checkpoint.exists(out):
            raise ConfigError(
                f"{out} holds a run that was interrupted: go on with supsup run --resume {out}, or "
                "choose another folder with --out"
            )
        checkpoints = checkpoint.Checkpoints(out, experiment)
        checkpoints.begin()
        return _learn(experiment, checkpoints, options, console, errors)


def _resume(options: argparse.Namespace, given: set[str], console: Console, errors: Console) -> int:
    """Go on with the run in a folder, with its own settings."""
    out = options.resume
    others = given - {"data", "resume", "network", "signature"}
    if others:
        names = ", ".join("--" + name.replace("_", "-") for name in sorted(others))
        raise ConfigError(
            f"--resume goes on with the run's own settings: leave out {names} (--data may be given)"
        )
    checkpoint.read(_there(out))  # before anything is made there
    with checkpoint.locked(out):
        saved = checkpoint.read(out)
        for name in ("network", "signature"):
            own = getattr(saved.settings, name)
            if name in given and getattr(options, name) != own:
                raise ConfigError(f"the run has --{name} {own}: leave it out")
            if ":" in str(own) and name not in given:
                raise ConfigError(
                    f"the run calls code of yours, --{name} {own}: name it beside --resume, so "
                    "that nothing is run that only a file names"
                )
        experiment = checkpoint.resumed(out, saved, data=options.data)
        now = checkpoint.surroundings(experiment.device)
        changed = [name for name, value in now.items() if saved.surroundings.get(name) != value]
        if changed:
            errors.print(
                f"note: {', '.join(changed)} changed since the run began ({saved.surroundings}, "
                f"now {now}): figures may differ from those without a break",
                style="yellow",
                markup=False,
            )
        checkpoints = checkpoint.Checkpoints(out, experiment, slot=saved.slot)
        return _learn(experiment, checkpoints, options, console, errors)


def _there(out: Path) -> Path:
    if not out.is_dir():
        raise ConfigError(f"there is no folder {out}: --resume takes that of an interrupted run")
    return out


def _learn(
    experiment: Experiment,
    checkpoints: checkpoint.Checkpoints,
    options: argparse.Namespace,
    console: Console,
    errors: Console,
) -> int:
    """Learn what is left, score it, and write the results."""
    settings, out = experiment.settings, checkpoints.folder.parent
    try:
        with _Bars(console, experiment, out) as bars, _stopping(checkpoints):
            experiment.run(bars, pause=checkpoints)
    except (KeyboardInterrupt, HopmaskError) as stop:
        why = "interrupted" if isinstance(stop, KeyboardInterrupt) else f"error: {stop}"
        done = f"After {len(experiment.names())} of {settings.tasks} tasks: "
        try:
            _keep(experiment, out, partial=True)
            done += f"what was done is in {out}/result.partial.json and memory.partial.h5"
        except (HopmaskError, OSError) as error:
            done += f"what was done could not be written ({error})"
        data = f" --data {shlex.quote(str(options.data))}" if options.data else ""
        further = f"Go on with: supsup run --resume {shlex.quote(str(out))}{data}"
        errors.print(f"{why}. {done}. {further}", style="yellow", markup=False, soft_wrap=True)
        return 130 if isinstance(stop, KeyboardInterrupt) else 1
    result = _keep(experiment, out, partial=False)
    written = ["result.json", "memory.h5", "accuracy.png"]
    if settings.memory == "hopfield":
        title = f"{settings.benchmark}, seed {settings.seed}: what each recall did, step by step"
        records = list(experiment.record())
        names, masks = experiment.names(), experiment.mask_names()
        report.recall_plot(records, names, masks, title).savefig(out / "recall.png")
        written.append("recall.png")
    report.accuracy_plot(result).savefig(out / "accuracy.png")
    checkpoints.remove()
    console.print(report.summary_table(result, experiment.names()))
    console.print(f"{out}/{', '.join(written)}", markup=False)
    return 0


@contextmanager
def _stopping(checkpoints: checkpoint.Checkpoints) -> Iterator[None]:
    """Let a first Ctrl-C or SIGTERM stop the run at its next step, and a second one at once."""
    signs = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {sign: signal.getsignal(sign) for sign in signs}
    before = {s: handler for s, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def asked(sign: int, _: object) -> None:
        checkpoints.stop = True
        signal.signal(sign, before[signal.Signals(sign)])

    for sign in before:
        signal.signal(sign, asked)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _keep(experiment: Experiment, out: Path, *, partial: bool) -> dict[str, Any]:
    """Write the memory and the result; those of a run that is not finished bear other names."""
    result = experiment.result()
    mark = ".partial" if partial else ""
    experiment.close()
    memory = out / f"memory{mark}.h5"
    if not partial:  # the file of a finished run tells nothing of breaks in it
        _discard(memory)
    report.write_json(result, out / f"result{mark}.json")
    experiment.memory.save(memory)
    if not partial:
        (out / "result.partial.json").unlink(missing_ok=True)
        _discard(out / "memory.partial.h5")
    return result


def _discard(memory: Path) -> None:
    """Delete a memory's file and what stands beside it."""
    for mark in ("", ".prev", ".lock"):
        memory.with_name(memory.name + mark).unlink(missing_ok=True)


class _Bars:
    """Progress of a run, and its results so far, written after each task.

    One bar for the tasks, one for the training steps of the present one.
    """

    def __init__(self, console: Console, experiment: Experiment, out: Path) -> None:
        self.experiment, self.out = experiment, out
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self.all = self.progress.add_task(
            "tasks", total=experiment.settings.tasks, completed=experiment.ledger.count
        )
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

    def learned(self, task: Task, number: int) -> None:
        try:
            report.write_json(self.experiment.result(), self.out / "result.partial.json")
        except OSError as error:
            self.progress.console.print(
                f"result.partial.json: {error}", style="yellow", markup=False
            )
        self.progress.update(self.all, completed=number + 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="supsup",
        description="Learn tasks as masks of a fixed random network, keep the masks in one "
        "Hopfield network of constant size, and recall the right one from unlabelled images.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="learn a benchmark's tasks, infer them, and score")
    _add_options(run)
    return parser


def _add_options(run: argparse.ArgumentParser) -> None:
    """The options of `supsup run`; each is the setting of its name."""
    add = run.add_argument
    add(
        "benchmark",
        nargs="?",
        default="split-digits",
        help=f"{', '.join(BENCHMARKS)} (default: %(default)s)",
    )
    add("--scenario", default="GNu", help=f"{', '.join(SCENARIOS)} (default: %(default)s)")
    add("--memory", default="hopfield", help="hopfield (default) or bank: every mask, one bit each")
    add("--masks", help="hashed (default), unit, or weight (bank alone, its default)")
    add("--bits", type=int, help="mask bits (hashed) or hidden units a layer (unit)")
    add("--recall", help=f"hopfield: {', '.join(RECALLS)} (default: both)")
    add("--rule", help="hopfield: storkey (default), storkey-matrix, hebbian, projection")
    add("--signature", help="hopfield: input (default), outputs, gradient, package.module:function")
    add("--inference", help=f"bank: {', '.join(INFERENCES)} (default: the benchmark's)")
    add("--objective", help="bank: H, entropy (default), or G, superfluous outputs")
    add("--output-size", type=int, help="output units, superfluous ones included")
    add("--sparsity", type=float, help="share of weights that a mask keeps (default: no limit)")
    add("--mask-init", help="random, shared by all tasks, or mean of the masks so far")
    add("--batches", type=int, help="training steps a task")
    add(
        "--network",
        default="standard",
        help="lenet-300-100, fc-1024-1024, layer-norm, package.module:function, or paper: "
        "batch-norm and its schedule (default: the benchmark's)",
    )
    add("--tasks", type=int, help="how many tasks (default: the benchmark's)")
    add("--seed", type=int, default=0, help="of everything (default: %(default)s)")
    add("--infer-samples", type=int, help="images that one task inference sees")
    add(
        "--epsilon",
        type=float,
        help="NNs on a bank: a mask is known from 1/EPSILON sigma on (0.04)",
    )
    add("--ask-every", type=int, default=100, help="NNs: batches between questions (100)")
    add("--budget", type=int, help="NNs: masks at most (default: no limit)")
    add("--evaluate-every", type=int, help="score all tasks whenever so many more were learned")
    add("--data", type=Path, help="folder of the data set's files (default: $HOPMASK_DATA)")
    add(
        "--resume",
        type=Path,
        metavar="DIR",
        help="go on with the run in DIR where it stopped, with its own settings",
    )
    add("--out", type=Path, help="where results go (default: runs/BENCHMARK-TIME)")
    add("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    add("--quick", action="store_true", help="20 training steps a task: a look, not a result")


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
