"""A part of a run's tasks, learned apart from the others and scored once all are merged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hopmask import ConfigError, MaskMemory
from hopmask.errors import MemoryFullError
from supsup_bridge.continual.building import device_named
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.networks.masked import PER_WEIGHT
from supsup_bridge.runs.apart import TrainedApart
from supsup_bridge.runs.factories import learner_of
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.observer import Observer
from supsup_bridge.runs.prepared import prepared
from supsup_bridge.runs.presets import Preset
from supsup_bridge.runs.settings import RunSettings, power_of_two
from supsup_bridge.runs.teaching import Teacher
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.runs.workers import Workers
from supsup_bridge.stores.bank import MaskBank


class Shard:
    """Tasks of a run that are learned into a memory of the whole run's form, and not scored.

    Args:
        settings: of the whole run, with `workers` and weight masks in a Hopfield memory.
        numbers: of the tasks, of step 1.
        data: folder of the data set's files, where the benchmark needs one.

    Attributes:
        stream: the tasks of the whole run.
        ledger: what was learned, in the order of the tasks; without scores.
        learner: has learned the tasks, under their numbers.
        watch: seconds of "train" and "store".

    Raises:
        ConfigError: settings whose memories do not add up, or tasks that the benchmark lacks.
        MemoryFullError: numbers beyond the hubs.

    Example:
        >>> shard = Shard(RunSettings(quick=True, workers=True), range(2, 4))
        >>> shard.ledger.tasks, shard.kept.capacity
        (2, 8)
    """

    def __init__(
        self, settings: RunSettings, numbers: range, *, data: str | Path | None = None
    ) -> None:
        if settings.memory != "hopfield" or settings.masks not in PER_WEIGHT:
            raise ConfigError(
                "memories that are learned in parts add up on hubs alone: use --memory hopfield "
                "and --masks weight or signed"
            )
        if not settings.workers:
            raise ConfigError("a shard is trained by workers: use RunSettings(workers=True)")
        begun = prepared(settings, data=data)
        tasks = begun.settings.tasks or 0
        if not numbers or not 0 <= numbers.start < numbers.stop <= tasks:
            raise ConfigError(
                f"tasks {numbers.start}:{numbers.stop} are not of the {tasks} tasks of "
                f"{settings.benchmark}: give A:B with 0 <= A < B <= {tasks}"
            )
        hubs = settings.hubs or power_of_two(tasks)
        if numbers.stop > hubs:
            raise MemoryFullError(
                f"{hubs} hubs hold tasks 0 to {hubs - 1}, and the shard has {numbers.stop - 1}: "
                f"give all shards --hubs {power_of_two(numbers.stop)}, or more"
            )
        self.numbers, self.stream, self._begun = numbers, begun.stream, begun
        self.ledger = Ledger(tasks=len(numbers))
        self.learner: SupSup = learner_of(
            begun.settings,
            begun.preset,
            begun.form,
            device=device_named(settings.device),
            closed=self.ledger.note,
        )
        self.watch = Stopwatch("train", "store")
        self._teacher = Teacher(self.learner, self.ledger)
        self._apart: TrainedApart | None = None

    @property
    def settings(self) -> RunSettings:
        """Of the whole run."""
        return self._begun.settings

    @property
    def preset(self) -> Preset:
        """The benchmark's defaults with what the settings change in them."""
        return self._begun.preset

    @property
    def device(self) -> torch.device:
        """Where the shard computes."""
        return self.learner.network.device

    @property
    def kept(self) -> MaskMemory | MaskBank:
        """The memory."""
        return self.learner.kept

    @property
    def memory_state(self) -> object:
        """Something that differs whenever `kept` holds something else."""
        return self.kept.count

    @property
    def waiting(self) -> bool:
        """As in `Experiment`."""
        return self._apart is not None and self._apart.waiting

    def run(
        self,
        observer: Observer,
        *,
        pause: Callable[[], None] = lambda: None,
        workers: Workers | None = None,
    ) -> None:
        """Learn every task that is left; arguments and errors as of `Experiment.run`."""
        left = self.numbers[self.ledger.count :]
        with TrainedApart(workers or Workers(jobs=1), self._begun.job, left) as self._apart:
            for number in left:
                task = self.stream[number]
                self._teacher.teach(
                    task, number, observer, pause, watch=self.watch, apart=self._apart
                )
                observer.learned(task, number)
                pause()

    def state(self) -> dict[str, Any]:
        """All but `kept`, the settings and the numbers."""
        return {
            "ledger": self.ledger.state(),
            "seconds": self.watch.seconds(),
            "learner": self.learner.state(),
        }

    def restore(self, state: dict[str, Any], memory: MaskMemory | MaskBank) -> None:
        """Continue from the `state` of a shard of the same settings and numbers."""
        self.learner.restore(state["learner"], memory)
        self.ledger.restore(state["ledger"])
        self.watch.restore(state["seconds"])
