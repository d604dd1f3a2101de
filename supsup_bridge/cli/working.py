"""The work of a command: a run with progress bars, checkpoints and signals, and its files."""

import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import current_thread, main_thread

from rich.console import Console

from hopmask import ConfigError, HopmaskError
from supsup_bridge.cli import results
from supsup_bridge.cli.progress import Bars
from supsup_bridge.runs import checkpoint, report
from supsup_bridge.runs.command import option
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.observer import Observer, Observers
from supsup_bridge.runs.workers import Workers


def check_not_begun(out: Path, *, overwrite: bool) -> None:
    """Raise ConfigError where a folder holds a run: interrupted, or unless to overwrite, finished.

    To be called under the folder's lock: another process may have finished a run there since the
    command began.
    """
    if checkpoint.exists(out):
        raise ConfigError(
            f"{out} holds a run that was interrupted: continue it with {_continuation(out)}, or "
            "choose another folder with --out"
        )
    if not overwrite:
        results.check_unfinished(out)


def learn_and_score(
    experiment: Experiment,
    checkpoints: checkpoint.Checkpoints,
    console: Console,
    errors: Console,
    *,
    workers: Workers | None,
    logs: Sequence[Observer] = (),
) -> int:
    """Learn what is left, score it, and write the results; logs observe all of it."""
    out, tasks = checkpoints.folder.parent, experiment.ledger.tasks
    warn = partial(console.print, style="yellow", markup=False)
    keep = results.PartialResults(experiment, out, warn)
    jobs = 0 if workers is None else workers.jobs or 1
    bars = Bars(console, tasks=tasks, learned=len(experiment.ledger.matrix), keep=keep, jobs=jobs)
    try:
        with bars, stopping(checkpoints):
            experiment.run(Observers(*logs, bars), pause=checkpoints, workers=workers)
    except (KeyboardInterrupt, HopmaskError) as stop:
        why = "interrupted" if isinstance(stop, KeyboardInterrupt) else f"error: {stop}"
        done = f"After {len(experiment.names())} of {tasks} tasks: "
        try:
            if experiment.settings.workers:
                checkpoints.write()
            results.write_partial(experiment, out)
            done += f"what was done is in {out}/{results.PARTIAL} and {results.PARTIAL_MEMORY}"
        except (HopmaskError, OSError) as error:
            done += f"what was done could not be written ({error})"
        further = f"Continue with: {_continuation(out)}"
        if workers is not None:
            further += f" --jobs {jobs}"
            further += f" --engine {workers.engine}" * (workers.engine not in (None, "loky"))
        errors.print(f"{why}. {done}. {further}", style="yellow", markup=False, soft_wrap=True)
        return 130 if isinstance(stop, KeyboardInterrupt) else 1
    result = results.write(experiment, out)
    pages = results.write_pages(experiment, result, out)
    checkpoints.remove()
    console.print(report.summary(result))
    if note := report.allocation_note(result):
        errors.print(f"note: {note}", style="yellow", soft_wrap=True)
    written = ", ".join([results.RESULT, results.MEMORY, *pages])
    console.print(f"{out}/{written}", markup=False, soft_wrap=True)
    return 0


def _continuation(out: Path) -> str:
    return shlex.join(["supsup", "run", *option("resume", out)])


@contextmanager
def stopping(checkpoints: checkpoint.Checkpoints) -> Iterator[None]:
    """Let a first Ctrl-C or SIGTERM stop the run at its next step, and a second one at once.

    A run that only waits for workers is stopped at once.
    """
    signs = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {sign: signal.getsignal(sign) for sign in signs}
    before = {s: handler for s, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def stop(sign: int, _: object) -> None:
        checkpoints.stop = True
        signal.signal(sign, before[signal.Signals(sign)])
        if checkpoints.experiment.waiting:
            raise KeyboardInterrupt

    for sign in before:
        signal.signal(sign, stop)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
