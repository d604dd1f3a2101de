"""The command `hopmask`, a module for each group of commands."""

from hopmask.cli.capacity import main

__all__ = ["main"]
