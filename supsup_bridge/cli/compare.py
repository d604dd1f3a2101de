"""`supsup compare`: finished runs side by side, as a table and a page."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hopmask import ConfigError
from supsup_bridge.runs.comparison import differing, unlike
from supsup_bridge.runs.comparison_page import comparison_page, figures_of
from supsup_bridge.runs.finished_run import FinishedRun, read_runs
from supsup_bridge.runs.report import write_text


def compare(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Compare, and write the page; returns the exit status."""
    out: Path = options.out
    if out.suffix != ".html" or out.is_dir() or not out.parent.is_dir():
        raise ConfigError(
            f"cannot write a page to {out}: give --out a file, such as compare.html, in a folder "
            "that exists"
        )
    runs = read_runs(options.runs)
    write_text(comparison_page(runs), out)
    console.print(_table(runs))
    for run in unlike(runs):
        reasons = "; ".join(run.reasons)
        errors.print(
            f"note: {run.name} is not like {runs[0].name} ({reasons})",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
        if run.command:
            console.print(
                f"{run.name} made like {runs[0].name}: {run.command}", markup=False, soft_wrap=True
            )
    console.print(str(out), markup=False, soft_wrap=True)
    return 0


def add_command(commands: Any) -> None:
    """Add `supsup compare`."""
    command = commands.add_parser(
        "compare", help="finished runs side by side, and whether they are alike"
    )
    command.set_defaults(run=compare)
    add = command.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs, two or more")
    add(
        "--out",
        type=Path,
        default=Path("compare.html"),
        help="the page, replaced if it is there (%(default)s)",
    )


def _table(runs: list[FinishedRun]) -> Table:
    """Figures, and the settings that differ, a column a run."""
    table = Table()
    table.add_column("", overflow="fold")
    for run in runs:
        table.add_column(Text(run.name), justify="right", overflow="fold")
    for rows in (list(figures_of(runs)), differing(runs)):
        table.add_section()
        for name, values in rows:
            table.add_row(Text(name), *map(Text, values))
    return table
