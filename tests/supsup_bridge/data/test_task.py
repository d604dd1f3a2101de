"""A task keeps what it is given; a stream makes its tasks at each access."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch

from hopmask import ConfigError
from supsup_bridge import Task
from supsup_bridge.data.task import Made, TaskStream

PARTS = ("train_images", "inference_images", "scored_images")


def task(**changes: Any) -> Task:
    plain = {
        "name": "some",
        "train_images": torch.full((3, 4), 1.0),
        "train_labels": torch.tensor([0, 2, 1]),
        "inference_images": torch.full((2, 4), 2.0),
        "scored_images": torch.full((2, 4), 3.0),
        "scored_labels": torch.tensor([1, 0]),
    }
    return Task(**{**plain, **changes})


# --- a task


def test_a_task_keeps_the_tensors_it_is_given() -> None:
    given = {part: torch.rand(2, 4) for part in PARTS}
    made = task(**given)
    assert all(getattr(made, part) is given[part] for part in PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_images_may_be_a_function_called_at_each_access_alone(part: str) -> None:
    calls = []

    def images() -> torch.Tensor:
        calls.append(part)
        return torch.zeros(5, 4)

    lazy = task(**{part: images})
    assert (repr(lazy), lazy.classes, calls) == ("Task(name='some', classes=3)", 3, [])
    assert torch.equal(getattr(lazy, part), torch.zeros(5, 4))
    assert getattr(lazy, part) is not getattr(lazy, part)
    assert len(calls) == 3
    others = [getattr(lazy, other) for other in PARTS if other != part]
    assert len(others) == 2
    assert len(calls) == 3


def test_changing_one_part_of_a_lazy_task_leaves_the_others() -> None:
    lazy = task(train_images=lambda: torch.zeros(3, 4), inference_images=lambda: torch.ones(2, 4))
    changed = replace(lazy, inference_images=torch.full((2, 4), 7.0))
    assert torch.equal(changed.train_images, torch.zeros(3, 4))
    assert torch.equal(changed.inference_images, torch.full((2, 4), 7.0))
    assert torch.equal(lazy.inference_images, torch.ones(2, 4))


@pytest.mark.parametrize("part", ["name", *PARTS, "train_labels", "scored_labels"])
def test_a_task_without_a_part_is_refused(part: str) -> None:
    parts = {name: getattr(task(), name) for name in ("name", *PARTS)}
    parts |= {"train_labels": task().train_labels, "scored_labels": task().scored_labels}
    del parts[part]
    with pytest.raises(TypeError, match=part):
        Task(**parts)


@pytest.mark.parametrize("part", ["train_images", "train_labels", "classes"])
def test_a_task_cannot_be_changed(part: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(task(), part, None)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_a_copy_has_the_same_images(copied: Any) -> None:
    again = copied(task())
    assert all(torch.equal(getattr(again, part), getattr(task(), part)) for part in PARTS)
    assert again.classes == 3


@pytest.mark.parametrize(
    ("train", "scored", "classes"), [([0, 1], [0, 1], 2), ([0, 1], [4, 0], 5), ([0, 9], [0, 0], 10)]
)
def test_classes_are_counted_up_to_the_largest_label(
    train: list[int], scored: list[int], classes: int
) -> None:
    labels = {"train_labels": torch.tensor(train), "scored_labels": torch.tensor(scored)}
    assert task(**labels).classes == classes


def test_a_task_without_labelled_images_has_the_classes_of_the_other_part() -> None:
    assert task(scored_labels=torch.tensor([], dtype=torch.int64)).classes == 3


def test_more_classes_than_labels_are_kept() -> None:
    assert task(classes=10).classes == 10


def test_fewer_classes_than_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'some' has labels up to 2, got classes=2.*at least 3"):
        task(classes=2)


def test_inference_images_are_counted_without_being_made() -> None:
    made: list[int] = []

    def images() -> torch.Tensor:
        made.append(1)
        return torch.zeros(5, 4)

    assert task().inference_count == 2
    assert task(inference_images=Made(images, 5)).inference_count == 5
    assert not made
    assert task(inference_images=images).inference_count == 5


# --- a stream


def numbered(tasks: int, made: list[int]) -> TaskStream:
    def make(number: int) -> Task:
        made.append(number)
        return task(name=str(number))

    return TaskStream(make, tasks=tasks)


def test_a_stream_makes_a_task_when_asked_and_keeps_none() -> None:
    made: list[int] = []
    stream = numbered(2500, made)
    assert (len(stream), made) == (2500, [])
    assert stream[7].name == "7"
    assert stream[7] is not stream[7]
    assert made == [7, 7, 7]


def test_a_stream_counts_from_the_end_and_slices_as_lists_do() -> None:
    stream = numbered(5, [])
    assert stream[-1].name == "4"
    assert [t.name for t in stream[1:4]] == ["1", "2", "3"]
    assert [t.name for t in stream[::-2]] == ["4", "2", "0"]
    assert stream[5:] == []


@pytest.mark.parametrize("number", [5, -6])
def test_a_task_beyond_the_stream_is_an_index_error(number: int) -> None:
    with pytest.raises(IndexError):
        numbered(5, [])[number]


def test_a_stream_is_walked_to_its_end() -> None:
    assert [t.name for t in numbered(3, [])] == ["0", "1", "2"]
