"""Several tasks inferred in one call: each has its own sets and its own answers."""

import torch
from torch import Tensor

from supsup_bridge.inference.base import Inferred, TaskInference, drawn_sets
from supsup_bridge.inference.together import answered
from supsup_bridge.rng import stream


class ByPixel(TaskInference):
    """A set's task is its first pixel; it remembers how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def infer(self, images: Tensor) -> Inferred:
        self.asked.append(len(images))
        tasks = images[:, 0, 0].long()
        return Inferred(
            task=tasks,
            masks={"m": torch.stack([tasks % 2 == 0, tasks > 4], -1)},
            extras={"e": images[:, 0, 1:]},
            steps=tasks + 1,
            verified=tasks > 2,
            label=images[..., 0].long(),
        )


def test_each_task_has_the_answers_to_its_own_sets() -> None:
    inference = ByPixel()
    pools = [torch.full((30, 3), 1.0 + 3 * number) for number in range(3)]
    sets = [4, 1, 6]
    found = answered(
        inference,
        pools,
        sets=sets,
        samples=2,
        generators=[stream(0, "test", number) for number in range(3)],
    )
    assert inference.asked == [11]
    for number, (one, count) in enumerate(zip(found, sets, strict=True)):
        task = 1 + 3 * number
        own = one.sets(pools[number], sets=count, samples=2, generator=stream(9, "other"))
        drawn = drawn_sets(
            pools[number], sets=count, samples=2, generator=stream(0, "test", number)
        )
        assert torch.equal(own, drawn)
        answer = one.infer(own)
        assert answer.task.tolist() == [task] * count
        assert answer.masks["m"].tolist() == [[task % 2 == 0, task > 4]] * count
        assert answer.extras["e"].tolist() == [[task, task]] * count
        assert answer.steps.tolist() == [task + 1] * count
        assert answer.verified.tolist() == [task > 2] * count
        assert answer.label.tolist() == [[task] * 2] * count
