"""Augmentation: each training image changed at random, never one that is scored."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hopmask import ConfigError
from supsup_bridge.training.batches import Batch, LessonBatches
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.transfer import sent

_PADDING = 4  # pixels on each side
_SATURATION, _CONTRAST, _BRIGHTNESS, _TINT = 0.6, 0.3, 0.3, 0.09  # at most, either way
_CUT = 3 / 8  # side of the square that is cut out, of an image's shorter side


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to 4 pixels in both directions, and mirrored with a chance of ½.

    What moves in from outside is 0, the mean of standardised pixels.

    Args:
        images: (n, channels, height, width).
        generator: of the moves.

    Raises:
        ConfigError: flat images, or integers.

    Example:
        >>> images = torch.ones(2, 3, 32, 32)
        >>> crop_flip(images, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 32, 32])

    Source:
        He et al. 2016 (arXiv 1512.03385), section 4.2.
    """
    _check_images(images)
    count, channels, height, width = images.shape
    where = generator.device
    size = 2 * _PADDING + 1
    top, left = torch.randint(size, (2, count, 1), generator=generator, device=where)
    mirrored = torch.randint(2, (count, 1), generator=generator, device=where).bool()
    across = torch.arange(width, device=where)
    rows = top + torch.arange(height, device=where)
    columns = left + torch.where(mirrored, across.flip(0), across)
    pixels = rows[:, :, None] * (width + 2 * _PADDING) + columns[:, None, :]  # (n, height, width)
    index = pixels.reshape(count, 1, -1).expand(-1, channels, -1)
    padded = functional.pad(images, (_PADDING,) * 4)
    return padded.flatten(2).gather(2, sent(index, images.device)).reshape(images.shape)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Saturation, contrast, brightness and tint of each image changed at random.

    Distances from an image's grey are multiplied by 1 + u, u uniform within ±0.6, and distances
    from its mean colour by 1 + v within ±0.3; up to ±0.3 is added to all pixels, and ±0.09 to each
    channel, in units of the standardised pixels.

    Args:
        images: (n, channels, height, width), standardised.
        generator: of the changes.

    Raises:
        ConfigError: flat images, or integers.

    Example:
        >>> images = torch.ones(2, 3, 32, 32)
        >>> jitter(images, torch.Generator().manual_seed(0)).flatten(2).std(-1).max()
        tensor(0.)

    Source:
        Changes of colour: Howard 2013 (arXiv 1312.5402), section 2.
    """
    _check_images(images)
    count, channels = images.shape[:2]

    def drawn(most: float, *shape: int) -> Tensor:
        size = (count, *shape, 1, 1)
        made = torch.rand(size, generator=generator, dtype=torch.float32, device=generator.device)
        return sent((2 * made - 1) * most, images.device, images.dtype)

    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1 + drawn(_SATURATION, 1))
    mean = images.mean((2, 3), keepdim=True)
    images = mean + (images - mean) * (1 + drawn(_CONTRAST, 1))
    return images + drawn(_BRIGHTNESS, 1) + drawn(_TINT, channels)


def cut(images: Tensor, generator: torch.Generator) -> Tensor:
    """A square of each image is 0, the mean of standardised pixels.

    Its side is 3/8 of the shorter side of the image, and its centre lies anywhere, so that it may
    stick out.

    Args:
        images: (n, channels, height, width), standardised.
        generator: of the places.

    Raises:
        ConfigError: flat images, or integers.

    Example:
        >>> int((cut(torch.ones(9, 1, 16, 16), torch.Generator()) == 0).sum((1, 2, 3)).max())
        36

    Source:
        DeVries, Taylor 2017 (Cutout, arXiv 1708.04552).
    """
    _check_images(images)
    side = round(_CUT * min(images.shape[2:]))

    def hidden(length: int) -> Tensor:
        where = generator.device
        centre = torch.randint(length, (len(images), 1), generator=generator, device=where)
        place = torch.arange(length, device=where) - centre + side // 2
        return sent((place >= 0) & (place < side), images.device)

    rows, columns = (hidden(length) for length in images.shape[2:])
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


def augmented(
    batches: LessonBatches,
    settings: TrainingSettings,
    generator: torch.Generator,
    *,
    cropped: bool = False,
) -> LessonBatches:
    """Batches as they are, or augmented where the settings say so.

    Args:
        batches: of a lesson; their state holds that of the generator.
        settings: of the lesson.
        generator: the batches' own.
        cropped: whether images come cropped and mirrored already.
    """
    if settings.augment is None or (cropped and settings.augment == "crop-flip"):
        return batches
    return _Augmented(batches, lambda images: changed(images, settings, generator, cropped=cropped))


def changed(
    images: Tensor, settings: TrainingSettings, generator: torch.Generator, *, cropped: bool = False
) -> Tensor:
    """Images of one batch, augmented as the settings say.

    Args:
        images: (n, ...).
        settings: of the lesson.
        generator: of the changes.
        cropped: whether images come cropped and mirrored already.

    Example:
        >>> images, settings = torch.ones(2, 3, 32, 32), TrainingSettings(augment="strong")
        >>> changed(images, settings, torch.Generator()).shape
        torch.Size([2, 3, 32, 32])
    """
    if settings.augment is None:
        return images
    images = images if cropped else crop_flip(images, generator)
    if settings.augment == "strong":
        images = cut(jitter(images, generator), generator)
    return images


def _check_images(images: Tensor) -> None:
    if images.ndim != 4:
        raise ConfigError(
            "augment= is for images (n, channels, height, width), got "
            f"{tuple(images.shape)}: reshape them, or leave it out"
        )
    if not images.is_floating_point():
        raise ConfigError(f"images must be floating-point, got {images.dtype}: use images.float()")


class _Augmented:
    """Batches whose images are changed."""

    def __init__(self, batches: LessonBatches, change: Callable[[Tensor], Tensor]) -> None:
        self._batches, self._change = batches, change

    @property
    def done(self) -> int:
        return self._batches.done

    @property
    def steps(self) -> int | None:
        return self._batches.steps

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in self._batches:
            yield self._change(images), labels

    def state(self) -> dict[str, Any]:
        return self._batches.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._batches.restore(state)
