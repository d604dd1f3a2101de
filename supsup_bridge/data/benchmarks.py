"""Benchmarks by name, and those that split a data set into tasks of two classes."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import torch

from hopmask import ConfigError
from supsup_bridge.data.datasets import load_digits, load_mnist
from supsup_bridge.data.labelled import LabelledImages
from supsup_bridge.data.mnist_variants import ROTATIONS, permuted_mnist, rotated_mnist
from supsup_bridge.data.task import Task
from supsup_bridge.rng import shuffled, stream

_TEST_SHARE = 0.4  # of the digits, which come without a test part


def split_digits(*, seed: int = 0, tasks: int = 5, data: Path | None = None) -> list[Task]:
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
    digits = load_digits()
    generator = stream(seed, "split")
    held_out = torch.zeros(len(digits.labels), dtype=torch.bool, device="cpu")
    for label in range(10):
        (where,) = torch.nonzero(digits.labels == label, as_tuple=True)
        order = where[shuffled(len(where), generator)]
        held_out[order[: round(_TEST_SHARE * len(order))]] = True
    train = LabelledImages(images=digits.images[~held_out], labels=digits.labels[~held_out])
    test = LabelledImages(images=digits.images[held_out], labels=digits.labels[held_out])
    return _pairs(train, test, seed=seed, tasks=tasks)


def split_mnist(*, seed: int = 0, tasks: int = 5, data: Path | None = None) -> list[Task]:
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
    tasks: int  # unless a run says otherwise


_BENCHMARKS = {
    "split-digits": _Benchmark(split_digits, 5),
    "split-mnist": _Benchmark(split_mnist, 5),
    "permuted-mnist": _Benchmark(permuted_mnist, 10),
    "rotated-mnist": _Benchmark(rotated_mnist, ROTATIONS),
}
BENCHMARKS = tuple(_BENCHMARKS)


def task_stream(benchmark: str, *, seed: int, tasks: int, data: Path | None) -> Sequence[Task]:
    """The tasks of a benchmark by its name.

    Raises:
        ConfigError: no such benchmark, or a number of tasks that it does not have.
        DataError: data missing, truncated or altered.
    """
    check_benchmark(benchmark)
    return _BENCHMARKS[benchmark].stream(seed=seed, tasks=tasks, data=data)


def default_tasks(benchmark: str) -> int:
    """How many tasks a benchmark has unless a run says otherwise.

    Raises:
        ConfigError: no such benchmark.

    Example:
        >>> default_tasks("rotated-mnist")
        36
    """
    check_benchmark(benchmark)
    return _BENCHMARKS[benchmark].tasks


def check_benchmark(benchmark: str) -> None:
    """Raise ConfigError, naming the nearest benchmark, unless there is one of that name."""
    if benchmark not in _BENCHMARKS:
        near = get_close_matches(str(benchmark), BENCHMARKS, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"unknown benchmark {benchmark!r}: did you mean '{near}'? "
            f"Known: {', '.join(BENCHMARKS)}"
        )


def _pairs(train: LabelledImages, test: LabelledImages, *, seed: int, tasks: int) -> list[Task]:
    if not 1 <= tasks <= 5:
        raise ConfigError(f"ten digits make 1 to 5 tasks of two, got {tasks}")
    return [_pair(train, test, first=2 * t, seed=seed) for t in range(tasks)]


def _pair(train: LabelledImages, test: LabelledImages, *, first: int, seed: int) -> Task:
    ours = (train.labels == first) | (train.labels == first + 1)
    (where,) = torch.nonzero((test.labels == first) | (test.labels == first + 1), as_tuple=True)
    order = where[shuffled(len(where), stream(seed, "cut", first))]
    recall, scored = order[: len(order) // 2], order[len(order) // 2 :]
    return Task(
        name=f"digits {first} and {first + 1}",
        train_images=train.images[ours],
        train_labels=train.labels[ours] - first,
        inference_images=test.images[recall],
        scored_images=test.images[scored],
        scored_labels=test.labels[scored] - first,
    )
