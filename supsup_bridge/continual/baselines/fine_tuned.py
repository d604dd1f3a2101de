"""The lower bound: one network, trained on by every task."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.continual.baselines.fitting import Fit
from supsup_bridge.continual.baselines.weights import WeightBaseline
from supsup_bridge.networks.fixed import Masks, Predictor
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.training.descent import Descent
from supsup_bridge.training.settings import TrainingSettings

HEADS = ("own", "shared", "all")


class FineTuned(WeightBaseline):
    """One network that every task trains on; what it knew of earlier tasks it may lose.

    With a `boundless` learner nothing begins anew where a task ends: one descent goes on, by SGD of
    a constant rate, since nobody says how long it will be. It needs no task boundaries.

    Args:
        network, training, seed: see `WeightBaseline`.
        heads: "own": a last layer for each task, for tasks that are given; "shared": one for the
            same labels of all tasks, which reads out labels alone; "all": outputs for the labels of
            every task, t · classes + label, which read out task and label.
        classes: labels of a task.
        boundless: whether the learner is given no task boundaries; with "shared" heads alone.

    Source:
        "Lower Bound" of Wortsman et al. 2020 (arXiv 2006.14769), figure 3; the three kinds of heads
        are those of Hsu et al. 2018 (arXiv 1810.12488).
    """

    scenarios: ClassVar[tuple[str, ...]] = ("GG", "GNs", "GNu", "NNs")

    def __init__(
        self,
        network: MaskedNetwork,
        *,
        training: TrainingSettings,
        seed: int,
        heads: str,
        classes: int,
        boundless: bool = False,
    ) -> None:
        if heads not in HEADS:
            raise ConfigError(f"heads must be one of {', '.join(HEADS)}, got {heads!r}")
        if boundless and heads != "shared":
            raise ConfigError(f"without task boundaries heads must be 'shared', got {heads!r}")
        if heads != "own":  # no entropy is compared
            training = replace(training, contrast=0.0)
        if boundless:
            training = replace(training, optimiser="sgd")
        super().__init__(network, training=training, seed=seed)
        self.heads, self.classes, self.one_network = heads, classes, heads != "own"
        self._weights: Masks = self.drawn()
        self._own: list[Tensor] = []  # heads of the tasks
        self._boundless = boundless
        self._descent: Descent | None = None  # of all tasks, without boundaries

    def train(self, fit: Fit) -> None:
        start = self._weights
        if self._boundless:
            self._descent = self._descent or fit.descent(start)
        if self.heads == "own":
            start = {**start, self.head: self.drawn()[self.head]}
        self._weights = fit(start, dict, descent=self._descent)
        if self.heads == "own":
            self._own.append(self._weights[self.head])

    def weights(self, task: int) -> Masks:
        own = {self.head: self._own[task]} if self._own else {}
        return {**self._weights, **own}

    def kept(self) -> Iterable[Tensor]:
        trunk = self.trunk(self._weights).values()
        return [*trunk, *(self._own or [self._weights[self.head]])]

    def shift(self, task: int) -> int:
        return task * self.classes if self.heads == "all" else 0

    def predictor(self, task: int) -> Predictor:
        predict, first = super().predictor(task), self.shift(task)
        return lambda images: predict(images)[:, first : first + self.classes]

    @property
    def reads_out(self) -> bool:
        return self.one_network

    def read_out(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        predict = WeightBaseline.predictor(self, self.count - 1)
        with torch.no_grad():
            answer = predict(images)[:, : self.shift(self.count) or None].argmax(-1)
        if self.heads == "shared":
            return None, answer
        return answer // self.classes, answer % self.classes
