"""The paper's recall: annealed descent on energy and entropy, a fresh batch per step."""

import torch
from torch import Tensor

from hopmask import ConfigError, Hit, MaskMemory, Search, paper_schedule
from supsup_bridge.inference.objectives import entropy
from supsup_bridge.inference.recall import RecallInference
from supsup_bridge.networks.fixed import FixedNetwork

PAPER_STEPS = 30  # T of the paper's schedule: batches that a recall sees


class PaperInference(RecallInference):
    """The paper's recall: from μ, annealed descent on energy + entropy, a fresh batch each step.

    Args:
        network: the fixed network.
        memory: what holds the masks.
        steps: T.
        generator: draws each step's images from those given.
        batch: images per step.

    Example:
        >>> from hopmask import MaskMemory
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([4, 64, 8], network=g, normalisation="batch")
        >>> memory = MaskMemory(network.mask_sizes)
        >>> memory.store({"hidden1": torch.arange(64) % 2 == 0})
        0
        >>> paper = PaperInference(network=network, memory=memory, generator=g)
        >>> paper.infer(torch.randn(1, 10, 4, generator=g)).task
        tensor([0])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5 and the appendix on HopSupSup.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        memory: MaskMemory,
        generator: torch.Generator,
        steps: int = PAPER_STEPS,
        batch: int = 64,
    ) -> None:
        super().__init__(network=network, memory=memory, recall="entropy")
        self.generator, self.steps, self.batch = generator, steps, batch

    @property
    def at_once(self) -> int:
        return 1  # each task has a random stream

    def sets(self, pool: Tensor, *, sets: int, samples: int, generator: torch.Generator) -> Tensor:
        """The pool itself for each set: every step of a recall draws its images from it.

        Raises:
            ConfigError: `samples` is not the number of images per step of this inference.
        """
        if samples != self.batch:
            raise ConfigError(
                f"this inference draws {self.batch} images per step, got samples={samples}: build "
                f"it with batch={samples}"
            )
        return pool.expand(sets, *pool.shape)

    def _recall(self, images: Tensor, *, trace: bool) -> Hit:
        def fresh_entropy(masks: dict[str, Tensor]) -> Tensor:
            sets, pool = images.shape[:2]
            own = self.generator
            draw = torch.randint(
                pool, (sets, self.batch), generator=own, dtype=torch.int64, device=own.device
            )
            which = torch.arange(sets, dtype=torch.int64, device=images.device)
            fresh = images[which[:, None], draw.to(images.device)]
            return entropy(self.network(fresh, masks)).mean(-1)

        return self.memory.recall(
            penalty=fresh_entropy,
            batch=len(images),
            search=Search(dynamics=paper_schedule(steps=self.steps), max_basins=1, trace=trace),
        )
