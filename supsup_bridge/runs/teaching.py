"""How a run teaches its learner one task, with a state that a checkpoint can hold."""

from collections.abc import Callable
from typing import Any

from hopmask import ConfigError, undisturbed
from supsup_bridge.continual.learned import Learned
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.data.task import Task
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.rng import stream
from supsup_bridge.runs.apart import TrainedApart
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.observer import Observer
from supsup_bridge.runs.task_data import data_on
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.runs.together import TrainedTogether
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.stores.protocols import MaskStore
from supsup_bridge.training.batches import LessonBatches
from supsup_bridge.training.data import LessonData

_Progress = Callable[[int, float], None]  # step, loss


class Teacher:
    """Teaches a learner a run's tasks, and notes in the ledger what was learned.

    Args:
        learner: the learner.
        ledger: takes digests and bytes, and which mask served which batches.
        together: trains tasks that are given, where nobody else does.
        learned: masks of the tasks, by number, to take in place of training.
    """

    def __init__(
        self,
        learner: SupSup,
        ledger: Ledger,
        *,
        together: TrainedTogether | None = None,
        learned: MaskStore | None = None,
    ) -> None:
        self.learner, self.ledger, self.learned = learner, ledger, learned
        self._together = together
        self._batches: LessonBatches | None = None  # where tasks are not given: of the one at hand
        self._used: dict[int, int] = {}  # and how many of them went to each mask
        self._begun: dict[str, Any] | None = None  # what a checkpoint holds of those batches

    def teach(
        self,
        task: Task,
        number: int,
        observer: Observer,
        pause: Callable[[], None],
        *,
        watch: Stopwatch,
        apart: TrainedApart | None = None,
    ) -> None:
        """Learn one task.

        Args:
            task: the task.
            number: of the task.
            observer: called after each step.
            pause: called where `state` can be taken.
            watch: takes the times "train" and "store".
            apart: workers that train; it is their next task.

        Raises:
            ConfigError: labels that do not fit the network, or a learned mask that is lost.
            WorkersLostError: see `TrainedApart.next`.
        """
        if apart is not None:
            with watch("train"):
                learned = apart.next(pause=pause)
            self._take(task, number, learned, watch)
            return
        data, shape = data_on(task, self.learner.network.device)
        data.check(self.learner.network.outputs)
        self.ledger.begun(task)
        steps, observed = self._steps(task), self.learner.observer is not None

        if observed:

            def progress(step: int, loss: float) -> None:
                observer.training(task, number, step, steps, loss)

            self._observe(number, data, progress, pause, watch)
            return
        with watch("train"):
            if self.learned is not None:
                masks = _learned_before(self.learned, number)
            else:
                assert self._together is not None
                masks = self._together.masks(
                    number, data, steps=steps, observer=observer, pause=pause
                )
        with watch("store"):
            learned = self.learner.learned(masks, data, image_shape=shape, task=number)
        with undisturbed():  # memory and ledger agree, whatever stops the run
            with watch("store"):
                self.learner.keep(learned, data)
            self.ledger.note(number, masks)
            self.ledger.learned({number: steps})
            if self._together is not None:
                self._together.kept(number)

    def state(self) -> dict[str, Any]:
        """Where the task at hand stands."""
        batches = None
        if self._batches is not None:
            batches = {"batches": self._batches.state(), "used": self._used}
        together = self._together.state() if self._together else None
        return {"together": together, "batches": batches}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the `state` of another run of the same settings."""
        if self._together is not None and state["together"] is not None:
            self._together.restore(state["together"])
        self._begun = state["batches"]

    def _take(self, task: Task, number: int, learned: Learned, watch: Stopwatch) -> None:
        """Keep what a worker learned of a task."""
        learner, settings = self.learner, self.learner.settings
        reads = settings.has_address and not settings.on_hubs
        data = data_on(task, learner.network.device)[0] if reads else None
        self.ledger.begun(task)
        with undisturbed():
            with watch("store"):
                learner.keep(learned, data, task=number if settings.on_hubs else None)
            self.ledger.note(self.ledger.count, learned.masks)
            self.ledger.learned({number: self._steps(task)})

    def _steps(self, task: Task) -> int:
        """Training steps of a task."""
        observed, streamed = self.learner.observer is not None, task.streamed is not None
        alone = observed or streamed or self.learner.network.pointwise  # as `Lesson` has it
        return self.learner.settings.training.steps(len(task.train_labels), alone=alone)

    def _observe(
        self,
        number: int,
        data: LessonData,
        progress: _Progress,
        pause: Callable[[], None],
        watch: Stopwatch,
    ) -> None:
        """NNs: pass a task's batches to a learner that is not given the task."""
        learner, settings = self.learner, self.learner.settings
        generator = stream(settings.seed, "batches", number)
        self._batches, self._used = data.batches(settings.training, generator), {}
        begun, self._begun = self._begun, None
        if begun is not None:
            self._batches.restore(begun["batches"])
            self._used = begun["used"]
        used = self._used
        with watch("train"):
            try:
                for images, labels in self._batches:
                    mask, loss = learner.observe(images, labels)
                    used[mask] = used.get(mask, 0) + 1
                    progress(self._batches.done, loss)
                    pause()
            except KeyboardInterrupt:
                learner.commit()
                raise
        with watch("store"):
            learner.commit()
            if number + 1 == self.ledger.tasks:
                learner.close()
        open_from = 0 if isinstance(learner.memory, MaskBank) else learner.kept.count
        for mask in range(open_from, learner.memory.count):
            self.ledger.note(mask, learner.memory.recall(task=mask).masks)
        self._batches = None
        self.ledger.learned(used)


def _learned_before(store: MaskStore, number: int) -> Masks:
    stored = store.recall(task=number)
    if not stored.verified:
        raise ConfigError(
            f"mask {number} cannot be recalled exactly from the store of learned masks: give a "
            "MaskBank, or a memory that is not too full"
        )
    return stored.masks
