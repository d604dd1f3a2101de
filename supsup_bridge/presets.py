"""Default sizes and training of each benchmark and kind of mask; every run can be told otherwise.

Those of split-mnist were chosen on parts of MNIST's training images alone. The digits come without
a test part: their settings were chosen on other random splits of the same 1797 images, so images
that a run scores were among those looked at, and their figures are optimistic to that extent.
"""

from dataclasses import dataclass

from hopmask import ConfigError
from supsup_bridge.tasks import check_benchmark
from supsup_bridge.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a run uses unless it is told otherwise.

    Attributes:
        hidden: units of the hidden layers (hashed masks); unit masks have `bits` a layer.
        bits: mask bits (hashed), or hidden units a layer (unit).
        outputs: output units, superfluous ones included.
        signature_bits: bits of the content address.
        infer_samples: images a recall sees.
        training: how masks are trained.
    """

    hidden: tuple[int, ...]
    bits: int
    outputs: int
    signature_bits: int
    infer_samples: int
    training: TrainingSettings


_DIGITS_TRAINING = TrainingSettings(epochs=20, batch=64, contrast=1.0, noise=1.5)
_PAPER_TRAINING = TrainingSettings(epochs=1, optimiser="sgd", rate=0.1, contrast=0)

_PRESETS: dict[tuple[str, str, str], Preset] = {
    ("split-digits", "hashed", "standard"): Preset(
        hidden=(300, 100),
        bits=2048,
        outputs=100,
        signature_bits=2048,
        infer_samples=1,
        training=_DIGITS_TRAINING,
    ),
    ("split-digits", "unit", "standard"): Preset(
        hidden=(0, 0),
        bits=1024,
        outputs=100,
        signature_bits=1024,
        infer_samples=64,
        training=_DIGITS_TRAINING,
    ),
    ("split-mnist", "hashed", "standard"): Preset(
        hidden=(300, 100),
        bits=5120,
        outputs=100,
        signature_bits=1024,
        infer_samples=1,
        training=TrainingSettings(epochs=6),
    ),
    ("split-mnist", "unit", "standard"): Preset(
        hidden=(0, 0),
        bits=2048,
        outputs=100,
        signature_bits=1024,
        infer_samples=64,
        training=TrainingSettings(epochs=3),
    ),
    ("split-mnist", "unit", "paper"): Preset(
        hidden=(0, 0),
        bits=2048,
        outputs=10,
        signature_bits=0,
        infer_samples=64,
        training=_PAPER_TRAINING,
    ),
}


def preset(benchmark: str, masks: str, network: str = "standard") -> Preset:
    """The preset of a benchmark.

    Args:
        benchmark: such as "split-mnist".
        masks: "hashed" or "unit".
        network: "standard", or "paper" for HopSupSup as published (SplitMNIST, unit masks).

    Raises:
        ConfigError: no such combination.

    Example:
        >>> preset("split-digits", "hashed").bits
        2048
    """
    check_benchmark(benchmark)
    try:
        return _PRESETS[benchmark, masks, network]
    except KeyError:
        known = ", ".join(f"{b} with {m} masks ({n})" for b, m, n in _PRESETS)
        raise ConfigError(
            f"no {benchmark} with {masks} masks on the {network} network. There are: {known}"
        ) from None
