"""Task inference by a posterior: every task, with every label of it, weighed for every image."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from hopmask import ConfigError, MaskMemory
from supsup_bridge.inference.base import Inferred, TaskInference, check_sets
from supsup_bridge.inference.objectives import entropy
from supsup_bridge.inference.recall import MIN_MARGIN, recognized_by_address
from supsup_bridge.inference.signatures import Signature, of_sets, pixels
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.precision import without_autocast

_MOST_TASKS = 32  # tried for a set of images
_IMAGES = 256  # in one forward pass
_TOGETHER = 8192  # images that are compared in one go
_BITS = 2**26  # of masks that are held at once


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How much each part of a pair's score counts; see `PosteriorInference`.

    Attributes:
        task: 1/τ, of the address's evidence for the task, which is more certain than right.
        group: of the address's evidence for the label within the task.
        entropy: λ.
        label: of the mask's evidence for the label.
    """

    task: float = 0.5
    group: float = 0.5
    entropy: float = 1.0
    label: float = 1.0


class PosteriorInference(TaskInference):
    """Infers task and labels of unlabelled images from a `MaskMemory` on hubs, all pairs compared.

    The content address keeps a mean of each class of a task, so it says of an image x how likely
    x is of task t, and of label c within t. The mask of t says how likely c is, and by its entropy
    H_t whether x is of t at all. All of it is one score of the pair (t, c),

        s(t, c | x) = log p(x | t) / τ + γ log q(c | x, t) − λ H_t(x) + log p_t(c | x),

    with q the address's share of c in t and p_t the softmax of all outputs under the mask of t, and

        task of a set = argmax_t Σ_x max_c s(t, c | x),    label of x = argmax_c s(t, c | x).

    Every image is judged by itself; those of a set share the task alone. Of many tasks, the 32
    that the address finds most likely are tried.

    Args:
        network: the fixed network.
        memory: what holds the masks, with a content address of as many groups as a task has
            classes. A task that was stored without a signature is never found.
        signature: of images (n, ...), one vector each; the same as when the masks were stored.
        weights: 1/τ, γ, λ, and the weight of the mask's label. The defaults were chosen on
            held-out training images of split-mnist, where τ from 1 to 4 and λ from ½ to 2 do
            alike.

    Raises:
        ConfigError: a network that normalises images by others given with them; see
            `check_each_alone`.

    Example:
        >>> from hopmask import MaskMemory
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([4, 64, 8], network=g)
        >>> options = {"hubs": 4, "signature_features": 64, "signature_groups": 2}
        >>> memory = MaskMemory(network.mask_sizes, couplings="hub", **options)
        >>> images, labels = torch.randn(20, 4, generator=g), torch.arange(20) % 2
        >>> mask = torch.arange(64) % 2 == 0
        >>> memory.store({"hidden1": mask}, signature=images, groups=labels)
        0
        >>> found = PosteriorInference(network=network, memory=memory).infer(images[:, None])
        >>> found.task.sum(), found.label.shape
        (tensor(0), torch.Size([20, 1]))

    Source:
        Entropy: Wortsman et al. 2020 (arXiv 2006.14769), section 3.3; the posterior is ours.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        memory: MaskMemory,
        signature: Signature = pixels,
        weights: Weights | None = None,
    ) -> None:
        check_each_alone(network)
        self.network, self.memory, self.signature = network, memory, signature
        self.weights = weights or Weights()

    def infer(self, images: Tensor) -> Inferred:
        check_sets(images)
        at_once = max(1, min(self._masks_at_once, _TOGETHER // images.shape[1]))
        with without_autocast(images.device), torch.no_grad():
            parts = [self._inferred(part) for part in torch.split(images, at_once)]
        return Inferred.joined(parts)

    def recognizes(self, images: Tensor, found: Inferred) -> Tensor:
        """Whether the content address recognizes the task found; see `RecallInference`.

        The images also have to be likelier, by 2 nats on average, under the task's classes than
        under a class around the mean of all. Images of a class that lies between those learned are
        far from the next task, but as far from the one found. One class alone recognizes nothing.
        """
        with without_autocast(images.device):
            known = recognized_by_address(self.memory, self.signature, images, found)
            signs = of_sets(self.signature, images)
            evidence = self.memory.evidence(signs.flatten(0, 1)).logsumexp(-1)
        of_task = evidence.view(*signs.shape[:2], -1).mean(1).to(images.device)
        return known & (of_task.gather(1, found.task[:, None])[:, 0] >= MIN_MARGIN)

    def pairs(self, images: Tensor) -> Tensor:
        """s(t, c | x) of images (b, n, ...): float64 (b, n, hubs, labels), −∞ of pairs not tried.

        Labels are those of the address's groups. A task is tried for all images of a set, or none.
        """
        labels = min(self.memory.signature_groups, self.network.outputs)
        flat, sets = images.flatten(0, 1), images.shape[:2]
        signs = of_sets(self.signature, images).flatten(0, 1)
        evidence = self.memory.evidence(signs)[..., :labels].to(images.device).double()
        of_task = evidence.logsumexp(-1, keepdim=True)  # (b n, hubs, 1)
        tried = _best(of_task.view(*sets, -1).mean(1)).repeat_interleave(sets[1], 0)
        pairs = torch.full_like(evidence, -torch.inf)
        for task, masks in self._masks_of(tried.any(0).nonzero()[:, 0]):
            (rows,) = tried[:, task].nonzero(as_tuple=True)
            parts = [self.network(part, masks) for part in torch.split(flat[rows], _IMAGES)]
            logits, own = torch.cat(parts).double(), evidence[rows, task]
            score = (
                self.weights.task * of_task[rows, task]
                + self.weights.group * (own - of_task[rows, task])
                - self.weights.entropy * entropy(logits)[:, None]
                + self.weights.label * logits.log_softmax(-1)[:, :labels]
            )
            pairs[rows, task] = score.masked_fill(own.isinf(), -torch.inf)  # 0 · ∞ is no number
        return pairs.view(*sets, *pairs.shape[1:])

    def _inferred(self, images: Tensor) -> Inferred:
        pairs = self.pairs(images)
        of_task = pairs.amax(-1).mean(1)  # (b, hubs)
        task = of_task.argmax(-1)
        hit = self.memory.recall(task)
        rows = torch.arange(len(task), device=task.device)
        return Inferred(
            task=task,
            masks={name: mask.to(images.device) for name, mask in hit.masks.items()},
            extras={name: value.to(images.device) for name, value in hit.extras.items()},
            steps=(of_task > -torch.inf).sum(-1),
            verified=hit.verified.to(images.device),
            label=pairs[rows, :, task].argmax(-1),
        )

    @property
    def _masks_at_once(self) -> int:
        return max(1, _BITS // sum(prod(shape) for shape in self.memory.shapes.values()))

    def _masks_of(self, tasks: Tensor) -> Iterator[tuple[int, Masks]]:
        """Numbers of tasks (t,), each with its masks and extras, on the network's device."""
        for some in torch.split(tasks, self._masks_at_once):
            hit = self.memory.recall(some)
            stored = {**hit.masks, **hit.extras}
            for row, task in enumerate(some.tolist()):
                yield task, {n: mask[row].to(self.network.device) for n, mask in stored.items()}


def check_each_alone(network: FixedNetwork) -> None:
    """Raise ConfigError unless an image's logits under one task never depend on other images."""
    if not network.pointwise_given(network.statistics_sizes):
        raise ConfigError(
            "a posterior judges every image by itself, and the network's batch norm takes its "
            "statistics from all images given: use recall='both', or a network with layer norm"
        )


def _best(evidence: Tensor) -> Tensor:
    """Which tasks are tried, by the evidence of sets for them (b, hubs); bool (b, hubs)."""
    best = evidence.topk(min(_MOST_TASKS, evidence.shape[-1]), -1).indices
    found = torch.zeros_like(evidence, dtype=torch.bool).scatter(-1, best, value=True)
    return found & (evidence > -torch.inf)
