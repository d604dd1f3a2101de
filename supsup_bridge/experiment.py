"""A run: learn the tasks of a stream one by one, keep only the store, infer tasks, and score."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from torch import Tensor

import hopmask
from hopmask import ConfigError, Hit, HopmaskError, MaskMemory, Trace
from supsup_bridge import architectures, metrics
from supsup_bridge.bank import MaskBank
from supsup_bridge.features import KernelMean
from supsup_bridge.inference import TaskInference, inference_named
from supsup_bridge.metrics import mask_digest
from supsup_bridge.novelty import FreeLearner, NoveltyTest
from supsup_bridge.objectives import Objective, entropy, objective_named
from supsup_bridge.presets import Preset, preset
from supsup_bridge.recall import PAPER_STEPS, PaperInference, RecallInference
from supsup_bridge.scoring import Scorer, Scores, mean
from supsup_bridge.settings import RunSettings
from supsup_bridge.streams import stream, stream_seed
from supsup_bridge.task import Task
from supsup_bridge.tasks import task_stream
from supsup_bridge.timing import Stopwatch
from supsup_bridge.training import batches_of, check_labels, train_mask

_Progress = Callable[[int, int, float], None]  # step, steps, loss
_FEATURES = 4096  # of the signature
_CHECKED = 5  # tasks whose recall part is looked at before a run; the rest when they are scored


class StreamEndedError(HopmaskError, RuntimeError):
    """A task stream ended before the tasks that the run was to learn."""


class Observer(Protocol):
    """Told what a run is doing; for progress."""

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        """Step `step` of `steps` of training task `number` is done."""
        ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        """Task `number` was scored after learning task `after`."""
        ...

    def learned(self, task: Task, number: int) -> None:
        """Task `number` was learned, stored and scored; results so far can be read."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One task's recall, step by step: overlap with each recalled-by-number mask (steps, tasks)."""

    number: int
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
        tasks: tasks of your own in place of the benchmark's; the preset stays the benchmark's.

    Raises:
        ConfigError: settings that do not fit together.
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
    ) -> None:
        self.preset: Preset = _resolved(settings)
        self.settings = settings
        self.device = _device(settings.device)
        self.samples = self.preset.infer_samples
        self.stream: Sequence[Task] = (
            tasks
            if tasks is not None
            else task_stream(
                settings.benchmark, seed=settings.seed, tasks=_tasks(settings), data=data
            )
        )
        self._check_samples()
        first = self.stream[0]
        inputs = first.recall_images.shape[1]
        self.labels = first.classes
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
        self.objective = self._objective()
        self.memory = self._memory()
        self.signature = KernelMean(
            inputs, features=_FEATURES, generator=stream(settings.seed, "signature")
        )
        self.watch = Stopwatch("train", "store", "recall", "evaluate")
        self._free = self._learner() if settings.scenario == "NNs" else None
        self._digests: list[str] = []
        self._used: list[list[int]] = []  # of each task, the training batches of each mask
        self._matrix: list[list[float | None]] = []
        self._curve: list[dict[str, Any]] = []
        self._scores = Scores(row=[])  # of the last whole evaluation

    def run(self, observer: Observer) -> None:
        """Learn and score every task; what was done before an interruption stays readable.

        Raises:
            StreamEndedError: there are fewer tasks than the settings say; those are learned.
        """
        total = _tasks(self.settings)
        for number in range(total):
            try:
                task = self.stream[number]
            except IndexError:
                raise StreamEndedError(
                    f"the task stream ended after {number} of {total} tasks: give --tasks "
                    f"{number}, or a longer stream. What was learned stays readable"
                ) from None
            images, labels = task.train_images.to(self.device), task.train_labels.to(self.device)
            check_labels(images, labels, self.network.outputs)
            told = partial(observer.training, task, number)
            if self._free is None:
                self._learn(number, images, labels, told)
            else:
                self._learn_untold(self._free, number, images, labels, told)
            del images, labels
            if self._due(number + 1):
                self.evaluate(observer)
            else:
                self._score_newest(observer)
            observer.learned(task, number)

    def _learn(self, number: int, images: Tensor, labels: Tensor, progress: _Progress) -> None:
        seed, training = self.settings.seed, self.preset.training
        steps = training.steps(len(images))
        transfer = self.settings.mask_init == "mean" and self.memory.count > 0
        with self.watch("train"):
            masks = train_mask(
                self.network,
                images,
                labels,
                training,
                scores=stream(seed, "scores", number),
                batches=stream(seed, "batches", number),
                mean=self.memory.mean if transfer else None,
                progress=lambda step, loss: progress(step, steps, loss),
            )
        with self.watch("store"):
            hopfield = isinstance(self.memory, MaskMemory)
            addressed = hopfield and self.preset.signature_bits > 0
            address = self.signature(images) if addressed else None
            self.memory.store(masks, signature=address)
        self._digests.append(mask_digest(masks))
        self._used.append([0] * number + [steps])

    def _learn_untold(
        self,
        learner: FreeLearner,
        number: int,
        images: Tensor,
        labels: Tensor,
        progress: _Progress,
    ) -> None:
        """NNs: pass a task's batches to a learner that is not told where one task ends."""
        training = self.preset.training
        steps = training.steps(len(images))
        generator = stream(self.settings.seed, "batches", number)
        used: list[int] = []
        with self.watch("train"):
            for step, chosen in enumerate(batches_of(len(images), training, generator)):
                where = chosen.to(self.device)
                mask, loss = learner.learn(images[where], labels[where])
                used += [0] * (mask + 1 - len(used))
                used[mask] += 1
                progress(step + 1, steps, loss)
        with self.watch("store"):
            learner.commit()
        self._digests = [
            mask_digest(self.memory.recall(task=i).masks) for i in range(self.memory.count)
        ]
        self._used.append(used)

    def evaluate(self, observer: Observer) -> None:
        """Score every task learned so far: one more whole row of the accuracy matrix."""
        learned = len(self._used)
        scores = Scores(row=[None] * _tasks(self.settings))
        for number in range(learned):
            self._score(number, scores, observer)
        point = {"tasks": learned, **scores.figures()}
        if len(self._matrix) == learned:  # scored anew
            self._matrix[-1], self._curve[-1] = scores.row, point
        else:
            self._matrix.append(scores.row)
            self._curve.append(point)
        self._scores = scores

    def change_inference(self, settings: RunSettings) -> None:
        """Infer tasks in another way from now on; what was learned stays as it is.

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
        self.settings, self.preset = settings, _resolved(settings)
        self.samples = self.preset.infer_samples
        self._check_samples()
        self.objective = self._objective()

    def _score_newest(self, observer: Observer) -> None:
        scores = Scores(row=[None] * _tasks(self.settings))
        self._score(len(self._used) - 1, scores, observer)
        self._matrix.append(scores.row)

    def _score(self, number: int, scores: Scores, observer: Observer) -> None:
        """Score one task after learning all so far."""
        after, task = len(self._used) - 1, self.stream[number]
        told = self._mask_of(number)
        scorer = Scorer(
            network=self.network,
            store=self.memory,
            scenario=self.settings.scenario,
            device=self.device,
            watch=self.watch,
        )
        scores.row[number] = accuracy = scorer.score(
            task,
            told=told,
            accepted=self._masks_of(number),
            digest=self._digests[told],
            inference=self._inference(after, number),
            samples=self.samples,
            generator=stream(self.settings.seed, "evaluation", after, number),
            scores=scores,
        )
        observer.evaluated(task, number, after, accuracy)

    def _mask_of(self, number: int) -> int:
        """The mask that most batches of a task went to."""
        used = self._used[number]
        return used.index(max(used))

    def _masks_of(self, number: int) -> set[int]:
        """The masks most of whose batches were this task's; its own mask is always one."""
        if self._free is None:
            return {number}
        counts = torch.zeros(len(self._used), self.memory.count)
        for task, used in enumerate(self._used):
            counts[task, : len(used)] = torch.tensor(used)
        (own,) = torch.nonzero(counts.argmax(0) == number, as_tuple=True)
        return {*own.tolist(), self._mask_of(number)}

    def _due(self, learned: int) -> bool:
        """Whether all tasks are scored once so many were learned."""
        if learned == _tasks(self.settings):
            return True
        if self.settings.evaluate_every is not None:
            return learned % self.settings.evaluate_every == 0
        digits = str(learned)
        return learned <= 10 or (digits[0] in "125" and not digits[1:].strip("0"))

    def _check_samples(self) -> None:
        smallest = min(len(task.recall_images) for task in self.stream[:_CHECKED])
        if self.samples > smallest:
            raise ConfigError(
                f"a recall of {self.settings.benchmark} can see at most {smallest} images (its "
                f"recall part), got infer_samples={self.samples}"
            )

    def _memory(self) -> MaskMemory | MaskBank:
        if self.settings.memory == "bank":
            return MaskBank(self.network.mask_sizes, device=self.device)
        return MaskMemory(
            self.network.mask_sizes,
            seed=stream_seed(self.settings.seed, "memory"),
            signature_bits=self.preset.signature_bits,
            device=self.device,
        )

    def _objective(self) -> Objective:
        name = self.settings.objective or self.preset.objective
        return objective_named(name, labels=self.labels, outputs=self.preset.outputs)

    def _learner(self) -> FreeLearner:
        assert isinstance(self.memory, MaskBank)  # the settings see to it
        seed = self.settings.seed
        test = NoveltyTest(
            network=self.network,
            bank=self.memory,
            objective=entropy,
            epsilon=self.settings.epsilon,
        )
        return FreeLearner(
            test,
            self.preset.training,
            ask_every=self.settings.ask_every,
            budget=self.settings.budget,
            transfer=self.settings.mask_init == "mean",
            scores=lambda mask: stream(seed, "scores", mask),
            noise=lambda mask: stream(seed, "noise", mask),
        )

    def _inference(self, *purpose: int) -> TaskInference:
        if isinstance(self.memory, MaskBank):
            return inference_named(
                self.preset.inference,
                network=self.network,
                bank=self.memory,
                objective=self.objective,
                labels=self.labels,
            )
        return self._recall(*purpose)

    def _recall(self, *purpose: int) -> RecallInference:
        assert isinstance(self.memory, MaskMemory)
        if self.settings.network == "paper":
            return PaperInference(
                network=self.network,
                memory=self.memory,
                signature=self.signature,
                generator=stream(self.settings.seed, "paper-recall", *purpose),
            )
        return RecallInference(
            network=self.network,
            memory=self.memory,
            signature=self.signature,
            recall=self.settings.recall or "both",
        )

    def record(self, *, most: int = 10) -> Iterator[Recorded]:
        """Recall the first tasks once more from their recall images, step by step, for a plot.

        Args:
            most: how many tasks at most.
        """
        assert isinstance(self.memory, MaskMemory)
        shown = range(min(most, self.memory.count))
        learned = [self.memory.recall(task=i).masks for i in shown]
        for number in shown:
            generator = stream(self.settings.seed, "record", number)
            inference = self._recall(self.memory.count, number)
            pool = self.stream[number].recall_images.to(self.device)
            sets = inference.sets(pool, sets=1, samples=self.samples, generator=generator)
            hit, trace = inference.trace(sets[0])
            overlaps = [self.memory.overlap(trace.states[:, 0], masks) for masks in learned]
            yield Recorded(number=number, hit=hit, trace=trace, overlaps=torch.stack(overlaps, 1))

    def names(self) -> list[str]:
        """Names of the tasks learned so far."""
        return [self.stream[i].name for i in range(len(self._used))]

    def result(self) -> dict[str, Any]:
        """The figures of `result.json`, of the tasks evaluated so far."""
        scores, settings = self._scores, self.settings
        whole = self._matrix[: self._curve[-1]["tasks"]] if self._curve else None
        return {
            "format": 1,
            "benchmark": settings.benchmark,
            "scenario": settings.scenario,
            "memory": settings.memory,
            "masks": settings.masks,
            "tasks": settings.tasks,
            "seed": settings.seed,
            "infer_samples": self.samples,
            "network": self.preset.network,
            **scores.figures(),
            "forgetting": metrics.forgetting(whole) if whole else None,
            "backward_transfer": metrics.backward_transfer(whole) if whole else None,
            "accuracy_per_task": scores.row,
            "accuracy_matrix": self._matrix,
            "curve": self._curve,
            "masks_allocated": self.memory.count,
            "novelty": None if self._free is None else asdict(self._free.log),
            "bytes": self._bytes(),
            "recall": {
                "steps_mean": mean(scores.steps),
                "steps_max": max(scores.steps, default=None),
                "converged_rate": mean(scores.converged),
                "samples": len(scores.steps),
                "images": self.samples * (PAPER_STEPS if _is_paper(settings) else 1),
            },
            "seconds": self.watch.seconds(),
            "config": self._config(),
            "versions": {
                "hopmask": hopmask.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "h5py": h5py.__version__,
            },
        }

    def _bytes(self) -> dict[str, int | None]:
        bank = self.memory if isinstance(self.memory, MaskBank) else None
        return {
            "memory": self.memory.nbytes,
            "packed_masks": metrics.packed_bytes(self.network.mask_sizes, self.memory.count),
            "sparse_masks": bank.sparse_nbytes() if bank and self.settings.sparsity else None,
        }

    def _config(self) -> dict[str, Any]:
        settings = self.settings
        chosen: dict[str, Any] = {
            "recall": None,
            "inference": None,
            "objective": None,
            "rule": None,
        }
        if isinstance(self.memory, MaskMemory):
            chosen["recall"] = settings.recall or ("entropy" if _is_paper(settings) else "both")
            chosen["rule"] = self.memory.reservoir.rule.name
        elif settings.scenario != "GG":
            chosen["inference"] = self.preset.inference
            if self.preset.inference not in ("try-all", "argmax"):
                chosen["objective"] = settings.objective or self.preset.objective
        return {
            **asdict(settings),
            **chosen,
            "output_size": self.preset.outputs,
            "device": str(self.device),
            "layers": self.network.mask_sizes,
            "preset": asdict(self.preset),
        }


def _is_paper(settings: RunSettings) -> bool:
    return settings.network == "paper"


def _tasks(settings: RunSettings) -> int:
    assert settings.tasks is not None  # filled in by RunSettings
    return settings.tasks


def _resolved(settings: RunSettings) -> Preset:
    """The benchmark's preset with what the settings change in it."""
    chosen = preset(settings.benchmark, str(settings.masks), settings.network)
    if settings.network != "standard":
        chosen = replace(chosen, network=settings.network)
    told: dict[str, Any] = {
        "bits": settings.bits,
        "outputs": settings.output_size,
        "infer_samples": settings.infer_samples,
        "inference": settings.inference,
    }
    chosen = replace(chosen, **{name: value for name, value in told.items() if value is not None})
    training = replace(chosen.training, sparsity=settings.sparsity)
    if settings.batches is not None:
        training = replace(training, max_batches=settings.batches, epochs=settings.batches)
    if settings.quick:
        training = replace(training, max_batches=20)
    return replace(chosen, training=training)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' is not available here: use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
