"""Scoring of a baseline, against loops over single images."""

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge import Task
from supsup_bridge.continual.baselines.base import Baseline, Progress
from supsup_bridge.continual.baselines.scoring import score_baseline
from supsup_bridge.continual.scoring import TaskScore
from supsup_bridge.networks.fixed import Predictor
from supsup_bridge.training.data import LessonData
from supsup_bridge.training.settings import TrainingSettings

SCORED = 300  # three batches, the last one short


class Known(Baseline):
    """Task t's logits are those of fixed weights; nothing is learned."""

    training, outputs, count, nbytes = TrainingSettings(), 3, 3, 0  # type: ignore[misc]

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.layers = 2 * torch.randn(3, 3, 5, generator=generator)

    def steps(self, images: int) -> int:
        return 0

    def learn(self, data: LessonData, *, progress: Progress = lambda step, loss: None) -> None: ...

    def predictor(self, task: int) -> Predictor:
        return lambda images: images @ self.layers[task].T


class ReadOut(Known):
    """Outputs of all tasks side by side, or the labels alone."""

    def __init__(self, *, tells: bool) -> None:
        super().__init__()
        self.tells = tells

    @property
    def reads_out(self) -> bool:
        return True

    def read_out(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        answer = torch.cat([self.predictor(task)(images) for task in range(3)], -1).argmax(-1)
        return (answer // 3 if self.tells else None), answer % 3


def task(number: int) -> Task:
    generator = torch.Generator().manual_seed(10 + number)
    images = torch.randn(SCORED + 40, 5, generator=generator)
    labels = torch.randint(0, 3, (SCORED + 40,), generator=generator)
    return Task(
        name=str(number),
        train_images=images[:1],
        train_labels=labels[:1],
        inference_images=images[:40],
        scored_images=images[40:],
        scored_labels=labels[40:],
        classes=3,
    )


def found(learner: Baseline, scenario: str, protocol: str = "image", samples: int = 1) -> TaskScore:
    return score_baseline(
        learner,
        task(1),
        1,
        scenario=scenario,
        protocol=protocol,
        samples=samples,
        generator=torch.Generator().manual_seed(4),
        device=torch.device("cpu"),
    )


def surest(learner: Baseline, images: Tensor) -> int:
    """The task of least mean entropy."""
    values = []
    for number in range(3):
        p = learner.predictor(number)(images).double().softmax(-1)
        values.append(float(-(p * p.log()).sum(-1).mean()))
    return values.index(min(values))


def test_a_given_task() -> None:
    learner, some = Known(), task(1)
    score = found(learner, "GG")
    right = [
        int(learner.predictor(1)(image[None]).argmax()) == int(label)
        for image, label in zip(some.scored_images, some.scored_labels, strict=True)
    ]
    assert score.given == sum(right) / SCORED == score.accuracy("GG")
    assert (score.label, score.joint, score.named, score.inferred) == (None, None, [], [])
    assert len(score.steps) == 1


def test_each_image_by_itself() -> None:
    learner, some = Known(), task(1)
    score = found(learner, "GNu")
    tasks = [surest(learner, image[None]) for image in some.scored_images]
    right = [
        int(learner.predictor(number)(image[None]).argmax()) == int(label)
        for number, image, label in zip(tasks, some.scored_images, some.scored_labels, strict=True)
    ]
    assert score.named == tasks
    assert score.inferred == [number == 1 for number in tasks]
    assert score.label == pytest.approx(sum(right) / SCORED)
    joint = sum(r and number == 1 for r, number in zip(right, tasks, strict=True)) / SCORED
    assert score.joint == pytest.approx(joint) == score.accuracy("GNu")
    assert 0 < joint < score.accuracy("GNs") < 1
    assert score.exact == score.verified == []


def test_one_inference_for_a_batch_sees_other_images() -> None:
    learner, some = Known(), task(1)
    score = found(learner, "GNu", protocol="batch", samples=8)
    generator = torch.Generator().manual_seed(4)
    drawn = [torch.randperm(40, generator=generator)[:8] for _ in range(3)]
    tasks = [surest(learner, some.inference_images[rows]) for rows in drawn]
    assert score.named == tasks
    joint = 0
    for part, number in enumerate(tasks):
        rows = slice(128 * part, 128 * (part + 1))
        answers = learner.predictor(number)(some.scored_images[rows]).argmax(-1)
        joint += int((answers == some.scored_labels[rows]).sum()) * (number == 1)
    assert score.joint == pytest.approx(joint / SCORED)


@pytest.mark.parametrize("tells", [True, False])
def test_shared_outputs_are_read_for_each_image(tells: bool) -> None:
    learner, some = ReadOut(tells=tells), task(1)
    score = found(learner, "GNu" if tells else "GNs", protocol="batch")
    tasks, labels = [], []
    for image in some.scored_images:
        logits = [learner.predictor(number)(image[None])[0] for number in range(3)]
        best = int(torch.stack(logits).flatten().argmax())
        tasks.append(best // 3)
        labels.append(best % 3)
    right = [label == int(y) for label, y in zip(labels, some.scored_labels, strict=True)]
    assert score.label == pytest.approx(sum(right) / SCORED)
    assert score.named == (tasks if tells else [])
    joint = [r and (not tells or number == 1) for r, number in zip(right, tasks, strict=True)]
    assert score.joint == pytest.approx(sum(joint) / SCORED)


def test_more_samples_than_there_are_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 to 40"):
        found(Known(), "GNu", protocol="batch", samples=41)
