"""Changes that Ctrl-C does not cut in two."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)  # whose Python handlers raise


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that come while the block runs are handled when it has ended.

    Python handles a signal between any two steps of the main thread, and a handler may raise there,
    as that of Ctrl-C does. A change of several tensors would then be half made. The block should
    take no longer than a user waits.

    Example:
        >>> done = []
        >>> try:
        ...     with undisturbed():
        ...         signal.raise_signal(signal.SIGINT)
        ...         done.append("all of it")
        ... except KeyboardInterrupt:
        ...     done.append("interrupted")
        >>> done
        ['all of it', 'interrupted']
    """
    waiting: list[tuple[int, Any]] = []
    before: dict[signal.Signals, Any] = {}

    def wait(number: int, frame: Any) -> None:
        waiting.append((number, frame))

    try:
        if current_thread() is main_thread():
            for kind in _SIGNALS:
                handler = signal.getsignal(kind)
                if callable(handler):  # others do not run Python
                    before[kind] = handler
                    signal.signal(kind, wait)
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
        for number, frame in waiting:
            before[signal.Signals(number)](number, frame)
