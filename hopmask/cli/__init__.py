"""The command `hopmask`, a module for each group of commands."""

from hopmask.cli.main import main

__all__ = ["main"]
