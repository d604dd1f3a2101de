"""A run: learn the tasks of a stream one by one, keep only the reservoir, recall, and score."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from torch import Tensor

import hopmask
from hopmask import ConfigError, Hit, MaskMemory, Trace
from supsup_bridge.features import KernelMean
from supsup_bridge.inference import PAPER_STEPS, RECALLS, Inferred, PaperInference, RecallInference
from supsup_bridge.metrics import average_accuracy, mask_digest, packed_bytes
from supsup_bridge.networks import FixedNetwork, HashedNetwork, UnitNetwork
from supsup_bridge.presets import Preset, preset
from supsup_bridge.streams import stream, stream_seed
from supsup_bridge.tasks import Task, task_stream
from supsup_bridge.training import TrainingSettings, is_count, train_mask

SCENARIOS = ("GG", "GNs", "GNu")
_SCORED_BATCH = 128
_FEATURES = 4096  # of the signature


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What to run. None means: what the benchmark's preset says.

    Args:
        benchmark: "split-digits" or "split-mnist".
        scenario: "GG" (task told), "GNs" (only the label counts), "GNu" (task and label count).
        masks: "hashed" or "unit".
        bits: mask bits (hashed), or hidden units a layer (unit).
        recall: "both", "entropy" or "address"; default "both", with the paper's network "entropy".
        tasks: how many tasks.
        seed: of everything.
        infer_samples: images that one recall sees (the paper's network: at each step).
        network: "standard", or "paper": batch-norm, the paper's training and recall schedule.
        quick: few training steps, to see that everything runs; figures mean nothing.
        device: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: a value that is not one of these.

    Example:
        >>> RunSettings(masks="unit", seed=1).scenario
        'GNu'

    Source:
        Scenarios: Wortsman et al. 2020 (arXiv 2006.14769), table 1.
    """

    benchmark: str = "split-digits"
    scenario: str = "GNu"
    masks: str = "hashed"
    bits: int | None = None
    recall: str | None = None
    tasks: int = 5
    seed: int = 0
    infer_samples: int | None = None
    network: str = "standard"
    quick: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, known in (
            ("scenario", SCENARIOS),
            ("masks", ("hashed", "unit")),
            ("recall", (*RECALLS, None)),
            ("network", ("standard", "paper")),
            ("device", ("auto", "cpu", "cuda")),
        ):
            value = getattr(self, name)
            if value not in known:
                names = [k for k in known if k]
                near = get_close_matches(str(value), names, n=1, cutoff=0.0)[0]
                raise ConfigError(
                    f"unknown {name} {value!r}: did you mean '{near}'? Known: {', '.join(names)}"
                )
        for name, least in (("bits", 1), ("infer_samples", 1), ("tasks", 1), ("seed", 0)):
            value = getattr(self, name)
            optional = name in ("bits", "infer_samples")
            if not (value is None and optional) and not is_count(value, least=least):
                raise ConfigError(
                    f"{name} must be at least {least}, got {value!r}: give a whole number"
                )
        if self.network == "paper" and self.recall not in (None, "entropy"):
            raise ConfigError(
                f"the paper's network recalls by energy and entropy alone, not by "
                f"'{self.recall}': leave out --recall, or use the standard network"
            )


class Observer(Protocol):
    """Told what a run is doing; for progress."""

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        """Step `step` of `steps` of training task `number` is done."""
        ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        """Task `number` was scored after learning task `after`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One task's recall, step by step: overlap with each recalled-by-number mask (steps, tasks)."""

    number: int
    hit: Hit
    trace: Trace
    overlaps: Tensor


@dataclass
class _Scores:
    """What one evaluation of all learned tasks measures."""

    row: list[float | None]  # accuracy of each task
    given: list[float] = field(default_factory=list)  # the same with the task told
    inferred: list[bool] = field(default_factory=list)  # of each recall: task right
    exact: list[bool] = field(default_factory=list)  # of each recall: every bit right
    steps: list[int] = field(default_factory=list)
    converged: list[bool] = field(default_factory=list)


