"""What the methods of Avalanche that SupSup is compared with have in common."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.adapters.rivals.networks import Heads, OwnHeads, Terms, Trainable
from supsup_bridge.adapters.rivals.training import (
    ChangedLoss,
    Course,
    LimitedBatches,
    NoMetrics,
    TaskExperience,
    optimiser_for,
)
from supsup_bridge.training.settings import is_count


class Method:
    """A method of Avalanche's: what it trains, by which plugins, and what it keeps.

    Where tasks are given, the network has a last layer for each; else it has one for all.

    Args:
        terms: what it is made for.

    Attributes:
        unserved: why it cannot be scored in some scenarios; see `RIVALS`.
        training: what it uses of the terms' training.
        pointwise: whether an image can be alone in a batch.
        own_network: the name of its network, where it is not the one that SupSup masks.
    """

    unserved: ClassVar[str] = "it needs to know where a task ends"
    shares: ClassVar[tuple[float, ...]] = (1.0,)  # of a task's steps, of Avalanche's epochs
    plugins: Sequence[Any] = ()
    own_network: str | None = None

    def __init__(self, terms: Terms) -> None:
        self.terms, self.training = terms, terms.training
        self.limits = [LimitedBatches(self.shares)]
        self.model, self.pointwise = self.network()

    def network(self) -> tuple[nn.Module, bool]:
        """What is trained, and whether an image can be alone in a batch."""
        made = Trainable(self.terms)
        if self.terms.scenario != "GG":
            return made.module, made.pointwise
        trunk, new = made.parts()
        return OwnHeads(trunk, Heads(new, self.terms.classes)), made.pointwise

    def strategy(self, loss: ChangedLoss, course: Course) -> Any:
        """What Avalanche trains the network by."""
        return SupervisedTemplate(
            model=self.model,
            criterion=loss,
            plugins=[loss, *self.plugins, self.limits[0], course],
            **self.common(optimiser_for(self.terms.training)(self.model.parameters())),
        )

    def common(self, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        """Arguments of every strategy."""
        batch = self.terms.training.batch
        return {
            "optimizer": optimiser,
            "train_mb_size": batch,
            "train_epochs": len(self.shares),
            "eval_mb_size": batch,
            "device": self.terms.device,
            "evaluator": NoMetrics(),
        }

    def teach(self, strategy: Any, experience: TaskExperience, steps: int) -> None:
        """Train on one task, from a new state of the optimiser."""
        for limit in self.limits:
            limit.steps = steps
        strategy.train(experience, eval_streams=[], reset_optimizer_state=True)

    def kept(self) -> Iterable[Tensor]:
        """Tensors that have to be kept between two tasks, beside the network's."""
        return ()

    def images(self) -> int:
        """Images that have to be kept between two tasks."""
        return 0


def check_number(name: str, value: object) -> None:
    """Raise ConfigError unless an option is a positive number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ConfigError(f"{name} must be a positive number, got {value!r}")


def check_buffer(buffer: object, *, least: int) -> None:
    """Raise ConfigError unless `buffer` is a number of images, `least` or more."""
    if not is_count(buffer, least=least):
        raise ConfigError(
            f"buffer must be a whole number of images, at least {least} for these tasks, got "
            f"{buffer!r}: learn fewer --tasks, or in Python a BaselineRun with "
            f'chosen=Tuned(options={{"buffer": {least}}}) or more'
        )
