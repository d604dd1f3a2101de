"""Seconds that the parts of a run take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall-clock seconds by name.

    Example:
        >>> watch = Stopwatch("train")
        >>> with watch("train"):
        ...     pass
        >>> sorted(watch.seconds())
        ['total', 'train']
    """

    def __init__(self, *names: str) -> None:
        self._seconds = dict.fromkeys(names, 0.0)
        self._started = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time inside the `with` block as `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Seconds of each name, and "total" since the watch was made."""
        return {**self._seconds, "total": time.perf_counter() - self._started}
