"""Training of one task's supermask by the straight-through estimator."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hopmask import ConfigError, NumericalError
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.training.scores import binariser, starting_scores


def is_count(value: object, *, least: int = 1) -> bool:
    """Whether a value is a whole number (no bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


_BOUND = 0.1  # where scores start, for which Adam's rate is meant as it is
_DILUTION = 0.2  # λ: share of the mask in a diluted one
_TAU = 400  # steps after which the rate of a training without known end is half of what it was
_FADING = 0.97  # what a step leaves of the average of earlier scores, in such a training


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a supermask is trained.

    Args:
        epochs: passes over the task's images.
        batch: images a step.
        optimiser: "adam" (with cosine decay) or "sgd" (with momentum 0.9, weight decay 1e-4).
        rate: learning rate; Adam's is for scores that start within ±0.1, and in proportion to the
            bound elsewhere, so that every layer moves equally far from its start.
        contrast: weight of the contrast term; 0 for none.
        noise: standard deviation of the noise in it, in units of the standardised pixels.
        max_batches: stop after so many steps.
        diluted_every: every so many steps the loss is that of a diluted mask; None for never.
        sparsity: share of the mask's entries kept (top-k under the Erdős–Rényi budget); None for
            thresholded scores.

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
    diluted_every: int | None = None
    sparsity: float | None = None

    def __post_init__(self) -> None:
        if self.optimiser not in ("adam", "sgd"):
            raise ConfigError(f"optimiser must be 'adam' or 'sgd', got {self.optimiser!r}")
        for name in ("rate", "noise"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("epochs", "batch", "max_batches", "diluted_every"):
            value = getattr(self, name)
            optional = name in ("max_batches", "diluted_every")
            if not (value is None and optional) and not is_count(value):
                raise ConfigError(f"{name} must be a positive whole number, got {value!r}")
        if not self.contrast >= 0:
            raise ConfigError(f"contrast must not be negative, got {self.contrast}")

    def steps(self, images: int) -> int:
        """Number of steps for a task of so many images."""
        steps = self.epochs * ceil(images / self.batch)
        return steps if self.max_batches is None else min(steps, self.max_batches)


class MaskTrainer:
    """Learns one task's mask batch by batch; the network is not changed.

    Minimises CE(f(x, m), y) + contrast · CE(f(x + noise, m), uniform). The second term keeps the
    outputs undecided away from the task's data, so that the entropy of a wrong task's mask is high.
    Some steps (`diluted_every`) see m̃ = b + λ(m − b) in place of m, b the level of a blank mask and
    λ = 0.2: the mask learns to be recognised where it is one of many, in a superposition.

    Args:
        network: the fixed network.
        settings: how.
        scores: generator of the starting scores.
        noise: generator of the noise in the contrast term.
        steps: how many steps there will be, for cosine decay of Adam's rate. None where nobody
            knows: the rate then decays as 1/(1 + t/τ) at step t, τ = 400, and the mask is that of
            the scores' moving average over the last 30 steps or so.
        mean: levels of the masks learned so far, to start from; None for a random start.
        device: where the scores live.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> g = torch.Generator().manual_seed(0)
        >>> network = UnitNetwork([2, 16, 2], network=g)
        >>> trainer = MaskTrainer(network, TrainingSettings(), scores=g, noise=g)
        >>> loss = trainer.step(torch.eye(2), torch.tensor([0, 1]))
        >>> trainer.masks()["hidden1"].dtype
        torch.bool

    Source:
        Straight-through estimator: Bengio et al. 2013 (arXiv 1308.3432). Contrast term: Hendrycks
        et al. 2019 (outlier exposure, arXiv 1812.04606), with the task's own images under noise as
        the outliers. Dilution is ours.
    """

    def __init__(
        self,
        network: FixedNetwork,
        settings: TrainingSettings,
        *,
        scores: torch.Generator,
        noise: torch.Generator,
        steps: int | None = None,
        mean: Mapping[str, Tensor] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.network, self.settings, self.done = network, settings, 0
        self.binarise = binariser(network, settings.sparsity)
        start = starting_scores(network, scores, binarise=self.binarise, mean=mean)
        self.scores = {name: score.to(device).requires_grad_() for name, score in start.items()}
        self._averages = None if steps else {n: s.detach().clone() for n, s in self.scores.items()}
        self._noise = noise
        self._optimiser, self._schedule = _optimiser(
            self.scores, network.score_bounds, settings, steps
        )

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step on images (n, ...) and labels (n,); returns the loss.

        Raises:
            NumericalError: the loss is not finite.
        """
        loss = self._loss(images, labels)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        value = loss.item()
        if not (value == value and abs(value) < float("inf")):
            raise NumericalError(
                f"the loss became {value} at step {self.done + 1}: lower the learning rate "
                f"({self.settings.rate}) or check the images for NaN. The task was not learned"
            )
        self._optimiser.step()
        self._schedule.step()
        for name, average in (self._averages or {}).items():
            average.lerp_(self.scores[name].detach(), 1 - _FADING)
        self.done += 1
        return value

    def masks(self) -> Masks:
        """The mask as it is now, name -> bool (*size).

        Raises:
            NumericalError: scores that are not finite.
        """
        for name, score in self.scores.items():
            if not bool(torch.isfinite(score).all()):
                raise NumericalError(f"scores of mask '{name}' hold NaN: lower the learning rate")
        with torch.no_grad():
            scores = self._averages or self.scores
            return {name: mask > 0.5 for name, mask in self.binarise(scores).items()}

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, but for its images: tensors, numbers and names."""
        return {
            "done": self.done,
            "scores": {name: score.detach() for name, score in self.scores.items()},
            "averages": self._averages,
            "noise": self._noise.get_state(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": {
                name: value
                for name, value in self._schedule.state_dict().items()
                if name != "lr_lambdas"  # a function, the same for all
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the `state` of a trainer that was made alike."""
        self.done = state["done"]
        with torch.no_grad():
            for name, score in self.scores.items():
                score.copy_(state["scores"][name])
            for name, average in (self._averages or {}).items():
                average.copy_(state["averages"][name])
        self._noise.set_state(state["noise"])
        self._optimiser.load_state_dict(state["optimiser"])
        vars(self._schedule).update(state["schedule"])

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        masks, settings = self.binarise(self.scores), self.settings
        if settings.diluted_every and (self.done + 1) % settings.diluted_every == 0:
            blank = {name: self.binarise.blank(name) for name in masks}
            masks = {n: blank[n] + _DILUTION * (mask - blank[n]) for n, mask in masks.items()}
        if settings.contrast == 0:
            return F.cross_entropy(self.network(images, masks), labels)
        noise = torch.randn(images.shape, generator=self._noise).to(images.device) * settings.noise
        if self.network.pointwise:
            clean, noisy = self.network(torch.cat([images, images + noise]), masks).chunk(2)
        else:  # the noisy images must not enter the statistics of the others
            clean, noisy = self.network(images, masks), self.network(images + noise, masks)
        undecided = -F.log_softmax(noisy, -1).mean()
        return F.cross_entropy(clean, labels) + settings.contrast * undecided


def check_labels(images: Tensor, labels: Tensor, outputs: int) -> None:
    """Raise ConfigError unless there are images, as many labels, and all below `outputs`."""
    if len(images) == 0 or len(images) != len(labels):
        raise ConfigError(
            f"training needs images and as many labels, got {len(images)}, {len(labels)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= outputs:
        raise ConfigError(
            f"labels must lie in 0 .. {outputs - 1} (the network's outputs), "
            f"got {int(labels.min())} .. {int(labels.max())}"
        )


def _optimiser(
    scores: Mapping[str, Tensor],
    bounds: Mapping[str, float],
    settings: TrainingSettings,
    steps: int | None,
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser: torch.optim.Optimizer
    if settings.optimiser == "sgd":
        optimiser = torch.optim.SGD(
            scores.values(), lr=settings.rate, momentum=0.9, weight_decay=1e-4
        )
        return optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    optimiser = torch.optim.Adam(
        [
            {"params": [score], "lr": settings.rate * (bounds[name] / _BOUND)}
            for name, score in scores.items()
        ]
    )
    if steps is None:
        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: 1 / (1 + t / _TAU))
    return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
