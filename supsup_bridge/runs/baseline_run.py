"""A run of a baseline: the same tasks, steps and scoring as SupSup's run of the benchmark."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from hopmask import ConfigError
from supsup_bridge.continual.baselines.base import Baseline
from supsup_bridge.continual.baselines.named import baseline_named
from supsup_bridge.continual.baselines.scoring import score_baseline
from supsup_bridge.continual.building import device_named
from supsup_bridge.data.task import Task
from supsup_bridge.networks.grad_mode import outside_inference
from supsup_bridge.rng import stream
from supsup_bridge.runs.baseline_presets import Tuned, training_of, tuned
from supsup_bridge.runs.evaluation import Scores
from supsup_bridge.runs.learners import OURS
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.observer import Observer
from supsup_bridge.runs.prepared import prepared
from supsup_bridge.runs.result import OF_MASKS, versions
from supsup_bridge.runs.schedule import is_newest_due, is_point, tasks_of_point
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.task_data import data_on
from supsup_bridge.runs.timing import Stopwatch

Made = Callable[..., Baseline]


class BaselineRun:
    """Teaches a baseline the tasks of a benchmark, and scores it, as `Experiment` does SupSup.

    Args:
        settings: what to run; its learner is a baseline.
        data: folder of the data set's files, where the benchmark needs one.
        tasks: tasks of the user's in place of the benchmark's.
        make: makes the learner, called with all arguments of `baseline_named`, the default.
        chosen: rate and options of the learner; default those of `tuned`.

    Attributes:
        ledger: what was measured.
        learner: the baseline.

    Raises:
        ConfigError: settings that do not fit together.
        DataError: data missing, truncated or altered.

    Example:
        >>> run = BaselineRun(RunSettings(learner="psp", quick=True, tasks=1))
        >>> run.result()["accuracy"] is None
        True
    """

    @outside_inference
    def __init__(
        self,
        settings: RunSettings,
        *,
        data: str | Path | None = None,
        tasks: Sequence[Task] | None = None,
        make: Made = baseline_named,
        chosen: Tuned | None = None,
    ) -> None:
        if settings.learner == OURS:
            raise ConfigError("supsup is no baseline: run it by Experiment(settings)")
        begun = prepared(settings, data=data, tasks=tasks)
        self.settings, self.preset, self.stream = begun.settings, begun.preset, begun.stream
        name, total = settings.learner, begun.settings.tasks
        assert total is not None  # filled in from the data
        self.chosen = chosen or tuned(settings.benchmark, name, settings.scenario)
        self.device = device_named(settings.device)
        infers = settings.scenario != "GG"
        superfluous = infers or settings.output_size is not None
        self.learner = make(
            name,
            network=begun.preset.network,
            inputs=begun.form.inputs,
            classes=begun.form.classes,
            tasks=total,
            scenario=settings.scenario,
            training=training_of(begun.preset, self.chosen, infers=infers),
            seed=settings.seed,
            outputs=begun.preset.outputs if superfluous else None,
            device=self.device,
            **self.chosen.options,
        )
        self.ledger, self.watch = Ledger(tasks=total), Stopwatch("train", "recall", "evaluate")

    @outside_inference
    def run(self, observer: Observer) -> None:
        """Learn and score every task that is left."""
        for number in range(self.ledger.count, self.ledger.tasks):
            task = self.stream[number]
            self._teach(task, number, observer)
            if is_point(number + 1, self.settings):
                self._evaluate(observer, last=number + 1 == self.ledger.tasks)
            else:
                self._score([number] if is_newest_due(number + 1) else [], observer, point=False)
            observer.learned(task, number)

    def result(self) -> dict[str, Any]:
        """The figures of `result.json`, of the tasks evaluated so far; None for those of masks."""
        settings, scores = self.settings, self.ledger.scores
        used = ("network", "infer_samples", "training")
        network = self.learner.own_network or self.preset.network
        protocol, samples = settings.protocol, self.preset.infer_samples
        if self.learner.reads_out:  # for each image by itself
            protocol, samples = "image", 1
        preset = replace(
            self.preset, network=network, infer_samples=samples, training=self.learner.training
        )
        config = {
            **asdict(settings),
            "memory": None,
            "masks": None,
            "network": network,
            "protocol": protocol,
            "output_size": self.learner.outputs,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "preset": {n: v if n in used else None for n, v in asdict(preset).items()},
            "options": self.chosen.options,
            "inference": self._inference(),
        }
        return {
            "format": 1,
            **{name: getattr(settings, name) for name in ("benchmark", "scenario", "learner")},
            "memory": None,
            "masks": None,
            **{name: getattr(settings, name) for name in ("tasks", "seed")},
            "infer_samples": samples,
            "protocol": protocol,
            "network": network,
            **self.ledger.figures(),
            "masks_allocated": None,
            "novelty": None,
            "bytes": {**dict.fromkeys(OF_MASKS), "memory": self.learner.nbytes},
            "recall": {
                **dict.fromkeys(("steps_mean", "steps_max", "verified_rate", "images")),
                "samples": sum(scores.inferences.values()),
            },
            "seconds": self.watch.seconds(),
            "settings": asdict(settings),
            "config": config,
            "versions": versions(),
        }

    def _inference(self) -> str | None:
        """How tasks are inferred, where they are."""
        if self.settings.scenario == "GG":
            return None
        return "outputs" if self.learner.reads_out else "try-all"

    def partial(self) -> dict[str, Any]:
        """The result so far, with the accuracies that were measured in place of the matrix."""
        measured = {"accuracy_matrix": None, "measured": self.ledger.measured()}
        return {**self.result(), **measured}

    def _teach(self, task: Task, number: int, observer: Observer) -> None:
        data = data_on(task, self.device)[0]
        self.ledger.begun(task)
        steps = self.learner.steps(len(task.train_labels))

        def progress(step: int, loss: float) -> None:
            observer.training(task, number, step, steps, loss)

        with self.watch("train"):
            self.learner.learn(data, progress=progress)
        self.ledger.learned({number: steps})

    def _evaluate(self, observer: Observer, *, last: bool) -> None:
        count = self.ledger.count
        chosen = range(count) if last else tasks_of_point(count, seed=self.settings.seed)
        self._score(chosen, observer, point=True)

    def _score(self, numbers: Iterable[int], observer: Observer, *, point: bool) -> None:
        scores, after, settings = Scores(), self.ledger.count - 1, self.settings
        for number in numbers:
            task = self.stream[number]
            found = score_baseline(
                self.learner,
                task,
                number,
                scenario=settings.scenario,
                protocol=settings.protocol,
                samples=self.preset.infer_samples,
                generator=stream(settings.seed, "evaluation", after, number),
                device=self.device,
                watch=self.watch,
            )
            accuracy = found.accuracy(settings.scenario)
            scores.add(number, accuracy, found)
            observer.evaluated(task, number, after, accuracy)
        self.ledger.scored(scores, point=point)
