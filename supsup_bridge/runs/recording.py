"""What each recall of a run did, step by step, for a plot."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hopmask import Hit, MaskMemory, Trace
from supsup_bridge.continual.inferences import Inferences
from supsup_bridge.data.task import Task
from supsup_bridge.rng import stream


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One task's recall, step by step: overlap with each recalled-by-number mask (steps, masks).

    `right` holds the numbers of the masks that count as the task's; the trace has no states.
    """

    number: int
    right: set[int]
    hit: Hit
    trace: Trace
    overlaps: Tensor


def recorded(
    inferences: Inferences,
    memory: MaskMemory,
    tasks: Sequence[Task],
    *,
    most: int,
    accepted: Callable[[int], set[int]],
    samples: int,
    seed: int,
) -> Iterator[Recorded]:
    """Recall tasks once more from inference images.

    Args:
        inferences: of the learner.
        memory: what holds the masks.
        tasks: the tasks.
        most: how many of the tasks, and of the masks, at most.
        accepted: number of a task -> the masks that count as the task's.
        samples: images that one recall sees.
        seed: of the images drawn.
    """
    learned = [memory.recall(task=i).masks for i in range(min(most, memory.count))]
    for number, task in enumerate(tasks[:most]):
        generator = stream(seed, "record", number)
        inference = inferences.recall(memory, memory.count, number)
        pool = task.inference_images.to(inference.network.device)
        sets = inference.sets(pool, sets=1, samples=samples, generator=generator)
        hit, trace = inference.trace(sets[0])
        overlaps = [memory.overlap(trace.states[:, 0], masks) for masks in learned]
        yield Recorded(
            number=number,
            right=accepted(number),
            hit=hit,
            trace=replace(trace, states=trace.states[..., :0]),  # of long masks they are large
            overlaps=torch.stack(overlaps, 1),
        )
