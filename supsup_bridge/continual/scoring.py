"""Scoring of one task: what an evaluation measures, the same for a learner and for a run.

By protocol "batch" the task is inferred once for every 128 scored images, from inference images
alone; by "image" from each scored image by itself. No scored image takes part in the prediction of
another, and none is seen before.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from supsup_bridge.data.task import Task
from supsup_bridge.inference.base import Inferred, TaskInference
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.fixed import FixedNetwork, Masks

SCORED_BATCH = 128  # images that one task inference serves, the paper's test batch
PROTOCOLS = ("batch", "image")
_AT_ONCE = 16 * SCORED_BATCH  # images in one forward pass


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """What is measured on the scored images of one task.

    Attributes:
        given: accuracy with the task given (GG).
        label: accuracy under the inferred masks (GNs); None where tasks were given.
        joint: the same, with a wrong task as a wrong answer (GNu); None likewise.
        named: per inference, number of the mask that it named.
        inferred: per inference, whether the task was right.
        exact: per inference, whether every bit of the mask was that of the learned one.
        steps, verified: per inference; see `Inferred`.
    """

    given: float
    label: float | None
    joint: float | None
    named: list[int]
    inferred: list[bool]
    exact: list[bool]
    steps: list[int]
    verified: list[bool]

    def accuracy(self, scenario: str) -> float:
        """What counts in a scenario: "GG", "GNu", or "GNs" and "NNs"."""
        found = {"GG": self.given, "GNu": self.joint}.get(scenario, self.label)
        assert found is not None
        return found


class Protocol(NamedTuple):
    """By which images the task of a scored image is inferred.

    Attributes:
        name: "batch": once for every 128 scored images, from others of their task, as in the
            paper; "image": for every scored image from itself alone, as in the class-incremental
            field.
        samples: "batch": images that one inference sees.
        generator: "batch": draws them from the inference images.
    """

    name: str
    samples: int
    generator: torch.Generator

    def questions(
        self, inference: TaskInference, scored: Tensor, pool: Tensor
    ) -> Iterator["Question"]:
        """Sets of unlabelled images for all scored images (n, ...), in their order.

        Args:
            inference: which draws sets.
            scored: the scored images.
            pool: the inference images of the same task.
        """
        if self.name == "image":
            for part in torch.split(scored, SCORED_BATCH):
                yield Question(part[:, None], 1)
        else:
            count = -(-len(scored) // SCORED_BATCH)
            sets = inference.sets(pool, sets=count, samples=self.samples, generator=self.generator)
            yield Question(sets, SCORED_BATCH)


class Question(NamedTuple):
    """Sets of images (b, n, ...), and how many scored images each of them answers for."""

    sets: Tensor
    serves: int


def score_given(network: FixedNetwork, task: Task, masks: Masks, *, device: torch.device) -> float:
    """Accuracy on a task's scored images under given masks and extras."""
    images, labels = task.scored_images.to(device), task.scored_labels.to(device)
    right = _right(network, masks, images, labels, task.inference_images.to(device))
    return float(right.double().mean())


def score(
    network: FixedNetwork,
    task: Task,
    known: Masks,
    inference: TaskInference,
    protocol: Protocol,
    *,
    accepted: Mapping[int, str],
    device: torch.device,
    watch: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
) -> TaskScore:
    """What is measured on a task's scored images under inferred masks.

    Args:
        network: the fixed network.
        task: the task.
        known: its masks and extras, recalled by number.
        inference: how the task is inferred.
        protocol: from what.
        accepted: numbers of the masks that count as the task's -> digest of each as learned.
        device: where images go.
        watch: takes the times "recall" and "evaluate".
    """
    images, labels = task.scored_images.to(device), task.scored_labels.to(device)
    pool = task.inference_images.to(device)
    with watch("evaluate"):
        given = _right(network, known, images, labels, pool)
    parts, first = [], 0
    questions = protocol.questions(inference, images, pool)
    while True:
        with watch("recall"):
            question = next(questions, None)
            if question is None:
                break
            found = inference.infer(question.sets)
        end = first + question.serves * len(question.sets)
        with watch("evaluate"):
            parts.append(
                _scored(
                    network,
                    found,
                    images[first:end],
                    labels[first:end],
                    pool,
                    serves=question.serves,
                    accepted=accepted,
                )
            )
        first = end
    right = torch.cat([part.right for part in parts])
    allowed = torch.cat([part.allowed for part in parts])
    return TaskScore(
        given=float(given.double().mean()),
        label=float(right.double().mean()),
        joint=float((right & allowed).double().mean()),
        **{
            name: [value for part in parts for value in getattr(part, name)]
            for name in ("named", "inferred", "exact", "steps", "verified")
        },
    )


