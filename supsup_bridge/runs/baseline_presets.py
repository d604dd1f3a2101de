"""How a baseline is trained: the benchmark's preset, and what is the learner's own."""

from dataclasses import dataclass, field, replace
from typing import Any

from supsup_bridge.runs.presets import Preset
from supsup_bridge.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Rate and options of a learner. The defaults are of no tuning: `benchmarks/rivals.py --tune`.

    Attributes:
        rate: learning rate of weights.
        options: of the learner's class.
    """

    rate: float = 1e-3
    options: dict[str, Any] = field(default_factory=dict)


_SPLIT_MNIST = {
    "upper-bound": Tuned(rate=1e-3),
    "lower-bound": Tuned(rate=3e-3),
    "heads": Tuned(rate=1e-2),
    "heads-trained": Tuned(rate=3e-3),
    "batche": Tuned(rate=1e-2, options={"rank": 6}),
    "batche-trained": Tuned(rate=3e-3, options={"rank": 6}),
    "psp": Tuned(rate=3e-4),
    "xdg": Tuned(rate=3e-4, options={"silent": 0.8}),
    "piggyback": Tuned(rate=3e-3),
    "wsn": Tuned(rate=1e-3, options={"share": 0.5}),
    "exssnet": Tuned(rate=3e-4, options={"share": 0.5}),
    "ewc": Tuned(rate=1e-3, options={"strength": 1e6}),
    "si": Tuned(rate=3e-4, options={"strength": 1e3}),
    "lwf": Tuned(rate=1e-3, options={"strength": 3.0}),
    "replay": Tuned(rate=1e-3),
    "gem": Tuned(rate=3e-4, options={"strength": 0.5}),
    "a-gem": Tuned(rate=1e-4),
    "icarl": Tuned(rate=1e-3),
    "generative-replay": Tuned(rate=1e-3),
    "pnn": Tuned(rate=1e-3),
    "packnet": Tuned(rate=1e-3, options={"prune": 0.5}),
}
_BENCHMARKS = {"split-mnist": _SPLIT_MNIST}
_BOUNDLESS = {"split-mnist": {"lower-bound": Tuned(rate=3e-5)}}  # where NNs suits another setting


def tuned(benchmark: str, learner: str, scenario: str) -> Tuned:
    """What suits a learner best on a benchmark, as far as it was measured; else no tuning.

    Of six settings, on training images that were held out (`benchmarks/rivals_tuning.json`).

    Args:
        benchmark: name of the benchmark.
        learner: name of the baseline.
        scenario: of the run; "NNs" has no boundaries of tasks, and may suit another setting.

    Example:
        >>> tuned("split-mnist", "heads", "GG").rate, tuned("split-digits", "heads", "GG").rate
        (0.01, 0.001)
    """
    usual = _BENCHMARKS.get(benchmark, {}).get(learner, Tuned())
    return _BOUNDLESS.get(benchmark, {}).get(learner, usual) if scenario == "NNs" else usual


def training_of(preset: Preset, chosen: Tuned, *, infers: bool) -> TrainingSettings:
    """The preset's training, for weights in place of scores.

    Steps, batches, changes of the images, smoothing and precision are the preset's, so that all
    learners see the same. Only learners that infer the task from the entropy of their outputs keep
    the contrast term, which is there for it.

    Args:
        preset: of SupSup's weight masks on the benchmark.
        chosen: for the learner.
        infers: whether the learner infers tasks in the run.
    """
    return replace(
        preset.training,
        rate=chosen.rate,
        contrast=preset.training.contrast if infers else 0.0,
        diluted_every=None,
        sparsity=None,
    )
