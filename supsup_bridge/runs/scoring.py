"""Scores tasks of a run, several in one call where each call reads a large memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from hopmask import MaskMemory
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.continual.scoring import SCORED_BATCH
from supsup_bridge.data.task import Task
from supsup_bridge.inference.base import TaskInference
from supsup_bridge.inference.together import answered
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.rng import stream
from supsup_bridge.runs.evaluation import Scorer, Scores
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.observer import Observer
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.stores.protocols import Recalled

_MOST = 8  # tasks of a group: their images are held together


class RunScorer:
    """Scores tasks of a run after all that it has learned so far.

    Args:
        learner: of the run.
        ledger: of the run.
        settings: of the run.
        tasks: its stream.
        accepted: numbers of the masks that count as a task's.
        samples: images that one task inference sees.
        watch: takes the times "recall" and "evaluate".
    """

    def __init__(
        self,
        learner: SupSup,
        ledger: Ledger,
        settings: RunSettings,
        tasks: Sequence[Task],
        *,
        accepted: Callable[[int], set[int]],
        samples: int,
        watch: Stopwatch,
    ) -> None:
        self._learner, self._ledger, self._settings = learner, ledger, settings
        self._tasks, self._accepted = tasks, accepted
        self._samples, self._watch = samples, watch
        self._after = ledger.count - 1
        self._scorer = Scorer(
            network=learner.network,
            scenario=settings.scenario,
            device=learner.network.device,
            watch=watch,
            protocol=settings.protocol,
        )

    def groups(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """The same tasks in their order, in groups whose images go into one call."""
        most = self._at_once(numbers)
        group: list[int] = []
        images = 0
        for number in numbers:
            own = 1 if most == 1 else self._samples * _sets(self._tasks[number])
            if group and (images + own > most or len(group) == _MOST):
                yield group
                group, images = [], 0
            group.append(number)
            images += own
        if group:
            yield group

    def score(
        self,
        numbers: Sequence[int],
        scores: Scores,
        observer: Observer,
        *,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """Score a group of tasks; tell the observer, and pause, after each.

        Tasks that `scores` has are inferred with the others, so that a run that was interrupted
        within a group makes the same calls, and are not scored again.
        """
        asked = [self._asked(number) for number in numbers]
        known, inferences = self._known(numbers), self._inferences(asked)
        for one, its_own, inference in zip(asked, known, inferences, strict=True):
            number = one.number
            if number in scores.row:
                continue
            accuracy, found = self._scorer.score(
                one.task,
                known=its_own,
                accepted=one.accepted,
                inference=inference,
                samples=self._samples,
                generator=one.generator,
            )
            scores.add(number, accuracy, found)
            observer.evaluated(one.task, number, self._after, accuracy)
            pause()

    def _at_once(self, numbers: Sequence[int]) -> int:
        """Images of one call: as many as it takes sets of one image."""
        if not numbers or self._settings.scenario == "GG" or self._settings.protocol != "batch":
            return 1
        return self._inference(numbers[0]).at_once

    def _known(self, numbers: Sequence[int]) -> Sequence[Recalled]:
        """The masks of tasks by number: of a group, which has one large memory, in one pass."""
        memory = self._learner.memory
        masks = [self._ledger.mask_of(number) for number in numbers]
        with self._watch("recall"):
            if len(masks) == 1 or not isinstance(memory, MaskMemory):
                return [memory.recall(task=mask) for mask in masks]
            found = memory.recall(masks)
            return [
                _Known(
                    {name: mask[row] for name, mask in found.masks.items()},
                    {name: value[row] for name, value in found.extras.items()},
                    int(found.steps[row]),
                    bool(found.verified[row]),
                )
                for row in range(len(masks))
            ]

    def _inferences(self, asked: Sequence["_Asked"]) -> Sequence[TaskInference]:
        """How each task is inferred, or was, together with the others."""
        inference = self._inference(asked[0].number)
        if len(asked) == 1:
            return [inference]
        device = self._learner.network.device
        with self._watch("recall"):
            return answered(
                inference,
                (one.task.inference_images.to(device) for one in asked),
                sets=[_sets(one.task) for one in asked],
                samples=self._samples,
                generators=[one.generator for one in asked],
            )

    def _inference(self, number: int) -> TaskInference:
        return self._learner.inferences.inference(self._learner.memory, self._after, number)

    def _asked(self, number: int) -> "_Asked":
        return _Asked(
            number,
            self._tasks[number],
            {mask: self._ledger.digests[mask] for mask in self._accepted(number)},
            stream(self._settings.seed, "evaluation", self._after, number),
        )


class _Known(NamedTuple):
    """One of several tasks that were recalled together; see `Recalled`."""

    masks: Masks
    extras: Masks
    steps: int
    verified: bool


class _Asked(NamedTuple):
    """A task, the digests of the masks that count as its own, and what draws its images."""

    number: int
    task: Task
    accepted: dict[int, str]
    generator: torch.Generator


def _sets(task: Task) -> int:
    """Inferences of one task, one for each batch of scored images."""
    return -(-len(task.scored_labels) // SCORED_BATCH)
