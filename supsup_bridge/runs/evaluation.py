"""Scoring of the tasks learned so far: what a run keeps of an evaluation."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch

from supsup_bridge.continual import scoring
from supsup_bridge.continual.scoring import TaskScore
from supsup_bridge.data.task import Task
from supsup_bridge.inference.base import TaskInference
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.stores.protocols import Recalled, for_forward

_MOST_MISTAKEN = 5  # masks that are noted of a task


@dataclass(kw_only=True)
class Scores:
    """What one evaluation measures: numbers of each scored task, by task.

    Attributes:
        row: accuracy.
        given: accuracy with the task given.
        label: accuracy if only the label counts; nothing where tasks are given.
        inferences: how often its mask was inferred, or, where tasks are given, recalled.
        inferred: of these, how often the task was right; nothing where tasks are given.
        mistaken: of these, how often another's mask was named, by mask: the five named most often.
        exact: of these, how often every bit of the mask was that of the learned one; nothing of a
            learner without masks.
        verified: of these, how often the answer verified as a memory; likewise.
        steps, most_steps: of these, updates in all, and of the longest.

    Example:
        >>> scores = Scores()
        >>> found = TaskScore(
        ...     given=1.0,
        ...     label=0.75,
        ...     joint=0.5,
        ...     named=[3, 1],
        ...     inferred=[True, False],
        ...     exact=[True, False],
        ...     steps=[1, 2],
        ...     verified=[True, True],
        ... )
        >>> scores.add(3, 0.5, found)
        >>> scores.row, scores.figures()["task_inference_accuracy"], scores.mistaken
        ({3: 0.5}, 0.5, {3: {1: 1}})
    """

    row: dict[int, float] = field(default_factory=dict)
    given: dict[int, float] = field(default_factory=dict)
    label: dict[int, float] = field(default_factory=dict)
    inferences: dict[int, int] = field(default_factory=dict)
    inferred: dict[int, int] = field(default_factory=dict)
    mistaken: dict[int, dict[int, int]] = field(default_factory=dict)
    exact: dict[int, int] = field(default_factory=dict)
    verified: dict[int, int] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    most_steps: dict[int, int] = field(default_factory=dict)

    def add(self, task: int, accuracy: float, found: TaskScore) -> None:
        """Include what was found for one task."""
        self.row[task], self.given[task] = accuracy, found.given
        if found.label is not None:
            self.label[task] = found.label
        self.inferences[task] = len(found.steps)
        if found.inferred:
            self.inferred[task] = sum(found.inferred)
            pairs = zip(found.named, found.inferred, strict=True)
            wrong = Counter(number for number, right in pairs if not right)
            self.mistaken[task] = dict(wrong.most_common(_MOST_MISTAKEN))
        if found.exact:
            self.exact[task], self.verified[task] = sum(found.exact), sum(found.verified)
        self.steps[task], self.most_steps[task] = sum(found.steps), max(found.steps)

    def figures(self) -> dict[str, float | None]:
        """Means over the tasks that were scored; None where there is nothing to average."""
        return {
            "accuracy": mean(self.row.values()),
            "accuracy_given_task": mean(self.given.values()),
            "accuracy_label": mean(self.label.values()),
            "task_inference_accuracy": self.rate(self.inferred),
            "exact_recall_rate": self.rate(self.exact),
        }

    def rate(self, counts: Mapping[int, int]) -> float | None:
        """Counts by task over the number of inferences; None of nothing."""
        return sum(counts.values()) / sum(self.inferences.values()) if counts else None


class Scorer:
    """Scores single tasks of a run, in its scenario, and takes the times.

    Args:
        network: the fixed network.
        scenario: "GG" (no inference), "GNu" (a wrong task is a wrong answer), "GNs" or "NNs".
        device: where images go.
        watch: takes the times "recall" and "evaluate".
        protocol: "batch" or "image"; see `scoring.Protocol`.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        scenario: str,
        device: torch.device,
        watch: Stopwatch,
        protocol: str = "batch",
    ) -> None:
        self.network, self.scenario = network, scenario
        self.device, self.watch, self.protocol = device, watch, protocol

    def score(
        self,
        task: Task,
        *,
        known: Recalled,
        accepted: Mapping[int, str],
        inference: TaskInference,
        samples: int,
        generator: torch.Generator,
    ) -> tuple[float, TaskScore]:
        """Accuracy on one task's scored images, and what else is found.

        Args:
            task: the task.
            known: its masks, recalled by number.
            accepted: numbers of the masks that count as this task's (one, except where a learner
                allocated several) -> digest of each as it was learned.
            inference: how the task is inferred.
            samples: images that one inference sees.
            generator: draws them from the inference images.
        """
        network, device = self.network, self.device
        if self.scenario == "GG":
            with self.watch("evaluate"):
                given = scoring.score_given(network, task, for_forward(known), device=device)
                exact = [mask_digest(known.masks)] == [*accepted.values()]
            return given, TaskScore(
                given=given,
                label=None,
                joint=None,
                named=[],
                inferred=[],
                exact=[exact],
                steps=[known.steps],
                verified=[known.verified],
            )
        score = scoring.score(
            network,
            task,
            for_forward(known),
            inference,
            scoring.Protocol(self.protocol, samples, generator),
            accepted=accepted,
            device=device,
            watch=self.watch,
        )
        return score.accuracy(self.scenario), score


def mean(values: Collection[float]) -> float | None:
    """Mean, or None of nothing."""
    return sum(values) / len(values) if values else None
