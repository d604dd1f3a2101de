"""Scoring of the tasks learned so far: what a run keeps of an evaluation."""

from dataclasses import dataclass, field
from typing import Any

import torch

from supsup_bridge.continual import scoring
from supsup_bridge.data.task import Task
from supsup_bridge.inference.base import TaskInference
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.stores.protocols import MaskStore, for_forward


@dataclass(kw_only=True)
class Scores:
    """What one evaluation measures.

    Attributes:
        row: accuracy of each task, None where it was not scored.
        given: accuracy of each scored task with the task given.
        inferred: of each inference, whether the task was right.
        exact: of each inference, whether every bit of the mask was that of the learned one.
        steps, verified: of each inference.
    """

    row: list[float | None]
    given: list[float] = field(default_factory=list)
    inferred: list[bool] = field(default_factory=list)
    exact: list[bool] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    verified: list[bool] = field(default_factory=list)

    def add(self, task: int, accuracy: float, found: "Scores") -> None:
        """Include what was found for one task."""
        self.row[task] = accuracy
        for name in ("given", "inferred", "exact", "steps", "verified"):
            getattr(self, name).extend(getattr(found, name))

    def figures(self) -> dict[str, float | None]:
        """Means over the tasks that were scored; None where there is nothing to average."""
        return {
            "accuracy": mean([value for value in self.row if value is not None]),
            "accuracy_given_task": mean(self.given),
            "task_inference_accuracy": mean(self.inferred),
            "exact_recall_rate": mean(self.exact),
        }


class Scorer:
    """Scores single tasks of a run, in its scenario, and takes the times.

    Args:
        network: the fixed network.
        store: the masks.
        scenario: "GG" (no inference), "GNu" (a wrong task is a wrong answer), "GNs" or "NNs".
        device: where images go.
        watch: takes the times "recall" and "evaluate".
        protocol: "batch" or "image"; see `scoring.Protocol`.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        store: MaskStore,
        scenario: str,
        device: torch.device,
        watch: Stopwatch,
        protocol: str = "batch",
    ) -> None:
        self.network, self.store, self.scenario = network, store, scenario
        self.device, self.watch, self.protocol = device, watch, protocol

    def score(
        self,
        task: Task,
        *,
        mask: int,
        accepted: set[int],
        digest: str,
        inference: TaskInference,
        samples: int,
        generator: torch.Generator,
    ) -> tuple[float, Scores]:
        """Accuracy on one task's scored images, and what else is found, but for the row.

        Args:
            task: the task.
            mask: number of its mask.
            accepted: numbers of the masks that count as this task's: `mask` alone, except where a
                learner allocated several.
            digest: of the learned mask.
            inference: how the task is inferred.
            samples: images that one inference sees.
            generator: draws them from the inference images.
        """
        network, device = self.network, self.device
        with self.watch("recall"):
            known = self.store.recall(task=mask)
        if self.scenario == "GG":
            with self.watch("evaluate"):
                given = scoring.score_given(network, task, for_forward(known), device=device)
                exact = mask_digest(known.masks) == digest
            return given, Scores(
                row=[],
                given=[given],
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
            digest=digest,
            device=device,
            watch=self.watch,
        )
        accuracy = score.joint if self.scenario == "GNu" else score.label
        return accuracy, Scores(
            row=[],
            given=[score.given],
            inferred=score.inferred,
            exact=score.exact,
            steps=score.steps,
            verified=score.verified,
        )


def mean(values: list[Any]) -> float | None:
    """Mean, or None of nothing."""
    return sum(values) / len(values) if values else None
