"""SupSup in Avalanche: a strategy for its streams, metrics and loggers; its streams as tasks."""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from hopmask import ConfigError, NumericalError
from supsup_bridge.adapters.scenario_tasks import (
    OwnLabels,
    ScenarioImages,
    ScenarioTasks,
    places,
)
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.training.data import LessonData, lesson_data
from supsup_bridge.training.fit import Lesson

INFER = ("image", "batch", "given")
_UNLIKELY = log(1e-9)  # of classes that the inferred task does not have


class StreamLogits(nn.Module):
    """The learner as a module: logits over all classes of a stream, for images of unknown task.

    Logits are log-probabilities under the mask of the inferred task; classes of other tasks have
    log 10⁻⁹. While nothing is learned, all classes are equally likely.

    Args:
        learner: that predicts.
        classes: of the whole stream.

    Attributes:
        classes_of: number of each task -> its classes in the stream, in the order of its labels.

    Example:
        >>> learner = SupSup("lenet-300-100", inputs=4, outputs=8)
        >>> images = torch.randn(6, 4)
        >>> task = learner.learn((images, torch.arange(6) % 2))
        >>> model = StreamLogits(learner, 10)
        >>> model.classes_of[task] = torch.tensor([3, 7])
        >>> model(images).argmax(-1).unique()
        tensor([3, 7])
    """

    def __init__(self, learner: SupSup, classes: int) -> None:
        super().__init__()
        self.learner, self.classes = learner, classes
        self.classes_of: dict[int, Tensor] = {}

    def forward(self, images: Tensor, *, together: bool = False, task: int | None = None) -> Tensor:
        """(n, classes), float32; arguments as of `SupSup.predict`."""
        if not self.learner.tasks:
            return images.new_full((len(images), self.classes), -log(self.classes))
        found = self.learner.predict(images, together=together, task=task)
        return self.spread(found.logits, found.task)

    def spread(self, logits: Tensor, tasks: Tensor) -> Tensor:
        """Logits (n, outputs) of tasks (n,) as log-probabilities of all classes, (n, classes)."""
        found = logits.new_full((len(logits), self.classes), _UNLIKELY)
        for task in torch.unique(tasks).tolist():
            rows = (tasks == task).nonzero()
            names = self.classes_of[task].to(logits.device)
            own = logits[rows[:, 0], : len(names)]
            found[rows, names] = own.log_softmax(-1).clamp_min(_UNLIKELY)
        return found