class Experiment:
    """One run, from the settings to the figures of `result.json`.

    After `store` a task's masks are gone: what remains is the memory, and a digest of each learned
    mask, kept for measuring `exact_recall_rate` and never shown to a recall.

    Args:
        settings: what to run.
        data: folder of the data set's files, where the benchmark needs one.

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

    def __init__(self, settings: RunSettings, *, data: Path | None = None) -> None:
        self.preset: Preset = _resolved(settings)
        self.settings = settings
        self.device = _device(settings.device)
        self.samples = settings.infer_samples or self.preset.infer_samples
        self.stream = task_stream(
            settings.benchmark, seed=settings.seed, tasks=settings.tasks, data=data
        )
        smallest = min(len(task.recall_images) for task in self.stream)
        if self.samples > smallest:
            raise ConfigError(
                f"a recall of {settings.benchmark} can see at most {smallest} images (its recall "
                f"part), got infer_samples={self.samples}"
            )
        inputs = self.stream[0].train_images.shape[1]
        self.network = _network(settings, self.preset, inputs).to(self.device)
        self.memory = MaskMemory(
            self.network.mask_sizes,
            seed=stream_seed(settings.seed, "memory"),
            signature_bits=self.preset.signature_bits,
            device=self.device,
        )
        self.signature = KernelMean(
            inputs, features=_FEATURES, generator=stream(settings.seed, "signature")
        )
        self._digests: list[str] = []
        self._matrix: list[list[float | None]] = []
        self._scores = _Scores(row=[])  # of the last complete evaluation
        self._seconds = dict.fromkeys(("train", "store", "recall", "evaluate"), 0.0)
        self._started = time.perf_counter()

    def run(self, observer: Observer) -> None:
        """Learn and evaluate every task; what was done before an interruption stays readable."""
        for number, task in enumerate(self.stream):
            self._learn(number, task, observer)
            self.evaluate(observer)

    def _learn(self, number: int, task: Task, observer: Observer) -> None:
        seed, training = self.settings.seed, self.preset.training
        images, labels = task.train_images.to(self.device), task.train_labels.to(self.device)
        steps = training.steps(len(images))
        with self._timed("train"):
            masks = train_mask(
                self.network,
                images,
                labels,
                training,
                scores=stream(seed, "scores", number),
                batches=stream(seed, "batches", number),
                progress=lambda step, loss: observer.training(task, number, step, steps, loss),
            )
        with self._timed("store"):
            address = self.signature(images) if self.preset.signature_bits else None
            self.memory.store(masks, signature=address)
        self._digests.append(mask_digest(masks))

    def evaluate(self, observer: Observer) -> None:
        """Score every task learned so far: one more row of the accuracy matrix."""
        after = self.memory.count - 1
        scores = _Scores(row=[None] * len(self.stream))
        for number in range(after + 1):
            accuracy = self._score(self.stream[number], number, after, scores)
            scores.row[number] = accuracy
            observer.evaluated(self.stream[number], number, after, accuracy)
        self._matrix.append(scores.row)
        self._scores = scores

    def _score(self, task: Task, number: int, after: int, scores: _Scores) -> float:
        """Accuracy on one task's scored images; the task is inferred once for every 128 of them."""
        told_only = self.settings.scenario == "GG"
        images = torch.split(task.scored_images.to(self.device), _SCORED_BATCH)
        labels = torch.split(task.scored_labels.to(self.device), _SCORED_BATCH)
        pool = task.recall_images.to(self.device)
        with self._timed("recall"):
            told = self.memory.recall(task=number)
            found = None if told_only else self._infer(pool, len(images), after, number)
        right = told_right = 0
        with self._timed("evaluate"), torch.no_grad():
            told_predict = self.network.predictor(told.masks, pool)
            for i, (batch, truth) in enumerate(zip(images, labels, strict=True)):
                told_hits = int((told_predict(batch).argmax(-1) == truth).sum())
                told_right += told_hits
                if found is None:
                    masks, task_right, hits = told.masks, True, told_hits
                else:
                    masks = {name: mask[i] for name, mask in found.masks.items()}
                    task_right = int(found.task[i]) == number
                    predict = self.network.predictor(masks, pool)
                    hits = int((predict(batch).argmax(-1) == truth).sum())
                    scores.inferred.append(task_right)
                right += hits if task_right or self.settings.scenario == "GNs" else 0
                scores.exact.append(mask_digest(masks) == self._digests[number])
        scores.steps += [told.steps] if found is None else found.steps.tolist()
        scores.converged += [told.converged] if found is None else found.converged.tolist()
        scores.given.append(told_right / len(task.scored_labels))
        return right / len(task.scored_labels)

    def _infer(self, pool: Tensor, sets: int, *purpose: int) -> Inferred:
        """Recall the masks for so many sets of images drawn from a task's recall part."""
        inference = self._inference(*purpose)
        generator = stream(self.settings.seed, "evaluation", *purpose)
        return inference.infer(
            inference.sets(pool, sets=sets, samples=self.samples, generator=generator)
        )

    def _inference(self, *purpose: int) -> RecallInference:
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

    def record(self) -> Iterator[Recorded]:
        """Recall each learned task once more from its recall images, step by step, for a plot."""
        learned = [self.memory.recall(task=i).masks for i in range(self.memory.count)]
        for number, task in enumerate(self.stream[: self.memory.count]):
            generator = stream(self.settings.seed, "record", number)
            inference = self._inference(self.memory.count, number)
            pool = task.recall_images.to(self.device)
            sets = inference.sets(pool, sets=1, samples=self.samples, generator=generator)
            hit, trace = inference.trace(sets[0])
            overlaps = [self.memory.overlap(trace.states[:, 0], masks) for masks in learned]
            yield Recorded(number=number, hit=hit, trace=trace, overlaps=torch.stack(overlaps, 1))

    def result(self) -> dict[str, Any]:
        """The figures of `result.json`, of the tasks evaluated so far."""
        scores, settings = self._scores, self.settings
        return {
            "format": 1,
            "benchmark": settings.benchmark,
            "scenario": settings.scenario,
            "memory": "hopfield",
            "masks": settings.masks,
            "tasks": settings.tasks,
            "seed": settings.seed,
            "infer_samples": self.samples,
            "network": settings.network,
            "accuracy": average_accuracy(self._matrix) if self._matrix else None,
            "accuracy_per_task": scores.row,
            "accuracy_matrix": self._matrix,
            "accuracy_given_task": _mean(scores.given),
            "task_inference_accuracy": _mean(scores.inferred),
            "exact_recall_rate": _mean(scores.exact),
            "masks_allocated": self.memory.count,
            "bytes": {
                "memory": self.memory.nbytes,
                "packed_masks": packed_bytes(self.network.mask_sizes, self.memory.count),
            },
            "recall": {
                "steps_mean": _mean(scores.steps),
                "steps_max": max(scores.steps, default=None),
                "converged_rate": _mean(scores.converged),
                "samples": len(scores.steps),
                "images": self.samples * (PAPER_STEPS if _is_paper(settings) else 1),
            },
            "seconds": {**self._seconds, "total": time.perf_counter() - self._started},
            "config": {
                **asdict(settings),
                "recall": settings.recall or ("entropy" if _is_paper(settings) else "both"),
                "device": str(self.device),
                "layers": self.network.mask_sizes,
                "rule": self.memory.reservoir.rule.name,
                "preset": asdict(self.preset),
            },
            "versions": {
                "hopmask": hopmask.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "h5py": h5py.__version__,
            },
        }

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[what] += time.perf_counter() - start


def _is_paper(settings: RunSettings) -> bool:
    return settings.network == "paper"


def _resolved(settings: RunSettings) -> Preset:
    """The benchmark's preset with what the settings change in it."""
    chosen = preset(settings.benchmark, settings.masks, settings.network)
    if settings.bits is not None:
        chosen = replace(chosen, bits=settings.bits)
    if settings.quick:
        quick = {**asdict(chosen.training), "max_batches": 20}
        chosen = replace(chosen, training=TrainingSettings(**quick))
    return chosen


def _network(settings: RunSettings, chosen: Preset, inputs: int) -> FixedNetwork:
    weights = stream(settings.seed, "network")
    if settings.masks == "hashed":
        sizes = [inputs, *chosen.hidden, chosen.outputs]
        return HashedNetwork(
            sizes, bits=chosen.bits, network=weights, spread=stream(settings.seed, "map")
        )
    hidden = [chosen.bits] * len(chosen.hidden)
    return UnitNetwork(
        [inputs, *hidden, chosen.outputs],
        network=weights,
        normalisation="batch" if _is_paper(settings) else "layer",
    )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' is not available here: use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _mean(values: list[Any]) -> float | None:
    return sum(values) / len(values) if values else None
