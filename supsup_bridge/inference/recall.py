"""Task inference by recall: unlabelled images of an unknown task in, the mask to use out."""

from math import inf, prod

import torch
from torch import Tensor

from hopmask import ConfigError, Hit, MaskMemory, Search, Trace
from supsup_bridge.inference.base import Inferred, TaskInference, check_sets
from supsup_bridge.inference.objectives import Objective, entropy
from supsup_bridge.inference.signatures import Signature, of_sets, pixels
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.precision import without_autocast

RECALLS = ("both", "entropy", "address")
MIN_MARGIN = 2.0  # nats
_FEW = 8  # memories that a recall visits in any case
_CANDIDATES, _CLEAR = 32, 4.0  # of hub memories: most visits, each one pass, and a clear margin
_MOST = 256  # sets in one call
_NUMBERS = 2**23  # floats that the masks of one call may take: larger tensors are slower
_SHARE = 1 / 8  # of a memory's bytes that they may take in any case: reading it is slower still


class MeanObjective:
    """Penalty of a recall: an objective of the network's outputs, averaged over a set of images.

    Args:
        network: the fixed network.
        images: (b, n, ...): b sets of n images, one set per recall.
        objective: of logits (..., outputs).

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5.
    """

    def __init__(
        self, network: FixedNetwork, images: Tensor, objective: Objective = entropy
    ) -> None:
        self.network, self.images, self.objective = network, images, objective

    def __call__(self, masks: Masks) -> Tensor:
        """H (b,) under masks, name -> levels in [0, 1] (b, *size), of a memory on any device.

        Where tasks have extras, those come with the masks, as statistics of the network.
        """
        levels = {name: mask.to(self.images.device) for name, mask in masks.items()}
        value = self.objective(self.network(self.images, levels)).mean(-1)
        return value.to(next(iter(masks.values())).device)

    def of_rows(self, rows: Tensor) -> "MeanObjective":
        """The penalty of some of the sets alone."""
        return MeanObjective(self.network, self.images[rows], self.objective)


class PointedObjective(MeanObjective):
    """An objective that compares masks, and another one that points at some.

    Args:
        network, images: as for `MeanObjective`.
        objective: compares masks.
        points: its gradient at the mean mask points, such as that of `superfluous`.
    """

    def __init__(
        self, network: FixedNetwork, images: Tensor, objective: Objective, *, points: Objective
    ) -> None:
        super().__init__(network, images, objective)
        self.points = points

    def pointing(self) -> MeanObjective:
        """What is differentiated at the mean mask; see `hopmask.PointingPenalty`."""
        return MeanObjective(self.network, self.images, self.points)


