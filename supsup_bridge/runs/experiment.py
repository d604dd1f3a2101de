"""A run: learn the tasks of a stream one by one, keep only the store, infer tasks, and score."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hopmask import ConfigError, HopmaskError, MaskMemory
from supsup_bridge.continual.building import device_named
from supsup_bridge.continual.inferences import Memory
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.continual.task_agnostic.in_place_memory import InPlaceMemory
from supsup_bridge.continual.task_agnostic.learner import TaskAgnosticLearner
from supsup_bridge.data.task import Task
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.networks.grad_mode import outside_inference
from supsup_bridge.networks.registry import check_fits
from supsup_bridge.runs.apart import TrainedApart, trained_apart
from supsup_bridge.runs.evaluation import Scores
from supsup_bridge.runs.factories import learner_of, new_inference
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.observer import Observer
from supsup_bridge.runs.prepared import check_samples, completed, prepared
from supsup_bridge.runs.presets import Preset
from supsup_bridge.runs.recording import Recorded, recorded
from supsup_bridge.runs.result import result_of
from supsup_bridge.runs.schedule import is_newest_due, is_point, tasks_of_point
from supsup_bridge.runs.scoring import RunScorer
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.teaching import Teacher
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.runs.together import TrainedTogether
from supsup_bridge.runs.workers import Workers
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.stores.protocols import MaskStore


class StreamEndedError(HopmaskError, RuntimeError):
    """A task stream ended before the tasks that the run was to learn."""


class Experiment:
    """One run, from the settings to the figures of `result.json`: a loop over a learner.

    With a Hopfield memory a task's masks are gone after `store`: what remains is the memory, and a
    digest of each learned mask, kept for measuring `exact_recall_rate` and never shown to a recall.

    Args:
        settings: what to run.
        data: folder of the data set's files, where the benchmark needs one.
        tasks: tasks of the user's in place of the benchmark's, of which `settings.tasks` are
            learned; the preset stays the benchmark's.
        learned: masks of these very tasks, by number, in place of training, for comparing stores;
            made by a run of the same settings but for the store.

    Raises:
        ConfigError: settings that do not fit together; in `run`, learned masks that are lost.
        DataError: data missing, truncated or altered.

    Example:
        >>> experiment = Experiment(RunSettings(quick=True))
        >>> experiment.result()["masks_allocated"]
        0

    Source:
        Protocol: inference and scored images are disjoint; one inference serves 128 scored images.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        data: str | Path | None = None,
        tasks: Sequence[Task] | None = None,
        learned: MaskStore | None = None,
    ) -> None:
        if settings.workers and learned is not None:
            raise ConfigError("workers train tasks, and learned= brings their masks: leave out one")
        begun = prepared(settings, data=data, tasks=tasks)
        self.stream, self._job, self._given = begun.stream, begun.job, tasks is not None
        self._settings, self._preset = begun.settings, begun.preset
        self.ledger = Ledger(tasks=_tasks(begun.settings))
        self.learner: SupSup = learner_of(
            begun.settings,
            begun.preset,
            begun.form,
            device=device_named(settings.device),
            closed=self.ledger.note,
        )
        seen = self.stream[0].inference_images[: self.samples].to(self.device)
        check_fits(self.network, seen, name=self.preset.network)
        self.watch = _watch()
        together = TrainedTogether(self.learner, begun.settings, lambda n: self.stream[n])
        self._teacher = Teacher(self.learner, self.ledger, together=together, learned=learned)
        self._scoring: tuple[int, Scores] | None = None  # an evaluation after so many tasks
        self._apart: TrainedApart | None = None  # what workers train, while they do

    @property
    def settings(self) -> RunSettings:
        """What is run."""
        return self._settings

    @property
    def preset(self) -> Preset:
        """The benchmark's defaults with what the settings change in them."""
        return self._preset

    @property
    def samples(self) -> int:
        """Images that one task inference sees."""
        return self._preset.infer_samples

    @property
    def waiting(self) -> bool:
        """Whether the run does nothing but wait for a worker, so that it can be stopped there."""
        return self._apart is not None and self._apart.waiting

    @property
    def network(self) -> FixedNetwork:
        """The fixed network."""
        return self.learner.network

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        return self.network.device

    @property
    def memory(self) -> Memory:
        """Where the masks go."""
        return self.learner.memory

    @property
    def kept(self) -> MaskMemory | MaskBank:
        """What holds the masks, except for one in training; its file is the run's."""
        return self.learner.kept

    @property
    def free(self) -> TaskAgnosticLearner | None:
        """NNs: what decides about new masks."""
        return self.learner.observer

    @property
    def hopfield(self) -> MaskMemory:
        """The Hopfield memory, also where a mask in training stands beside it.

        Raises:
            ConfigError: the run keeps its masks in a bank.
        """
        if isinstance(self.kept, MaskBank):
            raise ConfigError("a bank is no Hopfield memory: run with --memory hopfield")
        return self.kept

    @property
    def memory_state(self) -> object:
        """Something that differs whenever `kept` holds something else."""
        trained = self.free if isinstance(self.memory, MaskBank | InPlaceMemory) else None
        return self.kept.count, trained and trained.writes

    @outside_inference
    def run(
        self,
        observer: Observer,
        *,
        pause: Callable[[], None] = lambda: None,
        workers: Workers | None = None,
    ) -> None:
        """Learn and score every task that is left; what was done stays readable throughout.

        Args:
            observer: called with what the run does.
            pause: called wherever a run can continue from `state`, as after each training step.
            workers: who trains, ahead, for `RunSettings(workers=True)`; default `Workers()`.

        Raises:
            ConfigError: workers of settings without, or tasks that cannot be sent to them.
            StreamEndedError: there are fewer tasks than the settings say; those are learned.
            WorkersLostError: workers were lost again and again; what was learned stays.
        """
        left = range(self.ledger.count, self.ledger.tasks)
        given = self.stream if self._given else None
        with trained_apart(self._job, workers, left, given=given) as self._apart:
            while (number := len(self.ledger.matrix)) < self.ledger.tasks:
                try:
                    task = self.stream[number]
                except IndexError:
                    if not self.ledger.is_whole:
                        self.evaluate(observer)
                    raise _ended(number, self.ledger.tasks) from None
                if self.ledger.count == number:
                    self._teacher.teach(
                        task, number, observer, pause, watch=self.watch, apart=self._apart
                    )
                    pause()
                if is_point(number + 1, self.settings):
                    self.evaluate(observer, pause=pause, last=number + 1 == self.ledger.tasks)
                else:
                    self._score_newest(observer)
                observer.learned(task, number)
                pause()

    @outside_inference
    def evaluate(
        self, observer: Observer, *, pause: Callable[[], None] = lambda: None, last: bool = True
    ) -> None:
        """Score the tasks learned so far: one more point of the curve.

        Unless it is the `last` point, it scores 100 of more than 100 tasks. An interrupted
        evaluation continues, unless more was learned since.
        """
        count, seed = self.ledger.count, self.settings.seed
        if self._scoring is None or self._scoring[0] != count:
            self._scoring = (count, Scores())
        _, scores = self._scoring
        scorer = self._scorer()
        for group in scorer.groups(range(count) if last else tasks_of_point(count, seed=seed)):
            if not scores.row.keys() >= {*group}:
                scorer.score(group, scores, observer, pause=pause)
        self._scoring = None
        self.ledger.scored(scores, point=True)

    def change_inference(self, settings: RunSettings) -> None:
        """Infer tasks in another way from now on; what was learned stays as it is.

        Earlier scores are of the other way: accuracy matrix, curve and seconds begin anew.

        Args:
            settings: the run's own, but for how tasks are inferred.

        Raises:
            ConfigError: settings that differ in anything else.
        """
        settings, preset = completed(settings, self.stream)
        free = ("recall", "inference", "objective", "infer_samples", "protocol")
        here, there = asdict(self.settings), asdict(settings)
        fixed = [name for name in here if name not in free and here[name] != there[name]]
        if fixed:
            raise ConfigError(f"a run cannot change its {', '.join(fixed)}: start another one")
        check_samples(self.stream, preset.infer_samples, settings.benchmark)
        self.learner.change_inference(**new_inference(settings, preset))
        self._settings, self._preset = settings, preset
        self.ledger.start_anew()
        self._scoring, self.watch = None, _watch()

    def _score_newest(self, observer: Observer) -> None:
        scores, count = Scores(), self.ledger.count
        if is_newest_due(count):
            self._scorer().score([count - 1], scores, observer)
        self.ledger.scored(scores, point=False)

    def _scorer(self) -> RunScorer:
        return RunScorer(
            self.learner,
            self.ledger,
            self.settings,
            self.stream,
            accepted=self._accepted,
            samples=self.samples,
            watch=self.watch,
        )

    def _accepted(self, number: int) -> set[int]:
        """The masks that count as a task's."""
        return self.ledger.masks_of(number) if self.free else {number}

    def close(self) -> None:
        """NNs: store the mask in training for good; the run cannot be continued."""
        self.learner.close()

    def save(self, folder: str | Path) -> None:
        """Write the learner into a folder, for `SupSup.load` and `supsup predict`.

        Raises:
            ConfigError: NNs: a mask is in training; call close() first.
            StoreFileError: the folder cannot be written to.
        """
        self.learner.save(folder)

    def state(self) -> dict[str, Any]:
        """All that the run depends on from here on, except for `kept` and the settings."""
        return {
            "ledger": self.ledger.state(),
            "seconds": self.watch.seconds(),
            "scoring": asdict(self._scoring[1]) if self._scoring else None,
            "task": self._teacher.state(),
            "learner": self.learner.state(),
        }

    def restore(self, state: dict[str, Any], memory: MaskMemory | MaskBank) -> None:
        """Continue a run of the same settings from its `state`, with `run`.

        On the CPU of one machine, what comes out is the same to the bit as without a break.

        Args:
            state: of the other run.
            memory: what it had `kept`, on this run's device.
        """
        self.learner.restore(state["learner"], memory)
        self.ledger.restore(state["ledger"])
        self.watch.restore(state["seconds"])
        if state["scoring"] is not None:
            self._scoring = (self.ledger.count, Scores(**state["scoring"]))
        self._teacher.restore(state["task"])

    def record(self, *, most: int = 10) -> Iterator[Recorded]:
        """Recall the first tasks once more from inference images, step by step, for a plot."""
        return recorded(
            self.learner.inferences,
            self.hopfield,
            self.stream[: min(most, self.ledger.count)],
            most=most,
            accepted=self._accepted,
            samples=self.samples,
            seed=self.settings.seed,
        )

    def names(self) -> list[str]:
        """Names of the tasks learned so far."""
        return self.ledger.names[: self.ledger.count]

    def mask_names(self) -> list[str]:
        """Names of the masks learned: of their tasks, where these were given."""
        masks = range(self.memory.count)
        return self.names() if self.free is None else [f"mask {number}" for number in masks]

    def result(self) -> dict[str, Any]:
        """The figures of `result.json`, of the tasks evaluated so far."""
        return result_of(self)


def _watch() -> Stopwatch:
    return Stopwatch("train", "store", "recall", "evaluate")


def _tasks(settings: RunSettings) -> int:
    assert settings.tasks is not None  # filled in by RunSettings, or once the data is read
    return settings.tasks


def _ended(number: int, total: int) -> StreamEndedError:
    return StreamEndedError(
        f"the task stream ended after {number} of {total} tasks: set tasks to {number}, or give a "
        "longer stream. What was learned stays readable"
    )
