"""`supsup run`: learn a benchmark's tasks, infer them, score, and keep the results."""

import argparse
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from rich.console import Console

from hopmask import ConfigError, HopmaskError
from supsup_bridge.cli import results
from supsup_bridge.cli.progress import Bars
from supsup_bridge.continual.settings import INITS
from supsup_bridge.data.benchmarks import BENCHMARKS
from supsup_bridge.inference.named import INFERENCES
from supsup_bridge.inference.recall import RECALLS
from supsup_bridge.runs import checkpoint, report
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.settings import SCENARIOS, RunSettings

_DEFAULTS = {field.name: field.default for field in fields(RunSettings)}


def run(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Run what the options say, from the start or from a checkpoint; returns the exit status."""
    given = {name: value for name, value in vars(options).items() if name != "run"}
    if "resume" in given:
        return _resume(given, console, errors)
    data, out = given.pop("data", None), given.pop("out", None)
    overwrite = given.pop("overwrite", False)
    settings = RunSettings(**given)
    out = out or Path("runs") / f"{settings.benchmark}-{_now()}"
    if not overwrite and not checkpoint.exists(out):
        results.check_unfinished(out)
    experiment = Experiment(settings, data=data)
    results.make_writable(out)
    with checkpoint.locked(out):
        if checkpoint.exists(out):
            raise ConfigError(
                f"{out} holds a run that was interrupted: continue it with supsup run --resume "
                f"{out}, or choose another folder with --out"
            )
        checkpoints = checkpoint.Checkpoints(out, experiment, data=data)
        checkpoints.begin()
        return _learn(experiment, checkpoints, console, errors)


def _resume(given: dict[str, Any], console: Console, errors: Console) -> int:
    """Continue the run in a folder, with the settings of that run."""
    out = given["resume"]
    others = given.keys() - {"data", "resume", "network", "signature"}
    if others:
        names = ", ".join("--" + name.replace("_", "-") for name in sorted(others))
        raise ConfigError(
            f"--resume takes the settings of the interrupted run: leave out {names} (--data may be "
            "given)"
        )
    if not out.is_dir():
        raise ConfigError(f"there is no folder {out}: give --resume that of an interrupted run")
    checkpoint.read(out)  # before anything is made there
    with checkpoint.locked(out):
        saved = checkpoint.read(out)
        for name in ("network", "signature"):
            own = getattr(saved.settings, name)
            if name in given and given[name] != own:
                raise ConfigError(f"the run has --{name} {own}: leave it out")
            if ":" in str(own) and name not in given:
                raise ConfigError(
                    f"the run calls code of yours, --{name} {own}: name it beside --resume, so "
                    "that nothing is run that only a file names"
                )
        data = given.get("data", saved.data)
        experiment = checkpoint.resumed(out, saved, data=given.get("data"))
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
        return _learn(experiment, checkpoints, console, errors)


def _learn(
    experiment: Experiment,
    checkpoints: checkpoint.Checkpoints,
    console: Console,
    errors: Console,
) -> int:
    """Learn what is left, score it, and write the results."""
    out, tasks = checkpoints.folder.parent, experiment.ledger.tasks
    warn = partial(console.print, style="yellow", markup=False)
    keep = results.PartialResults(experiment, out, warn)
    bars = Bars(console, tasks=tasks, learned=experiment.ledger.count, keep=keep)
    try:
        with bars, _stopping(checkpoints):
            experiment.run(bars, pause=checkpoints)
    except (KeyboardInterrupt, HopmaskError) as stop:
        why = "interrupted" if isinstance(stop, KeyboardInterrupt) else f"error: {stop}"
        done = f"After {len(experiment.names())} of {tasks} tasks: "
        try:
            results.write_partial(experiment, out)
            done += f"what was done is in {out}/{results.PARTIAL} and {results.PARTIAL_MEMORY}"
        except (HopmaskError, OSError) as error:
            done += f"what was done could not be written ({error})"
        further = f"Continue with: supsup run --resume {shlex.quote(str(out))}"
        errors.print(f"{why}. {done}. {further}", style="yellow", markup=False, soft_wrap=True)
        return 130 if isinstance(stop, KeyboardInterrupt) else 1
    result = results.write(experiment, out)
    plots = results.write_plots(experiment, result, out)
    checkpoints.remove()
    console.print(report.summary(result))
    if note := report.allocation_note(result):
        errors.print(f"note: {note}", style="yellow", soft_wrap=True)
    written = ", ".join([results.RESULT, results.MEMORY, *plots])
    console.print(f"{out}/{written}", markup=False, soft_wrap=True)
    return 0


@contextmanager
def _stopping(checkpoints: checkpoint.Checkpoints) -> Iterator[None]:
    """Let a first Ctrl-C or SIGTERM stop the run at its next step, and a second one at once."""
    signs = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {sign: signal.getsignal(sign) for sign in signs}
    before = {s: handler for s, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def stop(sign: int, _: object) -> None:
        checkpoints.stop = True
        signal.signal(sign, before[signal.Signals(sign)])

    for sign in before:
        signal.signal(sign, stop)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def add_command(commands: Any) -> None:
    """Add `supsup run`; an option's name is that of its setting, and is set only if it is given."""
    command = commands.add_parser(
        "run",
        help="learn a benchmark's tasks, infer them, and score",
        argument_default=argparse.SUPPRESS,
    )
    command.set_defaults(run=run)

    def add(*names: str, help: str, **how: Any) -> None:
        default = _DEFAULTS.get(names[0].lstrip("-").replace("-", "_"))
        command.add_argument(*names, help=help.format(default=default), **how)

    add(
        "benchmark",
        nargs="?",
        default=argparse.SUPPRESS,
        help=f"{', '.join(BENCHMARKS)} (default: {{default}})",
    )
    add("--scenario", help=f"{', '.join(SCENARIOS)} (default: {{default}})")
    add("--memory", help="{default} (default) or bank: every mask, one bit per mask bit")
    add("--masks", help="weight (default): a bit cuts a weight; signed: flips it; hashed; or unit")
    add("--bits", type=int, help="mask bits (hashed) or hidden units per layer (unit)")
    add("--hubs", type=int, help="hopfield, weight masks: a power of two (default: as tasks need)")
    add("--recall", help=f"hopfield: {', '.join(RECALLS)}, posterior (default: the benchmark's)")
    add(
        "--rule",
        help="hopfield, hashed or unit masks: storkey, storkey-matrix, hebbian, projection",
    )
    add("--signature", help="hopfield: input, patches, outputs, gradient, package.module:function")
    add("--inference", help=f"bank: {', '.join(INFERENCES)} (default: the benchmark's)")
    add("--objective", help="weight masks: H, entropy, or G, superfluous outputs")
    add("--output-size", type=int, help="output units, superfluous ones included")
    add("--sparsity", type=float, help="share of weights that a mask keeps (default: no limit)")
    add("--mask-init", help=f"where scores start: {', '.join(INITS)} (default: the benchmark's)")
    add("--batches", type=int, help="training steps per task")
    add("--augment", help="pictures: strong (default), crop-flip (better for few steps) or none")
    add(
        "--network",
        help="lenet-300-100, fc-1024-1024, layer-norm, package.module:function, or paper: "
        "batch-norm and the paper's schedule (default: the benchmark's)",
    )
    add("--tasks", type=int, help="how many tasks (default: the benchmark's)")
    add(
        "--classes-per-task",
        type=int,
        help="CIFAR, ImageNet, folder, idx: classes of a task (default: the benchmark's)",
    )
    add("--seed", type=int, help="of everything (default: {default})")
    add("--infer-samples", type=int, help="images that one task inference sees")
    add("--protocol", help="{default} (default): a task for 128 images; image: one for each")
    add(
        "--epsilon",
        type=float,
        help="NNs on a bank: a mask is recognized from 1/EPSILON sigma on (0.04)",
    )
    add(
        "--ask-every",
        type=int,
        help="NNs: batches between novelty tests (default: the benchmark's)",
    )
    add("--budget", type=int, help="NNs: masks at most (default: no limit)")
    add(
        "--evaluate-every",
        type=int,
        help="score all tasks (of more than 100: 100 of them) after every so many",
    )
    add("--data", type=Path, help="where the data set's files lie (default: $HOPMASK_DATA)")
    add(
        "--resume",
        type=Path,
        metavar="DIR",
        help="continue the run in DIR where it stopped, with the settings of that run",
    )
    add("--out", type=Path, help="where results go (default: runs/BENCHMARK-TIME)")
    add("--overwrite", action="store_true", help="replace the results of a finished run in --out")
    add("--device", help="{default} (default), cpu or cuda")
    add("--quick", action="store_true", help="20 training steps per task: a look, not a result")


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
