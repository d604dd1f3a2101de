"""Scoring of one task: what an evaluation measures, the same for a learner and for a run.

The task is inferred once for every 128 scored images, from inference images alone; no scored image
is seen before its prediction, and none takes part in another's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from supsup_bridge.data.task import Task
from supsup_bridge.inference.base import Inferred, TaskInference
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.fixed import FixedNetwork, Masks

SCORED_BATCH = 128  # images that one task inference serves, the paper's test batch
_AT_ONCE = 16 * SCORED_BATCH  # images in one forward pass


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """What is measured on the scored images of one task.

    Attributes:
        given: accuracy with the task given (GG).
        label: accuracy under the inferred masks (GNs).
        joint: the same, with a wrong task as a wrong answer (GNu).
        inferred: per inference, whether the task was right.
        exact: per inference, whether every bit of the mask was that of the learned one.
    """

    given: float
    label: float
    joint: float
    inferred: list[bool]
    exact: list[bool]


def infer(
    task: Task,
    inference: TaskInference,
    *,
    samples: int,
    generator: torch.Generator,
    device: torch.device,
) -> Inferred:
    """The masks for a task's scored images, per batch of 128.

    Args:
        task: the task.
        inference: how the task is inferred.
        samples: images that one inference sees.
        generator: draws them from the inference images.
        device: where images go.
    """
    batches = -(-len(task.scored_labels) // SCORED_BATCH)
    pool = task.inference_images.to(device)
    return inference.infer(inference.sets(pool, sets=batches, samples=samples, generator=generator))


def score_given(network: FixedNetwork, task: Task, masks: Masks, *, device: torch.device) -> float:
    """Accuracy on a task's scored images under given masks and extras."""
    images, labels = task.scored_images.to(device), task.scored_labels.to(device)
    right = _right(network, masks, images, labels, task.inference_images.to(device))
    return float(right.double().mean())


def score(
    network: FixedNetwork,
    task: Task,
    known: Masks,
    found: Inferred,
    *,
    accepted: set[int],
    digest: str,
    device: torch.device,
) -> TaskScore:
    """What is measured on a task's scored images under inferred masks.

    Args:
        network: the fixed network.
        task: the task.
        known: its masks and extras, recalled by number.
        found: what `infer` found.
        accepted: numbers of the masks that count as the task's.
        digest: of its learned masks.
        device: where images go.
    """
    images, labels = task.scored_images.to(device), task.scored_labels.to(device)
    pool = task.inference_images.to(device)
    given = float(_right(network, known, images, labels, pool).double().mean())
    batch_of = torch.arange(len(labels), device=device) // SCORED_BATCH
    right, exact = torch.zeros_like(labels, dtype=torch.bool), [False] * len(found.task)
    for (key, _), batches in groups(found).items():
        masks = found.of_set(batches[0])
        where = torch.isin(batch_of, torch.tensor(batches, device=device))
        right[where] = _right(network, masks, images[where], labels[where], pool)
        for batch in batches:
            exact[batch] = key == digest
    inferred = [int(number) in accepted for number in found.task]
    allowed = torch.tensor(inferred, device=device).repeat_interleave(SCORED_BATCH)
    return TaskScore(
        given=given,
        label=float(right.double().mean()),
        joint=float((right & allowed[: len(right)]).double().mean()),
        inferred=inferred,
        exact=exact,
    )


def groups(found: Inferred) -> dict[tuple[str, bytes], list[int]]:
    """Digest of each distinct mask, and the bytes of its extras -> the sets that they are for."""
    rows: dict[tuple[str, bytes], list[int]] = {}
    for row in range(len(found.task)):
        digest = mask_digest({name: mask[row] for name, mask in found.masks.items()})
        extras = b"".join(value[row].cpu().numpy().tobytes() for value in found.extras.values())
        rows.setdefault((digest, extras), []).append(row)
    return rows


def _right(
    network: FixedNetwork, masks: Masks, images: Tensor, labels: Tensor, pool: Tensor
) -> Tensor:
    with torch.no_grad():
        predict = network.predictor(masks, pool)
        parts = [predict(part).argmax(-1) for part in torch.split(images, _AT_ONCE)]
    return torch.cat(parts) == labels
