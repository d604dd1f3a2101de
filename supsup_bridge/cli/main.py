"""The entry point of `supsup`: its parser, and exit statuses for errors.

A command is a module with `add_command(commands)`, which adds a parser to argparse's subparsers and
sets its default `run` to a function of the options and two consoles, for output and for errors,
that returns the exit status.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from hopmask import HopmaskError, __version__
from hopmask.errors import StoreTooLargeError
from supsup_bridge.cli import compare, learn, merge, predict, run

_COMMANDS = (run, predict, learn, merge, compare)
_ONE_LINE: dict[str, Any] = {"style": "red", "markup": False, "emoji": False, "soft_wrap": True}


class _Console(Console):
    """A console whose reader may leave: a run goes on, and its files are written."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 failed, 2 bad input, 130 Ctrl-C)."""
    options = parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False)
    try:
        status: int = options.run(options, _Console(highlight=False), errors)
        return status
    except KeyboardInterrupt:
        errors.print("interrupted", style="yellow")
        return 130
    except HopmaskError as error:
        errors.print(f"error: {error}", **_ONE_LINE)
        return 2 if isinstance(error, ValueError | StoreTooLargeError) else 1
    except OSError as error:
        errors.print(f"error: {error}", **_ONE_LINE)
        return 1


def parser() -> argparse.ArgumentParser:
    """The parser of `supsup`; completion for shells is made from it."""
    made = argparse.ArgumentParser(
        prog="supsup",
        description="Learn tasks as masks of a fixed random network, keep the masks in one "
        "Hopfield network of constant size, and recall the right one from unlabelled images.",
    )
    made.add_argument("--version", action="version", version=f"supsup {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_command(commands)
    return made
