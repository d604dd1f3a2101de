"""A labelled data set as tasks of a few classes each."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.data.files import DataError
from supsup_bridge.data.labelled import Labelled, LabelledSet
from supsup_bridge.data.task import Task
from supsup_bridge.rng import shuffled, stream

_Part = TypeVar("_Part", bound=Labelled)
_TEST_SHARE = 0.4  # of each class, where a set comes without a test part


def class_tasks(
    data: LabelledSet, *, what: str, classes: int, tasks: int | None, seed: int
) -> list[Task]:
    """A data set as tasks of `classes` classes each, which the seed draws.

    Labels are renumbered within a task. Of the test images of a task one half is for recall and
    the other is scored; the seed cuts them. Fewer tasks are the first of more. Classes that are
    left over are in no task. A set without test part is cut by `cut_off` first.

    Args:
        data: the set.
        what: its name, for errors.
        classes: of a task.
        tasks: how many; None for all that the classes make.
        seed: of the classes of each task, and of the cuts.

    Raises:
        ConfigError: more tasks than the set's classes make.
        DataError: a class without a training image, or with fewer than two test images.

    Source:
        SplitCIFAR100 as 20 random tasks of 5: Wortsman et al. 2020 (arXiv 2006.14769).
    """
    train, test = data.train, data.test
    known = _classes(train)
    if classes < 1:
        raise ConfigError(f"classes_per_task must be at least 1, got {classes}")
    most = len(known) // classes
    if most < 1:
        raise ConfigError(
            f"the {len(known)} classes of {what} are too few for a task of {classes}: give fewer "
            "--classes-per-task, or data of more classes"
        )
    tasks = tasks if tasks is not None else most
    if not 1 <= tasks <= most:
        raise ConfigError(
            f"the {len(known)} classes of {what} make {most} tasks of {classes}, and {tasks} are "
            f"wanted: give --tasks from 1 to {most}, fewer --classes-per-task, or data of more "
            "classes"
        )
    if test is None:
        train, test = cut_off(train, stream(seed, "split"))
    _check_classes(train, test, known, names=data.names, what=what)
    order = known[shuffled(len(known), stream(seed, "classes"))][: tasks * classes]
    return [
        class_task(
            train,
            test,
            ours,
            name=", ".join(_name(data.names, label) for label in ours),
            generator=stream(seed, "cut", number),
        )
        for number, ours in enumerate(order.reshape(tasks, classes).tolist())
    ]


def class_task(
    train: Labelled, test: Labelled, ours: Sequence[int], *, name: str, generator: torch.Generator
) -> Task:
    """One task of a few classes.

    Args:
        train: training part of the data set.
        test: its test part.
        ours: the classes; their places here are the labels within the task.
        name: of the task.
        generator: of the cut of the test images, half for recall, half scored.
    """
    chosen = _where(train.labels, ours)
    test_chosen = _where(test.labels, ours)
    order = test_chosen[shuffled(len(test_chosen), generator)]
    recall, scored = order[: len(order) // 2], order[len(order) // 2 :]
    train_labels = _within(train.labels[chosen], ours)
    return Task(
        name=name,
        train_images=train.made(chosen),
        train_labels=train_labels,
        inference_images=test.made(recall),
        scored_images=test.made(scored),
        scored_labels=_within(test.labels[scored], ours),
        streamed=train.streamed(chosen, train_labels),
        scale=train.scale,
        classes=len(ours),
    )


def cut_off(data: _Part, generator: torch.Generator) -> tuple[_Part, _Part]:
    """Training and test part of a set that has none: 40 % of each class, at random, are for tests.

    A scale that the set measures is then that of the training part alone.

    Args:
        data: the set.
        generator: of the cut.
    """
    test = torch.zeros(len(data.labels), dtype=torch.bool, device="cpu")
    for label in _classes(data):
        where = torch.nonzero(data.labels == label)[:, 0]
        order = where[shuffled(len(where), generator)]
        test[order[: round(_TEST_SHARE * len(order))]] = True
    train = data.chosen(torch.nonzero(~test)[:, 0])
    return train.on_scale_of(train), data.chosen(torch.nonzero(test)[:, 0]).on_scale_of(train)


def _classes(part: Labelled) -> Tensor:
    """The labels that occur, in order."""
    return part.labels.bincount().nonzero()[:, 0]


def _where(labels: Tensor, ours: Sequence[int]) -> Tensor:
    """Numbers of the images of some classes."""
    return torch.nonzero(torch.isin(labels, torch.tensor(ours, device="cpu")))[:, 0]


def _within(labels: Tensor, ours: Sequence[int]) -> Tensor:
    """Place of each label among a task's classes."""
    return (labels[:, None] == torch.tensor(ours, device="cpu")).int().argmax(1)


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)


def _check_classes(
    train: Labelled, test: Labelled, known: Tensor, *, names: Sequence[str], what: str
) -> None:
    if alone := set(test.labels.tolist()) - set(known.tolist()):
        raise DataError(
            f"{what} has class {_name(names, min(alone))} in its test part alone: its parts are of "
            "different sets; fetch both again"
        )
    of_train, of_test = (part.labels.bincount() for part in (train, test))
    for label in known.tolist():
        tests = int(of_test[label]) if label < len(of_test) else 0
        if of_train[label] < 1 or tests < 2:
            raise DataError(
                f"class {_name(names, label)} of {what} has {of_train[label]} training and {tests} "
                "test images: each class needs 1 and 2 at least; add some, or take the class out"
            )
