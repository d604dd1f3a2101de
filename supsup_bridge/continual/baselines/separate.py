"""Parts of their own for each task: whole networks, or heads on one trunk."""

from collections.abc import Iterable

from torch import Tensor

from supsup_bridge.continual.baselines.fitting import Fit
from supsup_bridge.continual.baselines.weights import WeightBaseline
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.training.settings import TrainingSettings


class UpperBound(WeightBaseline):
    """A network for each task: W_t is trained from a start of its own.

    Args:
        network, training, seed: see `WeightBaseline`.

    Source:
        "Upper Bound" of Wortsman et al. 2020 (arXiv 2006.14769), figure 3.
    """

    def __init__(self, network: MaskedNetwork, *, training: TrainingSettings, seed: int) -> None:
        super().__init__(network, training=training, seed=seed)
        self._weights: list[Masks] = []

    def train(self, fit: Fit) -> None:
        self._weights.append(fit(self.drawn(), dict))

    def weights(self, task: int) -> Masks:
        return self._weights[task]

    def kept(self) -> Iterable[Tensor]:
        return (value for weights in self._weights for value in weights.values())


class TrunkBaseline(WeightBaseline):
    """Tasks share a trunk that stays as it is, random or trained by the first task.

    Args:
        network, training, seed: see `WeightBaseline`.
        trained: whether the first task trains the trunk; else it is the one that SupSup masks, and
            takes no bytes but a seed.

    Attributes:
        frozen: the trunk, name of a layer -> weights; None before the first task, if trained.
        heads: of each task, the weights of the last layer.
    """

    def __init__(
        self, network: MaskedNetwork, *, training: TrainingSettings, seed: int, trained: bool
    ) -> None:
        super().__init__(network, training=training, seed=seed)
        self.trained = trained
        self.frozen: Masks | None = None if trained else self.signs()
        self.heads: list[Tensor] = []

    def train_trunk(self, fit: Fit) -> None:
        """Let the first task train the trunk, with its own head."""
        weights = fit(self.drawn(), dict)
        self.frozen = self.trunk(weights)
        self.heads.append(weights[self.head])

    def kept(self) -> Iterable[Tensor]:
        if self.trained and self.frozen is not None:
            yield from self.frozen.values()
        yield from self.heads


class SeparateHeads(TrunkBaseline):
    """One trunk, and a last layer for each task.

    Args:
        network, training, seed, trained: see `TrunkBaseline`.

    Source:
        "Separate Heads" of Wortsman et al. 2020 (arXiv 2006.14769), figure 3.
    """

    def train(self, fit: Fit) -> None:
        if self.frozen is None:
            self.train_trunk(fit)
            return
        trunk, head = self.frozen, self.head
        self.heads.append(fit({head: self.drawn()[head]}, lambda leaf: {**trunk, **leaf})[head])

    def weights(self, task: int) -> Masks:
        assert self.frozen is not None
        return {**self.frozen, self.head: self.heads[task]}
