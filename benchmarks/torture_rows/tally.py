"""What a row of `benchmarks/torture.py` counts, and where it works."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEPT = 10  # messages of a row


Row = dict[str, Any]


class Tally:
    """What a row tried, counted and saw go wrong."""

    def __init__(self) -> None:
        self.trials, self.failures = 0, 0
        self.messages: list[str] = []
        self.counted: dict[str, Any] = {}

    def fail(self, message: str) -> None:
        """Count a failure."""
        self.failures += 1
        self.messages += [message] if len(self.messages) < KEPT else []

    def expect(self, right: bool, message: str) -> bool:
        """Count a failure unless it is right."""
        if not right:
            self.fail(message)
        return right

    def add(self, what: str, number: float = 1) -> None:
        """Count something else."""
        self.counted[what] = self.counted.get(what, 0) + number

    @contextmanager
    def trial(self, what: str) -> Iterator[None]:
        """One trial; an error in it is a failure."""
        self.trials += 1
        try:
            yield
        except Exception as error:
            self.fail(f"{what}: {type(error).__name__}: {error}")

    def row(self, **settings: object) -> Row:
        """Part of the row's JSON."""
        return {
            "trials": self.trials,
            "failures": self.failures,
            "counted": self.counted,
            "messages": self.messages,
            "settings": settings,
        }


def share(options: argparse.Namespace, trials: int) -> int:
    """So many of a row's trials as were asked for."""
    return max(1, round(options.share * trials))


@contextmanager
def scratch(options: argparse.Namespace) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        yield Path(name).resolve()
