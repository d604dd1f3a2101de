"""SupSup in Avalanche: a strategy for its streams, metrics and loggers; its streams as tasks."""

from collections.abc import Sequence
from typing import Any

import torch
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.adapters.scenario_tasks import OwnLabels, ScenarioImages, ScenarioTasks
from supsup_bridge.adapters.stream_logits import StepwiseTask, StreamLogits
from supsup_bridge.continual.learner import SupSup

INFER = ("image", "batch", "given")


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
        self._task: StepwiseTask | None = None  # in training
        self._output: Tensor | None = None
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
        if self._output is None and self._task is not None and self.mbatch is not None:
            self._output = self._task.logits(self.mb_x)
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
        assert self._task is not None
        for self.mbatch in self.dataloader:  # noqa: B020 (as Avalanche does)
            if self._stop_training:
                break
            self._unpack_minibatch()
            self._before_training_iteration(**kwargs)
            self._before_forward(**kwargs)
            self.mb_output = None
            self._after_forward(**kwargs)
            self._before_backward(**kwargs)
            self.loss = self._task.step(self.mb_x, self.mb_y)
            self.mb_output = None
            self._after_backward(**kwargs)
            self._before_update(**kwargs)
            self._after_update(**kwargs)
            self._after_training_iteration(**kwargs)

    def _before_training_exp(self, **kwargs: Any) -> None:
        images = _images(self.experience)
        self._task = StepwiseTask(self.model, OwnLabels(images, images.classes))
        super()._before_training_exp(**kwargs)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        task = self._task
        assert task is not None
        try:
            super()._train_exp(experience, eval_streams, **kwargs)
            task.keep()
        except BaseException:
            task.drop()
            raise
        finally:
            self._task = None
        for label in getattr(experience, "task_labels", ()):
            self._labelled.setdefault(int(label), []).append(task.number)

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
