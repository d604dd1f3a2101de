"""How a mask is trained: the settings."""

from contextlib import suppress
from dataclasses import dataclass
from math import ceil, isfinite

from hopmask import ConfigError
from supsup_bridge.networks.precision import PRECISIONS

AUGMENTATIONS = ("crop-flip", "strong")


def is_count(value: object, *, least: int = 1) -> bool:
    """Whether a value is a whole number (no bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> bool:
    """Whether a value is a finite int or float of Python's, which a file can hold, and no bool.

    Example:
        >>> is_number(0.5), is_number(float("nan")), is_number(True)
        (True, False, False)
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    with suppress(OverflowError):  # of whole numbers beyond all floats
        return isfinite(value)
    return False


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a supermask is trained.

    Args:
        epochs: passes over the task's images.
        batch: images per step.
        optimiser: "adam" (its rate decays, see `MaskTrainer`) or "sgd" (momentum 0.9, weight
            decay 1e-4).
        rate: learning rate; Adam's is for scores that start within ±0.1, and in proportion to the
            bound elsewhere, so that every layer moves equally far from its start.
        averaging: Adam: the mask is that of a moving average of the scores, of which a step leaves
            this share at most, from 0 (the last scores) to 1, excluded; see `MaskTrainer`.
        smoothing: label smoothing: the share of each target that is spread over all outputs, from 0
            to 1, excluded.
        mixup: each image is blended with another of its batch, whose share is drawn uniformly, for
            the batch, from 0 to half of this, and its label counts as much; from 0 (never) to 1.
        augment: "crop-flip" crops and mirrors each training image at random, see `crop_flip`; of a
            task that is streamed from picture files the crop is a random part of the picture.
            "strong" changes their colours, too, and cuts a square out, see `jitter` and `cut`. None
            for images as they are.
        contrast: weight of the contrast term; 0 for none.
        noise: standard deviation of the noise in it, in units of the standardised pixels.
        max_batches: stop after so many steps.
        diluted_every: every so many steps the loss is that of a diluted mask; None for never.
        sparsity: share of the mask's entries kept, above 0 and up to 1, at most half of each layer
            (top-k under the Erdős–Rényi budget); None for thresholded scores.
        precision: "float32" or "bfloat16", in which layers compute while a mask is trained, or
            "auto": bfloat16 where torch finds instructions for it on the device, else float32.
            Statistics, predictions and inference are in float32 always.

    Raises:
        ConfigError: a value out of its range.

    Example:
        >>> TrainingSettings(epochs=2, batch=10).steps(25)
        6

    Source:
        Adam with a decaying rate: measured to beat the paper's RMSProp at equal steps. Label
        smoothing: Szegedy et al. 2016 (arXiv 1512.00567), section 7. Mixup: Zhang et al. 2018
        (arXiv 1710.09412), whose α = 1 is 1 here.
    """

    epochs: int = 6
    batch: int = 128
    optimiser: str = "adam"
    rate: float = 1e-2
    averaging: float = 0.97
    smoothing: float = 0.0
    mixup: float = 0.0
    augment: str | None = None
    contrast: float = 0.5
    noise: float = 0.5
    max_batches: int | None = None
    diluted_every: int | None = None
    sparsity: float | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.optimiser not in ("adam", "sgd"):
            raise ConfigError(f"optimiser must be 'adam' or 'sgd', got {self.optimiser!r}")
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
        for name in ("rate", "noise", "averaging", "smoothing", "mixup", "contrast", "sparsity"):
            value = getattr(self, name)
            if not is_number(value) and not (name == "sparsity" and value is None):
                raise ConfigError(
                    f"{name} must be a finite number, got {value!r}: give float(...) of others"
                )
        for name in ("rate", "noise"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if self.sparsity is not None and not 0 < self.sparsity <= 1:
            raise ConfigError(f"sparsity must lie in (0, 1], got {self.sparsity}")
        for name in ("epochs", "batch", "max_batches", "diluted_every"):
            value = getattr(self, name)
            optional = name in ("max_batches", "diluted_every")
            if not (value is None and optional) and not is_count(value):
                raise ConfigError(f"{name} must be a positive whole number, got {value!r}")
        for name in ("averaging", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.mixup <= 1:
            raise ConfigError(f"mixup must lie in [0, 1], got {self.mixup}")
        if not self.contrast >= 0:
            raise ConfigError(f"contrast must not be negative, got {self.contrast}")
        if self.augment not in (*AUGMENTATIONS, None):
            known = ", ".join(AUGMENTATIONS)
            raise ConfigError(f"augment must be {known} or None, got {self.augment!r}")

    def per_epoch(self, images: int, *, alone: bool = True) -> int:
        """Number of batches in a pass over so many images.

        Args:
            images: how many there are.
            alone: whether the last batch may hold one image; else this image is of the batch
                before it.

        Example:
            >>> settings = TrainingSettings(batch=10)
            >>> settings.per_epoch(21), settings.per_epoch(21, alone=False)
            (3, 2)
        """
        left_over = images > self.batch > 1 and images % self.batch == 1
        return ceil(images / self.batch) - (left_over and not alone)

    def steps(self, images: int, *, alone: bool = True) -> int:
        """Number of steps for a task of so many images; see `per_epoch`."""
        steps = self.epochs * self.per_epoch(images, alone=alone)
        return steps if self.max_batches is None else min(steps, self.max_batches)
