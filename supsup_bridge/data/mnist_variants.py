"""MNIST with its pixels moved, in another way in each task: permuted, or rotated."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.data.datasets import load_mnist
from supsup_bridge.data.task import Task, TaskStream
from supsup_bridge.rng import shuffled, stream

ROTATIONS, _DEGREES = 36, 10  # 10 degrees apart, the whole circle
_BATCH = 1024  # images rotated together, few enough to stay in the cache


def permuted_mnist(*, seed: int = 0, tasks: int = 10, data: str | Path | None = None) -> TaskStream:
    """MNIST's ten digits with the pixels in another order in each task (PermutedMNIST).

    Every order is random, the first task's too. Trains on MNIST's training part; its test part is
    cut in two by the seed, half for recall, half scored. All tasks share one cut, so no image that
    one task scores is a recall image of another. Images are made at each access: the stream holds
    MNIST once, whatever the number of tasks.

    Args:
        seed: of the cut and the orders.
        tasks: any number; the paper has 250 and 2500.
        data: folder with the IDX files; see `datasets.load_mnist`.

    Raises:
        ConfigError: a number of tasks that does not exist.
        DataError: data missing, truncated or altered.

    Example:
        >>> permuted_mnist(tasks=2500, data=folder)[2499].name  # doctest: +SKIP
        'permutation 2499'

    Source:
        Goodfellow et al. 2013 (arXiv 1312.6211), Kirkpatrick et al. 2017 (arXiv 1612.00796). Others
        by that name leave the first task unpermuted.
    """
    if tasks < 1:
        raise ConfigError(f"permutations make 1 or more tasks, got {tasks}")
    plain = _whole_mnist(seed, data)

    def permutation(number: int) -> Task:
        generator = stream(seed, "permutation", number)
        order = shuffled(plain.train_images.shape[1], generator)
        return _transformed(plain, f"permutation {number}", partial(permuted, order=order))

    return TaskStream(permutation, tasks=tasks)


def rotated_mnist(
    *, seed: int = 0, tasks: int = ROTATIONS, data: str | Path | None = None
) -> TaskStream:
    """MNIST's ten digits, turned 10 degrees further in each task (RotatedMNIST).

    The first task is MNIST as it is. What comes in from outside an image is black. Parts, cut and
    memory are those of `permuted_mnist`: an image, at whatever angle, is for recall in all tasks or
    scored in all tasks.

    Args:
        seed: of the cut.
        tasks: 1 to 36.
        data: folder with the IDX files; see `datasets.load_mnist`.

    Raises:
        ConfigError: a number of tasks that does not exist.
        DataError: data missing, truncated or altered.

    Example:
        >>> rotated_mnist(data=folder)[35].name  # doctest: +SKIP
        'rotated by 350 degrees'

    Source:
        RotatedMNIST with 36 angles: Wortsman et al. 2020 (arXiv 2006.14769).
    """
    if not 1 <= tasks <= ROTATIONS:
        raise ConfigError(
            f"rotations {_DEGREES} degrees apart make 1 to {ROTATIONS} tasks, got {tasks}"
        )
    plain = _whole_mnist(seed, data)
    black = float(plain.train_images.min())  # the pixel 0, standardised

    def rotation(number: int) -> Task:
        degrees = _DEGREES * number
        turn = partial(rotated, degrees=degrees, background=black)
        return _transformed(plain, f"rotated by {degrees} degrees", turn)

    return TaskStream(rotation, tasks=tasks)


def permuted(images: Tensor, order: Tensor) -> Tensor:
    """Every image with its pixels in the same other order: pixel p of the result is pixel order[p].

    Args:
        images: (n, pixels).
        order: a permutation of the pixels' numbers, (pixels,).

    Example:
        >>> permuted(torch.tensor([[1, 2, 3]]), torch.tensor([2, 0, 1]))
        tensor([[3, 1, 2]])
    """
    return images.index_select(1, order.to(images.device))


def rotated(images: Tensor, *, degrees: float, background: float) -> Tensor:
    """Square images turned anticlockwise about their centre, bilinear.

    Exact, with nothing interpolated, at whole multiples of 90 degrees.

    Args:
        images: (n, side · side), row by row, the top row first.
        degrees: the angle.
        background: value of what lies outside an image.

    Raises:
        ConfigError: images that are not square.

    Example:
        >>> rotated(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), degrees=90, background=0)
        tensor([[2., 4., 1., 3.]])

    Source:
        Bilinear interpolation between the four nearest pixels.
    """
    side = math.isqrt(images.shape[1])
    if side * side != images.shape[1]:
        raise ConfigError(f"only square images are rotated, got {images.shape[1]} pixels")
    pixels, weights = _corners(side, degrees)
    pixels, weights = pixels.to(images.device), weights.to(images)
    outside = background * (1 - weights.sum(0))
    turned = torch.empty_like(images)
    for first in range(0, len(images), _BATCH):
        before, after = images[first : first + _BATCH], turned[first : first + _BATCH]
        after.copy_(outside.expand_as(after))
        for corner, weight in zip(pixels, weights, strict=True):
            after.addcmul_(before.index_select(1, corner), weight)
    return turned


def _corners(side: int, degrees: float) -> tuple[Tensor, Tensor]:
    """The four pixels that each pixel of the result lies between, and their weights; (4, pixels).

    A corner outside the image has weight 0.
    """
    angle, middle = math.radians(degrees), (side - 1) / 2
    axis = torch.arange(side, dtype=torch.float64, device="cpu") - middle
    down, right = torch.meshgrid(axis, axis, indexing="ij")
    row = math.cos(angle) * down + math.sin(angle) * right + middle
    column = math.cos(angle) * right - math.sin(angle) * down + middle
    row, column = row.round(decimals=9), column.round(decimals=9)  # whole where cos or sin is 0
    pixels, weights = [], []
    for r in (row.floor(), row.floor() + 1):
        for c in (column.floor(), column.floor() + 1):
            inside = (r >= 0) & (r < side) & (c >= 0) & (c < side)
            weight = (1 - (row - r).abs()) * (1 - (column - c).abs()) * inside
            weights.append(weight.flatten())
            pixels.append(((r * side + c) * inside).long().flatten())
    return torch.stack(pixels), torch.stack(weights)


def _whole_mnist(seed: int, data: str | Path | None) -> Task:
    """All ten digits as one task."""
    train, test = load_mnist(data)
    order = shuffled(len(test.labels), stream(seed, "cut"))
    recall, scored = order[: len(order) // 2], order[len(order) // 2 :]
    return Task(
        name="MNIST",
        train_images=train.images,
        train_labels=train.labels,
        inference_images=test.images[recall],
        scored_images=test.images[scored],
        scored_labels=test.labels[scored],
        classes=10,
    )


def _transformed(plain: Task, name: str, transform: Callable[[Tensor], Tensor]) -> Task:
    """A task of the same images, transformed at each access."""
    return replace(
        plain,
        name=name,
        train_images=partial(transform, plain.train_images),
        inference_images=partial(transform, plain.inference_images),
        scored_images=partial(transform, plain.scored_images),
    )
