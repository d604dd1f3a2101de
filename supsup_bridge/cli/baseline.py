"""`supsup run --learner NAME`: a baseline in place of SupSup."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hopmask import HopmaskError
from supsup_bridge.adapters.rivals.learners import maker_of
from supsup_bridge.adapters.run_log import open_logs
from supsup_bridge.cli import results
from supsup_bridge.cli.progress import Bars
from supsup_bridge.cli.working import check_not_begun
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.baseline_run import BaselineRun
from supsup_bridge.runs.observer import Observers
from supsup_bridge.runs.report import summary, write_json
from supsup_bridge.runs.settings import RunSettings


def run_baseline(
    settings: RunSettings,
    out: Path,
    *,
    data: Path | None,
    logs: Sequence[str],
    overwrite: bool,
    console: Console,
    errors: Console,
) -> int:
    """Run a baseline, and write its result; returns the exit status.

    A run that is interrupted leaves what it measured, and cannot be continued.
    """
    run = BaselineRun(settings, data=data, make=maker_of(settings.learner))
    results.make_writable(out)
    with checkpoint.locked(out):
        check_not_begun(out, overwrite=overwrite)
        bars = Bars(console, tasks=run.ledger.tasks, learned=0)
        try:
            with open_logs(logs, out, overwrite=overwrite) as opened, bars:
                run.run(Observers(*opened, bars))
        except (KeyboardInterrupt, HopmaskError) as stop:
            interrupted = isinstance(stop, KeyboardInterrupt)
            write_json(run.partial(), out / results.PARTIAL)
            checkpoint.forget(out)
            errors.print(
                f"{'interrupted' if interrupted else f'error: {stop}'}. After {run.ledger.count} "
                f"of {run.ledger.tasks} tasks: what was measured is in {out}/{results.PARTIAL}. A "
                f"run of learner {settings.learner} cannot be continued: start it anew",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )
            return 130 if interrupted else 1
        written = results.write_alone(result := run.result(), out)
        checkpoint.forget(out)
    console.print(summary(result))
    console.print(f"{out}/{', '.join(written)}", markup=False, soft_wrap=True)
    return 0
