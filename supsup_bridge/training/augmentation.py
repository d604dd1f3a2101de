"""Augmentation: each training image cropped and mirrored at random, never one that is scored."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hopmask import ConfigError
from supsup_bridge.training.batches import Batch, LessonBatches
from supsup_bridge.training.settings import TrainingSettings

_PADDING = 4  # pixels on each side


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to 4 pixels in both directions, and mirrored with a chance of ½.

    What moves in from outside is 0, the mean of standardised pixels.

    Args:
        images: (n, channels, height, width).
        generator: of the moves.

    Raises:
        ConfigError: flat images.

    Example:
        >>> images = torch.ones(2, 3, 32, 32)
        >>> crop_flip(images, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 32, 32])

    Source:
        He et al. 2016 (arXiv 1512.03385), section 4.2.
    """
    if images.ndim != 4:
        raise ConfigError(
            "augment='crop-flip' is for images (n, channels, height, width), got "
            f"{tuple(images.shape)}: reshape them, or leave it out"
        )
    count, channels, height, width = images.shape
    where = generator.device
    size = 2 * _PADDING + 1
    top, left = torch.randint(size, (2, count, 1), generator=generator, device=where)
    mirrored = torch.randint(2, (count, 1), generator=generator, device=where).bool()
    across = torch.arange(width, device=where)
    rows = top + torch.arange(height, device=where)
    columns = left + torch.where(mirrored, across.flip(0), across)
    pixels = rows[:, :, None] * (width + 2 * _PADDING) + columns[:, None, :]  # (n, height, width)
    index = pixels.reshape(count, 1, -1).expand(-1, channels, -1).to(images.device)
    padded = functional.pad(images, (_PADDING,) * 4)
    return padded.flatten(2).gather(2, index).reshape(images.shape)


def augmented(
    batches: LessonBatches, settings: TrainingSettings, generator: torch.Generator
) -> LessonBatches:
    """Batches as they are, or augmented where the settings say so.

    Args:
        batches: of a lesson; their state holds that of the generator.
        settings: of the lesson.
        generator: the batches' own.
    """
    return batches if settings.augment is None else _Augmented(batches, generator)


class _Augmented:
    """Batches whose images are cropped and mirrored by `crop_flip`."""

    def __init__(self, batches: LessonBatches, generator: torch.Generator) -> None:
        self._batches, self._generator = batches, generator

    @property
    def done(self) -> int:
        return self._batches.done

    @property
    def steps(self) -> int | None:
        return self._batches.steps

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in self._batches:
            yield crop_flip(images, self._generator), labels

    def state(self) -> dict[str, Any]:
        return self._batches.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._batches.restore(state)
