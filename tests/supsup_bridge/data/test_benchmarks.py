"""Tasks: what trains, what recall may see and what is scored never meet."""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge import DataError, Task, split_digits, split_mnist
from supsup_bridge.data import mnist_variants as transformed
from supsup_bridge.data.benchmarks import (
    BENCHMARKS,
    check_benchmark,
    default_classes,
    default_tasks,
    task_stream,
)
from supsup_bridge.data.datasets import load_digits

PARTS = ("train_images", "inference_images", "scored_images")


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def same(a: Task, b: Task) -> bool:
    names = (*PARTS, "train_labels", "scored_labels")
    return a.name == b.name and all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)


@pytest.fixture(scope="module")
def digits() -> list[Task]:
    return split_digits(seed=0)


@pytest.fixture(scope="module")
def mnist(mnist_folder: Path) -> list[Task]:
    return split_mnist(seed=0, data=mnist_folder)


def check_disjoint(tasks: list[Task]) -> None:
    for a, b in combinations([(t, part) for t in tasks for part in PARTS], 2):
        assert not rows(getattr(*a)) & rows(getattr(*b)), (a[0].name, a[1], b[0].name, b[1])


def test_train_recall_and_scored_images_of_digits_are_disjoint(digits: list[Task]) -> None:
    check_disjoint(digits)


def test_every_digit_is_used_exactly_once(digits: list[Task]) -> None:
    used = torch.cat([getattr(task, part) for task in digits for part in PARTS])
    everything = load_digits().images
    assert len(used) == len(everything)
    assert rows(used) == rows(everything)


def test_recall_and_scored_halves_of_mnist_are_disjoint(mnist: list[Task]) -> None:
    for task in mnist:
        assert not rows(task.inference_images) & rows(task.scored_images)


def test_mnists_test_part_is_cut_and_its_training_part_is_not(mnist: list[Task]) -> None:
    assert sum(len(task.train_images) for task in mnist) == 60_000
    assert sum(len(task.inference_images) + len(task.scored_images) for task in mnist) == 10_000


def test_mnist_stream_of_the_same_seed_is_the_same(mnist, mnist_folder: Path) -> None:
    again = split_mnist(seed=0, tasks=1, data=mnist_folder)[0]
    other = split_mnist(seed=1, tasks=1, data=mnist_folder)[0]
    assert same(mnist[0], again)
    assert not torch.equal(mnist[0].scored_images, other.scored_images)


@pytest.mark.parametrize("which", ["digits", "mnist"])
def test_pixels_as_they_are_have_a_scale(which: str, request) -> None:
    figures = {"digits": (0.3, 0.375), "mnist": (0.1307, 0.3081)}[which]
    for task in request.getfixturevalue(which):
        assert (task.scale.mean, task.scale.std) == tuple((figure,) for figure in figures)


@pytest.mark.parametrize("which", ["digits", "mnist"])
def test_halves_are_of_equal_size(which: str, request) -> None:
    for task in request.getfixturevalue(which):
        assert 0 <= len(task.scored_images) - len(task.inference_images) <= 1


@pytest.mark.parametrize("which", ["digits", "mnist"])
def test_labels_are_classes_within_the_task(which: str, request) -> None:
    for task in request.getfixturevalue(which):
        assert set(task.train_labels.tolist()) == {0, 1}
        assert set(task.scored_labels.tolist()) == {0, 1}
        assert len(task.train_labels) == len(task.train_images)
        assert len(task.scored_labels) == len(task.scored_images)


def test_each_task_has_only_its_own_digits_rightly_labelled(digits: list[Task]) -> None:
    everything = load_digits()
    truth = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(everything.images, everything.labels, strict=True)
    }
    for number, task in enumerate(digits):
        for part in ("train", "scored"):
            images, labels = getattr(task, f"{part}_images"), getattr(task, f"{part}_labels")
            found = [truth[image.numpy().tobytes()] for image in images]
            assert found == (labels + 2 * number).tolist()
        recalled = {truth[image.numpy().tobytes()] for image in task.inference_images}
        assert recalled == {2 * number, 2 * number + 1}


