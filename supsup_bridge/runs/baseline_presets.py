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
