"""A learner over the classes of a stream, and tasks that are learned step by step."""

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError, NumericalError
from supsup_bridge import SupSup, TrainingSettings
from supsup_bridge.adapters.scenario_tasks import OwnLabels, ScenarioImages
from supsup_bridge.adapters.stream_logits import StepwiseTask, StreamLogits

CLASSES = torch.tensor([3, 7])


def model(outputs: int = 8, classes: int = 10) -> StreamLogits:
    training = TrainingSettings(rate=0.01)
    return StreamLogits(
        SupSup("lenet-300-100", inputs=4, outputs=outputs, training=training), classes
    )


def data() -> tuple[Tensor, Tensor, OwnLabels]:
    draw = torch.Generator().manual_seed(0)
    labels = CLASSES.repeat(20)
    images = torch.randn(40, 4, generator=draw) + (labels == 7)[:, None] * 4
    rows = list(zip(images, labels.tolist(), strict=True))
    return images, labels, OwnLabels(ScenarioImages(rows, labels), CLASSES)


def test_logits_of_other_tasks_classes_are_unlikely() -> None:
    made = model(classes=5)
    made.classes_of = {0: torch.tensor([1, 4]), 1: torch.tensor([0, 2])}
    found = made.spread(torch.tensor([[2.0, 0, 9, 9], [0, 3.0, 9, 9]]), torch.tensor([0, 1]))
    assert found.argmax(-1).tolist() == [1, 2]
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2))


def test_a_task_is_learned_step_by_step() -> None:
    made = model()
    images, labels, own = data()
    task = StepwiseTask(made, own)
    first = float(task.step(images, labels))
    for _ in range(30):
        loss = float(task.step(images, labels))
    assert loss < first
    before = task.logits(images)
    assert float((before.argmax(-1) == labels).float().mean()) > 0.9
    task.keep()
    assert made.learner.tasks == (task.number,) == (0,)
    torch.testing.assert_close(made(images), before)
    assert StepwiseTask(made, own).number == 1


def test_a_task_is_kept_once_and_before_the_next_one() -> None:
    made = model()
    images, labels, own = data()
    one, other = (StepwiseTask(made, own) for _ in range(2))
    for task in (one, other):
        task.step(images, labels)
    one.keep()
    for task in (one, other):
        with pytest.raises(ConfigError, match="learned another task since this one, 0, began"):
            task.keep()
    assert made.learner.tasks == (0,)
    made(images)


def test_a_task_that_fails_is_not_learned() -> None:
    made = model()
    images, labels, own = data()
    task = StepwiseTask(made, own)
    with pytest.raises(ConfigError, match="one epoch"):
        task.keep()
    with pytest.raises(ConfigError, match="other tasks"):
        task.step(images, labels - 1)
    task.step(images * float("nan"), labels)
    with pytest.raises(NumericalError):
        task.keep()
    assert made.learner.tasks == ()
    task.drop()
    assert made.classes_of == {}


@pytest.mark.parametrize("sizes", [(1, 10), (8, 7)])
def test_too_many_classes_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="give classes=8, or more outputs"):
        StepwiseTask(model(*sizes), data()[2])
