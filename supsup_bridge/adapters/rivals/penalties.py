"""Methods of Avalanche that hold weights or outputs where they were: EWC, SI, LwF."""

from collections.abc import Iterable, Mapping
from typing import Any

from avalanche.training.plugins import EWCPlugin, LwFPlugin, SynapticIntelligencePlugin
from torch import Tensor

from supsup_bridge.adapters.rivals.methods import Method, check_number
from supsup_bridge.adapters.rivals.networks import Terms


class Ewc(Method):
    """Elastic weight consolidation: the loss, and strength · Σ_t Σ_i F_ti (w_i − w_ti)².

    w_t are the weights after task t; F_t is the mean, over batches, of the squared gradient of a
    batch's mean loss, where the paper has that of each image under labels that the network draws.
    All F_t and w_t are kept.

    Source:
        Kirkpatrick et al. 2017 (arXiv 1612.00796), by Avalanche's `EWCPlugin`, mode "separate".
    """

    def __init__(self, terms: Terms, *, strength: float = 0.4) -> None:
        super().__init__(terms)
        check_number("strength", strength)
        self._plugin = EWCPlugin(strength)
        self.plugins = [self._plugin]

    def kept(self) -> Iterable[Tensor]:
        both = (self._plugin.importances, self._plugin.saved_params)
        return [one.data for tasks in both for of in tasks.values() for one in of.values()]


class Si(Method):
    """Synaptic intelligence: the loss, and strength / 2 · Σ_i Ω_i (w_i − w*_i)².

    Ω_i = Σ_t ω_ti / ((Δ_ti)² + damping), with ω_t the sum over the steps of task t of minus the
    gradient times the change of the weight, and Δ_t its change in the whole task. Avalanche's
    gradient holds the penalty, too, and its Ω is at most 10⁻³, as in Maltoni and Lomonaco, so that
    strengths are large. Where tasks are given, Ω is of the trunk alone. Ω before it is cut at 10⁻³
    is kept; w* are the weights when a task begins.

    Source:
        Zenke et al. 2017 (arXiv 1703.04200); Maltoni, Lomonaco 2019 (arXiv 1806.08568), by
        Avalanche's `SynapticIntelligencePlugin`.
    """

    def __init__(self, terms: Terms, *, strength: float = 1e-4, damping: float = 1e-7) -> None:
        super().__init__(terms)
        check_number("strength", strength)
        check_number("damping", damping)
        self._plugin = _Copying(strength, eps=damping, excluded_parameters=["heads"])
        self.plugins = [self._plugin]

    def kept(self) -> Iterable[Tensor]:
        return [one.data for one in self._plugin.syn_data["cum_trajectory"].values()]


class _Copying(SynapticIntelligencePlugin):  # type: ignore[misc]
    """Avalanche's, which on a CPU sees the weights as they are where it means to copy them.

    Without the copies no weight would ever seem to move, and Ω would be 0.
    """

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        super().before_training_exp(strategy)
        _copy(self.ewc_data[0])

    def before_training_iteration(self, strategy: Any, **_: Any) -> None:
        super().before_training_iteration(strategy)
        _copy(self.syn_data["old_theta"])


def _copy(values: Mapping[str, Any]) -> None:
    for value in values.values():
        value.data = value.data.clone()


class Lwf(Method):
    """Learning without forgetting: the loss, and strength · KL(softmax(z'/T) || softmax(z/T)).

    z' are logits of the network as it was after the task before, of the labels seen so far, on the
    new task's images, by whose batch its batch norms normalise, as in Avalanche; where tasks are
    given, summed over the earlier last layers. The paper's factor T² and its warm-up of new last
    layers are left out, as in Avalanche. Nothing is kept: the network as it was is the network as
    it is when a task begins.

    Source:
        Li and Hoiem 2017 (arXiv 1606.09282), by Avalanche's `LwFPlugin`.
    """

    def __init__(self, terms: Terms, *, strength: float = 1.0, temperature: float = 2.0) -> None:
        super().__init__(terms)
        check_number("strength", strength)
        check_number("temperature", temperature)
        self.plugins = [LwFPlugin(strength, temperature)]
