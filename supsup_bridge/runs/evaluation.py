"""Scoring of the tasks learned so far: what one evaluation measures, and how."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from supsup_bridge.data.task import Task
from supsup_bridge.inference.base import Inferred, TaskInference
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.runs.metrics import mask_digest
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.stores.protocols import MaskStore

SCORED_BATCH = 128  # images that one task inference serves, the paper's test batch


@dataclass(kw_only=True)
class Scores:
    """What one evaluation measures.

    Attributes:
        row: accuracy of each task, None where it was not scored.
        given: accuracy of each scored task with the task told.
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
        """Take in what was found for one task."""
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
    """Scores single tasks of a run and adds what it finds to a `Scores`.

    The task is inferred once for every 128 scored images, from recall images alone; no scored image
    is seen before its prediction, and none takes part in another's.

    Args:
        network: the fixed network.
        store: the masks.
        scenario: "GG" (no inference), "GNu" (a wrong task is a wrong answer), "GNs" or "NNs".
        device: where images go.
        watch: takes the times "recall" and "evaluate".
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        store: MaskStore,
        scenario: str,
        device: torch.device,
        watch: Stopwatch,
    ) -> None:
        self.network, self.store, self.scenario = network, store, scenario
        self.device, self.watch = device, watch

    def score(
        self,
        task: Task,
        *,
        told: int,
        accepted: set[int],
        digest: str,
        inference: TaskInference,
        samples: int,
        generator: torch.Generator,
        scores: Scores,
    ) -> float:
        """Accuracy on one task's scored images.

        Args:
            task: the task.
            told: number of its mask.
            accepted: numbers of the masks that count as this task's: with `told` alone, except
                where a learner allocated several.
            digest: of the learned mask `told`.
            inference: how the task is inferred.
            samples: images that one inference sees.
            generator: draws them from the recall images.
            scores: takes what is found, but for the row.
        """
        labels = task.scored_labels.to(self.device)
        images = task.scored_images.to(self.device)
        pool = task.inference_images.to(self.device)
        batches = -(-len(labels) // SCORED_BATCH)
        with self.watch("recall"):
            known = self.store.recall(task=told)
            found = None
            if self.scenario != "GG":
                drawn = inference.sets(pool, sets=batches, samples=samples, generator=generator)
                found = inference.infer(drawn)
        with self.watch("evaluate"), torch.no_grad():
            told_right = self._right(known.masks, images, labels, pool)
            scores.given.append(float(told_right.double().mean()))
            if found is None:
                scores.exact.append(mask_digest(known.masks) == digest)
                scores.steps.append(known.steps)
                scores.verified.append(known.verified)
                return scores.given[-1]
            right = self._inferred_right(found, digest, images, labels, pool, scores)
            correct = [int(number) in accepted for number in found.task]
            scores.inferred += correct
            scores.steps += found.steps.tolist()
            scores.verified += found.verified.tolist()
            if self.scenario == "GNu":
                allowed = torch.tensor(correct, device=self.device)
                right &= allowed.repeat_interleave(SCORED_BATCH)[: len(right)]
        return float(right.double().mean())

    def _inferred_right(
        self,
        found: Inferred,
        digest: str,
        images: Tensor,
        labels: Tensor,
        pool: Tensor,
        scores: Scores,
    ) -> Tensor:
        """Whether each label is right under its batch's inferred mask; one pass a distinct mask."""
        batch_of = torch.arange(len(labels), device=self.device) // SCORED_BATCH
        groups: dict[str, list[int]] = {}
        for i in range(len(found.task)):
            key = mask_digest({name: mask[i] for name, mask in found.masks.items()})
            groups.setdefault(key, []).append(i)
            scores.exact.append(key == digest)
        right = torch.zeros_like(labels, dtype=torch.bool)
        for batches in groups.values():
            masks = {name: mask[batches[0]] for name, mask in found.masks.items()}
            where = torch.isin(batch_of, torch.tensor(batches, device=self.device))
            right[where] = self._right(masks, images[where], labels[where], pool)
        return right

    def _right(self, masks: Masks, images: Tensor, labels: Tensor, pool: Tensor) -> Tensor:
        predict = self.network.predictor(masks, pool)
        parts = [predict(part).argmax(-1) for part in torch.split(images, 16 * SCORED_BATCH)]
        return torch.cat(parts) == labels


def mean(values: list[Any]) -> float | None:
    """Mean, or None of nothing."""
    return sum(values) / len(values) if values else None
