"""What a task adds to a learner, computed apart from keeping it."""

import pickle
from typing import Any

import pytest
import torch
from torch import nn

from hopmask.errors import DuplicateError
from supsup_bridge import SupSup, TrainingSettings
from supsup_bridge.continual.learned import Learned
from supsup_bridge.training.data import TensorData

TRAINING = TrainingSettings(epochs=1, batch=16)


def clouds(task: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(task)
    centres, labels = 2 * torch.randn(2, 8, generator=g), torch.arange(48) % 2
    return centres[labels] + 0.3 * torch.randn(48, 8, generator=g), labels


def made(**options: Any) -> SupSup:
    module = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 8))
    return SupSup(module, training=TRAINING, signature_features=64, **options)


def apart(learner: SupSup, task: int) -> Learned:
    """What a learner finds for a task, as another process would return it."""
    data = TensorData(*clouds(task))
    masks = learner.lesson(data, task=task).run()
    learned = learner.learned(masks, data, image_shape=(8,), task=task)
    return pickle.loads(pickle.dumps(learned))  # type: ignore[no-any-return]


@pytest.mark.parametrize("groups", [1, 2])
def test_what_another_learner_found_is_kept_as_if_it_were_ones_own(groups: int) -> None:
    whole, taken, worker = (made(hubs=hubs, signature_groups=groups) for hubs in (8, 8, 2))
    for task in (5, 0):
        whole.learn(clouds(task), task=task)
        assert taken.keep(apart(worker, task), None, task=task) == task
    assert len(worker) == 0
    one, other = (learner.kept.document() for learner in (whole, taken))
    assert one.about == other.about
    assert {n: a.tolist() for n, a in one.arrays.items()} == {
        n: a.tolist() for n, a in other.arrays.items()
    }
    assert torch.equal(taken.predict(clouds(5)[0]).logits, whole.predict(clouds(5)[0]).logits)


def test_masks_travel_at_one_bit_each() -> None:
    learned = apart(made(hubs=2), 0)
    bits = sum(mask.numel() for mask in learned.masks.values())
    assert bits == 8 * 32 + 32 * 8
    assert 8 * sum(packed.numel() for packed in learned.packed.values()) == bits
    assert sorted(learned.extras) == sorted(made().network.statistics_sizes)


def test_a_number_that_is_taken_is_refused_and_nothing_changes() -> None:
    learner = made(hubs=8)
    learner.learn(clouds(0), task=3)
    with pytest.raises(DuplicateError):
        learner.keep(apart(made(hubs=2), 3), None, task=3)
    assert learner.tasks == (3,)
