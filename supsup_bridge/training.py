"""Training of one task's supermask by the straight-through estimator."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hopmask import ConfigError, NumericalError
from supsup_bridge.networks import FixedNetwork

Masks = dict[str, Tensor]


def is_count(value: object, *, least: int = 1) -> bool:
    """Whether a value is a whole number (no bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a supermask is trained.

    Args:
        epochs: passes over the task's images.
        batch: images a step.
        optimiser: "adam" (with cosine decay) or "sgd" (with momentum 0.9, weight decay 1e-4).
        rate: learning rate.
        contrast: weight of the contrast term; 0 for none.
        noise: standard deviation of the noise in it, in units of the standardised pixels.
        max_batches: stop after so many steps.

    Raises:
        ConfigError: a value out of its range.

    Example:
        >>> TrainingSettings(epochs=2, batch=10).steps(25)
        6

    Source:
        Adam and cosine decay: measured to beat the paper's RMSProp at equal steps.
    """

    epochs: int = 6
    batch: int = 128
    optimiser: str = "adam"
    rate: float = 1e-2
    contrast: float = 0.5
    noise: float = 0.5
    max_batches: int | None = None

    def __post_init__(self) -> None:
        if self.optimiser not in ("adam", "sgd"):
            raise ConfigError(f"optimiser must be 'adam' or 'sgd', got {self.optimiser!r}")
        for name in ("rate", "noise"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("epochs", "batch", "max_batches"):
            value = getattr(self, name)
            if (value is not None or name != "max_batches") and not is_count(value):
                raise ConfigError(f"{name} must be a positive whole number, got {value!r}")
        if not self.contrast >= 0:
            raise ConfigError(f"contrast must not be negative, got {self.contrast}")

    def steps(self, images: int) -> int:
        """Number of steps for a task of so many images."""
        steps = self.epochs * ceil(images / self.batch)
        return steps if self.max_batches is None else min(steps, self.max_batches)


class _Binarise(torch.autograd.Function):
    """m = [score ≥ 0], gradient passed straight through."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        return (scores >= 0).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def train_mask(
    network: FixedNetwork,
    images: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
    *,
    scores: torch.Generator,
    batches: torch.Generator,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Masks:
    """Learn the binary mask of one task; the network is not changed.

    Minimises CE(f(x, m), y) + contrast · CE(f(x + noise, m), uniform). The second term keeps the
    outputs undecided away from the task's data, so that the entropy of a wrong task's mask is high.

    Args:
        network: the fixed network.
        images: (n, inputs), standardised.
        labels: class within the task, integer (n,), below `network.outputs`.
        settings: how.
        scores: generator of the starting scores (uniform within ±0.1).
        batches: generator of the order of images and of the noise.
        progress: called after each step with the number of steps done and the loss.

    Returns:
        name -> bool (bits,).

    Raises:
        ConfigError: no images, or labels that do not fit the outputs.
        NumericalError: the loss or its gradient is not finite.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([2, 16, 2], network=g)
        >>> images, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> settings = TrainingSettings(epochs=2)
        >>> train_mask(network, images, labels, settings, scores=g, batches=g)["hidden1"].dtype
        torch.bool

    Source:
        Straight-through estimator: Bengio et al. 2013 (arXiv 1308.3432); masks by thresholded
        scores: Mallya et al. 2018 (Piggyback). Contrast term: Hendrycks et al. 2019 (outlier
        exposure, arXiv 1812.04606), with the task's own images under noise as the outliers.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ConfigError(
            f"training needs images and as many labels, got {len(images)}, {len(labels)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= network.outputs:
        raise ConfigError(
            f"labels must lie in 0 .. {network.outputs - 1} (the network's outputs), "
            f"got {int(labels.min())} .. {int(labels.max())}"
        )
    device = images.device
    real = {
        name: ((torch.rand(bits, generator=scores) * 2 - 1) * 0.1).to(device).requires_grad_()
        for name, bits in network.mask_sizes.items()
    }
    total = settings.steps(len(images))
    optimiser, schedule = _optimiser(list(real.values()), settings, total)
    for step in range(total):
        position = step % ceil(len(images) / settings.batch)
        if position == 0:
            order = torch.randperm(len(images), generator=batches).to(device)
        chosen = order[position * settings.batch : (position + 1) * settings.batch]
        loss = _loss(network, real, images[chosen], labels[chosen], settings, batches)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        value = loss.item()
        if not (value == value and abs(value) < float("inf")):
            raise NumericalError(
                f"the loss became {value} at step {step + 1} of {total}: lower the learning rate "
                f"({settings.rate}) or check the images for NaN. The task was not learned"
            )
        optimiser.step()
        schedule.step()
        progress(step + 1, value)
    for name, score in real.items():
        if not bool(torch.isfinite(score).all()):
            raise NumericalError(f"scores of mask '{name}' hold NaN: lower the learning rate")
    return {name: (score >= 0).detach() for name, score in real.items()}


def _loss(
    network: FixedNetwork,
    scores: Masks,
    images: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
    generator: torch.Generator,
) -> Tensor:
    masks = {name: _Binarise.apply(score) for name, score in scores.items()}  # type: ignore[no-untyped-call]
    if settings.contrast == 0:
        return F.cross_entropy(network(images, masks), labels)
    noise = torch.randn(images.shape, generator=generator).to(images.device) * settings.noise
    clean, noisy = network(torch.cat([images, images + noise]), masks).chunk(2)
    undecided = -F.log_softmax(noisy, -1).mean()
    return F.cross_entropy(clean, labels) + settings.contrast * undecided


def _optimiser(
    scores: list[Tensor], settings: TrainingSettings, total: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser: torch.optim.Optimizer
    if settings.optimiser == "adam":
        optimiser = torch.optim.Adam(scores, lr=settings.rate)
        return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total)
    optimiser = torch.optim.SGD(scores, lr=settings.rate, momentum=0.9, weight_decay=1e-4)
    return optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
