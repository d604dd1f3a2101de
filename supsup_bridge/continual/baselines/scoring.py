"""Scoring of one task under a baseline, by the protocol that SupSup is scored by."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from supsup_bridge.continual.baselines.base import Baseline
from supsup_bridge.continual.scoring import SCORED_BATCH, TaskScore
from supsup_bridge.data.task import Task
from supsup_bridge.inference.base import drawn_sets

_AT_ONCE = 16 * SCORED_BATCH  # images in one forward pass


def score_baseline(
    learner: Baseline,
    task: Task,
    number: int,
    *,
    scenario: str,
    protocol: str,
    samples: int,
    generator: torch.Generator,
    device: torch.device,
    watch: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
) -> TaskScore:
    """What is measured on a task's scored images; nothing of it is said of masks.

    Args:
        learner: that has learned the task.
        task: the task.
        number: of the task.
        scenario: "GG" infers nothing.
        protocol: of learners that compare tasks: "batch", one inference for 128 scored images from
            others of their task, or "image", each scored image by itself. Outputs that all tasks
            share are read for each image by itself.
        samples: "batch": images that one inference sees.
        generator: "batch": draws them from the inference images.
        device: where images go.
        watch: takes the times "recall" and "evaluate".
    """
    images, labels = task.scored_images.to(device), task.scored_labels.to(device)
    with watch("evaluate"):
        given = _answers(learner, images, number) == labels
    tasks: Tensor | None = None  # of each scored image, where one is named
    right, named = given, torch.empty(0)
    if scenario != "GG" and learner.reads_out:
        with watch("evaluate"):
            tasks, answers = _read_out(learner, images)
        right = answers == labels
        named = named if tasks is None else tasks
    elif scenario != "GG":
        with watch("recall"):
            if protocol == "image":
                parts = torch.split(images[:, None], SCORED_BATCH)
                tasks = named = torch.cat([learner.infer(part) for part in parts])
            else:
                pool, count = task.inference_images.to(device), -(-len(labels) // SCORED_BATCH)
                sets = drawn_sets(pool, sets=count, samples=samples, generator=generator)
                named = learner.infer(sets)
                tasks = named.repeat_interleave(SCORED_BATCH)[: len(labels)]
        with watch("evaluate"):
            right = torch.zeros_like(given)
            for other in torch.unique(tasks).tolist():
                rows = tasks == other
                right[rows] = _answers(learner, images[rows], other) == labels[rows]
    joint = right if tasks is None else right & (tasks == number)
    numbers = [int(one) for one in named]
    return TaskScore(
        given=float(given.double().mean()),
        label=None if scenario == "GG" else float(right.double().mean()),
        joint=None if scenario == "GG" else float(joint.double().mean()),
        named=numbers,
        inferred=[one == number for one in numbers],
        exact=[],
        steps=[0] * max(1, len(numbers)),
        verified=[],
    )


def _read_out(learner: Baseline, images: Tensor) -> tuple[Tensor | None, Tensor]:
    """Tasks (n,), None where no output names them, and labels (n,) of images."""
    parts = [learner.read_out(part) for part in torch.split(images, _AT_ONCE)]
    tasks = [task for task, _ in parts if task is not None]
    return torch.cat(tasks) if tasks else None, torch.cat([label for _, label in parts])


def _answers(learner: Baseline, images: Tensor, task: int) -> Tensor:
    """Labels (n,) of images of a task that is given."""
    predict = learner.predictor(task)
    with torch.no_grad():
        return torch.cat([predict(part).argmax(-1) for part in torch.split(images, _AT_ONCE)])
