"""Continual learners of Avalanche 0.6, by name, under the steps and the scoring of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from hopmask import ConfigError
from hopmask.errors import unknown_name
from supsup_bridge.adapters.rivals.generator import GenerativeReplay
from supsup_bridge.adapters.rivals.isolation import PackNet, Pnn
from supsup_bridge.adapters.rivals.memories import Agem, Gem, Icarl, Replay
from supsup_bridge.adapters.rivals.methods import Method
from supsup_bridge.adapters.rivals.networks import Terms
from supsup_bridge.adapters.rivals.penalties import Ewc, Lwf, Si
from supsup_bridge.adapters.rivals.training import (
    ChangedLoss,
    Course,
    TaskExperience,
    drawn_from,
)
from supsup_bridge.continual.baselines.base import Baseline, Progress
from supsup_bridge.networks.fixed import Predictor
from supsup_bridge.rng import stream, stream_seed
from supsup_bridge.runs.learners import RIVALS
from supsup_bridge.training.batches import check_labels
from supsup_bridge.training.data import LessonData
from supsup_bridge.training.settings import TrainingSettings

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        "ewc": Ewc,
        "si": Si,
        "lwf": Lwf,
        "replay": Replay,
        "gem": Gem,
        "a-gem": Agem,
        "icarl": Icarl,
        "generative-replay": GenerativeReplay,
        "pnn": Pnn,
        "packnet": PackNet,
    }
)
_PIXEL, _LABEL = 1, 2  # bytes of a buffer: data sets have pixels of 8 bits


class AvalancheBaseline(Baseline):
    """A method of Avalanche's, trained by Avalanche's own loop.

    A task takes as many steps as with any other learner, of the same batch size, with the same
    changes, mixing and smoothing, by Adam from a new state at a rate that decays in the course of
    the task (see `GenerativeReplay` for its autoencoder's). Left out are the moving average of
    weights, the contrast term and bfloat16. Images of a task are read into memory. After an error
    while it learns, a learner is of no more use.

    Where tasks are given (GG) each has a last layer of its own. Else outputs are read: those of the
    labels that tasks share (GNs, NNs), or of the labels of every task, t · classes + label (GNu).

    Bytes are what must be kept between two tasks, to predict and to learn on: all weights and
    running statistics of batch norms in float32; what the method keeps beside them (see its class)
    as Avalanche holds it; and of images in a buffer a byte for a pixel, as data sets have them, two
    for a label, and where tasks are given two for a task number. What can be made again from these
    is not counted: the network as it was when a task began. Nor is the optimiser's state.

    Args:
        name: one of `METHODS`.
        terms: network, tasks, scenario, training and seed.
        options: of the method's class.

    Raises:
        ConfigError: a scenario that the method does not serve, an unknown option or one out of its
            range, or a network that does not fit.

    Source:
        Lomonaco et al. 2021 (Avalanche, arXiv 2104.00405); the three kinds of outputs: Hsu et al.
        2018 (arXiv 1810.12488).
    """

    def __init__(self, name: str, terms: Terms, **options: Any) -> None:
        kind, served, seed = METHODS[name], RIVALS[name], terms.seed
        if terms.scenario not in served:
            raise ConfigError(
                f"learner {name} serves scenarios {', '.join(served)}, got {terms.scenario}: "
                f"{kind.unserved}"
            )
        self.scenarios = served  # type: ignore[misc]
        training = replace(terms.training, averaging=0.0, contrast=0.0, precision="float32")
        self._terms = terms = replace(terms, training=training)
        with drawn_from(stream_seed(seed, "avalanche")):
            self._method = _made(kind, terms, name, options)
            self.training, self.outputs = self._method.training, terms.outputs
            self.own_network = self._method.own_network
            self._course = Course(self.training, decays=terms.scenario != "NNs")
            loss = ChangedLoss(self.training, stream(seed, "changes"))
            self._strategy = self._method.strategy(loss, self._course)
        self._strategy.model.to(terms.device)
        self._classes: list[list[int]] = []  # of each task, among the outputs

    @property
    def count(self) -> int:  # type: ignore[override]
        return len(self._classes)

    @property
    def nbytes(self) -> int:
        model, inputs = self._strategy.model, self._terms.inputs
        floats = [value for value in model.state_dict().values() if value.is_floating_point()]
        pixels = inputs if isinstance(inputs, int) else prod(inputs)
        numbers = 2 if self._terms.scenario == "GG" else 1
        image = _PIXEL * pixels + _LABEL * numbers
        tensors: list[Tensor] = [*floats, *self._method.kept()]
        return sum(value.nbytes for value in tensors) + image * self._method.images()

    def steps(self, images: int) -> int:
        return self.training.steps(images, alone=self._method.pointwise)

    def learn(self, data: LessonData, *, progress: Progress = lambda step, loss: None) -> None:
        number, terms = self.count, self._terms
        if number == terms.tasks:
            raise ConfigError(f"the learner was made for {terms.tasks} tasks: make it for more")
        order = stream(terms.seed, "batches", number)
        images, labels = _read(data, order)
        check_labels(images, labels, terms.classes)
        labels = labels + self._shift(number)
        classes = [*self._classes, sorted({*labels.tolist()})]
        experience = TaskExperience(
            images,
            labels,
            number=number,
            task_label=number if terms.scenario == "GG" else 0,
            classes=classes,
            outputs=terms.outputs,
        )
        self._course.begin(progress)
        with drawn_from(stream_seed(terms.seed, "avalanche", number)):
            self._method.teach(self._strategy, experience, self.steps(len(labels)))
        self._classes = classes

    def predictor(self, task: int) -> Predictor:
        first, given = self._shift(task), self._terms.scenario == "GG"

        def predict(images: Tensor) -> Tensor:
            model = self._strategy.model.eval()
            logits: Tensor = model(images, task) if given else model(images)
            return logits[:, first : first + self._terms.classes]

        return predict

    @property
    def reads_out(self) -> bool:
        return self._terms.scenario != "GG"

    def read_out(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        if not self.reads_out:
            return super().read_out(images)
        classes = self._terms.classes
        with torch.no_grad():
            logits = self._strategy.model.eval()(images)
        if self._terms.scenario != "GNu":
            return None, logits.argmax(-1)
        answer = logits[:, : self.count * classes].argmax(-1)
        return answer // classes, answer % classes

    def _shift(self, task: int) -> int:
        """The first output of a task."""
        return task * self._terms.classes if self._terms.scenario == "GNu" else 0


def rival_named(
    name: str,
    *,
    network: str,
    inputs: int | Sequence[int],
    classes: int,
    tasks: int,
    scenario: str,
    training: TrainingSettings,
    seed: int,
    outputs: int | None = None,
    device: str | torch.device = "cpu",
    **options: Any,
) -> AvalancheBaseline:
    """A learner of Avalanche's to compare SupSup with; arguments are those of `baseline_named`.

    Args:
        name: one of `METHODS`.
        network: a name, as in `build`; "pnn" has a network of its own.
        inputs: pixels of a flat image, or its shape.
        classes: labels of a task.
        tasks: how many tasks there will be.
        scenario: "GG", "GNs", "GNu" or "NNs".
        training: how weights are trained.
        seed: of whatever is drawn.
        outputs: not used: outputs follow from the scenario.
        device: where to compute.
        options: of the method's class, such as strength= or buffer=.

    Raises:
        ConfigError: an unknown name or option, a scenario that the method does not serve, or a
            network that does not fit.

    Example:
        >>> learner = rival_named(
        ...     "ewc",
        ...     network="lenet-300-100",
        ...     inputs=64,
        ...     classes=2,
        ...     tasks=5,
        ...     scenario="GNu",
        ...     training=TrainingSettings(rate=1e-3),
        ...     seed=0,
        ... )
        >>> learner.nbytes, learner.count
        (200800, 0)
    """
    if name not in METHODS:
        raise ConfigError(unknown_name("learner of Avalanche's", name, [*METHODS]))
    terms = Terms(
        network=network,
        inputs=inputs,
        classes=classes,
        tasks=tasks,
        scenario=scenario,
        training=training,
        seed=seed,
        device=torch.device(device),
    )
    return AvalancheBaseline(name, terms, **options)


def _made(kind: type[Method], terms: Terms, name: str, options: dict[str, Any]) -> Method:
    try:
        return kind(terms, **options)
    except TypeError as error:
        raise ConfigError(f"learner {name} does not take these options: {error}") from error


def _read(data: LessonData, order: torch.Generator) -> tuple[Tensor, Tensor]:
    """All images and labels of a task, as they are."""
    batches = [*data.batches(TrainingSettings(epochs=1), order)]
    return (
        torch.cat([images.cpu() for images, _ in batches]),
        torch.cat([labels.cpu() for _, labels in batches]),
    )
