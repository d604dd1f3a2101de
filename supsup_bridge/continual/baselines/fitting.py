"""Fits the weights of one task: the same steps, loss and schedule as a mask's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.continual.baselines.base import Progress
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.training.batches import check_labels
from supsup_bridge.training.data import LessonData
from supsup_bridge.training.descent import Descent
from supsup_bridge.training.finite import check_loss
from supsup_bridge.training.gradients import backward
from supsup_bridge.training.loss import MaskLoss
from supsup_bridge.training.settings import TrainingSettings

Leaves = dict[str, Tensor]
Values = Callable[[Mapping[str, Tensor]], Masks]
_PLAIN = 0.1  # a bound for which a tensor's rate is that of the settings


@dataclass(frozen=True)
class _Weights:
    """Weights of one task as `MaskLoss` takes them."""

    values: Values

    def __call__(self, scores: Mapping[str, Tensor], *, stacked: bool = False) -> Masks:
        return {name: value.unsqueeze(0) for name, value in self.values(scores).items()}

    def blank(self, name: str) -> float:
        return 0.0


class Fit:
    """Fits tensors to one task's images.

    Args:
        network: f(x, W), given the weights W.
        data: labelled images of the task.
        settings: how; the rate is that of weights.
        generator: of the order of images, their changes, the noise and the mixing.
        progress: called after each step.
        shift: added to each label: the first output of the task.
    """

    def __init__(
        self,
        network: MaskedNetwork,
        data: LessonData,
        settings: TrainingSettings,
        generator: torch.Generator,
        *,
        progress: Progress,
        shift: int = 0,
    ) -> None:
        self.network, self.data, self.settings = network, data, settings
        self._generator, self._progress, self._shift = generator, progress, shift
        self._done = 0

    def __call__(
        self,
        start: Mapping[str, Tensor],
        values: Values,
        *,
        rates: Mapping[str, float] | None = None,
        still: Mapping[str, Tensor] | None = None,
        part: tuple[float, float] = (0, 1),
        descent: Descent | None = None,
    ) -> Leaves:
        """The tensors that minimise the loss of the network with weights `values(tensors)`.

        Args:
            start: name -> where a tensor starts.
            values: the weights of the tensors, name of a layer -> (*size), differentiable.
            rates: name of a tensor -> its rate, as a multiple of the settings'; default 1.
            still: name of a tensor -> bool, where it must not move.
            part: of the task's steps, where those of this call begin and end.
            descent: goes on, in place of a new one from `start`.

        Raises:
            ConfigError: images or labels that do not fit the network, or a part of a number of
                steps that nobody knows.
            NumericalError: a loss that is not finite.
        """
        device, settings = self.network.device, self.settings
        descent = descent or self.descent(start, rates)
        loss = MaskLoss(
            network=self.network,
            binarise=_Weights(values),
            settings=settings,
            noise=[self._generator],
        )
        batches = self.data.batches(settings, self._generator, alone=self.network.pointwise)
        most = self._steps(batches.steps, part)
        for images, labels in islice(batches, most):
            labels = labels + self._shift
            check_labels(images, labels, self.network.outputs)
            value = float(backward(loss, descent, images[None], labels[None], device=device))
            check_loss(value, step=descent.done + 1, rate=settings.rate)
            for name, held in (still or {}).items():
                gradient = descent.moved[name].grad
                assert gradient is not None
                gradient.masked_fill_(held, 0)
            descent.step()
            self._done += 1
            self._progress(self._done, value)
        return descent.result

    def descent(
        self, start: Mapping[str, Tensor], rates: Mapping[str, float] | None = None
    ) -> Descent:
        """A new descent; arguments as of a call."""
        device, rates = self.network.device, rates or {}
        moved = {n: v.detach().clone().to(device).requires_grad_() for n, v in start.items()}
        return Descent(moved, {n: _PLAIN * rates.get(n, 1.0) for n in moved}, self.settings)

    @staticmethod
    def _steps(steps: int | None, part: tuple[float, float]) -> int | None:
        """How many of a task's steps are in a part."""
        if steps is not None:
            first, last = (round(steps * share) for share in part)
            return last - first
        if part != (0, 1):
            raise ConfigError(
                "this learner divides the steps of a task, and the loader has no length: give a "
                "DataLoader with one, a Dataset, or tensors"
            )
        return None
