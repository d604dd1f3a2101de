"""Changes that Ctrl-C does not cut in two."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import current_thread, main_thread

_SIGNALS = (signal.SIGTERM, signal.SIGINT)  # whose Python handlers raise


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that come while the block runs are handled when it has ended.

    Python handles a signal between any two steps of the main thread, and a handler may raise there,
    as that of Ctrl-C does. A change of several tensors would then be half made. The block should
    take no longer than a user waits. In any other thread nothing changes, since no handler runs
    there. SIGINT and SIGTERM wait; whatever else the block raises comes out at once.

    Example:
        >>> before = signal.signal(signal.SIGINT, signal.default_int_handler)
        >>> done = []
        >>> try:
        ...     with undisturbed():
        ...         signal.raise_signal(signal.SIGINT)
        ...         done.append("all of it")
        ... except KeyboardInterrupt:
        ...     done.append("interrupted")
        >>> done
        ['all of it', 'interrupted']
        >>> _ = signal.signal(signal.SIGINT, before)
    """
    waiting: list[int] = []

    def wait(number: int, frame: object) -> None:
        waiting.append(number)

    with ExitStack() as stack:  # which goes on where a handler raises
        stack.callback(_deliver, waiting)  # the last, to the handlers that are back then
        if current_thread() is main_thread():
            for kind in _SIGNALS:
                handler = signal.getsignal(kind)
                if callable(handler):  # others do not run Python
                    stack.callback(signal.signal, kind, handler)
                    signal.signal(kind, wait)
        yield


def _deliver(waiting: list[int]) -> None:
    """Raise signals again, each for the handler that the one before has left."""
    for number in waiting:
        signal.raise_signal(number)
