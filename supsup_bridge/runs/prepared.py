"""The tasks of a run, and its settings completed by what the data say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hopmask import ConfigError
from supsup_bridge.continual.settings import OF_EARLIER
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.data.task import Task
from supsup_bridge.networks.grad_mode import outside_inference
from supsup_bridge.runs.factories import LOOKED_AT, TaskForm
from supsup_bridge.runs.jobs import Job
from supsup_bridge.runs.learners import READ_OUT, RIVALS
from supsup_bridge.runs.presets import Preset, resolved
from supsup_bridge.runs.presets import preset as preset_of
from supsup_bridge.runs.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run begins with.

    Attributes:
        stream: the tasks.
        settings: complete.
        preset: the benchmark's defaults with what the settings change in them.
        form: of the tasks.
        data: folder of the data set's files.
    """

    stream: Sequence[Task]
    settings: RunSettings
    preset: Preset
    form: TaskForm
    data: Path | None

    @property
    def job(self) -> Job:
        """What a worker process needs to know."""
        return Job(settings=self.settings, preset=self.preset, form=self.form, data=self.data)


@outside_inference
def prepared(
    settings: RunSettings, *, data: str | Path | None, tasks: Sequence[Task] | None = None
) -> Prepared:
    """Read the tasks, and complete the settings.

    Args:
        settings: of the run.
        data: folder of the data set's files; None for where a run looks by itself.
        tasks: in place of the benchmark's.

    Raises:
        ConfigError: settings that do not fit the tasks.
        DataError: data missing, truncated or altered.
    """
    if tasks is None:
        stream = task_stream(
            settings.benchmark,
            seed=settings.seed,
            tasks=settings.tasks,
            data=data,
            classes_per_task=settings.classes_per_task,
        )
    else:
        stream = tasks
    settings, preset = completed(settings, stream)
    check_samples(stream, preset.infer_samples, settings.benchmark)
    form = TaskForm.of(stream)
    if form.classes > preset.outputs and settings.learner not in READ_OUT:  # their outputs fit
        raise ConfigError(
            f"{settings.benchmark} has {form.classes} labels, the network {preset.outputs} "
            f"outputs: set --output-size to at least {form.classes}"
        )
    return Prepared(
        stream=stream,
        settings=settings,
        preset=preset,
        form=form,
        data=None if data is None else Path(data).absolute(),
    )


def completed(settings: RunSettings, tasks: Sequence[Task]) -> tuple[RunSettings, Preset]:
    """Settings and preset with what depends on data and device.

    These are the number of tasks, the size of images, and the precision that suits the device: it
    is in the settings, so that a run that is continued, or shared by machines, keeps to it.
    """
    if settings.tasks is None:
        settings = replace(settings, tasks=max(1, len(tasks)))
    preset = resolved(settings, streamed=any(task.streamed for task in tasks[:1]))
    usual = preset_of(settings.benchmark, str(settings.masks), settings.network)
    if usual.training.precision == "auto" and settings.learner not in RIVALS:
        settings = replace(settings, train_in=preset.training.precision)
    option = "jobs" if settings.workers else "tasks-at-once"
    if preset.mask_init in OF_EARLIER and (
        settings.workers or settings.tasks_at_once not in (None, 1)
    ):
        raise ConfigError(
            f"--{option} trains tasks apart from one another, and {settings.benchmark} starts from "
            f"the masks of tasks before (mask_init '{preset.mask_init}'): leave out --{option}, or "
            "choose --mask-init random"
        )
    return settings, preset


def check_samples(tasks: Sequence[Task], samples: int, benchmark: str) -> None:
    """Raise ConfigError unless the tasks' recall parts have so many images for an inference."""
    if len(tasks) == 0:
        raise ConfigError("there are no tasks to learn: give at least one")
    smallest = min(task.inference_count for task in tasks[:LOOKED_AT])
    if samples > smallest:
        raise ConfigError(
            f"a recall of {benchmark} can see at most {smallest} images (its recall part), got "
            f"infer_samples={samples}"
        )
