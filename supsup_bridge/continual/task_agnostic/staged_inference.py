"""Task inference and novelty where a mask is still in training: recall, or that mask."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, isnan, nan
from typing import Any

import torch
from torch import Tensor

from hopmask import EmptyMemoryError
from supsup_bridge.continual.task_agnostic.in_place_memory import InPlaceMemory, Stage
from supsup_bridge.continual.task_agnostic.novelty import Verdict
from supsup_bridge.inference.base import Inferred, TaskInference
from supsup_bridge.inference.objectives import entropy
from supsup_bridge.inference.recall import RecallInference
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.rng import shuffled

_REFERENCE = 128  # images of the open mask's task by which its entropy is known
_KNOWN = 0.5  # strength from which on images are a mask's own
_SEEN = 512  # images of the open mask's task that others are compared with
_CHANCE = 4.0  # distance of two means from which on it is no accident, in its mean over accidents
_ORDER = 0.04  # distance that is nothing but the order of a stream, in shares of the variance
_UNTRAINED = 0.05  # a mask whose entropy is this near to chance, in shares of it, says nothing yet


class StagedInference(TaskInference):
    """Infers the task by recall, unless the open mask is more certain of the images.

    Args:
        recall: inference from the memory.
        memory: the memory and its open mask (`StagedMemory`, or `InPlaceMemory` on hubs); `recall`
            is over the same memory.

    Example:
        >>> from hopmask import MaskMemory
        >>> from supsup_bridge import StagedMemory, UnitNetwork
        >>> network = UnitNetwork([4, 64, 8], network=torch.Generator().manual_seed(0))
        >>> memory = StagedMemory(MaskMemory(network.mask_sizes), signature=None)
        >>> memory.store({"hidden1": torch.arange(64) % 2 == 0})
        0
        >>> recall = RecallInference(network=network, memory=memory.memory, recall="entropy")
        >>> StagedInference(recall, memory).infer(torch.ones(3, 2, 4)).task
        tensor([0, 0, 0])

    Source:
        The lowest entropy decides, as among recalled masks: Wortsman et al. 2020
        (arXiv 2006.14769), section 3.5.
    """

    def __init__(self, recall: RecallInference, memory: Stage) -> None:
        self.recall, self.memory, self.network = recall, memory, recall.network

    def infer(self, images: Tensor, *, chunk: int | None = None) -> Inferred:
        """The masks to use for images (b, n, ...): b sets of n images.

        Args:
            images: the sets.
            chunk: as for `RecallInference.infer`.
        """
        if self.memory.open is None:
            return self.recall.infer(images, chunk=chunk)
        parts = [self._inferred(part) for part in torch.split(images, chunk or self.recall.chunk)]
        return Inferred.joined(parts)

    def recognizes(self, images: Tensor, found: Inferred) -> Tensor:
        """See `RecallInference.recognizes`; the open mask has no place in the address yet."""
        if self.memory.closed == 0:
            return found.verified
        opened = found.task == self.memory.closed
        return self.recall.recognizes(images, found) | opened

    def _inferred(self, images: Tensor) -> Inferred:
        opened = self._opened(len(images))
        if self.memory.closed == 0:
            return opened
        found = self.recall.infer(images)
        level = mean_entropy(self.network, images, found.masks)
        nearer = mean_entropy(self.network, images, opened.masks) < level
        nearer |= ~found.verified
        masks = {}
        for name, mask in found.masks.items():
            chosen = nearer.view(-1, *[1] * (mask.ndim - 1))
            masks[name] = torch.where(chosen, opened.masks[name], mask)
        return replace(
            found,
            task=torch.where(nearer, opened.task, found.task),
            masks=masks,
            verified=found.verified | nearer,
        )

    def _opened(self, sets: int) -> Inferred:
        masks = self.memory.open
        assert masks is not None
        device = next(iter(masks.values())).device
        return Inferred(
            task=torch.full((sets,), self.memory.closed, device=device),
            masks={name: mask.expand(sets, *mask.shape) for name, mask in masks.items()},
            steps=torch.zeros(sets, dtype=torch.long, device=device),
            verified=torch.ones(sets, dtype=torch.bool, device=device),
        )


class RecallNovelty:
    """Are these images of a task that a memory holds a mask for, or that its open mask is of?

    How strongly a mask suits images is read off their entropy under it, between that of chance and
    what is usual for a mask on images of its own task:

        strength = (H(chance) − H(mask)) / (H(chance) − usual).

    Chance is a random mask, or, on hubs, the mask itself on the same images with their pixels in
    another order: a weight mask has learned to keep superfluous outputs low, whatever the image, so
    that foreign images under it are surer than any under a random mask (of 500 outputs 2.5 nats
    against 6.1, images of its own task 0.2).

    Two masks are compared, the open one and the one that images recall. For the open mask, usual
    is its entropy on images that it was trained on; for recalled ones, the mean of what it was for
    masks when they were closed. So nothing has to be set for a network or a kind of mask. The
    stronger one is the images' own from strength ½ on; otherwise they are of a new task. An open
    mask that is hardly trained, its entropy on its own images within 5 % of chance, cannot
    be distinguished from chance: unless another one is recalled, the images then say nothing.

    On PermutedMNIST, other images of a task have a strength of about 1 and unknown permutations of
    about a third or less (held-out training images, from 50 batches on). Where tasks show images of
    one kind (the split benchmarks), masks are sure of other tasks' images too. So images must also
    look like those of the mask: for one recalled from hubs the content address recognizes them, and
    for the open one the means of signatures a of its images and b of those asked about lie near,

        ‖ā − b̄‖² ≤ (4 (1/n_a + 1/n_b) + 0.04) Σ var(a),

    of which the first part is chance, and the second what batches of one task may differ by. Each
    batch asked about should hold a task's classes mixed. Without signature, entropy alone decides.

    Args:
        inference: over the memory and its open mask.

    Example:
        >>> from hopmask import MaskMemory
        >>> from supsup_bridge import StagedMemory, UnitNetwork
        >>> network = UnitNetwork([4, 64, 8], network=torch.Generator().manual_seed(0))
        >>> memory = StagedMemory(MaskMemory(network.mask_sizes), signature=None)
        >>> memory.store({"hidden1": torch.arange(64) % 2 == 0})
        0
        >>> memory.observe(torch.ones(2, 4))
        >>> recall = RecallInference(network=network, memory=memory.memory, recall="entropy")
        >>> RecallNovelty(StagedInference(recall, memory)).judge(torch.ones(2, 4)).mask
        0

    Source:
        "Unknown" as the sign of a new task; the statistic is ours. For an explicit bank see
        `NoveltyTest`.
    """

    def __init__(self, inference: StagedInference) -> None:
        self.inference = inference
        self._number, self._usual = 0, nan  # of the open mask when it was last judged
        self._closed, self._of = 0.0, 0  # sum of what was usual for closed masks, and of how many

    @property
    def network(self) -> FixedNetwork:
        """The fixed network."""
        return self.inference.network

    @property
    def store(self) -> Stage:
        """Where masks go."""
        return self.inference.memory

    def judge(self, images: Tensor) -> Verdict:
        """Judge images (n, ...), all of one task.

        Raises:
            EmptyMemoryError: there is no open mask, or it has seen no images.
        """
        opened = self.store.open
        if opened is None:
            raise EmptyMemoryError("no mask is open: store one before asking what is new")
        chance = self._chance(images, opened)
        usual = self._level(self.store.images[:_REFERENCE], opened)
        number = mask = self.store.closed
        strength = -inf
        if number != self._number and not isnan(self._usual):
            self._closed, self._of = self._closed + self._usual, self._of + 1
        self._number, self._usual = number, usual
        trained = chance - usual >= _UNTRAINED * chance
        if trained:
            strength = (chance - self._level(images, opened)) / (chance - usual)
            if strength >= _KNOWN and not self._looks_alike(images):
                strength = 0.0
        if number > 0:
            found = self.inference.recall.infer(images[None])
            masks = {name: mask[0] for name, mask in found.masks.items()}
            chance, level = self._chance(images, masks), self._level(images, masks)
            closed = self._closed / self._of if self._of else usual
            recalled = (chance - level) / max(chance - closed, _UNTRAINED * chance)
            another = bool(found.verified) and int(found.task) != number
            another = another and recalled > strength and (trained or recalled >= _KNOWN)
            if another and recalled >= _KNOWN and isinstance(self.store, InPlaceMemory):
                another = bool(self.inference.recall.recognizes(images[None], found))
            if another:
                mask, strength = int(found.task), recalled
        blind = strength == -inf
        return Verdict(
            mask=mask, strength=strength, new=strength < _KNOWN and not blind, blind=blind
        )

    def state(self) -> dict[str, Any]:
        """What earlier judgements left, as numbers."""
        usual = None if isnan(self._usual) else self._usual
        return {"open": [self._number, usual], "closed": [self._closed, self._of]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of another test over the same memory."""
        self._number, usual = state["open"]
        self._usual = nan if usual is None else usual
        self._closed, self._of = state["closed"]

    def _looks_alike(self, images: Tensor) -> bool:
        """Whether the mean of images' signatures is that of the open mask's images."""
        signature = self.store.signature
        if signature is None or len(self.store.images) < 2:
            return True
        seen, asked = signature(self.store.images[:_SEEN]).double(), signature(images).double()
        accident = _CHANCE * (1 / len(seen) + 1 / len(asked))
        distance = (seen.mean(0) - asked.mean(0)).square().sum()
        return bool(distance <= (accident + _ORDER) * seen.var(0).sum())

    def _chance(self, images: Tensor, masks: Masks) -> float:
        """Entropy of images (n, ...) that would say nothing about the masks."""
        if isinstance(self.store, InPlaceMemory):
            return self._level(_shuffled(images), masks)
        return self._level(images, _random(masks))

    def _level(self, images: Tensor, masks: Masks) -> float:
        """Entropy of images (n, ...) under one mask."""
        one = {name: mask[None] for name, mask in masks.items()}
        return float(mean_entropy(self.network, images[None], one))


def mean_entropy(network: FixedNetwork, images: Tensor, masks: Masks) -> Tensor:
    """Entropy of each set of images (b, n, ...) under its masks (b, *size); (b,)."""
    with torch.no_grad():
        levels = {name: mask.to(images) for name, mask in masks.items()}
        return entropy(network(images, levels)).mean(-1)


def _random(like: Masks) -> Masks:
    """One fixed random mask, name -> (*size)."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randint(0, 2, mask.shape, generator=generator).to(mask.device)
        for name, mask in like.items()
    }


def _shuffled(images: Tensor) -> Tensor:
    """Images (n, ...) with their values in another order, the same fixed one for all."""
    flat = images.flatten(1)
    generator = torch.Generator("cpu").manual_seed(0)
    order = shuffled(flat.shape[1], generator).to(images.device)
    return flat[:, order].reshape(images.shape)
