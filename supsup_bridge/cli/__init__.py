"""The command `supsup`, a module for each of its commands."""

from supsup_bridge.cli.main import main

__all__ = ["main"]