class SupSupStrategy(SupervisedTemplate):  # type: ignore[misc]
    """Each experience is one task: its mask is trained on Avalanche's batches, and then stored.

    Metrics see the logits of `StreamLogits`. In training these are those of the mask as it is,
    before or after the step, computed only if a metric or plugin reads `mb_output`. Plugins that
    change the loss, the optimiser or the model do nothing: nothing is learned but masks, by the
    learner's settings. Beside the learner's memory the strategy keeps the classes of each task.

    Args:
        learner: a `SupSup` that is given tasks, and has learned none.
        classes: of the whole stream.
        infer: in evaluation, the task of each "image" by itself, one for each mini-"batch" (of one
            experience), or "given" by the benchmark's task labels.
        train_mb_size, train_epochs, eval_mb_size, plugins, evaluator, eval_every, peval_mode: as of
            Avalanche's `SupervisedTemplate`; they stand in place of the learner's batch and epochs.

    Raises:
        ConfigError: a learner that is not given tasks or has learned some, an unknown way to infer;
            while training, classes that exceed the stream's or the network's, images of another
            experience's classes, or no epoch; in evaluation, images of several task labels in one
            mini-batch, or of a label that no task or more than one has.
        NumericalError: a loss that is not finite. In either case the task was not learned.

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769); Lomonaco et al. 2021 (Avalanche).
    """

    def __init__(
        self,
        learner: SupSup,
        *,
        classes: int,
        infer: str = "image",
        train_mb_size: int = 128,
        train_epochs: int = 1,
        eval_mb_size: int = 128,
        plugins: Sequence[Any] | None = None,
        evaluator: Any = default_evaluator,
        eval_every: int = -1,
        peval_mode: str = "epoch",
    ) -> None:
        if learner.observer is not None:
            raise ConfigError(
                "an experience is a task that is given: make SupSup without task_free"
            )
        if learner.tasks:
            raise ConfigError(
                f"the learner has learned {len(learner.tasks)} tasks, of whose classes a stream "
                "says nothing: give one that has learned none"
            )
        if infer not in INFER:
            raise ConfigError(f"infer must be one of {', '.join(INFER)}, got {infer!r}")
        self.learner, self.infer = learner, infer
        self._lesson: Lesson | None = None  # of the experience in training
        self._output: Tensor | None = None
        self._shape: tuple[int, ...] | None = None  # of its images
        self._labelled: dict[int, list[int]] = {}  # task label of a benchmark -> numbers of tasks
        unused = nn.Parameter(torch.zeros(1))
        super().__init__(
            model=StreamLogits(learner, classes),
            optimizer=torch.optim.SGD([unused], lr=1.0),
            train_mb_size=train_mb_size,
            train_epochs=train_epochs,
            eval_mb_size=eval_mb_size,
            device=learner.network.device,
            plugins=plugins,
            evaluator=evaluator,
            eval_every=eval_every,
            peval_mode=peval_mode,
        )

    @property
    def mb_output(self) -> Tensor | None:
        """Logits of the mini-batch over the stream's classes, (n, classes)."""
        if self._output is None and self._lesson is not None and self.mbatch is not None:
            (masks,) = self._lesson.trainer.masks()
            levels = {name: mask.float() for name, mask in masks.items()}
            with torch.no_grad():
                logits = self.learner.network(self.mb_x, levels)
            task = torch.full((len(logits),), self._number, device=logits.device)
            self._output = self.model.spread(logits, task)
        return self._output

    @mb_output.setter
    def mb_output(self, value: Tensor | None) -> None:
        self._output = value

    def check_model_and_optimizer(self, **_: Any) -> None:
        """There is no weight to optimise."""

    def model_adaptation(self, model: nn.Module | None = None) -> nn.Module:
        """The model as it is: what changes are the masks."""
        return self.model if model is None else model

    def forward(self) -> Tensor:
        """Evaluation: logits of the mini-batch, its task inferred or given."""
        task = self._given() if self.infer == "given" else None
        found: Tensor = self.model(self.mb_x, together=self.infer == "batch", task=task)
        return found

    def training_epoch(self, **kwargs: Any) -> None:
        """One step of the mask for each mini-batch; plugins are called as Avalanche does."""
        assert self._lesson is not None
        trainer, names = self._lesson.trainer, self.model.classes_of[self._number]
        for self.mbatch in self.dataloader:  # noqa: B020 (as Avalanche does)
            if self._stop_training:
                break
            self._unpack_minibatch()
            labels = places(self.mb_y, names.to(self.mb_y))
            self._before_training_iteration(**kwargs)
            self._before_forward(**kwargs)
            self.mb_output = None
            self._after_forward(**kwargs)
            self._before_backward(**kwargs)
            (self.loss,) = trainer.step(self.mb_x[None], labels[None])
            self.mb_output, self._shape = None, tuple(self.mb_x.shape[1:])
            self._after_backward(**kwargs)
            self._before_update(**kwargs)
            self._after_update(**kwargs)
            self._after_training_iteration(**kwargs)

    def _before_training_exp(self, **kwargs: Any) -> None:
        experience, model, network = self.experience, self.model, self.learner.network
        names = torch.tensor(sorted(experience.classes_in_this_experience))
        if int(names[-1]) >= model.classes or len(names) > network.outputs:
            raise ConfigError(
                f"experience {experience.current_experience} has {len(names)} classes up to "
                f"{int(names[-1])}, the strategy {model.classes} and the network "
                f"{network.outputs} outputs: give classes={int(names[-1]) + 1}, or more outputs"
            )
        self._number, self._shape = self.learner.numbers.next, None
        self._data: LessonData = lesson_data(OwnLabels(_images(experience), names))
        self._lesson = self.learner.lesson(self._data)
        model.classes_of[self._number] = names
        super()._before_training_exp(**kwargs)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        try:
            super()._train_exp(experience, eval_streams, **kwargs)
            self._store()
        except BaseException:
            del self.model.classes_of[self._number]
            raise
        finally:
            self._lesson = None
        for label in getattr(experience, "task_labels", ()):
            self._labelled.setdefault(int(label), []).append(self._number)

    def _store(self) -> None:
        """Store the mask of the experience in training."""
        learner, lesson, shape = self.learner, self._lesson, self._shape
        assert lesson is not None
        if shape is None:
            raise ConfigError("no mini-batch was trained on: give train_epochs of at least 1")
        if spoiled := lesson.trainer.spoiled():
            raise NumericalError(
                f"scores of mask '{spoiled[0]}' hold NaN: lower the learning rate or check the "
                "images. The task was not learned"
            )
        (masks,) = lesson.trainer.masks()
        learned = learner.learned(masks, self._data, image_shape=shape, task=self._number)
        learner.keep(learned, self._data)

    def _given(self) -> int:
        """The task of a mini-batch by its task labels."""
        labels = self.mb_task_id.unique().tolist()
        tasks = self._labelled.get(labels[0], []) if len(labels) == 1 else []
        if len(tasks) != 1:
            raise ConfigError(
                f"a mini-batch needs one task label that names one learned task, got {labels}, and "
                f"labels name {self._labelled}: make the benchmark with task labels and evaluate "
                "what was learned, or infer='image'"
            )
        return tasks[0]


def tasks_of(benchmark: Any, *, seed: int = 0) -> ScenarioTasks:
    """The experiences of an Avalanche benchmark as tasks; images are read in evaluation mode.

    Args:
        benchmark: with a train_stream and a test_stream of equal lengths.
        seed: of the cut of test images in two; see `ScenarioTasks`.

    Raises:
        ConfigError: streams of unequal lengths; at access of a task, test images of classes that
            training has not.
    """
    train, test = benchmark.train_stream, benchmark.test_stream
    if len(train) != len(test):
        raise ConfigError(
            f"a task needs training and test images, got {len(train)} and {len(test)} experiences"
        )
    return ScenarioTasks(
        lambda number: _images(train[number]),
        lambda number: _images(test[number]),
        tasks=len(train),
        seed=seed,
        name="experience",
    )


def _images(experience: Any) -> ScenarioImages:
    dataset = experience.dataset.eval()
    return ScenarioImages(dataset, torch.tensor([int(label) for label in dataset.targets]))
