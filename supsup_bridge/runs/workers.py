"""Worker processes that train tasks apart from the run that stores and scores them."""

import logging
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from pickle import PicklingError
from typing import Any

import joblib
from joblib import Parallel, delayed

from hopmask import ConfigError, HopmaskError
from supsup_bridge.runs.engines import ENGINES, engine
from supsup_bridge.training.settings import is_count

_log = logging.getLogger(__name__)
_LOSSES = 3  # in a row, with no call done in between, that raise an error


class WorkersLostError(HopmaskError, RuntimeError):
    """Worker processes ended again and again before their work was done."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who trains the tasks of a run, and how many at a time; no figure of the run depends on it.

    Args:
        jobs: worker processes; one trains in the run's own process, with one thread as others do.
            Default: as `joblib.parallel_config` says, else 1.
        engine: where they come from: "loky" (on this machine), "dask" or "ray". Default: what
            `joblib.parallel_config` says, so that any backend of joblib's can serve.

    Raises:
        ConfigError: no such engine, or a number of jobs that is none.

    Example:
        >>> list(Workers(jobs=1).results(divmod, [(7, 2), (8, 3)]))
        [(3, 1), (2, 2)]

    Source:
        https://joblib.readthedocs.io: `Parallel`, `parallel_config`.
    """

    jobs: int | None = None
    engine: str | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and not is_count(self.jobs):
            raise ConfigError(f"jobs must be a positive whole number, got {self.jobs!r}")
        if self.engine not in (*ENGINES, None):
            raise ConfigError(
                f"unknown engine {self.engine!r}: choose one of {', '.join(ENGINES)}, or leave it "
                "out to use what joblib.parallel_config says"
            )

    def results(
        self,
        function: Callable[..., Any],
        calls: Iterable[tuple[Any, ...]],
        *,
        ahead: int = 8,
    ) -> Generator[Any, None, None]:
        """What the function returns of each call, in the order of the calls.

        Calls are made in groups, so that results that nobody takes do not pile up. Calls whose
        worker was lost are made again.

        Args:
            function: importable by its name; it raises nothing.
            calls: arguments of each call.
            ahead: calls of a group, for each job.

        Raises:
            ConfigError: arguments that cannot be sent to another process.
            WorkersLostError: workers were lost three times with no call done in between.
        """
        with self._engine():
            group = ahead * max(1, joblib.effective_n_jobs(self.jobs))
            left, lost = iter(calls), 0
            waiting = deque(islice(left, group))
            while waiting:
                try:
                    with closing(self._in_order(function, [*waiting])) as found:
                        for result in found:
                            waiting.popleft()
                            lost = 0
                            yield result
                except PicklingError as error:
                    raise ConfigError(
                        f"a task cannot be sent to a worker process ({error}): give tasks of "
                        "tensors, or leave out workers"
                    ) from error
                except Exception as error:
                    if _interrupted(error):
                        raise KeyboardInterrupt from error
                    lost += 1
                    if lost == _LOSSES:
                        raise WorkersLostError(
                            f"workers were lost {lost} times with nothing done in between "
                            f"({error!r:.300}): they may lack memory, or packages. Try fewer jobs"
                        ) from error
                    _log.warning("a worker was lost, and its work is done again: %r", error)
                waiting.extend(islice(left, group - len(waiting)))

    def _in_order(
        self, function: Callable[..., Any], calls: list[tuple[Any, ...]]
    ) -> Generator[Any, None, None]:
        options: dict[str, Any] = {"n_jobs": self.jobs, "batch_size": 1, "max_nbytes": None}
        try:
            parallel = Parallel(return_as="generator", **options)
        except ValueError:  # Ray gives all results of a group together
            parallel = Parallel(**options)
        found = parallel(delayed(function)(*call) for call in calls)
        try:
            for result in found:  # noqa: UP028 (yield from would close it, with a warning)
                yield result
        finally:
            if isinstance(found, Generator):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that work is cancelled, as it should be
                    found.close()

    def _engine(self) -> AbstractContextManager[None]:
        return nullcontext() if self.engine is None else engine(self.engine, self.jobs or 1)


def _interrupted(error: BaseException | None) -> bool:
    """Whether an error came up while an interrupt was handled: an engine may pass it on alone."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
