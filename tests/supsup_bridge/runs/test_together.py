"""Runs that train several of their tasks in one computation."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from hopmask import ConfigError, NumericalError
from supsup_bridge import Experiment, RunSettings, Task, split_digits
from supsup_bridge.continual.lessons import lessons_at_once
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.runs import checkpoint, together
from supsup_bridge.runs.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def equal() -> list[Task]:
    """Five tasks of 96 training images each."""
    return [cut(task, 96) for task in split_digits(tasks=5)]


def cut(task: Task, images: int, **changes: Any) -> Task:
    given: dict[str, Any] = {
        "train_images": task.train_images[:images],
        "train_labels": task.train_labels[:images],
    }
    return Task(
        name=task.name,
        inference_images=task.inference_images,
        scored_images=task.scored_images,
        scored_labels=task.scored_labels,
        **(given | changes),
    )


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Numbers of the tasks of each group of several."""
    found = list[tuple[int, ...]]()

    def noted(learner: Any, data: Any, *, tasks: range) -> Any:
        found.append(tuple(tasks))
        return lessons_at_once(learner, data, tasks=tasks)

    monkeypatch.setattr(together, "lessons_at_once", noted)
    return found


def masks_of(run: Experiment) -> list[dict[str, torch.Tensor]]:
    return [run.memory.recall(task=task).masks for task in range(run.ledger.count)]


@pytest.mark.parametrize("kind", [{}, {"masks": "signed"}, {"memory": "bank"}, {"scenario": "GG"}])
def test_the_masks_are_those_of_one_by_one(kind, equal, groups, small, quiet) -> None:
    one = Experiment(small(tasks=5, tasks_at_once=1, **kind), tasks=equal)
    three = Experiment(small(tasks=5, tasks_at_once=3, **kind), tasks=equal)
    one.run(quiet)
    assert groups == []
    three.run(quiet)
    assert groups == [(0, 1, 2), (3, 4)]
    for number, (mine, theirs) in enumerate(zip(masks_of(one), masks_of(three), strict=True)):
        wrong = sum(int((mine[name] != theirs[name]).sum()) for name in mine)
        assert wrong <= 0.002 * sum(mask.numel() for mask in mine.values())
        assert mask_digest(theirs) == three.ledger.digests[number]


def test_each_step_of_each_task_is_shown_and_tasks_are_learned_in_order(equal, small) -> None:
    steps, learned = list[tuple[int, str, int, int]](), list[tuple[int, int]]()

    class Noted:
        def training(self, task: Task, number: int, step: int, steps_: int, loss: float) -> None:
            assert loss > 0
            steps.append((number, task.name, step, steps_))

        def evaluated(self, *_: Any) -> None:
            pass

        def learned(self, task: Task, number: int) -> None:
            learned.append((number, len(steps)))

    run = Experiment(small(tasks=3, tasks_at_once=2), tasks=equal)
    run.run(Noted())
    names = [task.name for task in equal]
    assert [step for step in steps if step[0] == 1] == [(1, names[1], n, 20) for n in range(1, 21)]
    assert learned == [(0, 40), (1, 40), (2, 60)]


def test_only_tasks_of_equally_many_images_are_trained_together(
    equal, groups, small, quiet
) -> None:
    tasks = [equal[0], cut(equal[1], 90), cut(equal[2], 90), equal[3], equal[4]]
    Experiment(small(tasks=5, tasks_at_once=4), tasks=tasks).run(quiet)
    assert groups == [(1, 2), (3, 4)]


def test_a_task_that_cannot_be_learned_ends_its_group_before_it(
    equal, groups, small, quiet
) -> None:
    wrong = cut(equal[2], 96, train_labels=equal[2].train_labels[:96] - 1)
    run = Experiment(small(tasks=5, tasks_at_once=5), tasks=[*equal[:2], wrong, *equal[3:]])
    with pytest.raises(ConfigError, match="label"):
        run.run(quiet)
    assert groups == [(0, 1)]
    assert run.ledger.count == 2


@pytest.mark.parametrize(
    "images", [torch.zeros(96, 60), torch.zeros(96, 64, dtype=torch.float64)], ids=["60", "wide"]
)
def test_a_task_of_other_images_ends_its_group_before_it(
    images: torch.Tensor, equal, groups, small, quiet
) -> None:
    other = cut(equal[2], 96, train_images=images)
    run = Experiment(small(tasks=5, tasks_at_once=5), tasks=[*equal[:2], other, *equal[3:]])
    with pytest.raises((ConfigError, RuntimeError)):
        run.run(quiet)
    assert groups == [(0, 1)]
    assert run.ledger.count == 2


def test_training_images_are_made_once_to_train_and_once_to_store(equal, small, quiet) -> None:
    made = list[int]()

    def noted(number: int, images: torch.Tensor) -> torch.Tensor:
        made.append(number)
        return images

    tasks = [
        cut(task, 96, train_images=partial(noted, number, task.train_images[:96]))
        for number, task in enumerate(equal)
    ]
    Experiment(small(tasks=5, tasks_at_once=1), tasks=tasks).run(quiet)
    assert made == [0, 1, 2, 3, 4]
    made.clear()
    Experiment(small(tasks=5, tasks_at_once=5), tasks=tasks).run(quiet)
    assert made == [0, 1, 2, 3, 4, 1, 2, 3, 4]


