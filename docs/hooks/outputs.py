"""A hook of mkdocs: what a command prints stands below the command.

A block of `sh output` holds one command, `python SCRIPT OPTIONS`. The script runs within this
process, where torch is loaded already, and a command that fails ends the build.
"""

import re
import runpy
import shlex
import sys
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

_ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```sh output\npython (.+)\n```$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Write below each command of a page what it prints."""
    return _BLOCK.sub(
        lambda found: f"```sh\npython {found[1]}\n```\n\n{_output(found[1])}", markdown
    )


def _output(command: str) -> str:
    script, *options = shlex.split(command)
    printed = StringIO()
    folders = [str((_ROOT / script).parent), *sys.path]
    with (
        chdir(_ROOT),
        patch.object(sys, "argv", [script, *options]),
        patch.object(sys, "path", folders),
        redirect_stdout(printed),
    ):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"python {command} ended with {end.code}") from end
    return printed.getvalue()
