"""Methods of Avalanche that give each task weights of its own: PNN, PackNet."""

from collections.abc import Iterable
from math import prod

from avalanche.models import PNN
from avalanche.models.packnet import PackNetPlugin
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.adapters.rivals.methods import Method
from supsup_bridge.adapters.rivals.networks import Heads, PackedHeads, Terms, Trainable
from supsup_bridge.training.settings import is_count


class Pnn(Method):
    """Progressive networks: a column of layers for each task, which reads all earlier columns.

    The network is Avalanche's, not the benchmark's: `layers` layers of `width` units with biases on
    flat images, joined by adapters of one hidden layer, which the input layer has, too. Earlier
    columns are frozen.

    Source:
        Rusu et al. 2016 (arXiv 1606.04671), by Avalanche's `PNN`.
    """

    unserved = "each task has a column of its own, and nothing chooses one"

    def __init__(self, terms: Terms, *, layers: int = 2, width: int = 100) -> None:
        for name, value in {"layers": layers, "width": width}.items():
            if not is_count(value):
                raise ConfigError(f"{name} must be a positive whole number, got {value!r}")
        self._layers, self._width = layers, width
        self.own_network = f"pnn-{layers}x{width}"
        super().__init__(terms)

    def network(self) -> tuple[nn.Module, bool]:
        inputs = self.terms.inputs
        made = PNN(
            num_layers=self._layers,
            in_features=inputs if isinstance(inputs, int) else prod(inputs),
            hidden_features_per_column=self._width,
        )
        return made, True


class PackNet(Method):
    """PackNet: a task trains the free weights, prunes a share of them, and trains the rest.

    The last third of a task's steps comes after the pruning, of the smallest weights of each layer;
    what is left belongs to the task, and later tasks read it. Pruned weights are free; Adam's
    momentum still moves them a little. Each task has a last layer of its own. A byte per weight
    says whose it is.

    Source:
        Mallya and Lazebnik 2018 (arXiv 1711.05769), by Avalanche's `PackNetModel`, which takes no
        norms.
    """

    unserved = "each task has weights of its own, and nothing chooses them"
    shares = (2 / 3, 1 / 3)

    def __init__(self, terms: Terms, *, prune: float = 0.5) -> None:
        super().__init__(terms)
        if not 0 < prune < 1:
            raise ConfigError(f"prune must lie between 0 and 1, got {prune}")
        if terms.tasks > 254:
            raise ConfigError(
                f"PackNet has a byte for a weight, and so 254 tasks at most, got {terms.tasks}"
            )
        self.plugins = [PackNetPlugin(post_prune_epochs=1, prune_proportion=float(prune))]

    def network(self) -> tuple[nn.Module, bool]:
        made = Trainable(self.terms)
        trunk, new = made.parts()
        return PackedHeads(trunk, Heads(new, self.terms.classes)), made.pointwise

    def kept(self) -> Iterable[Tensor]:
        assert isinstance(self.model, PackedHeads)
        return [layer.task_index for layer in self.model.layers()]
