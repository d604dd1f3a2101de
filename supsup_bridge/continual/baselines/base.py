"""What a run needs of a continual learner that is not SupSup."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.inference.objectives import entropy
from supsup_bridge.networks.fixed import Predictor
from supsup_bridge.training.data import LessonData
from supsup_bridge.training.settings import TrainingSettings

Progress = Callable[[int, float], None]  # steps done, loss


class Baseline(ABC):
    """Learns task after task, and predicts.

    Where a task is not given, a learner either compares its tasks, each of which has a network of
    its own, or reads the answer from outputs that its tasks share (`reads_out`).

    Attributes:
        scenarios: in which it can be scored.
        count: tasks learned.
        training: how it learns a task.
        outputs: output units.
        own_network: the name of its network, where it is not the one that SupSup masks.
        nbytes: bytes that it has to keep to predict and to learn on.
    """

    scenarios: ClassVar[tuple[str, ...]] = ("GG", "GNs", "GNu")
    training: TrainingSettings
    count: int = 0
    outputs: int
    own_network: str | None = None

    @property
    @abstractmethod
    def nbytes(self) -> int: ...

    @abstractmethod
    def steps(self, images: int) -> int:
        """Training steps of a task of so many images."""

    @abstractmethod
    def learn(self, data: LessonData, *, progress: Progress = lambda step, loss: None) -> None:
        """Learn the next task.

        Args:
            data: labelled images; labels count from 0 within the task.
            progress: called after each step.

        Raises:
            ConfigError: images or labels that do not fit the network.
            NumericalError: a loss that is not finite.
        """

    @abstractmethod
    def predictor(self, task: int) -> Predictor:
        """Images (n, ...) -> logits of the labels of a task that is given, (n, classes)."""

    @property
    def reads_out(self) -> bool:
        """Whether outputs that all tasks share give the answer where no task is given."""
        return False

    def read_out(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """Tasks (n,), None where no output names them, and labels (n,) of images; each by itself.

        Raises:
            ConfigError: this learner compares tasks.
        """
        raise ConfigError(f"{type(self).__name__} has no outputs for all tasks: use infer")

    def infer(self, images: Tensor) -> Tensor:
        """Task of each set of images: that of least entropy, argmin_t H(f_t(x)).

        Args:
            images: (b, n, ...): b sets of n images, each set of one task.

        Returns:
            (b,).

        Source:
            The rule by which SupSup infers, with every task tried: Wortsman et al. 2020 (arXiv
            2006.14769), section 3.3.
        """
        flat = images.flatten(0, 1)
        with torch.no_grad():
            values = [entropy(self.predictor(task)(flat)) for task in range(self.count)]
        of_sets = torch.stack(values, -1).reshape(*images.shape[:2], self.count)
        return of_sets.mean(1).argmin(-1)
