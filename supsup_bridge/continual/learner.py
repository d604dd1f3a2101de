"""SupSup: a learner that is taught tasks one by one and answers for images of any of them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from hopmask import (
    ConfigError,
    CorruptStoreError,
    EmptyMemoryError,
    HopmaskError,
    MaskMemory,
    NotForgettableError,
    UnknownTaskError,
)
from supsup_bridge.continual import files, scoring
from supsup_bridge.continual.building import memory_of, network_of
from supsup_bridge.continual.checks import check_images
from supsup_bridge.continual.description import described
from supsup_bridge.continual.evaluation import Evaluation, halves
from supsup_bridge.continual.export import plain_module
from supsup_bridge.continual.inferences import Inferences, Memory
from supsup_bridge.continual.numbers import Numbers
from supsup_bridge.continual.prediction import (
    Prediction,
    infer_each,
    infer_together,
    of_one_task,
    predict_each,
    predict_under,
)
from supsup_bridge.continual.settings import LearnerSettings, MoreOptions
from supsup_bridge.continual.task_agnostic.learner import TaskAgnosticLearner
from supsup_bridge.continual.task_agnostic.staged_memory import StagedMemory
from supsup_bridge.data.task import Task
from supsup_bridge.networks.digests import fingerprint, mask_digest
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.rng import stream
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.stores.protocols import Recalled
from supsup_bridge.training.batches import check_labels
from supsup_bridge.training.data import LessonData, lesson_data
from supsup_bridge.training.fit import Lesson
from supsup_bridge.training.scores import binariser
from supsup_bridge.training.settings import TrainingSettings

Progress = Callable[[int, int | None, float], None]  # step, steps, loss


class SupSup:
    """Learns tasks as masks of one fixed network, and infers which task images are of.

    Every task is a binary mask of the network's weights. The masks are kept in a memory of
    constant size, and deleted; images of an unknown task recall theirs. Labels are classes within
    their task, 0 1 2 ...; outputs from a task's number of classes on are superfluous. A label of a
    `Prediction` is the largest of all outputs, so nothing is kept per task outside the memory.

    Args:
        module: any nn.Module over images (n, *shape) that returns logits (n, outputs); it is
            copied. Or a network by name ("lenet-300-100", "fc-1024-1024", "layer-norm") over flat
            images, with its `inputs` and `outputs`; or a `FixedNetwork`, which has masks already.
        memory: "hopfield" (constant size) or "bank" (every mask, one bit per entry).
        masks: "hashed" (default of hopfield), "unit", or "weight" (default of, and only with, bank).
        bits: length of a hashed mask (default 2048, or one bit per weight where there are fewer).
        weights: "fixed" draws those of Linear and Conv2d layers anew from the seed; "given" keeps
            the module's, for a pre-trained backbone.
        seed: of everything.
        device: where to work; default where the module is. "auto" is CUDA where there is one.
        training: how masks are trained.
        mask_init: scores start "random", from one "shared" draw, or from the "mean" of the masks.
        rule, key_bits, signature_features: of a Hopfield memory; see `hopmask.MaskMemory`.
        recall: of a Hopfield memory: "both", "entropy" or "address".
        signature: what the content address sees of an image: "input", "outputs", "gradient", or
            "package.module:function".
        inference: of a bank: "try-all" (default), "one-shot", "binary", "descent" or "argmax".
        objective: whose gradient a bank's inference follows: "H" or "G".
        classes: the largest number of classes of a task, for inference "argmax" and objective "G".
        infer_samples: images from which `evaluate` infers a task.
        task_free: learn by `observe`, from a stream without task boundaries.
        ask_every, budget, epsilon: task_free: batches between two novelty tests; masks at most; of
            a bank, see `NoveltyTest`.
        closed: task_free: called with number and masks of each mask that is stored for good.

    Raises:
        ConfigError: options that do not fit together, or a module that cannot be used. Batch norm
            must be in evaluation mode.

    Example:
        >>> from torch import nn
        >>> images, labels = torch.randn(64, 2, 3), torch.arange(64) % 2
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 4))
        >>> learner = SupSup(module, seed=1)
        >>> learner.learn((images, labels), epochs=2)
        0
        >>> learner.predict(images[:5]).task
        tensor([0, 0, 0, 0, 0])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769); the Hopfield memory: section 3.5.
    """

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
        inputs: int | None = None,
        outputs: int | None = None,
        closed: Callable[[int, Masks], None] = lambda number, masks: None,
        **more: Unpack[MoreOptions],
    ) -> None:
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
        name = module if isinstance(module, str) else None
        self._origin = {"name": name, "inputs": inputs, "outputs": outputs}
        self._network = network_of(module, settings, inputs=inputs, outputs=outputs, device=device)
        binariser(self._network, settings.training.sparsity)  # refuses a wrong sparsity now
        self._inferences = Inferences(settings, self._network)
        self._image_shape: tuple[int, ...] | None = None
        self._numbers = Numbers()
        self._memory: Memory = memory_of(settings, self._network)
        self._observer: TaskAgnosticLearner | None = None
        if task_free:
            if isinstance(self._memory, MaskMemory):
                signs = self._inferences.signature if settings.has_address else None
                self._memory = StagedMemory(self._memory, signature=signs, closed=closed)
            self._observer = self._inferences.observer(self._memory)

    def learn(
        self, data: Any, *, epochs: int | None = None, progress: Progress | None = None
    ) -> int:
        """Learn one more task; where that fails, nothing has changed.

        Args:
            data: (images (n, *shape), labels (n,)), a Dataset of (image, label), or a DataLoader,
                which decides the batches itself. Data that is no tensor is read batch by batch.
            epochs: passes over the data; default those of `training`.
            progress: called after each step with the steps done, all steps (None where a loader has
                no length) and the loss.

        Returns:
            The task's number.

        Raises:
            ConfigError: data that cannot be learned, or does not fit the network.
            NumericalError: images that are not finite, or a loss that is not.
            DuplicateError: the mask is the same as another task's.
        """
        source, shapes = lesson_data(data), set[tuple[int, ...]]()
        lesson = self.lesson(source, epochs=epochs)

        def seen(images: Tensor, labels: Tensor) -> None:
            check_images(images, self._image_shape)
            shapes.add(tuple(images.shape[1:]))

        def tell(step: int, loss: float) -> None:
            if progress is not None:
                progress(step, lesson.batches.steps, loss)

        masks = lesson.run(tell, seen=seen)
        return self.store(masks, source, image_shape=shapes.pop())

    def lesson(self, data: LessonData, *, epochs: int | None = None) -> Lesson:
        """The training of the next task's mask, not begun; what it returns goes to `store`."""
        if self._observer is not None:
            raise ConfigError("a task_free learner learns by observe(images, labels), not by learn")
        settings, number = self._settings, self._numbers.next
        training = settings.training
        if epochs is not None:
            training = replace(training, epochs=epochs)
        transfer = settings.mask_init == "mean" and self._memory.count > 0
        return Lesson(
            self._network,
            data,
            training,
            scores=self._inferences.starts(number),
            batches=stream(settings.seed, "batches", number),
            mean=self._memory.mean if transfer else None,
        )

    def store(self, masks: Masks, data: LessonData, *, image_shape: tuple[int, ...]) -> int:
        """Keep the masks of a task that was learned from the data; returns its number."""
        signature = None
        if self._settings.has_address:
            signature = described(
                self._inferences.signature,
                data,
                generator=stream(self._settings.seed, "described", self._numbers.next),
                device=self._network.device,
            )
        number = self._memory.store(masks, signature=signature)
        self._numbers.add(number)
        self._image_shape = image_shape
        return number

    def observe(self, images: Tensor, labels: Tensor) -> tuple[int, float]:
        """Learn from one batch of a stream without task boundaries.

        Args:
            images: (n, *shape), all of one task.
            labels: integer (n,).

        Returns:
            Number of the mask that serves the batch, and the loss; NaN where nothing was trained.

        Raises:
            ConfigError: a learner that was not made with task_free=True, or a batch that does not
                fit it.
            NumericalError: images that are not finite, or a loss that is not.
        """
        if self._observer is None:
            raise ConfigError("observe is for SupSup(..., task_free=True): use learn(data)")
        check_images(images, self._image_shape)
        check_labels(images, labels, self._network.outputs)
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

    def predict(
        self, images: Tensor, *, together: bool = False, task: int | None = None
    ) -> Prediction:
        """Task, label and logits of images; what is said of one never depends on the others.

        Args:
            images: (n, *shape), of the shape that was learned.
            together: all images are of one task, which is inferred from all of them (from 1024,
                evenly spread, where there are more).
            task: number of their task, where it is known.

        Raises:
            EmptyMemoryError: no task was learned.
            UnknownTaskError: no task of that number.
            ConfigError: images of another shape or type, or a network that needs reference images.
            NumericalError: images that are not finite.
        """
        self._check_question(images)
        if task is not None:
            if together:
                raise ConfigError("task= names the task, together= infers it: give one of them")
            stored = self._recalled(task)
            logits = predict_under(self._network, stored.masks, images)
            return of_one_task(logits, task, verified=stored.verified)
        inference = self._inferences.inference(self._memory)
        if not together:
            return predict_each(self._network, inference, images)
        found = infer_together(self._network, inference, images)
        masks = {name: mask[0] for name, mask in found.masks.items()}
        logits = predict_under(self._network, masks, images)
        return of_one_task(logits, int(found.task[0]), verified=bool(found.verified[0]))

    def infer_task(self, images: Tensor, *, together: bool = False) -> Tensor | int:
        """Number of the task of each image (n,), or one number; arguments and errors of `predict`."""
        self._check_question(images)
        inference = self._inferences.inference(self._memory)
        if together:
            return int(infer_together(self._network, inference, images).task[0])
        return infer_each(self._network, inference, images)

    def evaluate(self, data: Sequence[Any], *, infer_samples: int | None = None) -> Evaluation:
        """Accuracy on test data of the tasks, by the protocol of `supsup run`.

        Of each task's test images one half infers the task and the other is scored; the seed cuts
        them. The task is inferred once for every 128 scored images.

        Args:
            data: per task, in the order of `tasks`, what `learn` takes, or a `Task`, which is cut
                already. Test images of one task are held at a time.
            infer_samples: images that one inference sees; default that of the learner.

        Raises:
            ConfigError: no data or more than tasks, too few images, or a task_free learner, whose
                masks are not numbered as tasks are.
        """
        if self._observer is not None:
            raise ConfigError("a task_free learner's masks are no tasks in order: use predict")
        if not 0 < len(data) <= len(self):
            raise ConfigError(f"evaluate takes data of 1 to {len(self)} tasks, got {len(data)}")
        samples = self._settings.infer_samples if infer_samples is None else infer_samples
        scores = [
            self._score(number, halves(one, number=number, seed=self._settings.seed), samples)
            for number, one in zip(self.tasks, data, strict=False)
        ]
        return Evaluation(
            given=tuple(score.given for score in scores),
            inferred=tuple(score.label for score in scores),
            joint=tuple(score.joint for score in scores),
            tasks=tuple(sum(score.inferred) / len(score.inferred) for score in scores),
        )

    def module(self, task: int) -> nn.Module:
        """One task as a plain module with its weights W ⊙ M, for export; a copy.

        Its logits are those of `predict(images, task=task)`, up to rounding.

        Raises:
            EmptyMemoryError, UnknownTaskError: no such task, or its mask is lost.
            ConfigError: a network that has no such module.
        """
        stored = self._recalled(task)
        if not stored.verified:
            raise UnknownTaskError(
                f"task {task} cannot be recalled exactly: the memory is too full. Use more bits"
            )
        return plain_module(self._network, stored.masks)

    def forget(self, task: int) -> None:
        """Take a task out of the memory, where it can; its number is not used again.

        Raises:
            NotForgettableError: the memory cannot forget: a bank, a rule without exact inverse
                ("storkey"), or a task_free learner.
            EmptyMemoryError, UnknownTaskError: no such task.
        """
        memory = self._memory
        if not isinstance(memory, MaskMemory):
            raise NotForgettableError(
                f"a {type(memory).__name__} cannot forget a task: use memory='hopfield' with "
                "rule='hebbian'"
            )
        memory.forget(task=self._numbers.require(task))
        self._numbers.forgotten.add(task)

    def change_inference(self, **options: Unpack[MoreOptions]) -> None:
        """Infer tasks in another way: recall, inference, objective, infer_samples.

        Raises:
            ConfigError: another option, or options that do not fit; nothing has changed.
        """
        if others := options.keys() - {"recall", "inference", "objective", "infer_samples"}:
            raise ConfigError(f"a learner cannot change its {', '.join(sorted(others))}: make one")
        settings = replace(self._settings, **options)
        self._inferences, self._settings = Inferences(settings, self._network), settings

    def save(self, folder: str | Path) -> None:
        """Write `memory.h5` and `learner.h5` into a folder; a crash leaves one state or the other.

        Neither the module nor its weights are written: `load` draws them from the seed, or is
        given them, and compares fingerprints.

        Raises:
            ConfigError: task_free: a mask is in training; call close() first.
            StoreFileError: the folder cannot be written to.
        """
        if self._observer is not None and self._observer.is_training:
            raise ConfigError("a mask is in training, which no file has a place for: call close()")
        about = {
            "origin": self._origin,
            "settings": asdict(self._settings),
            "fingerprint": fingerprint(self._network),
            "state": self.state(),
        }
        files.write(Path(folder), about, self.kept)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        module: nn.Module | str | None = None,
        signature: str | None = None,
        device: str | torch.device | None = None,
    ) -> "SupSup":
        """Read a learner that `save` wrote; it predicts the same, bit for bit.

        Args:
            folder: where it is.
            module: the module that the learner was made of; not needed for a network by name.
                With weights="given" it needs to have the same weights. A file never names code.
            signature: "package.module:function", where the learner has one of that kind.
            device: where to work.

        Raises:
            StoreFileError: it is not there, or damaged.
            ConfigError: no module where one is needed, or another than the learner's.
        """
        about = files.read(Path(folder))
        made = files.arguments(about, module=module, signature=signature)
        learner = cls(device=device, **made)
        if fingerprint(learner.network) != about.get("fingerprint"):
            raise ConfigError(
                f"the network is not the one that {folder} was learned with: its weights, shapes "
                "or mask sizes differ. Give load(module=) the module that SupSup was given"
            )
        try:
            kept = files.read_memory(
                Path(folder),
                about["memory"],
                bank=isinstance(learner.memory, MaskBank),
                device=learner.network.device,
            )
            learner.restore(about["state"], kept)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, HopmaskError):
                raise
            raise CorruptStoreError(
                f"{folder} is whole, but of a learner that this version does not know ({error!r})"
            ) from error
        return learner

    def state(self) -> dict[str, Any]:
        """All but what `kept` holds and what the learner was made of: numbers, names, tensors."""
        staged = self._memory.state() if isinstance(self._memory, StagedMemory) else None
        return {
            "next": self._numbers.next,
            "forgotten": sorted(self._numbers.forgotten),
            "image_shape": None if self._image_shape is None else list(self._image_shape),
            "observer": None if self._observer is None else self._observer.state(),
            "open": staged,
        }

    def restore(self, state: dict[str, Any], memory: MaskMemory | MaskBank) -> None:
        """Continue from the `state` of a learner made alike, and what it had `kept`."""
        if isinstance(self._memory, StagedMemory):
            if not isinstance(memory, MaskMemory):
                raise ConfigError(f"the learner keeps masks in a MaskMemory, got {memory!r:.40}")
            self._memory.restore(memory, state["open"])
        else:
            self._memory = memory
        self._numbers = Numbers(state["next"], forgotten=state["forgotten"])
        shape = state["image_shape"]
        self._image_shape = None if shape is None else tuple(shape)
        if isinstance(self._memory, StagedMemory | MaskBank) and self._observer is not None:
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
        return self._numbers.live

    @property
    def memory(self) -> Memory:
        """Where masks go: a MaskMemory or MaskBank; task_free: a StagedMemory around the former."""
        return self._memory

    @property
    def kept(self) -> MaskMemory | MaskBank:
        """What holds the masks, but for one in training; its file is the learner's."""
        return self._memory.memory if isinstance(self._memory, StagedMemory) else self._memory

    @property
    def network(self) -> FixedNetwork:
        """The fixed network."""
        return self._network

    @property
    def settings(self) -> LearnerSettings:
        """The settings; they cannot be changed, but for `change_inference`."""
        return self._settings

    @property
    def inferences(self) -> Inferences:
        """Makes task inferences over a memory."""
        return self._inferences

    @property
    def observer(self) -> TaskAgnosticLearner | None:
        """What decides about new masks; None unless task_free."""
        return self._observer

    @property
    def origin(self) -> dict[str, Any]:
        """Name, inputs and outputs of a network by name; None of a module."""
        return dict(self._origin)

    def _check_question(self, images: Tensor) -> None:
        if self._memory.count == 0:
            raise EmptyMemoryError("no task was learned: call learn(data) first")
        check_images(images, self._image_shape)
        if not self._network.pointwise:
            raise ConfigError(
                "the network's batch norm needs reference images for a prediction: use evaluate, "
                "or a network with layer norm"
            )
        self.commit()

    def _recalled(self, task: int) -> Recalled:
        if self._observer is None:
            self._numbers.require(task)
        return self._memory.recall(task=task)

    def _score(self, number: int, task: Task, samples: int) -> scoring.TaskScore:
        device, after = self._network.device, self._numbers.next - 1
        known = self._memory.recall(task=number)
        found = scoring.infer(
            task,
            self._inferences.inference(self._memory, after, number),
            samples=samples,
            generator=stream(self._settings.seed, "evaluation", after, number),
            device=device,
        )
        return scoring.score(
            self._network,
            task,
            known.masks,
            found,
            accepted={number},
            digest=mask_digest(known.masks),
            device=device,
        )
