"""The tasks of a run as worker processes train them, one after the other."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hopmask import ConfigError
from supsup_bridge.continual.learned import Learned
from supsup_bridge.data.task import Task
from supsup_bridge.runs.jobs import Failed, Job, forget, trained
from supsup_bridge.runs.workers import Workers

Given = Sequence[Task] | None
_FEW, _MANY = 8, 32  # tasks of a worker that wait to be stored; many where masks are all they hold


class TrainedApart:
    """What workers learned of a run's tasks, in the order of their numbers.

    Args:
        workers: who trains.
        job: what a worker needs to know.
        numbers: of the tasks.
        given: the tasks, where they are not those of the run's benchmark: each is sent to the
            worker that trains it.

    Attributes:
        waiting: the run waits for a worker, and nothing changes until it has its answer.
    """

    def __init__(self, workers: Workers, job: Job, numbers: range, *, given: Given = None) -> None:
        small = given is None and not job.preset.features
        ahead = _MANY if small else _FEW
        self._results = workers.results(trained, _calls(job, numbers, given), ahead=ahead)
        self.waiting = False

    def __enter__(self) -> "TrainedApart":
        return self

    def __exit__(self, *_: object) -> None:
        self._results.close()
        forget()

    def next(self, *, pause: Callable[[], None]) -> Learned:
        """What was learned of the next task.

        Args:
            pause: called before an interruption of the waiting is passed on.

        Raises:
            WorkersLostError: see `Workers.results`.
            ConfigError: tasks that cannot be sent to another process.
            HopmaskError: what the training of the task raised.
        """
        self.waiting = True
        try:
            found = next(self._results)
        except KeyboardInterrupt:
            self.waiting = False
            pause()
            raise
        finally:
            self.waiting = False
        if isinstance(found, Failed):
            raise found.error
        learned: Learned = found
        return learned


@contextmanager
def trained_apart(
    job: Job, workers: Workers | None, numbers: range, *, given: Given
) -> Iterator[TrainedApart | None]:
    """The tasks that are left of a run, as workers train them; None if the run itself does.

    Args:
        job: of the run.
        workers: default `Workers()`, of settings with workers.
        numbers: of the tasks.
        given: as of `TrainedApart`.

    Raises:
        ConfigError: workers of settings without.
    """
    if job.settings.workers:
        with TrainedApart(workers or Workers(), job, numbers, given=given) as apart:
            yield apart
        return
    if workers is not None:
        raise ConfigError(
            "the run trains in its own process: make it with RunSettings(workers=True)"
        )
    yield None


def _calls(job: Job, numbers: range, given: Given) -> Iterator[tuple[Job, int, Task | None]]:
    for number in numbers:
        try:
            task = None if given is None else given[number]
        except IndexError:  # the stream has ended, as its reader will find
            return
        yield job, number, task
