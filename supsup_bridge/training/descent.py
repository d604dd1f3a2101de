"""The descent of trained tensors: an optimiser, its decaying rate, and a moving average."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from supsup_bridge.training.settings import TrainingSettings

_TAU = 400  # steps after which Adam's rate is half of what it was
_BOUND = 0.1  # where scores start, for which Adam's rate is meant as it is
_FUSED = ("cpu", "cuda")


class Descent:
    """Moves some tensors down their gradients.

    With Adam, the rate at step t is that of the settings over 1 + t/τ, τ = 400, and the result is a
    moving average, of which step t leaves (1 + t) / (10 + t), `averaging` of the settings at most;
    neither needs to know how many steps there will be. With SGD, the rate stays as it is and the
    result is where the tensors are.

    Args:
        moved: name -> tensor, a leaf of the graph.
        bounds: name -> the tensor starts within ± this; Adam's rate is in proportion to it.
        settings: which optimiser, its rate, and the average.

    Attributes:
        moved: as above.
        done: steps taken.

    Example:
        >>> score = torch.tensor([1.0], requires_grad=True)
        >>> descent = Descent({"s": score}, {"s": 0.1}, TrainingSettings())
        >>> score.square().sum().backward()
        >>> descent.step()
        >>> score < 1, descent.result["s"].requires_grad
        (tensor([True]), False)
    """

    def __init__(
        self,
        moved: Mapping[str, Tensor],
        bounds: Mapping[str, float],
        settings: TrainingSettings,
    ) -> None:
        self.moved, self.done, self._most = moved, 0, settings.averaging
        self._decays = settings.optimiser == "adam"
        averaged = moved if self._decays else {}
        self._averages = {name: value.detach().clone() for name, value in averaged.items()}
        self._optimiser = optimiser_of(moved, bounds, settings)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def clear(self) -> None:
        """Forget the gradients."""
        self._optimiser.zero_grad()

    def step(self) -> None:
        """One step down the gradients."""
        if self._decays:
            for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
                group["lr"] = decayed(rate, self.done)
        self._optimiser.step()
        self.done += 1
        fading = min(self._most, (1 + self.done) / (10 + self.done))
        for name, average in self._averages.items():
            average.lerp_(self.moved[name].detach(), 1 - fading)

    @property
    def result(self) -> dict[str, Tensor]:
        """What the descent has come to, name -> tensor outside the graph."""
        return self._averages or {name: value.detach() for name, value in self.moved.items()}

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, except for the gradients."""
        return {
            "done": self.done,
            "scores": {name: value.detach() for name, value in self.moved.items()},
            "averages": self._averages,
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of a descent that was made alike."""
        self.done = state["done"]
        with torch.no_grad():
            for name, value in self.moved.items():
                value.copy_(state["scores"][name])
            for name, average in self._averages.items():
                average.copy_(state["averages"][name])
        self._optimiser.load_state_dict(state["optimiser"])


def decayed(rate: float, done: int) -> float:
    """Adam's rate after so many steps: rate / (1 + t/τ), τ = 400.

    Example:
        >>> decayed(1e-3, 400)
        0.0005
    """
    return rate * (1 / (1 + done / _TAU))


def optimiser_of(
    moved: Mapping[str, Tensor], bounds: Mapping[str, float], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """The optimiser of some tensors; Adam's rate is in proportion to where each of them starts.

    Adam goes over the tensors once where torch has it fused: on CPUs and CUDA.

    Args:
        moved: name -> tensor, a leaf of the graph.
        bounds: name -> the tensor starts within ± this.
        settings: which optimiser, and its rate.
    """
    if settings.optimiser == "sgd":
        return torch.optim.SGD(moved.values(), lr=settings.rate, momentum=0.9, weight_decay=1e-4)
    return torch.optim.Adam(
        [
            {"params": [value], "lr": settings.rate * (bounds[name] / _BOUND)}
            for name, value in moved.items()
        ],
        fused=all(value.device.type in _FUSED for value in moved.values()) or None,
    )
