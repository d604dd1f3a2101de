"""Batches, rate and loss of what Avalanche trains, where it is installed."""

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("avalanche", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # of Avalanche and its packages

from torch.nn import functional as F  # noqa: E402

from supsup_bridge.adapters.rivals.training import (  # noqa: E402
    ChangedLoss,
    Course,
    LimitedBatches,
    TaskExperience,
)
from supsup_bridge.training.settings import TrainingSettings  # noqa: E402


def batch(*tasks: int) -> SimpleNamespace:
    """A strategy that has a batch of one image for each task."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(len(tasks), 3, generator=generator)
    labels, numbers = torch.arange(len(tasks)) % 2, torch.tensor(tasks)
    return SimpleNamespace(
        mbatch=[images, labels, numbers], mb_x=images, mb_y=labels, mb_task_id=numbers
    )


def test_each_image_is_mixed_with_the_one_before_it_as_its_label_is() -> None:
    settings = TrainingSettings(mixup=0.8, smoothing=0.1)
    loss = ChangedLoss(settings, torch.Generator().manual_seed(0))
    share = float(torch.rand((), generator=torch.Generator().manual_seed(0))) * 0.4
    strategy = batch(0, 0, 1, 1, 1)
    images, labels = strategy.mb_x, strategy.mb_y
    loss.before_forward(strategy)
    logits, losses = torch.randn(5, 2, generator=torch.Generator().manual_seed(2)), []
    for i, same in enumerate([False, True, False, True, True]):  # of one task with its neighbour
        part = share if same else 0.0
        wanted = (1 - part) * images[i] + part * images[i - 1]
        torch.testing.assert_close(strategy.mbatch[0][i], wanted)
        targets = torch.full((2,), 0.05)
        targets[labels[i]] += 0.9 * (1 - part)
        targets[labels[i - 1]] += 0.9 * part
        losses.append(-(targets * logits[i].log_softmax(-1)).sum())
    torch.testing.assert_close(loss(logits, labels), torch.stack(losses).mean())
    loss.before_backward(strategy)
    plain = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(loss(logits, labels), plain)


def test_images_stay_as_they_are_where_nothing_changes_them() -> None:
    loss, strategy = ChangedLoss(TrainingSettings(), torch.Generator()), batch(0, 0)
    before = strategy.mb_x.clone()
    loss.before_forward(strategy)
    assert torch.equal(strategy.mbatch[0], before)


def test_a_loader_is_cut_and_repeated_to_the_steps_without_a_lone_image() -> None:
    sizes, rounds = [2, 2, 1], list[int]()

    class Loader:
        def __len__(self) -> int:
            return len(sizes)

        def __iter__(self):
            rounds.append(len(rounds))
            return iter([[torch.full((size,), rounds[-1])] for size in sizes])

    limit = LimitedBatches((2 / 3, 1 / 3))
    strategy = SimpleNamespace(dataloader=Loader(), train_mb_size=2)
    limit.steps = 8
    limit.before_training_exp(strategy)
    passes = [[int(one[0][0]) for one in strategy.dataloader] for _ in range(2)]
    assert passes == [[0, 0, 1, 1, 2], [2, 3, 3]]
    sizes[:] = [1]
    strategy.dataloader, limit.steps = Loader(), 3
    limit.before_training_exp(strategy)
    assert len([*strategy.dataloader]) == 2  # the only image there is, again and again
    sizes[:] = [1, 1, 1]
    strategy.dataloader, strategy.train_mb_size = Loader(), 1
    limit.before_training_exp(strategy)
    assert len([*strategy.dataloader]) == 2  # batches of one image by the settings


@pytest.mark.parametrize("decays", [True, False])
def test_the_rate_is_that_of_a_descent(decays: bool) -> None:
    course = Course(TrainingSettings(rate=0.4), decays=decays)
    strategy = SimpleNamespace(loss=torch.tensor(2.5), optimizer=SimpleNamespace(param_groups=[{}]))
    told = list[tuple[int, float]]()
    course.begin(lambda step, loss: told.append((step, loss)))
    strategy.optimizer.param_groups[0]["lr"] = 0.4
    for _ in range(401):
        course.before_update(strategy)
        course.after_update(strategy)
    assert strategy.optimizer.param_groups[0]["lr"] == pytest.approx(0.2 if decays else 0.4)
    assert told[0] == (1, 2.5)
    assert len(told) == 401


def test_an_experience_says_what_the_tasks_before_it_had() -> None:
    images = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([5, 4, 4, 5])
    made = TaskExperience(
        images, labels, number=2, task_label=7, classes=[[0, 1], [2], [4, 5]], outputs=8
    )
    assert made.benchmark.n_classes_per_exp == [2, 1, 2, 3]
    assert made.benchmark.classes_order == [0, 1, 2, 4, 5, 3, 6, 7]
    image, label, task = made.dataset[1]
    assert torch.equal(image, images[1])
    assert (label, task) == (4, 7)
    parts = [*made.batches(TrainingSettings(batch=3, epochs=1), alone=True)]
    assert [len(part.dataset) for part in parts] == [3, 1]
    ends = made.pixels()(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends, torch.stack([images.min(), images.max()]))
