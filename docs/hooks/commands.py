"""Prints the help of `supsup` and `hopmask`, and of every command of theirs, as Markdown.

The parsers print it themselves, 80 columns wide, so that nothing is written twice.
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from io import StringIO

import hopmask.cli
import supsup_bridge.cli

PROGRAMS = {"supsup": supsup_bridge.cli.main, "hopmask": hopmask.cli.main}
_COMMAND = re.compile(r"^    ([a-z]+) ", re.MULTILINE)


def help_of(program: Callable[[Sequence[str]], int], *command: str) -> str:
    """What a parser prints of itself."""
    printed = StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        program([*command, "--help"])
    return printed.getvalue()


def main() -> None:
    """Print a chapter for each program, and a section for each of its commands."""
    os.environ["COLUMNS"] = "80"
    for name, program in PROGRAMS.items():
        overview = help_of(program)
        print(f"## `{name}`\n\n```text\n{overview}```\n")
        for command in _COMMAND.findall(overview):
            print(f"### `{name} {command}`\n\n```text\n{help_of(program, command)}```\n")


if __name__ == "__main__":
    main()
