"""Ways of task inference over a bank, by name."""

from collections.abc import Callable

from hopmask import ConfigError
from supsup_bridge.inference.base import BankInference
from supsup_bridge.inference.exhaustive import ArgmaxLogits, TryAll
from supsup_bridge.inference.gradient import Binary, Descent, OneShot
from supsup_bridge.inference.objectives import Objective
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.stores.bank import MaskBank

_POINTING: dict[str, Callable[..., BankInference]] = {
    "one-shot": OneShot,
    "binary": Binary,
    "descent": Descent,
}


INFERENCES = (*_POINTING, "try-all", "argmax")


def inference_named(
    name: str, *, network: FixedNetwork, bank: MaskBank, objective: Objective, labels: int
) -> BankInference:
    """A way of task inference over a bank, by its name in `INFERENCES`.

    Args:
        name: such as "one-shot".
        network: the fixed network.
        bank: the masks.
        objective: for the ways that follow its gradient.
        labels: how many outputs are real.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in INFERENCES:
        raise ConfigError(f"inference must be one of {', '.join(INFERENCES)}, got {name!r}")
    if name == "argmax":
        return ArgmaxLogits(network=network, bank=bank, labels=labels)
    if name == "try-all":
        return TryAll(network=network, bank=bank)
    return _POINTING[name](network=network, bank=bank, objective=objective)


def follows_gradient(name: str) -> bool:
    """Whether a way of inference takes an objective and follows its gradient."""
    return name in _POINTING


def check_objective(name: str, objective: str | None) -> None:
    """Raise ConfigError where an objective is given to a way of inference that takes none."""
    if objective is not None and not follows_gradient(name):
        raise ConfigError(
            f"inference '{name}' follows no gradient, so it takes no objective: leave out "
            f"--objective, or use {', '.join(_POINTING)}"
        )
