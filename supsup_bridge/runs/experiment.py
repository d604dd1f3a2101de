"""A run: learn the tasks of a stream one by one, keep only the store, infer tasks, and score."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopmask import ConfigError, Hit, HopmaskError, MaskMemory, Trace
from supsup_bridge.continual.task_agnostic.learner import TaskAgnosticLearner
from supsup_bridge.continual.task_agnostic.staged_memory import StagedMemory
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.data.task import Task
from supsup_bridge.inference.signatures import DESCRIBED, signature_named
from supsup_bridge.networks import registry as architectures
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.rng import stream, stream_seed
from supsup_bridge.runs.evaluation import Scorer, Scores
from supsup_bridge.runs.factories import Asking, novelty_interval
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.metrics import mask_digest
from supsup_bridge.runs.observer import Observer
from supsup_bridge.runs.presets import Preset, resolved
from supsup_bridge.runs.result import result_of
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.stores.protocols import MaskStore
from supsup_bridge.training.batches import Batches, check_labels
from supsup_bridge.training.data import TensorData
from supsup_bridge.training.fit import Lesson
from supsup_bridge.training.scores import binariser

_Progress = Callable[[int, float], None]  # step, loss
_CHECKED = 5  # tasks whose recall part is looked at before a run; the rest when they are scored


class StreamEndedError(HopmaskError, RuntimeError):
    """A task stream ended before the tasks that the run was to learn."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One task's recall, step by step: overlap with each recalled-by-number mask (steps, masks).

    `right` holds the numbers of the masks that count as the task's.
    """

    number: int
    right: set[int]
    hit: Hit
    trace: Trace
    overlaps: Tensor


class Experiment:
    """One run, from the settings to the figures of `result.json`.

    With a Hopfield memory a task's masks are gone after `store`: what remains is the memory, and a
    digest of each learned mask, kept for measuring `exact_recall_rate` and never shown to a recall.

    Args:
        settings: what to run.
        data: folder of the data set's files, where the benchmark needs one.
        tasks: tasks of your own in place of the benchmark's, of which `settings.tasks` are learned;
            the preset stays the benchmark's.
        learned: masks of these very tasks, by number, to take in place of training; for comparing
            stores on the same masks. Only a run of the same settings but for the store made them.

    Raises:
        ConfigError: settings that do not fit together; in `run`, learned masks that are lost.
        DataError: data missing, truncated or altered.

    Example:
        >>> experiment = Experiment(RunSettings(bits=256, quick=True))
        >>> experiment.result()["masks_allocated"]
        0

    Source:
        Protocol: unlabelled recall images and scored images are disjoint; the task is inferred once
        for every 128 scored images (the paper's batch).
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        data: Path | None = None,
        tasks: Sequence[Task] | None = None,
        learned: MaskStore | None = None,
    ) -> None:
        self.learned = learned
        self.preset: Preset = resolved(settings)
        self.settings = settings
        self.device = device_named(settings.device)
        self.samples = self.preset.infer_samples
        self.stream: Sequence[Task] = (
            tasks
            if tasks is not None
            else task_stream(
                settings.benchmark, seed=settings.seed, tasks=_tasks(settings), data=data
            )
        )
        self._check_samples(self.samples)
        first = self.stream[0]
        inputs = first.inference_images.shape[1]
        if first.inference_images.ndim != 2:
            raise ConfigError(
                f"images must be flat, (n, pixels), got {tuple(first.inference_images.shape)}: "
                "flatten them; a module of yours can begin with nn.Unflatten"
            )
        self.labels = max(task.classes for task in self.stream)
        if self.labels > self.preset.outputs:
            raise ConfigError(
                f"{settings.benchmark} has {self.labels} labels, the network {self.preset.outputs} "
                f"outputs: set --output-size to at least {self.labels}"
            )
        self.network = architectures.build(
            self.preset.network,
            masks=str(settings.masks),
            inputs=inputs,
            outputs=self.preset.outputs,
            bits=self.preset.bits,
            weights=stream(settings.seed, "network"),
            spread=stream(settings.seed, "map"),
        ).to(self.device)
        binariser(self.network, settings.sparsity)  # refuses now what training would refuse
        self.signature = signature_named(settings.signature or "input", self.network)
        self.asking = self._asking(settings, self.preset)
        self.memory = self._memory()
        seen = first.inference_images[: self.samples].to(self.device)
        architectures.check_fits(self.network, seen, name=self.preset.network)
        self.watch = _watch()
        self.free = self._learner() if settings.scenario == "NNs" else None
        self.ledger = Ledger(tasks=_tasks(settings))
        self._lesson: Lesson | None = None  # where tasks are told: the one being learned
        self._batches: Batches | None = None  # where not: of the task at hand
        self._used: dict[int, int] = {}  # and how many of them went to each mask
        self._scoring: tuple[int, Scores] | None = None  # an evaluation after so many tasks
        self._taken_up: dict[str, Any] = {}  # what a checkpoint holds of the task at hand

    def run(self, observer: Observer, *, pause: Callable[[], None] = lambda: None) -> None:
        """Learn and score every task that is left; what was done stays readable throughout.

        Args:
            observer: told what the run does.
            pause: called wherever the run's `state` is one to go on from: after each training step,
                each task that was learned, and each that was scored.

        Raises:
            StreamEndedError: there are fewer tasks than the settings say; those are learned.
        """
        total = _tasks(self.settings)
        while (number := len(self.ledger.matrix)) < total:
            try:
                task = self.stream[number]
            except IndexError:
                if number and self.ledger.curve[-1]["tasks"] < number:
                    self.evaluate(observer)
                raise StreamEndedError(
                    f"the task stream ended after {number} of {total} tasks: set tasks to "
                    f"{number}, or give a longer stream. What was learned stays readable"
                ) from None
            if self.ledger.count == number:
                self._learn_task(task, number, observer, pause)
                pause()
            if self.settings.is_due(number + 1):
                self.evaluate(observer, pause=pause)
            else:
                self._score_newest(observer)
            observer.learned(task, number)
            pause()

    def _learn_task(
        self, task: Task, number: int, observer: Observer, pause: Callable[[], None]
    ) -> None:
        images, labels = task.train_images.to(self.device), task.train_labels.to(self.device)
        check_labels(images, labels, self.network.outputs)
        self.ledger.begun(task)
        steps = self.preset.training.steps(len(images))

        def told(step: int, loss: float) -> None:
            observer.training(task, number, step, steps, loss)

        if self.free is None:
            self._learn(number, images, labels, told, pause)
        else:
            self._learn_untold(self.free, number, images, labels, told, pause)

    def _learn(
        self,
        number: int,
        images: Tensor,
        labels: Tensor,
        progress: _Progress,
        pause: Callable[[], None],
    ) -> None:
        seed, training = self.settings.seed, self.preset.training
        transfer = self.preset.mask_init == "mean" and self.memory.count > 0
        with self.watch("train"):
            if self.learned is not None:
                masks = self._learned_before(self.learned, number)
            else:
                self._lesson = Lesson(
                    self.network,
                    TensorData(images, labels),
                    training,
                    scores=self._starts(number),
                    batches=stream(seed, "batches", number),
                    mean=self.memory.mean if transfer else None,
                )
                if (begun := self._taken_up.pop("lesson", None)) is not None:
                    self._lesson.restore(begun)
                masks = self._lesson.run(progress, pause=pause)
        with self.watch("store"):
            hopfield = isinstance(self.memory, MaskMemory)
            addressed = hopfield and self.preset.features > 0
            self.memory.store(masks, signature=self._described(images) if addressed else None)
        self._lesson = None
        self.ledger.digests.append(mask_digest(masks))
        self.ledger.learned({number: training.steps(len(images))})

    def _learned_before(self, store: MaskStore, number: int) -> Masks:
        stored = store.recall(task=number)
        if not stored.verified:
            raise ConfigError(
                f"mask {number} cannot be recalled exactly from the store of learned masks: give a "
                "MaskBank, or a memory that is not too full"
            )
        return stored.masks

    def _learn_untold(
        self,
        learner: TaskAgnosticLearner,
        number: int,
        images: Tensor,
        labels: Tensor,
        progress: _Progress,
        pause: Callable[[], None],
    ) -> None:
        """NNs: pass a task's batches to a learner that is not told where one task ends."""
        generator = stream(self.settings.seed, "batches", number)
        self._batches, self._used = Batches(len(images), self.preset.training, generator), {}
        if (begun := self._taken_up.pop("untold", None)) is not None:
            self._batches.restore(begun["batches"])
            self._used = begun["used"]
        used = self._used
        with self.watch("train"):
            try:
                for chosen in self._batches:
                    where = chosen.to(self.device)
                    mask, loss = learner.learn(images[where], labels[where])
                    used[mask] = used.get(mask, 0) + 1
                    progress(self._batches.done, loss)
                    pause()
            except KeyboardInterrupt:
                learner.commit()
                raise
        with self.watch("store"):
            learner.commit()
            if number + 1 == _tasks(self.settings):
                self.close()
        open_from = 0 if isinstance(self.memory, MaskBank) else self.hopfield.count
        for mask in range(open_from, self.memory.count):
            self._note(mask, self.memory.recall(task=mask).masks)
        self._batches = None
        self.ledger.learned(used)

    def _note(self, mask: int, masks: Masks) -> None:
        """Note the digest of a mask as it was learned."""
        self.ledger.digests[mask : mask + 1] = [mask_digest(masks)]

    def _described(self, images: Tensor) -> Tensor:
        """Signatures of a task's images, or of as many, evenly spread, as the address is given."""
        chosen = torch.linspace(0, len(images) - 1, min(len(images), DESCRIBED)).long()
        return self.signature(images[chosen.to(images.device)])

    def evaluate(self, observer: Observer, *, pause: Callable[[], None] = lambda: None) -> None:
        """Score every task learned so far: one more whole row of the accuracy matrix.

        An evaluation that was interrupted is gone on with, unless more was learned since.
        """
        count = self.ledger.count
        if self._scoring is None or self._scoring[0] != count:
            self._scoring = (count, Scores(row=[None] * self.ledger.tasks))
        _, scores = self._scoring
        for number in range(count):
            if scores.row[number] is None:
                self._score(number, scores, observer)
                pause()
        self._scoring = None
        self.ledger.scored(scores, whole=True)

    def change_inference(self, settings: RunSettings) -> None:
        """Infer tasks in another way from now on; what was learned stays as it is.

        Earlier scores are of the other way: the accuracy matrix and the curve begin anew, and so do
        the seconds.

        Args:
            settings: the run's own, but for recall, inference, objective or infer_samples.

        Raises:
            ConfigError: settings that differ in anything else.
        """
        free = ("recall", "inference", "objective", "infer_samples")
        here, there = asdict(self.settings), asdict(settings)
        fixed = [name for name in here if name not in free and here[name] != there[name]]
        if fixed:
            raise ConfigError(f"a run cannot change its {', '.join(fixed)}: start another one")
        preset = resolved(settings)
        self._check_samples(preset.infer_samples)
        self.asking = self._asking(settings, preset)
        self.settings, self.preset, self.samples = settings, preset, preset.infer_samples
        self.ledger.start_anew()
        self._scoring = None
        self.watch = _watch()

    def _score_newest(self, observer: Observer) -> None:
        scores = Scores(row=[None] * self.ledger.tasks)
        self._score(self.ledger.count - 1, scores, observer)
        self.ledger.scored(scores, whole=False)

    def _score(self, number: int, scores: Scores, observer: Observer) -> None:
        """Score one task after learning all so far."""
        after, task = self.ledger.count - 1, self.stream[number]
        told = self.ledger.mask_of(number)
        accepted = self._accepted(number)
        scorer = Scorer(
            network=self.network,
            store=self.memory,
            scenario=self.settings.scenario,
            device=self.device,
            watch=self.watch,
        )
        found = Scores(row=[])
        accuracy = scorer.score(
            task,
            told=told,
            accepted=accepted,
            digest=self.ledger.digests[told] if told in accepted else "",
            inference=self.asking.inference(self.memory, after, number),
            samples=self.samples,
            generator=stream(self.settings.seed, "evaluation", after, number),
            scores=found,
        )
        scores.add(number, accuracy, found)
        observer.evaluated(task, number, after, accuracy)

    def _accepted(self, number: int) -> set[int]:
        """The masks that count as a task's."""
        return self.ledger.masks_of(number) if self.free else {number}

    def _check_samples(self, samples: int) -> None:
        if len(self.stream) == 0:
            raise ConfigError("there are no tasks to learn: give at least one")
        smallest = min(len(task.inference_images) for task in self.stream[:_CHECKED])
        if samples > smallest:
            raise ConfigError(
                f"a recall of {self.settings.benchmark} can see at most {smallest} images (its "
                f"recall part), got infer_samples={samples}"
            )

    def close(self) -> None:
        """NNs on a Hopfield memory: store the mask that is open; the run cannot be gone on with."""
        if isinstance(self.memory, StagedMemory):
            self.memory.close()

    @property
    def kept(self) -> MaskMemory | MaskBank:
        """What holds the masks, but for one that is still open; its file is the run's."""
        return self.memory.memory if isinstance(self.memory, StagedMemory) else self.memory

    @property
    def memory_state(self) -> object:
        """Something that differs whenever `kept` holds something else."""
        learner = self.free if isinstance(self.memory, MaskBank) else None
        return self.kept.count, learner and learner.seen

    def state(self) -> dict[str, Any]:
        """All that the run depends on from here on, but for `kept` and what the settings say."""
        untold = None
        if self._batches is not None:
            untold = {"batches": self._batches.state(), "used": self._used}
        return {
            "ledger": self.ledger.state(),
            "seconds": self.watch.seconds(),
            "scoring": asdict(self._scoring[1]) if self._scoring else None,
            "lesson": self._lesson.state() if self._lesson else None,
            "untold": untold,
            "learner": self.free.state() if self.free else None,
            "open": self.memory.state() if isinstance(self.memory, StagedMemory) else None,
        }

    def restore(self, state: dict[str, Any], memory: MaskMemory | MaskBank) -> None:
        """Take up a run of the same settings where its `state` was taken, and go on with `run`.

        On the CPU of one machine, what comes out is the same to the bit as without a break.

        Args:
            state: of the other run.
            memory: what it had `kept`, on this run's device.
        """
        if isinstance(self.memory, StagedMemory):
            assert isinstance(memory, MaskMemory)  # a bank has no open memory
            self.memory.restore(memory, state["open"])
        else:
            self.memory = memory
        if self.free is not None:
            self.free = self._learner()
            self.free.restore(state["learner"], device=self.device)
        self.ledger.restore(state["ledger"])
        self.watch.restore(state["seconds"])
        if state["scoring"] is not None:
            self._scoring = (self.ledger.count, Scores(**state["scoring"]))
        self._taken_up = {name: state[name] for name in ("lesson", "untold")}

    @property
    def hopfield(self) -> MaskMemory:
        """The Hopfield memory, also where an open mask stands beside it.

        Raises:
            ConfigError: the run keeps its masks in a bank.
        """
        if isinstance(self.kept, MaskBank):
            raise ConfigError("a bank is no Hopfield memory: run with --memory hopfield")
        return self.kept

    def _memory(self) -> MaskMemory | MaskBank | StagedMemory:
        if self.settings.memory == "bank":
            return MaskBank(self.network.mask_sizes, device=self.device)
        memory = MaskMemory(
            self.network.mask_sizes,
            rule=self.settings.rule or self.preset.rule,
            seed=stream_seed(self.settings.seed, "memory"),
            key_bits=self.preset.key_bits,
            signature_features=self.preset.features,
            device=self.device,
        )
        if self.settings.scenario != "NNs":
            return memory
        return StagedMemory(
            memory,
            signature=self.signature if self.preset.features else None,
            closed=self._note,
        )

    def _asking(self, settings: RunSettings, preset: Preset) -> Asking:
        labels, signature = self.labels, self.signature
        return Asking(settings, preset, self.network, labels=labels, signature=signature)

    def _learner(self) -> TaskAgnosticLearner:
        seed = self.settings.seed
        memory = self.memory
        assert isinstance(memory, MaskBank | StagedMemory)  # what can replace its newest mask
        return TaskAgnosticLearner(
            self.asking.novelty(memory),
            self.preset.training,
            ask_every=novelty_interval(
                self.settings,
                self.preset,
                [len(task.train_labels) for task in self.stream[:_CHECKED]],
            ),
            budget=self.settings.budget,
            transfer=self.preset.mask_init == "mean",
            scores=self._starts,
            noise=lambda mask: stream(seed, "noise", mask),
            trained=memory.observe if isinstance(memory, StagedMemory) else lambda images: None,
        )

    def _starts(self, mask: int) -> torch.Generator:
        """Of a mask's starting scores."""
        shared = self.preset.mask_init == "shared"
        return stream(self.settings.seed, "scores", 0 if shared else mask)

    def record(self, *, most: int = 10) -> Iterator[Recorded]:
        """Recall the first tasks once more from their recall images, step by step, for a plot.

        Args:
            most: how many tasks at most.
        """
        memory = self.hopfield
        learned = [memory.recall(task=i).masks for i in range(min(most, memory.count))]
        for number in range(min(most, self.ledger.count)):
            generator = stream(self.settings.seed, "record", number)
            inference = self.asking.recall(memory, memory.count, number)
            pool = self.stream[number].inference_images.to(self.device)
            sets = inference.sets(pool, sets=1, samples=self.samples, generator=generator)
            hit, trace = inference.trace(sets[0])
            overlaps = [memory.overlap(trace.states[:, 0], masks) for masks in learned]
            yield Recorded(
                number=number,
                right=self._accepted(number),
                hit=hit,
                trace=trace,
                overlaps=torch.stack(overlaps, 1),
            )

    def names(self) -> list[str]:
        """Names of the tasks learned so far."""
        return self.ledger.names[: self.ledger.count]

    def mask_names(self) -> list[str]:
        """Names of the masks learned: of their tasks, where these were told."""
        if self.free is None:
            return self.names()
        return [f"mask {number}" for number in range(self.memory.count)]

    def result(self) -> dict[str, Any]:
        """The figures of `result.json`, of the tasks evaluated so far."""
        return result_of(self)


def _watch() -> Stopwatch:
    return Stopwatch("train", "store", "recall", "evaluate")


def _tasks(settings: RunSettings) -> int:
    assert settings.tasks is not None  # filled in by RunSettings
    return settings.tasks


def device_named(name: str) -> torch.device:
    """The device of a run's settings; "auto" is CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' is not available here: use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
