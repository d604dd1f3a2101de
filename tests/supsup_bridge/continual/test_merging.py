"""Learners on hubs: task numbers of one's own, forgetting, merging, growing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hopmask import (
    ConfigError,
    CueError,
    DuplicateError,
    MaskMemory,
    NotForgettableError,
    UnknownTaskError,
)
from hopmask.errors import MemoryFullError, SaturationError
from supsup_bridge import SupSup
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.training.settings import TrainingSettings


def clouds(task: int, count: int = 48) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(task)
    centres, labels = 2 * torch.randn(2, 8, generator=g), torch.arange(count) % 2
    return centres[labels] + 0.3 * torch.randn(count, 8, generator=g), labels


def made(**options: Any) -> SupSup:
    given = {"hubs": 8, "signature_features": 64, "inputs": 8, "outputs": 8, **options}
    training = TrainingSettings(epochs=1, batch=16)
    return SupSup("lenet-300-100", training=training, **given)


def taught(*tasks: int, **options: Any) -> SupSup:
    learner = made(**options)
    for task in tasks:
        assert learner.learn(clouds(task), task=task) == task
    return learner


def digests(learner: SupSup) -> list[str]:
    return [mask_digest(learner.memory.recall(task=task).masks) for task in learner.tasks]


def same_answers(a: SupSup, b: SupSup) -> bool:
    images = torch.cat([clouds(task, 4)[0] for task in range(4)])
    one, two = (vars(learner.predict(images)) for learner in (a, b))
    return all(torch.equal(one[name], two[name]) for name in one)


def test_a_merged_learner_is_the_one_that_learned_all() -> None:
    whole, odd = taught(0, 1, 2, 3), taught(3, 1)
    for merged in (taught(2, 0),):
        merged.merge(odd)
        assert (merged.tasks, len(merged)) == ((0, 1, 2, 3), 4)
        assert digests(merged) == digests(whole)
        assert same_answers(merged, whole)
    assert odd.tasks == (1, 3)


def test_a_merged_learner_is_saved_and_learns_on(tmp_path: Path) -> None:
    merged = taught(0, 2)
    merged.merge(taught(1, 3))
    merged.save(tmp_path)
    again = SupSup.load(tmp_path)
    assert again.tasks == (0, 1, 2, 3)
    assert same_answers(again, merged)
    assert again.learn(clouds(4)) == merged.learn(clouds(4)) == 4


def test_an_empty_learner_takes_all_from_another() -> None:
    empty = made()
    empty.merge(taught(1, 3))
    assert empty.tasks == (1, 3)
    assert empty.image_shape == (8,)


def test_a_learner_that_grows_takes_those_of_a_larger_one() -> None:
    small, large = taught(0, hubs=None), taught(1, 70, hubs=None)
    small.merge(large)
    assert (small.tasks, small.memory.capacity) == ((0, 1, 70), 128)


def test_a_learner_that_has_grown_takes_those_of_a_smaller_one() -> None:
    large, small = taught(1, 70, hubs=None), taught(0, hubs=None)
    large.merge(small)
    assert (large.tasks, large.memory.capacity) == ((0, 1, 70), 128)
    assert small.memory.capacity == 64
    other = taught(0, hubs=None)
    other.merge(taught(1, 70, hubs=None))
    assert torch.equal(large.memory.couplings.narrow, other.memory.couplings.narrow)


def test_a_merge_that_fails_leaves_the_hubs_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = taught(0, hubs=None), taught(1, 70, hubs=None)
    before = small.memory.couplings.narrow.clone()

    def saturated(*_: object) -> None:
        raise SaturationError("full")

    monkeypatch.setattr(MaskMemory, "merge", saturated)
    with pytest.raises(SaturationError):
        small.merge(large)
    assert small.memory.capacity == 64
    assert torch.equal(small.memory.couplings.narrow, before)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"seed": 1}, ConfigError),
        ({"hubs": 16}, ConfigError),
        ({"signature_features": 128}, ConfigError),
        ({"signature_groups": 2}, ConfigError),
        ({"outputs": 9}, ConfigError),
        ({"masks": "hashed", "hubs": None, "bits": 64}, ConfigError),
        ({"memory": "bank", "hubs": None, "signature_features": None}, ConfigError),
        ({"mask_init": "shared"}, ConfigError),
    ],
    ids=str,
)
def test_learners_that_were_made_otherwise_are_not_merged(
    options: dict[str, Any], error: type[Exception]
) -> None:
    learner, before = taught(0), digests(taught(0))
    with pytest.raises(error):
        learner.merge(made(**options))
    assert digests(learner) == before


def test_tasks_that_both_hold_are_not_merged() -> None:
    learner = taught(0, 1)
    with pytest.raises(DuplicateError, match="task 1"):
        learner.merge(taught(1, 2))
    assert learner.tasks == (0, 1)
    with pytest.raises(ConfigError):
        learner.merge(learner.memory)  # type: ignore[arg-type]


def test_a_forgotten_task_is_gone_and_its_number_is_free(tmp_path: Path) -> None:
    learner, never = taught(0, 1, 2, hubs=4), taught(0, 2, hubs=4)
    learner.forget(1)
    assert (learner.tasks, len(learner)) == ((0, 2), 2)
    with pytest.raises(UnknownTaskError):
        learner.predict(clouds(1)[0], task=1)
    assert digests(learner) == digests(never)
    learner.save(tmp_path)
    again = SupSup.load(tmp_path)
    assert again.tasks == (0, 2)
    assert same_answers(again, learner)
    assert [again.learn(clouds(task)) for task in (3, 1)] == [3, 1]  # upwards, then the free one
    assert digests(again)[1] == digests(taught(1))[0]


def test_hubs_that_were_given_are_full_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = taught(0, 1, hubs=2)
    monkeypatch.setattr("supsup_bridge.continual.learning.Lesson", None)
    with pytest.raises(MemoryFullError):
        learner.learn(clouds(2))
    with pytest.raises(MemoryFullError):
        made().learn(clouds(2), task=8)
    with pytest.raises(DuplicateError):
        learner.learn(clouds(2), task=1)
    assert learner.tasks == (0, 1)


def test_hubs_are_doubled_where_none_were_given() -> None:
    learner = taught(0, 63, hubs=None)
    before = digests(learner)
    assert learner.memory.capacity == 64
    assert learner.learn(clouds(2), task=64) == 64
    assert learner.memory.capacity == 128
    assert digests(learner)[:2] == before


def test_a_task_that_is_refused_leaves_the_hubs_as_they_were() -> None:
    learner = taught(0, hubs=None)
    images, labels = clouds(1)
    with pytest.raises(CueError):  # no signature
        learner.learn((torch.zeros_like(images), labels), task=100)
    assert (learner.tasks, learner.memory.capacity) == ((0,), 64)
    assert learner.predict(clouds(0)[0][:2]).task.tolist() == [0, 0]


@pytest.mark.parametrize("task", [-1, True, 2**16, "0"])
def test_what_is_no_number_is_refused(task: Any) -> None:
    with pytest.raises(ConfigError):
        made(hubs=None).learn(clouds(0), task=task)


def test_memories_that_number_their_tasks_take_none() -> None:
    for options in ({"memory": "bank"}, {"masks": "hashed", "bits": 64}):
        learner = made(hubs=None, signature_features=None, **options)
        with pytest.raises(ConfigError):
            learner.learn(clouds(0), task=3)
        assert learner.learn(clouds(0)) == 0


def test_a_stream_of_no_tasks_forgets_nothing() -> None:
    learner = made(task_free=True)
    learner.observe(*clouds(0))
    with pytest.raises(NotForgettableError):
        learner.forget(0)