def test_a_stream_that_ends_early_ends_its_group(equal, groups, small, quiet) -> None:
    class Short(list[Task]):
        def __getitem__(self, place: Any) -> Any:
            if place == 3:
                raise IndexError
            return super().__getitem__(place)

    run = Experiment(small(tasks=5, tasks_at_once=4), tasks=Short(equal))
    with pytest.raises(Exception, match="ended after 3 of 5 tasks"):
        run.run(quiet)
    assert groups == [(0, 1, 2)]


def test_a_task_that_fails_loses_none_of_the_others(equal, groups, small, quiet) -> None:
    images = equal[1].train_images.clone()
    images[5] = float("inf")
    spoiled = cut(equal[1], 96, train_images=images[:96])
    tasks = [equal[0], spoiled, *equal[2:]]
    run = Experiment(small(tasks=5, tasks_at_once=4), tasks=tasks)
    with pytest.raises(NumericalError, match=r"loss became .*The task was not learned"):
        run.run(quiet)
    assert run.ledger.count == 1
    tasks[1] = equal[1]
    run.run(quiet)
    assert run.ledger.count == 5
    assert groups == [(0, 1, 2, 3)]  # tasks 2 and 3 were trained, and task 1 alone is anew


class Stop(Exception):
    """Raised in the middle of a run."""


def after(pauses: int, keeper: Checkpoints) -> Callable[[], None]:
    """A pause that writes a checkpoint and ends the run, the so-manieth time."""
    left = [pauses]

    def pause() -> None:
        left[0] -= 1
        if left[0] == 0:
            keeper.write()
            raise Stop

    return pause


@pytest.mark.parametrize("pauses", [1, 13, 20, 21, 22, 24, 40])
def test_a_run_goes_on_to_the_bit_from_within_a_group(
    pauses: int, equal, small, quiet, tmp_path: Path
) -> None:
    settings = small(tasks=5, tasks_at_once=3)
    whole = Experiment(settings, tasks=equal)
    whole.run(quiet)
    begun = Experiment(settings, tasks=equal)
    keeper = Checkpoints(tmp_path, begun)
    with checkpoint.locked(tmp_path), pytest.raises(Stop):
        begun.run(quiet, pause=after(pauses, keeper))
    run = Experiment(settings, tasks=equal)
    checkpoint.restore(run, tmp_path, checkpoint.read(tmp_path))
    run.run(quiet)
    assert run.ledger.digests == whole.ledger.digests
    mine, theirs = run.result(), whole.result()
    assert {**mine, "seconds": None} == {**theirs, "seconds": None}


def test_masks_of_a_group_are_let_go_as_they_are_stored(equal, small, quiet) -> None:
    held = list[int]()
    run = Experiment(small(tasks=3, tasks_at_once=3, evaluate_every=3), tasks=equal)

    class Looked(type(quiet)):  # type: ignore[misc]
        def learned(self, task: Task, number: int) -> None:
            held.append(len(run.state()["task"]["together"]["packed"]))

    run.run(Looked())
    assert held == [2, 1, 0]


def test_by_default_the_device_says_how_many(equal, groups, small, quiet, monkeypatch) -> None:
    asked = list[tuple[Any, ...]]()

    def two(network: Any, settings: Any, shape: Any, images: int, device: Any) -> int:
        asked.append((shape, images))
        return 2

    monkeypatch.setattr(together, "tasks_at_once", two)
    Experiment(small(tasks=3), tasks=equal).run(quiet)
    assert groups == [(0, 1)]
    assert asked == [((64,), 96)] * 2
    Experiment(small(tasks=3, mask_init="previous"), tasks=equal).run(quiet)
    assert groups == [(0, 1)]  # each starts from the one before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": True}, "one thread each"),
        ({"scenario": "NNs"}, "one stream of batches"),
    ],
)
def test_what_goes_with_no_groups_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunSettings(tasks_at_once=2, **changes)
    assert RunSettings(tasks_at_once=1, **changes).tasks_at_once == 1


@pytest.mark.parametrize("mask_init", ["mean", "previous"])
def test_starts_from_earlier_masks_are_refused(mask_init: str, small, equal) -> None:
    with pytest.raises(ConfigError, match="--tasks-at-once trains tasks apart"):
        Experiment(small(tasks=3, tasks_at_once=2, mask_init=mask_init), tasks=equal)


def test_networks_that_train_one_task_at_a_time_are_refused(equal, small) -> None:
    pictures = [cut(task, 96, train_images=torch.zeros(96, 3, 32, 32)) for task in equal]
    settings = RunSettings(
        benchmark="split-cifar10", tasks=2, tasks_at_once=2, quick=True, train_in="bfloat16"
    )
    tasks = [
        Task(
            name=task.name,
            train_images=task.train_images,
            train_labels=task.train_labels,
            inference_images=torch.zeros(9, 3, 32, 32),
            scored_images=torch.zeros(9, 3, 32, 32),
            scored_labels=torch.zeros(9, dtype=torch.int64),
        )
        for task in pictures
    ]
    with pytest.raises(ConfigError, match=r"precision 'bfloat16', .* leave out --tasks-at-once"):
        Experiment(settings, tasks=tasks)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_what_is_no_number_of_tasks_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="tasks_at_once must be at least 1"):
        RunSettings(tasks_at_once=wrong)
