"""Benchmarks by name, and those that split digits into tasks of two."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hopmask import ConfigError
from hopmask.errors import unknown_name
from supsup_bridge.data.class_splits import class_task, cut_off
from supsup_bridge.data.datasets import load_digits, load_mnist
from supsup_bridge.data.image_benchmarks import (
    split_cifar10,
    split_cifar100,
    split_folder,
    split_idx,
    split_imagenet,
    split_tiny_imagenet,
)
from supsup_bridge.data.labelled import Labelled
from supsup_bridge.data.mnist_variants import ROTATIONS, permuted_mnist, rotated_mnist
from supsup_bridge.data.task import Task
from supsup_bridge.rng import stream


def split_digits(*, seed: int = 0, tasks: int = 5, data: str | Path | None = None) -> list[Task]:
    """scikit-learn's digits as tasks of two: 0 or 1, 2 or 3, ... 8 or 9.

    60 % of the images train; the rest is cut in two by the seed, half for recall, half scored.

    Args:
        seed: of the cuts.
        tasks: 1 to 5.
        data: not used, the data set is embedded.

    Raises:
        ConfigError: a number of tasks that does not exist.

    Example:
        >>> split_digits(tasks=2)[1].name
        'digits 2 and 3'

    Source:
        The data: see `datasets.load_digits`.
    """
    train, test = cut_off(load_digits(), stream(seed, "split"))
    return _pairs(train, test, seed=seed, tasks=tasks)


def split_mnist(*, seed: int = 0, tasks: int = 5, data: str | Path | None = None) -> list[Task]:
    """MNIST as tasks of two digits: 0 or 1, 2 or 3, ... 8 or 9 (SplitMNIST).

    Trains on MNIST's training part; its test part is cut in two by the seed, half for recall, half
    scored.

    Args:
        seed: of the cut.
        tasks: 1 to 5.
        data: folder with the IDX files; see `datasets.load_mnist`.

    Raises:
        ConfigError: a number of tasks that does not exist.
        DataError: data missing, truncated or altered.

    Example:
        >>> split_mnist(data=folder)[0].name  # doctest: +SKIP
        'digits 0 and 1'

    Source:
        SplitMNIST: Zenke, Poole, Ganguli 2017 (arXiv 1703.04200).
    """
    train, test = load_mnist(data)
    return _pairs(train, test, seed=seed, tasks=tasks)


class _Benchmark(NamedTuple):
    stream: Callable[..., Sequence[Task]]
    tasks: int | None  # unless a run says otherwise; None for as many as the data makes
    classes: int | None = None  # of a task, unless a run says otherwise; None where it cannot
    pictures: bool = False  # whether images have channels and two dimensions


_BENCHMARKS = {
    "split-digits": _Benchmark(split_digits, 5),
    "split-mnist": _Benchmark(split_mnist, 5),
    "permuted-mnist": _Benchmark(permuted_mnist, 10),
    "rotated-mnist": _Benchmark(rotated_mnist, ROTATIONS),
    "split-cifar10": _Benchmark(split_cifar10, None, 2, pictures=True),
    "split-cifar100": _Benchmark(split_cifar100, None, 5, pictures=True),
    "split-tiny-imagenet": _Benchmark(split_tiny_imagenet, None, 10, pictures=True),
    "split-tiny-imagenet-32": _Benchmark(
        partial(split_tiny_imagenet, side=32), None, 10, pictures=True
    ),
    "split-imagenet": _Benchmark(split_imagenet, None, 10, pictures=True),
    "folder": _Benchmark(split_folder, None, 2, pictures=True),
    "idx": _Benchmark(split_idx, None, 2),
}
BENCHMARKS = tuple(_BENCHMARKS)
PICTURES = tuple(name for name, known in _BENCHMARKS.items() if known.pictures)


def task_stream(
    benchmark: str,
    *,
    seed: int,
    tasks: int | None,
    data: str | Path | None,
    classes_per_task: int | None = None,
) -> Sequence[Task]:
    """The tasks of a benchmark by its name.

    Args:
        benchmark: its name.
        seed: of its cuts and draws.
        tasks: how many; None for the benchmark's own number, or as many as the data makes.
        data: where the files of the data set lie.
        classes_per_task: of benchmarks that split a data set by the seed; None for their own.

    Raises:
        ConfigError: no such benchmark, or a number of tasks or classes that it does not have.
        DataError: data missing, truncated or altered.
    """
    chosen: dict[str, Any] = {"classes_per_task": default_classes(benchmark)}
    if chosen["classes_per_task"] is None:
        chosen = {"tasks": default_tasks(benchmark)}
    for name, value in (("tasks", tasks), ("classes_per_task", classes_per_task)):
        if value is not None:
            chosen[name] = value
    return _BENCHMARKS[benchmark].stream(seed=seed, data=data, **chosen)


def default_tasks(benchmark: str) -> int | None:
    """How many tasks a benchmark has unless a run says otherwise; None: as many as its data makes.

    Raises:
        ConfigError: no such benchmark.

    Example:
        >>> default_tasks("rotated-mnist"), default_tasks("folder")
        (36, None)
    """
    check_benchmark(benchmark)
    return _BENCHMARKS[benchmark].tasks


def default_classes(benchmark: str) -> int | None:
    """Classes of a task unless a run says otherwise; None where a run cannot choose.

    Raises:
        ConfigError: no such benchmark.

    Example:
        >>> default_classes("split-cifar100"), default_classes("split-mnist")
        (5, None)
    """
    check_benchmark(benchmark)
    return _BENCHMARKS[benchmark].classes


def check_benchmark(benchmark: str) -> None:
    """Raise ConfigError unless there is a benchmark of that name."""
    if benchmark not in _BENCHMARKS:
        raise ConfigError(unknown_name("benchmark", benchmark, BENCHMARKS))


def _pairs(train: Labelled, test: Labelled, *, seed: int, tasks: int) -> list[Task]:
    if not 1 <= tasks <= 5:
        raise ConfigError(f"ten digits make 1 to 5 tasks of two, got {tasks}")
    return [
        class_task(
            train,
            test,
            (first, first + 1),
            name=f"digits {first} and {first + 1}",
            generator=stream(seed, "cut", first),
        )
        for first in range(0, 2 * tasks, 2)
    ]
