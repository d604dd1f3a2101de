"""One set of weights that all tasks train, seen by each through a factor that its number draws."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.continual.baselines.fitting import Fit
from supsup_bridge.continual.baselines.weights import WeightBaseline
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.rng import stream
from supsup_bridge.training.settings import TrainingSettings, is_number


class ContextBaseline(WeightBaseline):
    """W_t = W ⊙ C_t, with W trained by all tasks and C_t drawn by the seed and the task's number.

    Args:
        network, training, seed: see `WeightBaseline`.
    """

    def __init__(self, network: MaskedNetwork, *, training: TrainingSettings, seed: int) -> None:
        super().__init__(network, training=training, seed=seed)
        self._shared: Masks = self.drawn()

    @abstractmethod
    def context(self, task: int) -> Masks:
        """C_t, name of a layer -> what multiplies its weights, broadcast."""

    def train(self, fit: Fit) -> None:
        context = self.context(self.count)
        self._shared = fit(self._shared, lambda leaves: _times(leaves, context))

    def weights(self, task: int) -> Masks:
        return _times(self._shared, self.context(task))

    def kept(self) -> Iterable[Tensor]:
        return self._shared.values()


class Superposition(ContextBaseline):
    """PSP: each task flips the signs of the inputs of every layer, W_t x = W (c_t ⊙ x).

    The inputs of a convolution are those of each place of its kernel. All tasks share the head.

    Args:
        network, training, seed: see `WeightBaseline`.

    Source:
        Cheung et al. 2019 (arXiv 1902.05522), binary superposition, section 3.
    """

    def context(self, task: int) -> Masks:
        generator = stream(self.seed, "context", task)
        found = {}
        for name, weight in self._shared.items():
            drawn = torch.randint(0, 2, (1, *weight.shape[1:]), generator=generator)
            found[name] = (drawn * 2 - 1).to(weight)
        return found


class UnitGating(ContextBaseline):
    """XdG: each task silences most units of every layer but the last, the same ones always.

    Args:
        network, training, seed: see `WeightBaseline`.
        silent: share of the units, or of channels, that a task silences.

    Raises:
        ConfigError: a share that is not in [0, 1).

    Source:
        Masse et al. 2018 (arXiv 1802.01569), without the stabilisation of weights that they add.
    """

    def __init__(
        self, network: MaskedNetwork, *, training: TrainingSettings, seed: int, silent: float = 0.8
    ) -> None:
        super().__init__(network, training=training, seed=seed)
        if not is_number(silent) or not 0 <= silent < 1:
            raise ConfigError(f"silent must lie in [0, 1), got {silent!r}: a share of the units")
        self.silent = silent

    def context(self, task: int) -> Masks:
        generator = stream(self.seed, "context", task)
        found = {self.head: torch.ones((), device=self.network.device)}
        for name, weight in self.trunk(self._shared).items():
            order = torch.randperm(len(weight), generator=generator)
            open_ = torch.zeros(len(weight))
            open_[order[round(self.silent * len(weight)) :]] = 1
            found[name] = open_.reshape(-1, *(1,) * (weight.ndim - 1)).to(weight)
        return found


def _times(weights: Mapping[str, Tensor], context: Masks) -> Masks:
    return {name: weight * context[name] for name, weight in weights.items()}
