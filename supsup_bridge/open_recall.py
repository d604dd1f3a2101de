"""Task inference and novelty over an `OpenMemory`: recall, or the mask still in training."""

from dataclasses import replace

import torch
from torch import Tensor

from hopmask import EmptyMemoryError
from supsup_bridge.inference import Inferred, TaskInference
from supsup_bridge.networks import FixedNetwork, Masks
from supsup_bridge.novelty import Verdict
from supsup_bridge.objectives import entropy
from supsup_bridge.open_memory import OpenMemory
from supsup_bridge.recall import RecallInference

_REFERENCE = 128  # images of the open mask's task by which its entropy is known
_UNTRAINED = 0.05  # a mask whose entropy is this near to chance, in shares of it, says nothing yet


class OpenInference(TaskInference):
    """Infers the task by recall, unless the open mask is more certain of the images.

    Args:
        recall: inference from the memory.
        memory: the memory and its open mask; `recall` asks the same one.

    Example:
        >>> from hopmask import MaskMemory
        >>> from supsup_bridge import UnitNetwork
        >>> network = UnitNetwork([4, 64, 8], network=torch.Generator().manual_seed(0))
        >>> memory = OpenMemory(MaskMemory(network.mask_sizes), signature=None)
        >>> memory.store({"hidden1": torch.arange(64) % 2 == 0})
        0
        >>> recall = RecallInference(network=network, memory=memory.memory, recall="entropy")
        >>> OpenInference(recall, memory).infer(torch.ones(3, 2, 4)).task
        tensor([0, 0, 0])

    Source:
        The lowest entropy decides, as among recalled masks: Wortsman et al. 2020
        (arXiv 2006.14769), section 3.5.
    """

    def __init__(self, recall: RecallInference, memory: OpenMemory) -> None:
        self.recall, self.memory, self.network = recall, memory, recall.network

    def infer(self, images: Tensor) -> Inferred:
        if self.memory.open is None:
            return self.recall.infer(images)
        opened = self._opened(len(images))
        if self.memory.memory.count == 0:
            return opened
        found = self.recall.infer(images)
        level = mean_entropy(self.network, images, found.masks)
        nearer = mean_entropy(self.network, images, opened.masks) < level
        nearer |= ~found.converged
        masks = {}
        for name, mask in found.masks.items():
            chosen = nearer.view(-1, *[1] * (mask.ndim - 1))
            masks[name] = torch.where(chosen, opened.masks[name], mask)
        return replace(
            found,
            task=torch.where(nearer, opened.task, found.task),
            masks=masks,
            converged=found.converged | nearer,
        )

    def _opened(self, sets: int) -> Inferred:
        masks = self.memory.open
        assert masks is not None
        device = next(iter(masks.values())).device
        return Inferred(
            task=torch.full((sets,), self.memory.memory.count, device=device),
            masks={name: mask.expand(sets, *mask.shape) for name, mask in masks.items()},
            steps=torch.zeros(sets, dtype=torch.long, device=device),
            converged=torch.ones(sets, dtype=torch.bool, device=device),
        )


class RecallNovelty:
    """Are these images of a task that a memory holds a mask for, or that its open mask is of?

    The best mask is inferred; it is the images' own where their entropy under it lies nearer to
    that of the open mask on images that it was trained on than to that of a random mask:

        H(images, best) < ½ (H(own images, open) + H(images, random)).

    The open mask is the yardstick, so nothing has to be set for a network or a kind of mask. Where
    it is hardly trained, its entropy within 5 % of a random mask's, the images say nothing.

    Args:
        inference: over the memory and its open mask.

    Example:
        >>> from hopmask import MaskMemory
        >>> from supsup_bridge import UnitNetwork
        >>> network = UnitNetwork([4, 64, 8], network=torch.Generator().manual_seed(0))
        >>> memory = OpenMemory(MaskMemory(network.mask_sizes), signature=None)
        >>> memory.store({"hidden1": torch.arange(64) % 2 == 0})
        0
        >>> memory.observe(torch.ones(2, 4))
        >>> recall = RecallInference(network=network, memory=memory.memory, recall="entropy")
        >>> RecallNovelty(OpenInference(recall, memory)).judge(torch.ones(2, 4)).mask
        0

    Source:
        "Unknown" as the sign of a new task; the statistic is ours. For an explicit bank see
        `NoveltyTest`.
    """

    def __init__(self, inference: OpenInference) -> None:
        self.inference = inference

    @property
    def network(self) -> FixedNetwork:
        """The fixed network."""
        return self.inference.network

    @property
    def store(self) -> OpenMemory:
        """Where masks go."""
        return self.inference.memory

    def judge(self, images: Tensor) -> Verdict:
        """Judge images (n, ...), all of one task.

        The verdict's strength is 1 for the open mask's own images, and 0 for images under a random
        mask.

        Raises:
            EmptyMemoryError: there is no open mask, or it has seen no images.
        """
        opened = self.store.open
        if opened is None:
            raise EmptyMemoryError("no mask is open: store one before asking what is new")
        found = self.inference.infer(images[None])
        level = float(mean_entropy(self.network, images[None], found.masks))
        chance = float(mean_entropy(self.network, images[None], _random(opened)))
        own = self.store.images[:_REFERENCE][None]
        usual = float(mean_entropy(self.network, own, {n: m[None] for n, m in opened.items()}))
        return Verdict(
            mask=int(found.task),
            strength=(chance - level) / max(chance - usual, 1e-30),
            new=level > (chance + usual) / 2,
            blind=chance - usual < _UNTRAINED * chance,
        )


def mean_entropy(network: FixedNetwork, images: Tensor, masks: Masks) -> Tensor:
    """Entropy of each set of images (b, n, ...) under its masks (b, *size); (b,)."""
    with torch.no_grad():
        levels = {name: mask.to(images) for name, mask in masks.items()}
        return entropy(network(images, levels)).mean(-1)


def _random(like: Masks) -> Masks:
    """One fixed random mask, name -> (1, *size)."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randint(0, 2, (1, *mask.shape), generator=generator).to(mask.device)
        for name, mask in like.items()
    }