class _Part(NamedTuple):
    """Of some scored images: which labels and which tasks are right; and of each inference."""

    right: Tensor
    allowed: Tensor
    named: list[int]
    inferred: list[bool]
    exact: list[bool]
    steps: list[int]
    verified: list[bool]


def _scored(
    network: FixedNetwork,
    found: Inferred,
    images: Tensor,
    labels: Tensor,
    pool: Tensor,
    *,
    serves: int,
    accepted: Mapping[int, str],
) -> _Part:
    """Some scored images, of which each inference serves so many; see `score`."""
    set_of = torch.arange(len(labels), device=labels.device) // serves
    right, exact = torch.zeros_like(labels, dtype=torch.bool), [False] * len(found.task)
    named = found.label if serves == 1 else None  # of the scored images themselves
    if named is not None:
        right = named[:, 0].to(labels) == labels
    for rows in groups(found):
        masks = found.of_set(rows[0])
        key = mask_digest({name: masks[name] for name in found.masks})
        if named is None:
            where = torch.isin(set_of, torch.tensor(rows, device=labels.device))
            right[where] = _right(network, masks, images[where], labels[where], pool)
        for row in rows:
            exact[row] = key in accepted.values()
    numbers = [int(number) for number in found.task]
    inferred = [number in accepted for number in numbers]
    return _Part(
        right=right,
        allowed=torch.tensor(inferred, device=labels.device)[set_of],
        named=numbers,
        inferred=inferred,
        exact=exact,
        steps=found.steps.tolist(),
        verified=found.verified.tolist(),
    )


def _words(masks: Tensor) -> Tensor:
    """Masks (b, *size) as words of eight entries, int64 (b, words), but for what is left over.

    A sum of words takes far less time than a sum of entries.
    """
    flat = (masks if masks.dtype == torch.bool else masks > 0.5).flatten(1)
    if flat.shape[1] < 8:
        return flat.long()
    whole = flat[:, : flat.shape[1] // 8 * 8]
    return whole.clone(memory_format=torch.contiguous_format).view(torch.int64)


def groups(found: Inferred) -> list[list[int]]:
    """The sets that one mask with its extras is for, of each distinct mask."""
    given = {**found.masks, **found.extras}.values()
    sums = [_words(mask).sum(1).tolist() for mask in found.masks.values()]
    alike: dict[tuple[int, ...], list[list[int]]] = {}  # masks of equal sums, mostly equal masks
    for row in range(len(found.task)):
        known = alike.setdefault(tuple(each[row] for each in sums), [])
        for group in known:
            if all(torch.equal(value[row], value[group[0]]) for value in given):
                group.append(row)
                break
        else:
            known.append([row])
    return [group for known in alike.values() for group in known]


def _right(
    network: FixedNetwork, masks: Masks, images: Tensor, labels: Tensor, pool: Tensor
) -> Tensor:
    with torch.no_grad():
        predict = network.predictor(masks, pool)
        parts = [predict(part).argmax(-1) for part in torch.split(images, _AT_ONCE)]
    return torch.cat(parts) == labels