class RecallInference(TaskInference):
    """Infers the task of unlabelled images from a `MaskMemory`, without any list of masks.

    Args:
        network: the fixed network.
        memory: what holds the masks.
        signature: of images (n, ...), one vector each; the same as when the masks were stored.
        recall: "entropy" (energy and the network's entropy alone, the paper's idea), "address"
            (the content address alone), or "both".
        max_basins: basins that a recall visits at most; default 8, of hub memories 32.
        min_margin: margin, in nats, from which on it visits no more (see `MaskMemory.recall`),
            where there are more than eight memories; else it visits them all. Default 2, of hub
            memories 4.
        objective: of a hub memory: what points at a task by its gradient at the mean mask,
            `entropy` or `superfluous` with its `labels` bound.
        compares: of a hub memory: which masks suit the images best, by its lowest value; such as
            `entropy_and_logit` with its `labels` bound.

    Raises:
        ConfigError: an unknown way of recall.

    Example:
        >>> from hopmask import MaskMemory
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([4, 64, 8], network=g)
        >>> memory = MaskMemory(network.mask_sizes)
        >>> images = torch.randn(10, 4, generator=g)
        >>> memory.store({"hidden1": torch.arange(64) % 2 == 0}, signature=images)
        0
        >>> inference = RecallInference(network=network, memory=memory)
        >>> inference.infer(images[None]).task
        tensor([0])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5; the content address is ours.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        memory: MaskMemory,
        signature: Signature = pixels,
        recall: str = "both",
        max_basins: int | None = None,
        min_margin: float | None = None,
        objective: Objective = entropy,
        compares: Objective = entropy,
    ) -> None:
        if recall not in RECALLS:
            raise ConfigError(f"recall must be one of {', '.join(RECALLS)}, got {recall!r}")
        self.network, self.memory, self.signature = network, memory, signature
        self.recall, self.objective, self.compares = recall, objective, compares
        most, clear = (_FEW, MIN_MARGIN) if memory.capacity is None else (_CANDIDATES, _CLEAR)
        self.max_basins = most if max_basins is None else max_basins
        self.min_margin = clear if min_margin is None else min_margin

    @property
    def chunk(self) -> int:
        """Sets in one call, so few that the masks of all of them fit into memory."""
        bits = sum(prod(shape) for shape in self.memory.shapes.values())
        return max(1, min(_MOST, max(_NUMBERS, self._share) // bits))

    @property
    def at_once(self) -> int:
        """As many as go into one call, where reading the memory takes most of its time; else 1."""
        return self.chunk if self._share > _NUMBERS else 1

    @property
    def _share(self) -> int:
        """Floats that take a share of the memory's bytes."""
        return int(_SHARE * self.memory.nbytes) // 4

    def infer(self, images: Tensor, *, chunk: int | None = None) -> Inferred:
        """Recall the masks for sets of images, many sets in one call.

        Args:
            images: (b, n, ...): b sets of n images, each set from one task.
            chunk: sets at a time; bounds the memory of the masked forward passes. Default 256, or
                fewer where masks are long.

        Raises:
            ConfigError: images without the axis of sets, or that the network cannot take.
            EmptyMemoryError: no task was learned.
        """
        check_sets(images)
        with without_autocast(images.device):
            parts = torch.split(images, chunk or self.chunk)
            hits = [self._recall(part, trace=False) for part in parts]
        found = [
            Inferred(
                task=hit.task,
                masks=hit.masks,
                extras=hit.extras,
                steps=hit.steps,
                verified=hit.verified,
            )
            for hit in hits
        ]
        return Inferred.joined(found)

    def recognizes(self, images: Tensor, found: Inferred) -> Tensor:
        """Whether the content address recognizes the task found; by entropy alone, `verified`.

        One more recall, by the address alone: its answer has to be recognized
        (`Hit.recognized`) and of the same task. The entropy says less, because masks are often sure
        of images of tasks that were never learned.
        """
        if self.recall == "entropy":
            return found.verified
        with without_autocast(images.device):
            return recognized_by_address(self.memory, self.signature, images, found)

    def trace(self, images: Tensor) -> tuple[Hit, Trace]:
        """One recall with its step by step record; images (n, ...)."""
        check_sets(images[None])
        with without_autocast(images.device):
            hit = self._recall(images[None], trace=True)
        assert hit.trace is not None
        return hit, hit.trace

    def _recall(self, images: Tensor, *, trace: bool) -> Hit:
        address = of_sets(self.signature, images) if self.recall != "entropy" else None
        return self.memory.recall(
            signature=address,
            penalty=self._penalty(images) if self.recall != "address" else None,
            batch=len(images) if address is None else None,
            search=Search(
                max_basins=self.max_basins,
                min_margin=self.min_margin if self.memory.count > _FEW else inf,
                recognition_margin=MIN_MARGIN,
                trace=trace,
            ),
        )

    def _penalty(self, images: Tensor) -> MeanObjective:
        if self.objective is self.compares:
            return MeanObjective(self.network, images, self.compares)
        return PointedObjective(self.network, images, self.compares, points=self.objective)


def recognized_by_address(
    memory: MaskMemory, signature: Signature, images: Tensor, found: Inferred
) -> Tensor:
    """Whether the content address alone recognizes sets (b, n, ...) as of the tasks found; (b,)."""
    search = Search(max_basins=2, recognition_margin=MIN_MARGIN)  # the best key, and the next
    hit = memory.recall(signature=of_sets(signature, images), search=search)
    recognized: Tensor = hit.recognized & (hit.task == found.task)
    return recognized & found.verified
