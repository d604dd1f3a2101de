"""Inferences of several tasks in one call, for memories of which one pass serves many sets."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from supsup_bridge.inference.base import Inferred, TaskInference


class Answered(TaskInference):
    """Gives the sets that were drawn for one task, and the answers that were found for them.

    Args:
        images: (b, n, ...).
        found: of those.
    """

    def __init__(self, images: Tensor, found: Inferred) -> None:
        self._images, self._found = images, found

    def sets(self, pool: Tensor, *, sets: int, samples: int, generator: torch.Generator) -> Tensor:
        return self._images

    def infer(self, images: Tensor) -> Inferred:
        return self._found


def answered(
    inference: TaskInference,
    pools: Iterable[Tensor],
    *,
    sets: Sequence[int],
    samples: int,
    generators: Sequence[torch.Generator],
) -> list[Answered]:
    """Draw sets of several tasks, infer them in one call, and give each task its own answers.

    Args:
        inference: whose answers to one set do not depend on the others.
        pools: inference images of each task; taken one after the other.
        sets: how many to draw from each.
        samples: images of a set.
        generators: one draws from one pool.
    """
    drawn = [
        inference.sets(pool, sets=count, samples=samples, generator=generator)
        for pool, count, generator in zip(pools, sets, generators, strict=True)
    ]
    found = inference.infer(torch.cat(drawn))
    ends = torch.tensor([0, *sets]).cumsum(0).tolist()
    parts = [found.part(slice(*between)) for between in pairwise(ends)]
    return [Answered(*one) for one in zip(drawn, parts, strict=True)]
