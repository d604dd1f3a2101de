"""Makes a run's learner from the settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hopmask import ConfigError
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.data.pixel_scale import UNKNOWN, PixelScale
from supsup_bridge.data.task import Task
from supsup_bridge.inference.named import follows_gradient
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.networks.masked import PER_WEIGHT
from supsup_bridge.networks.registry import sized_by_bits
from supsup_bridge.runs.learners import OURS
from supsup_bridge.runs.presets import Preset
from supsup_bridge.runs.settings import RunSettings, power_of_two

LOOKED_AT = 5  # tasks whose data is looked at before a run; the rest when they are scored


@dataclass(frozen=True, kw_only=True)
class TaskForm:
    """What a learner needs to know of the tasks before it learns them.

    Attributes:
        inputs: pixels of an image, or its shape.
        classes: the largest number of classes of any task.
        images: numbers of training images of the first tasks.
        pixels: how images are made of those of pictures, or "unknown".

    Example:
        >>> from supsup_bridge import split_digits
        >>> TaskForm.of(split_digits(tasks=2)).images
        (216, 216)
    """

    inputs: int | tuple[int, ...]
    classes: int
    images: tuple[int, ...]
    pixels: PixelScale | str

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> "TaskForm":
        """The form of one task or more."""
        looked_at, first = tasks[:LOOKED_AT], tasks[0].inference_images
        scales = {task.scale for task in looked_at}
        return cls(
            inputs=first.shape[1] if first.ndim == 2 else tuple(first.shape[1:]),
            classes=max(task.classes for task in tasks),
            images=tuple(len(task.train_labels) for task in looked_at),
            pixels=scales.pop() or UNKNOWN if len(scales) == 1 else UNKNOWN,
        )


def learner_of(
    settings: RunSettings,
    preset: Preset,
    form: TaskForm,
    *,
    device: torch.device,
    closed: Callable[[int, Masks], None],
    hubs: int | None = None,
) -> SupSup:
    """The learner of a run.

    Args:
        settings: of the run.
        preset: with what the settings leave open.
        form: of the tasks.
        device: where to work.
        closed: NNs: called with number and masks of each mask that a Hopfield memory is given.
        hubs: in place of the run's, for a learner that trains tasks and keeps none.

    Raises:
        ConfigError: settings of another learner, or that do not fit the network or the tasks.
    """
    if settings.learner != OURS:
        raise ConfigError(
            f"learner {settings.learner} is a baseline, and this makes a SupSup: run it by "
            "BaselineRun(settings)"
        )
    free = settings.scenario == "NNs"
    of_memory: dict[str, Any] = {"epsilon": settings.epsilon}
    if settings.memory == "hopfield":
        of_memory = {
            "signature_features": preset.features,
            "signature": preset.signature if preset.features else None,
            **_couplings(settings, preset, form.classes, hubs or settings.hubs),
        }
    if free:
        of_memory["ask_every"] = novelty_interval(settings, preset, form.images)
    return SupSup(
        preset.network,
        inputs=form.inputs,
        outputs=preset.outputs,
        memory=settings.memory,
        masks=settings.masks,
        bits=preset.bits if sized_by_bits(preset.network, str(settings.masks)) else None,
        seed=settings.seed,
        device=device,
        training=preset.training,
        mask_init=preset.mask_init,
        classes=form.classes,
        pixels=form.pixels,
        task_free=free,
        budget=settings.budget,
        closed=closed,
        **of_memory,
        **new_inference(settings, preset),
    )


def new_inference(settings: RunSettings, preset: Preset) -> dict[str, Any]:
    """The learner's options of task inference."""
    samples = {"infer_samples": preset.infer_samples}
    objective = preset.objective
    if settings.scenario == "GG" and settings.objective is None:
        objective = "H"  # nothing is inferred, so that G asks for no outputs
    if settings.memory == "bank":
        follows = follows_gradient(preset.inference)
        return {
            **samples,
            "inference": preset.inference,
            "objective": objective if follows else settings.objective,
        }
    searches = preset.recall in ("both", "entropy")
    points = settings.masks in PER_WEIGHT and searches and objective != "H"
    return {
        **samples,
        "recall": preset.recall,
        "objective": objective if points else settings.objective,
    }


def _couplings(
    settings: RunSettings, preset: Preset, classes: int, hubs: int | None
) -> dict[str, Any]:
    """The learner's options of a Hopfield memory's couplings."""
    if settings.masks not in PER_WEIGHT:
        return {"rule": settings.rule or preset.rule, "key_bits": preset.key_bits}
    if hubs is None and settings.scenario != "NNs":  # there, nobody knows how many masks
        hubs = power_of_two(settings.tasks or 1)
    return {"hubs": hubs, "signature_groups": classes if preset.class_means else 1}


def novelty_interval(settings: RunSettings, preset: Preset, images: Sequence[int]) -> int:
    """NNs: batches between two novelty tests, at most those of the smallest task.

    Args:
        settings: of the run.
        preset: with what the settings leave open.
        images: numbers of training images, per task.

    Raises:
        ConfigError: the settings' `ask_every` exceeds the batches of a task, so that the learner
            could pass over a whole task without a test.

    Example:
        >>> from supsup_bridge.runs.presets import resolved
        >>> settings = RunSettings(scenario="NNs", quick=True)
        >>> novelty_interval(settings, resolved(settings), [216, 215])
        20
    """
    batches = [preset.training.steps(count) for count in images]
    fewest = min(batches)
    if settings.ask_every is None:
        return min(preset.ask_every, fewest)
    if settings.ask_every > fewest:
        raise ConfigError(
            f"ask_every={settings.ask_every} batches lie between two novelty tests, but task "
            f"{batches.index(fewest)} has {fewest} batches: a change of the task would be missed. "
            f"Set --ask-every to at most {fewest}, best to a divisor of it"
        )
    return settings.ask_every
