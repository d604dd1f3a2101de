"""Predictions: from images to tasks, labels and logits, in pieces of bounded size."""

from dataclasses import dataclass, replace
from itertools import chain
from math import log

import torch
from torch import Tensor

from supsup_bridge.continual.scoring import groups
from supsup_bridge.inference.base import TaskInference
from supsup_bridge.inference.objectives import entropy
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.precision import without_autocast

TOGETHER = 1024  # images that one joint inference sees, evenly spread over those given
_NUMBERS = 2**25  # floats that the masked weights of one piece may take
_AT_ONCE = 1024  # images in one forward pass
_SURE = 0.75  # share of the largest entropy below which a mask is sure of an image


@dataclass(frozen=True, kw_only=True, repr=False)
class Prediction:
    """What a learner says of n images.

    Attributes:
        task: number of the task of each image, long (n,).
        label: long (n,): a class within the task. Where the memory keeps a mean of each class and
            every image infers its own task, the most probable label of the task found; else the
            largest logit. There all of the module's outputs take part, so that a label can lie
            beyond the task's classes.
        logits: (n, outputs).
        recognized: bool (n,): the mask is a stored one, bit for bit; the content address, where
            there is one, recognizes the task by the image; and the mask is sure of the image: the
            entropy of the softmax is below 3/4 of its maximum, log(outputs). By a posterior, the
            image is also nearer to a class of the task than to the mean of all classes. With the
            task given, the address does not take part. False is "none of my tasks", or "I cannot
            tell".
    """

    task: Tensor
    label: Tensor
    logits: Tensor
    recognized: Tensor

    def __len__(self) -> int:
        return len(self.task)

    def __repr__(self) -> str:
        found = sorted(set(self.task.tolist()))
        tasks, more = ", ".join(map(str, found[:8])), ", ..." if len(found) > 8 else ""
        return (
            f"Prediction({len(self)} images, tasks {tasks}{more}, "
            f"{int(self.recognized.sum())} recognized)"
        )


def predict_each(network: FixedNetwork, inference: TaskInference, images: Tensor) -> Prediction:
    """Predictions for images (n, *shape), the task inferred from each image alone."""
    return _joined([_each(network, inference, part) for part in _pieces(network, images)])


def predict_under(network: FixedNetwork, masks: Masks, images: Tensor) -> Tensor:
    """Logits (n, outputs) of images (n, *shape) under one task's masks and extras (*size)."""
    device, logits = network.device, []
    with torch.no_grad(), without_autocast(device):
        for part in torch.split(images, _AT_ONCE):
            here = part.to(device)
            logits.append(network.predictor(masks, here)(here).to(images.device))
    return torch.cat(logits)


def infer_each(network: FixedNetwork, inference: TaskInference, images: Tensor) -> Tensor:
    """Number of the task (n,) of images (n, *shape), inferred from each image alone."""
    parts = [inference.infer(part[:, None]).task for part in _pieces(network, images)]
    return torch.cat(parts).to(images.device)


def one_set(network: FixedNetwork, images: Tensor) -> Tensor:
    """Images (n, *shape) of one task as the one set (1, n, *shape) that infers it: `TOGETHER`."""
    count = min(len(images), TOGETHER)
    chosen = torch.linspace(0, len(images) - 1, count).long().to(images.device)
    return images[chosen][None].to(network.device)


def of_one_task(logits: Tensor, task: int, *, recognized: bool) -> Prediction:
    """The prediction for images that all have one task."""
    number = torch.full((len(logits),), task, device=logits.device)
    return _prediction(logits, number, torch.full_like(number, recognized, dtype=torch.bool))


def _pieces(network: FixedNetwork, images: Tensor) -> list[Tensor]:
    """Images in pieces for each of which a masked copy of all weights fits into memory."""
    weights = sum(value.numel() for value in chain(network.parameters(), network.buffers()))
    size = max(1, min(128, _NUMBERS // max(1, weights)))
    return list(torch.split(images, size))


def _each(network: FixedNetwork, inference: TaskInference, images: Tensor) -> Prediction:
    here = images.to(network.device)
    found = inference.infer(here[:, None])
    recognized = inference.recognizes(here[:, None], found)
    logits = here.new_empty(len(here), network.outputs)
    for rows in groups(found):
        logits[rows] = predict_under(network, found.of_set(rows[0]), here[rows])
    there = images.device
    predicted = _prediction(logits.to(there), found.task.to(there), recognized.to(there))
    if found.label is None:
        return predicted
    return replace(predicted, label=found.label[:, 0].to(there))


def _prediction(logits: Tensor, task: Tensor, recognized: Tensor) -> Prediction:
    sure = entropy(logits) < _SURE * log(logits.shape[-1])
    return Prediction(
        task=task, label=logits.argmax(-1), logits=logits, recognized=recognized & sure
    )


def _joined(parts: list[Prediction]) -> Prediction:
    names = ("task", "label", "logits", "recognized")
    return Prediction(**{n: torch.cat([getattr(part, n) for part in parts]) for n in names})
