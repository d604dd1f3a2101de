"""Seconds that the parts of a run take, and work that may take a share of them."""

import time
from collections.abc import Iterator, Mapping
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
        self._running: dict[str, float] = {}  # since when
        self._started = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time inside the `with` block as `name`."""
        start = self._running[name] = time.perf_counter()
        try:
            yield
        finally:
            del self._running[name]
            self._seconds[name] += time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Seconds of each name so far, and "total" since the watch was made."""
        now = time.perf_counter()
        running = {name: now - start for name, start in self._running.items()}
        parts = {name: value + running.get(name, 0.0) for name, value in self._seconds.items()}
        return {**parts, "total": now - self._started}

    def restore(self, seconds: Mapping[str, float]) -> None:
        """Continue from what another watch of these names had counted."""
        self._seconds = {name: seconds[name] for name in self._seconds}
        self._started = time.perf_counter() - seconds["total"]


OVERHEAD = 0.02  # of the time of a run, for what keeps it safe


class Pace:
    """Spaces work of known cost so far apart that it takes at most 2 % of the time.

    Example:
        >>> Pace().is_due(cost=60)
        False
    """

    def __init__(self) -> None:
        self._last = time.monotonic()

    def is_due(self, *, cost: float) -> bool:
        """Whether enough time has passed since the last work for one that takes `cost` seconds."""
        return (time.monotonic() - self._last) * OVERHEAD >= cost

    def done(self) -> None:
        """The work was done, or tried, just now."""
        self._last = time.monotonic()
