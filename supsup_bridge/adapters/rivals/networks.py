"""The network that SupSup masks, as Avalanche trains it: its weights are drawn, and learned."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import sqrt

import torch
from avalanche.models import MultiTaskModule
from avalanche.models.packnet import PackNetModel, WeightAndBiasPackNetModule
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.continual.baselines.named import bare_network
from supsup_bridge.rng import stream
from supsup_bridge.training.settings import TrainingSettings

NewHead = Callable[[int], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a learner of Avalanche's is made for.

    Attributes:
        network: a name, as in `build`.
        inputs: pixels of a flat image, or its shape.
        classes: labels of a task.
        tasks: how many tasks there will be.
        scenario: "GG", "GNs", "GNu" or "NNs".
        training: how weights are trained.
        seed: of whatever is drawn.
        device: where to compute.
    """

    network: str
    inputs: int | Sequence[int]
    classes: int
    tasks: int
    scenario: str
    training: TrainingSettings
    seed: int
    device: torch.device

    @property
    def outputs(self) -> int:
        """Output units: those of one task, or of all where outputs name the task."""
        return self.classes * (self.tasks if self.scenario == "GNu" else 1)


class Trainable:
    """f(x, W) of the network that SupSup masks, with weights W to be learned.

    Layers have no biases, and batch norms no affine parameters. W is normal, of variance
    2 / fan_in, and 1 / fan_in in the last layer. Batch norms keep running statistics, which all
    tasks share and move on.

    Args:
        terms: which network.

    Attributes:
        module: the whole network.
        pointwise: whether it has no batch norms that learn from a batch.

    Raises:
        ConfigError: a network that takes no weight masks, or does not fit.

    Source:
        He et al. 2015 (arXiv 1502.01852).
    """

    def __init__(self, terms: Terms) -> None:
        network = bare_network(
            terms.network, inputs=terms.inputs, outputs=terms.outputs, device=terms.device
        )
        self.module, self.pointwise, self._seed = network.module, network.pointwise, terms.seed
        self._head = [*network.mask_sizes][-1]
        generator = stream(terms.seed, "weights", 0)
        for name in network.mask_sizes:
            draw(self.module.get_submodule(name), generator, gain=1 if name == self._head else 2)
        for name, momentum in network.momenta.items():
            norm = self.module.get_submodule(name)
            norm.momentum = momentum  # type: ignore[assignment]
            norm.reset_running_stats()  # type: ignore[operator]

    def parts(self) -> tuple[nn.Module, NewHead]:
        """The network without its last layer, and what makes one, by the number of a task."""
        place, _, leaf = self._head.rpartition(".")
        owner, head = self.module.get_submodule(place), self.module.get_submodule(self._head)
        setattr(owner, leaf, nn.Identity())

        def new(task: int) -> nn.Module:
            made = deepcopy(head)
            draw(made, stream(self._seed, "heads", task), gain=1)
            return made

        return self.module, new


def draw(layer: nn.Module, generator: torch.Generator, *, gain: int) -> None:
    """New weights of a layer, normal, of variance gain / fan_in; they are to be learned."""
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    fan_in = weight[0].numel()
    drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
    with torch.no_grad():
        weight.copy_(drawn * sqrt(gain / fan_in))
    weight.requires_grad_(True)


class Heads(MultiTaskModule):  # type: ignore[misc]
    """A last layer for each task, made when the task comes; each image is seen by its task's.

    Args:
        new: makes one, by the number of its task.
        outputs: of each.

    Example:
        >>> heads = Heads(lambda task: nn.Linear(4, 2, bias=False), 2)
        >>> heads.heads["3"] = heads.new(3)
        >>> heads(torch.ones(5, 4), torch.full((5,), 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, new: NewHead, outputs: int) -> None:
        super().__init__()
        self.new, self.heads = new, nn.ModuleDict()
        self.max_class_label = outputs

    def adaptation(self, experience: object) -> None:
        """Make the last layers of tasks that are new."""
        super().adaptation(experience)
        for task in experience.task_labels:  # type: ignore[attr-defined]
            if str(task) not in self.heads:
                self.heads[str(task)] = self.new(int(task))

    def forward_single_task(self, features: Tensor, task: int) -> Tensor:
        """Logits (n, outputs) of features of one task."""
        logits: Tensor = self.heads[str(task)](features)
        return logits


class OwnHeads(MultiTaskModule):  # type: ignore[misc]
    """A trunk that tasks share, and `Heads` on it."""

    def __init__(self, trunk: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.trunk, self.heads = trunk, heads

    def forward(self, images: Tensor, tasks: Tensor | int | None) -> Tensor:
        """Logits (n, outputs); of every task, number -> logits, where `tasks` is None."""
        logits: Tensor = self.heads(self.trunk(images), tasks)
        return logits


class PackedHeads(PackNetModel):  # type: ignore[misc]
    """A trunk whose weights Avalanche's PackNet shares out among tasks, and `Heads` on it.

    Raises:
        ConfigError: a trunk with norms, which Avalanche's PackNet does not take.
    """

    def __init__(self, trunk: nn.Module, heads: Heads) -> None:
        try:
            super().__init__(trunk)
        except ValueError as error:
            raise ConfigError(
                f"Avalanche's PackNet does not take this network ({error}): choose one without "
                "norms, such as --network lenet-300-100 or lenet-5"
            ) from error
        self.heads = heads
        for layer in self.layers():
            layer.has_bias = layer.wrappee.bias is not None  # else it freezes a bias of None

    def layers(self) -> list[WeightAndBiasPackNetModule]:
        """The layers that are shared out."""
        return [m for m in self.modules() if isinstance(m, WeightAndBiasPackNetModule)]

    def forward(self, images: Tensor, tasks: Tensor | int) -> Tensor:
        """Logits (n, outputs) of images of one task."""
        label = torch.as_tensor(tasks).reshape(-1)
        logits: Tensor = self.heads(super().forward(images, label), tasks)
        return logits
