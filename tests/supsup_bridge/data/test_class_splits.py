"""Data sets split into tasks by class: every class in one task, no image in two parts."""

from itertools import combinations

import pytest
import torch

from hopmask import ConfigError
from supsup_bridge import DataError, Task
from supsup_bridge.data.class_splits import class_tasks, cut_off
from supsup_bridge.data.labelled import LabelledImages, LabelledPixels, LabelledSet
from supsup_bridge.data.pixel_scale import PixelScale
from supsup_bridge.rng import stream

CLASSES, TRAIN, TEST = 7, 6, 5  # of each class
NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def part(each: int, first: int, labels: torch.Tensor | None = None) -> LabelledImages:
    """Images that tell their number and their class."""
    if labels is None:
        labels = torch.arange(CLASSES * each) % CLASSES
    numbers = first + torch.arange(len(labels))
    return LabelledImages(images=torch.stack([numbers, labels], 1).float(), labels=labels)


WHOLE = LabelledSet(train=part(TRAIN, 0), test=part(TEST, 1000), names=NAMES)


def split(data: LabelledSet = WHOLE, **changes) -> list[Task]:
    given = {"what": "the set", "classes": 2, "tasks": None, "seed": 0, **changes}
    return class_tasks(data, **given)


def numbers(images: torch.Tensor) -> set[float]:
    return set(images[:, 0].tolist())


def classes(images: torch.Tensor) -> set[int]:
    return set(images[:, 1].long().tolist())


def test_each_task_has_classes_of_its_own() -> None:
    tasks = split()
    assert len(tasks) == 3  # the seventh class is left over
    assert all(len(classes(task.train_images)) == task.classes == 2 for task in tasks)
    for a, b in combinations(tasks, 2):
        assert not classes(a.train_images) & classes(b.train_images)


def test_every_image_of_a_tasks_classes_is_used_once() -> None:
    for task in split():
        train = numbers(task.train_images)
        recall, scored = numbers(task.inference_images), numbers(task.scored_images)
        assert len(train) == len(task.train_images) == 2 * TRAIN
        assert not recall & scored
        assert len(recall | scored) == 2 * TEST
        assert len(recall) == TEST
        assert classes(task.scored_images) <= classes(task.train_images)


def test_labels_are_places_among_the_tasks_classes_the_same_in_both_parts() -> None:
    for task in split(classes=3):
        found = {}
        for images, labels in (
            (task.train_images, task.train_labels),
            (task.scored_images, task.scored_labels),
        ):
            for label, true in zip(labels.tolist(), images[:, 1].tolist(), strict=True):
                assert found.setdefault(label, true) == true
        assert sorted(found) == [0, 1, 2]


def test_names_are_those_of_the_classes_in_the_order_of_labels() -> None:
    for task in split(classes=3):
        first = [task.train_images[task.train_labels == label][0, 1] for label in range(3)]
        assert task.name == ", ".join(NAMES[int(label)] for label in first)


def test_classes_without_names_are_named_by_their_labels() -> None:
    task = split(LabelledSet(train=WHOLE.train, test=WHOLE.test))[0]
    assert {int(label) for label in task.name.split(", ")} == classes(task.train_images)


def test_one_seed_makes_one_split() -> None:
    for a, b in zip(split(), split(), strict=True):
        assert a.name == b.name
        assert torch.equal(a.scored_images, b.scored_images)


def test_another_seed_draws_other_classes_and_other_halves() -> None:
    assert [task.name for task in split(seed=0)] != [task.name for task in split(seed=1)]
    whole = {"classes": CLASSES, "tasks": 1}
    a, b = (numbers(split(seed=seed, **whole)[0].scored_images) for seed in (0, 1))
    assert a != b


def test_fewer_tasks_are_the_first_of_more() -> None:
    more, fewer = split(), split(tasks=2)
    assert len(fewer) == 2
    for a, b in zip(more, fewer, strict=False):
        assert a.name == b.name
        assert torch.equal(a.scored_images, b.scored_images)


def test_labels_need_not_begin_at_zero_nor_be_without_gaps() -> None:
    data = LabelledSet(
        train=part(0, 0, torch.arange(60) % 6 * 3 + 1),
        test=part(0, 1000, torch.arange(24) % 6 * 3 + 1),
    )
    tasks = split(data, classes=3)
    assert len(tasks) == 2
    assert all(set(task.train_labels.tolist()) == {0, 1, 2} for task in tasks)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    split(LabelledSet(train=WHOLE.train, test=None))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("tasks", [None, 1])
def test_too_few_classes_for_one_task_are_refused(tasks: int | None) -> None:
    with pytest.raises(ConfigError, match="7 classes of the set are too few for a task of 8"):
        split(tasks=tasks, classes=8)


@pytest.mark.parametrize(("tasks", "of"), [(4, 2), (0, 2), (-1, 2)])
def test_more_tasks_than_the_classes_make_are_refused_with_the_numbers(tasks, of: int) -> None:
    match = rf"7 classes of the set make {CLASSES // of} tasks of {of}, and {tasks}"
    with pytest.raises(ConfigError, match=match):
        split(tasks=tasks, classes=of)


def test_tasks_of_no_class_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        split(classes=0)


def test_pixels_are_held_once_and_standardised_at_each_access() -> None:
    labels = torch.arange(8) % 2
    pixels = torch.arange(8 * 12, dtype=torch.uint8).reshape(8, 3, 2, 2)
    scale = PixelScale(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    parts = LabelledPixels(pixels=pixels, labels=labels, scale=scale)
    task = split(LabelledSet(train=parts, test=parts))[0]
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    assert task.scale == scale
    torch.testing.assert_close(task.train_images, (pixels / 255 - mean) / std)
    assert task.train_images is not task.train_images
    assert task.train_images.dtype == torch.float32


# --- sets without a test part


def test_forty_percent_of_each_class_become_the_test_part() -> None:
    train, test = cut_off(part(10, 0), stream(0, "split"))
    assert train.labels.bincount().tolist() == [6] * CLASSES
    assert test.labels.bincount().tolist() == [4] * CLASSES
    assert len(numbers(train.images) | numbers(test.images)) == 10 * CLASSES


def test_a_set_without_test_part_is_cut_by_the_seed() -> None:
    data = LabelledSet(train=part(10, 0), test=None)
    a, b, again = (
        split(data, seed=seed, classes=CLASSES, tasks=1)[0].train_images for seed in (0, 1, 0)
    )
    assert numbers(a) == numbers(again) != numbers(b)
    task = split(data)[0]
    parts = (task.train_images, task.inference_images, task.scored_images)
    assert [len(images) for images in parts] == [12, 4, 4]
    assert len(set.union(*map(numbers, parts))) == 20


# --- data that makes no tasks


def test_a_class_with_too_few_test_images_is_named() -> None:
    test = part(0, 1000, torch.tensor([*range(7), *range(6)]))
    for names, named in ((), "6"), (NAMES, "gnu"):
        with pytest.raises(DataError, match=rf"class {named} of the set has 6 training and 1 test"):
            split(LabelledSet(train=WHOLE.train, test=test, names=names))


def test_a_class_without_test_images_is_named() -> None:
    test = part(0, 1000, torch.arange(12) % 6)
    with pytest.raises(DataError, match=r"class 6 of the set has 6 training and 0 test"):
        split(LabelledSet(train=WHOLE.train, test=test))


def test_a_class_in_the_test_part_alone_is_named() -> None:
    test = part(0, 1000, torch.arange(16) % 8)
    with pytest.raises(DataError, match="class 7 in its test part alone"):
        split(LabelledSet(train=WHOLE.train, test=test))
