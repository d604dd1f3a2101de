"""The entry point of `hopmask`: its parser, and exit statuses for errors."""

import argparse
from collections.abc import Sequence

from rich.console import Console

from hopmask import __version__
from hopmask.cli import capacity, files
from hopmask.errors import HopmaskError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 failed, 2 bad input, 130 Ctrl-C)."""
    options = parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False)
    try:
        options.run(options, Console(highlight=False), errors)
        return 0
    except KeyboardInterrupt:
        errors.print("interrupted", style="yellow")
        return 130
    except HopmaskError as error:
        errors.print(f"error: {error}", style="red", markup=False)
        return 2 if isinstance(error, ValueError) else 1
    except OSError as error:
        errors.print(f"error: {error}", style="red", markup=False)
        return 1


def parser() -> argparse.ArgumentParser:
    """The parser of `hopmask`; completion for shells is made from it."""
    made = argparse.ArgumentParser(
        prog="hopmask",
        description="Memories of masks in constant space: what they hold, and their files.",
    )
    made.add_argument("--version", action="version", version=f"hopmask {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for module in (capacity, files):
        module.add_commands(commands)
    return made
