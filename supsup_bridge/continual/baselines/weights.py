"""Learners whose network of a task is f(x, W_t): one architecture, and weights of each task."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import prod, sqrt

import torch
from torch import Tensor

from supsup_bridge.continual.baselines.base import Baseline, Progress
from supsup_bridge.continual.baselines.fitting import Fit
from supsup_bridge.continual.description import some_images
from supsup_bridge.networks.fixed import Masks, Predictor, shape_of, signed_constant
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.rng import stream
from supsup_bridge.training.data import LessonData
from supsup_bridge.training.settings import TrainingSettings


class WeightBaseline(Baseline):
    """Learns weights W_t of f(x, W) for each task; f is the network that SupSup masks.

    So there are no biases, and statistics of batch norms belong to the task, as they do there. A
    network of weights 1, "masked" by W, is f(x, W).

    Args:
        network: whose own weights are 1, with as many outputs as the learner needs.
        training: how; its rate is that of weights.
        seed: of whatever is drawn.

    Attributes:
        head: name of the last layer.
        one_network: whether one network answers for all tasks, so that its statistics are those of
            the last task alone.
    """

    one_network = False

    def __init__(self, network: MaskedNetwork, *, training: TrainingSettings, seed: int) -> None:
        self.network, self.training, self.seed = network, training, seed
        self.outputs = network.outputs
        self._statistics: dict[int, Masks] = {}  # of each task, or of all

    @abstractmethod
    def train(self, fit: Fit) -> None:
        """Fit the weights of task `count`, and keep what `weights` needs."""

    @abstractmethod
    def weights(self, task: int) -> Masks:
        """W_t of a task learned, name of a layer -> (*size)."""

    @abstractmethod
    def kept(self) -> Iterable[Tensor]:
        """What was learned: tensors of which bool ones take a bit for each entry."""

    @property
    def nbytes(self) -> int:
        statistics = sum(prod(shape_of(size)) for size in self.network.statistics_sizes.values())
        return sum(map(_bytes, self.kept())) + 2 * statistics * len(self._statistics)

    @cached_property
    def head(self) -> str:
        return [*self.network.mask_sizes][-1]

    def steps(self, images: int) -> int:
        return self.training.steps(images, alone=self.network.pointwise)

    def learn(self, data: LessonData, *, progress: Progress = lambda step, loss: None) -> None:
        task, training = self.count, self.training
        generator = stream(self.seed, "batches", task)
        fit = Fit(
            self.network, data, training, generator, progress=progress, shift=self.shift(task)
        )
        self.train(fit)
        order = stream(self.seed, "statistics", task)
        seen = some_images(data, generator=order, device=self.network.device)
        found = self.network.statistics(self.weights(task), seen)
        self._statistics[0 if self.one_network else task] = found
        self.count += 1

    def shift(self, task: int) -> int:
        """The first output of a task."""
        return 0

    def predictor(self, task: int) -> Predictor:
        given = {**self.weights(task), **self._statistics[0 if self.one_network else task]}
        return self.network.predictor(given, torch.empty(0))

    def drawn(self, purpose: str = "weights") -> Masks:
        """New weights of all layers: normal, of variance 2 / fan_in, and 1 / fan_in in the head.

        Source:
            He et al. 2015 (arXiv 1502.01852).
        """
        generator = stream(self.seed, purpose, self.count)
        found = {}
        for name, size in self.network.mask_sizes.items():
            shape = shape_of(size)
            scale = sqrt((1 if name == self.head else 2) / prod(shape[1:]))
            found[name] = torch.randn(shape, generator=generator, dtype=torch.float32) * scale
        return {name: value.to(self.network.device) for name, value in found.items()}

    def signs(self) -> Masks:
        """The trunk that SupSup masks: signed constants, which the seed alone says."""
        generator = stream(self.seed, "network")
        found = {
            name: signed_constant(shape_of(size), generator)
            for name, size in self.network.mask_sizes.items()
        }
        return self.trunk({name: value.to(self.network.device) for name, value in found.items()})

    def trunk(self, weights: Mapping[str, Tensor]) -> Masks:
        """All layers but the last."""
        return {name: value for name, value in weights.items() if name != self.head}


def _bytes(value: Tensor) -> int:
    return -(-value.numel() // 8) if value.dtype == torch.bool else value.nbytes