def test_sixty_percent_of_the_digits_train(digits: list[Task]) -> None:
    assert sum(len(task.train_images) for task in digits) / 1797 == pytest.approx(0.6, abs=0.01)


def test_names_say_which_digits(digits: list[Task]) -> None:
    assert [task.name for task in digits] == [f"digits {t} and {t + 1}" for t in range(0, 10, 2)]


def test_one_seed_makes_one_stream(digits: list[Task]) -> None:
    assert all(same(a, b) for a, b in zip(digits, split_digits(seed=0), strict=True))


def test_another_seed_cuts_elsewhere(digits: list[Task]) -> None:
    for a, b in zip(digits, split_digits(seed=1), strict=True):
        for part in PARTS:
            assert rows(getattr(a, part)) != rows(getattr(b, part))


def test_fewer_tasks_are_the_first_of_more(digits: list[Task]) -> None:
    first = split_digits(seed=0, tasks=2)
    assert len(first) == 2
    assert all(same(a, b) for a, b in zip(first, digits, strict=False))


def test_streams_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    split_digits(seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("tasks", [0, -1, 6])
def test_numbers_of_tasks_that_do_not_exist_are_refused(tasks: int) -> None:
    with pytest.raises(ConfigError, match=f"1 to 5 tasks.*got {tasks}"):
        split_digits(tasks=tasks)


def test_split_mnist_without_data_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        split_mnist(data=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("split-digit", "split-digits"), ("splitmnist", "split-mnist"), ("mnist", "split-mnist")],
)
def test_an_unknown_benchmark_suggests_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown benchmark '{wrong}'.*'{near}'"):
        task_stream(wrong, seed=0, tasks=1, data=None)


def test_a_benchmark_like_no_other_lists_them_all() -> None:
    with pytest.raises(ConfigError) as caught:
        check_benchmark("")
    assert all(name in str(caught.value) for name in BENCHMARKS)


def test_task_stream_finds_a_benchmark_by_name(digits: list[Task]) -> None:
    found = task_stream("split-digits", seed=0, tasks=1, data=None)
    assert same(found[0], digits[0])


def test_task_stream_hands_on_the_seed_and_the_number_of_tasks() -> None:
    found = task_stream("split-digits", seed=3, tasks=2, data=None)
    assert all(same(a, b) for a, b in zip(found, split_digits(seed=3, tasks=2), strict=True))


@pytest.mark.parametrize("which", ["digits", "mnist"])
def test_split_tasks_have_two_classes(which: str, request) -> None:
    assert [task.classes for task in request.getfixturevalue(which)] == [2] * 5


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        *(("split-digits", 5), ("split-mnist", 5), ("permuted-mnist", 10), ("rotated-mnist", 36)),
        *(("split-cifar100", None), ("folder", None)),
    ],
)
def test_default_number_of_tasks(name: str, tasks: int | None) -> None:
    assert default_tasks(name) == tasks


def test_a_benchmark_has_a_number_of_tasks_or_of_classes_of_a_task() -> None:
    for benchmark in BENCHMARKS:
        assert (default_tasks(benchmark) is None) != (default_classes(benchmark) is None)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        *(("split-mnist", None), ("split-cifar10", 2), ("split-cifar100", 5)),
        *(("split-tiny-imagenet", 10), ("split-tiny-imagenet-32", 10), ("split-imagenet", 10)),
    ],
)
def test_default_number_of_classes(name: str, classes: int | None) -> None:
    assert default_classes(name) == classes


def test_default_number_of_tasks_of_an_unknown_benchmark_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'rotated-mnist'"):
        default_tasks("rotated-minst")


@pytest.mark.parametrize(
    ("name", "second"),
    [("permuted-mnist", "permutation 1"), ("rotated-mnist", "rotated by 10 degrees")],
)
def test_task_stream_finds_transformed_mnist(name: str, second: str, monkeypatch) -> None:
    digits = load_digits()
    monkeypatch.setattr(transformed, "load_mnist", lambda data: (digits, digits))
    found = task_stream(name, seed=0, tasks=2, data=None)
    assert len(found) == 2
    assert found[1].name == second
