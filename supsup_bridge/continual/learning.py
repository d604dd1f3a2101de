"""How a learner learns: task by task, or from a stream without task boundaries."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from hopmask import ConfigError, EmptyMemoryError, MaskMemory, undisturbed
from supsup_bridge.continual.building import memory_of, network_of
from supsup_bridge.continual.checks import check_groups, check_images, check_statistics
from supsup_bridge.continual.description import some_images
from supsup_bridge.continual.inferences import Inferences, Memory
from supsup_bridge.continual.learned import Learned
from supsup_bridge.continual.numbers import Counted, Held, Numbers
from supsup_bridge.continual.settings import LearnerSettings, MoreOptions, check_options
from supsup_bridge.continual.starts import Starts
from supsup_bridge.continual.task_agnostic.in_place_memory import InPlaceMemory, Stage
from supsup_bridge.continual.task_agnostic.learner import TaskAgnosticLearner
from supsup_bridge.continual.task_agnostic.staged_memory import StagedMemory
from supsup_bridge.networks.digests import fingerprint
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.networks.grad_mode import outside_inference
from supsup_bridge.rng import stream
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.training.batches import check_labels
from supsup_bridge.training.data import LessonData, TensorData, lesson_data
from supsup_bridge.training.fit import Lesson
from supsup_bridge.training.scores import binariser
from supsup_bridge.training.settings import TrainingSettings

Progress = Callable[[int, int | None, float], None]  # step, steps, loss


class Learning:
    """The network, the memory and the training of `SupSup`, which has the arguments."""

    def __init__(
        self,
        module: nn.Module | str,
        *,
        memory: str = "hopfield",
        masks: str | None = None,
        bits: int | None = None,
        weights: str = "fixed",
        seed: int = 0,
        device: str | torch.device | None = None,
        training: TrainingSettings | None = None,
        task_free: bool = False,
        inputs: int | Sequence[int] | None = None,
        outputs: int | None = None,
        closed: Callable[[int, Masks], None] = lambda number, masks: None,
        **more: Unpack[MoreOptions],
    ) -> None:
        check_options(more)
        self._settings = settings = LearnerSettings(
            memory=memory,
            masks=masks,
            bits=bits,
            weights=weights,
            seed=seed,
            training=training or TrainingSettings(),
            task_free=task_free,
            **more,
        )
        self._network = network_of(module, settings, inputs=inputs, outputs=outputs, device=device)
        name = module if isinstance(module, str) else None
        self._origin = {"name": name, "inputs": inputs, "outputs": self._network.outputs}
        binariser(self._network, settings.training.sparsity)  # refuses a wrong sparsity now
        self._fingerprint = fingerprint(self._network)
        self._inferences = Inferences(settings, self._network)
        self._image_shape: tuple[int, ...] | None = None
        self._counted = Counted()
        self._memory: Memory = memory_of(settings, self._network, self._fingerprint)
        self._observer: TaskAgnosticLearner | None = None
        if task_free:
            if isinstance(self._memory, MaskMemory):
                signs = self._inferences.signature if settings.has_address else None
                if settings.on_hubs:
                    grows = settings.hubs is None
                    self._memory = InPlaceMemory(
                        self._memory, signature=signs, written=closed, grows=grows
                    )
                else:
                    self._memory = StagedMemory(self._memory, signature=signs, closed=closed)
            self._observer = self._inferences.observer(self._memory)

    @outside_inference
    def learn(
        self,
        data: Any,
        *,
        epochs: int | None = None,
        progress: Progress | None = None,
        task: int | None = None,
    ) -> int:
        """Learn one more task; where that fails, nothing has changed. Ctrl-C waits for a store.

        Args:
            data: (images (n, *shape), labels (n,)), a Dataset of (image, label), a DataLoader,
                which decides the batches itself, or a `Task`. Data that is no tensor is read batch
                by batch, and once more for the content address (of a Dataset 8192 images at most)
                and the statistics of batch norms: random transforms of its own reach both, those of
                `TrainingSettings(augment=)` neither.
            epochs: passes over the data; default those of `training`.
            progress: called after each step with the steps done, all (if known) and the loss.
            task: number of the task, on hubs; default the next one. What is learned depends on the
                data, the seed and this number (and on earlier masks, if `mask_init` starts from
                them), so learners of different numbers can be merged.

        Returns:
            The task's number.

        Raises:
            ConfigError: data that cannot be learned, or does not fit the network, such as a batch
                of one image for a batch norm of one value per channel; labels that have
                no group in the content address; task= of a memory that numbers tasks itself.
            NumericalError: images that are not finite, or a loss that is not.
            DuplicateError: the number is taken; of dense couplings, another task has the same mask.
            MemoryFullError: as many tasks as the hubs that the learner was given.
        """
        source, shapes = lesson_data(data), set[tuple[int, ...]]()
        number = self.numbers.free(task)
        lesson = self.lesson(source, epochs=epochs, task=number)

        def seen(images: Tensor, labels: Tensor) -> None:
            check_images(images, self._image_shape or next(iter(shapes), None))
            check_groups(labels, self._settings.signature_groups)
            shapes.add(tuple(images.shape[1:]))

        def tell(step: int, loss: float) -> None:
            if progress is not None:
                progress(step, lesson.batches.steps, loss)

        masks = lesson.run(tell, seen=seen)
        learned = self.learned(masks, source, image_shape=shapes.pop(), task=number)
        settings = self._settings.taught_by(data, tasks=len(self))
        with undisturbed():
            number = self.keep(learned, source, task=task)
            self._settings = settings
        return number

    def lesson(
        self, data: LessonData, *, epochs: int | None = None, task: int | None = None
    ) -> Lesson:
        """The training of the next task's mask, not begun; what it returns goes to `learned`."""
        if self._observer is not None:
            raise ConfigError("a task_free learner learns by observe(images, labels), not by learn")
        check_statistics(self._network, self.kept)
        settings, number = self._settings, self.numbers.next if task is None else task
        training = settings.training
        training = training if epochs is None else replace(training, epochs=epochs)
        starts = Starts(settings, self._network, self._inferences)
        levels = starts.levels(
            number, data, memory=self._memory, tasks=self.tasks, image_shape=self._image_shape
        )
        lesson = Lesson(
            self._network,
            data,
            training,
            scores=self._inferences.starts(number),
            batches=stream(settings.seed, "batches", number),
            mean=levels,
        )
        if isinstance(data, TensorData):  # others are looked at batch by batch
            check_groups(data.labels, settings.signature_groups)
        return lesson

    def learned(
        self, masks: Masks, data: LessonData, *, image_shape: tuple[int, ...], task: int
    ) -> Learned:
        """What a task adds that was trained from the data; the memory's tasks do not matter."""
        order, device = stream(self._settings.seed, "statistics", task), self._network.device
        images = some_images(data, generator=order, device=device)
        extras, sums, memory = self._network.statistics(masks, images), None, self._memory
        if self._settings.on_hubs and self._settings.has_address and isinstance(memory, MaskMemory):
            signs, groups = self._inferences.described(data, task)
            sums = memory.describe(signs, groups=groups)
        return Learned.of(masks, image_shape=image_shape, extras=extras, sums=sums)

    def keep(self, learned: Learned, data: LessonData | None, *, task: int | None = None) -> int:
        """Keep what was `learned` of a task, here or elsewhere; returns the task's number.

        Dense couplings with a content address alone read the data: no sums describe it to them.
        """
        number, learned = self.numbers.free(task), learned.to(self._network.device)
        memory, extras = self._memory, learned.extras
        on_hubs = isinstance(memory, MaskMemory) and memory.capacity is not None
        more: dict[str, Any] = {"extras": extras} if extras else {}
        if not on_hubs and self._settings.has_address and data is not None:
            more["signature"] = self._inferences.described(data, number).signature
        with undisturbed():
            if isinstance(memory, MaskMemory) and on_hubs:
                with memory.growing(number + 1):
                    memory.store(learned.masks, task=number, signature=learned.sums, **more)
            else:
                number = memory.store(learned.masks, **more)
                self._counted.add(number)
            self._image_shape = learned.image_shape
        return number

    @outside_inference
    def observe(self, images: Tensor, labels: Tensor) -> tuple[int, float]:
        """Learn from one batch of a stream without task boundaries.

        Args:
            images: (n, *shape), all of one task.
            labels: integer (n,).

        Returns:
            Number of the mask that serves the batch, and the loss; NaN where nothing was trained.

        Raises:
            ConfigError: a learner made without task_free=True, or a batch that does not fit it.
            NumericalError: images that are not finite, or a loss that is not.
        """
        if self._observer is None:
            raise ConfigError("observe is for SupSup(..., task_free=True): use learn(data)")
        check_images(images, self._image_shape)
        check_labels(images, labels, self._network.outputs)
        check_groups(labels, self._settings.signature_groups)
        device = self._network.device
        found = self._observer.learn(images.to(device), labels.to(device))
        self._image_shape = tuple(images.shape[1:])
        return found

    def commit(self) -> None:
        """task_free: bring the memory up to date with the mask in training; `predict` does so."""
        if self._observer is not None:
            self._observer.commit()

    def close(self) -> None:
        """task_free: end the task at hand; its mask is stored for good, the next batch is new."""
        if self._observer is not None:
            self._observer.close()

    def state(self) -> dict[str, Any]:
        """All but what `kept` holds and what the learner was made of: numbers, names, tensors."""
        return {
            "next": self._counted.next,
            "forgotten": sorted(self._counted.forgotten),
            "image_shape": None if self._image_shape is None else list(self._image_shape),
            "observer": None if self._observer is None else self._observer.state(),
            "open": self._memory.state() if isinstance(self._memory, Stage) else None,
        }

    def restore(self, state: dict[str, Any], memory: MaskMemory | MaskBank) -> None:
        """Continue from the `state` of a learner made alike, and what it had `kept`."""
        other = getattr(memory, "fingerprint", "") or self._fingerprint
        if other != self._fingerprint:
            raise ConfigError(
                "the memory's masks belong to another network: its fingerprint, over weights and "
                f"sizes, is {other:.12}..., the learner's {self._fingerprint:.12}..."
            )
        if isinstance(self._memory, Stage):
            if not isinstance(memory, MaskMemory):
                raise ConfigError(f"the learner keeps masks in a MaskMemory, got {memory!r:.40}")
            self._memory.restore(memory, state["open"])
        else:
            self._memory = memory
        self._counted = Counted(state["next"], forgotten=state["forgotten"])
        self._image_shape = state["image_shape"] and tuple(state["image_shape"])
        if isinstance(self._memory, Stage | MaskBank) and self._observer is not None:
            self._observer = self._inferences.observer(self._memory)
            self._observer.restore(state["observer"], device=self._network.device)

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        name = self._origin["name"] or type(self._network).__name__
        kept = type(self.kept).__name__
        return f"SupSup({name}, {len(self)} tasks in a {kept} of {self._memory.nbytes} bytes)"

    @property
    def tasks(self) -> tuple[int, ...]:
        """Numbers of the tasks; of a task_free learner, of its masks."""
        if self._observer is not None:
            return tuple(range(self._memory.count))
        return self.numbers.live

    @property
    def numbers(self) -> Numbers:
        """Of the tasks; hub couplings know which they hold, other memories count upwards."""
        if isinstance(self._memory, MaskMemory) and self._memory.capacity is not None:
            return Held(self._memory, grows=self._settings.hubs is None)
        return self._counted

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the network that the masks belong to."""
        return self._fingerprint

    @property
    def memory(self) -> Memory:
        """Where masks go: a MaskMemory or MaskBank; task_free: a stage around the former."""
        return self._memory

    @property
    def kept(self) -> MaskMemory | MaskBank:
        """What holds the masks, but for one in training; its file is the learner's."""
        return self._memory.memory if isinstance(self._memory, Stage) else self._memory

    @property
    def network(self) -> FixedNetwork:
        """The fixed network."""
        return self._network

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of an image.

        Raises:
            EmptyMemoryError: no task was learned.
        """
        if self._image_shape is None:
            raise EmptyMemoryError("no task was learned: call learn(data) first")
        return self._image_shape

    @property
    def settings(self) -> LearnerSettings:
        """The settings; `change_inference`, a first `Task` and `merge` change some of them."""
        return self._settings

    @property
    def inferences(self) -> Inferences:
        """Makes task inferences over a memory."""
        return self._inferences

    @property
    def observer(self) -> TaskAgnosticLearner | None:
        """What decides about new masks; None unless task_free."""
        return self._observer
