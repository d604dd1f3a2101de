"""SupSup: a learner that is taught tasks one by one and answers for images of any of them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from hopmask import (
    ConfigError,
    EmptyMemoryError,
    HopmaskError,
    MaskMemory,
    NotForgettableError,
    UnknownTaskError,
)
from hopmask.errors import CorruptStoreError
from supsup_bridge.continual import evaluation, files, merging
from supsup_bridge.continual.checks import check_question, check_statistics
from supsup_bridge.continual.evaluation import Evaluation
from supsup_bridge.continual.export import plain_module
from supsup_bridge.continual.inferences import Inferences
from supsup_bridge.continual.learning import Learning
from supsup_bridge.continual.prediction import (
    Prediction,
    infer_each,
    of_one_task,
    one_set,
    predict_each,
    predict_under,
)
from supsup_bridge.continual.settings import MoreOptions
from supsup_bridge.networks.grad_mode import outside_inference
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.stores.protocols import Recalled, for_forward


class SupSup(Learning):
    """Learns tasks as masks of one fixed network, and infers which task images are of.

    Every task is a binary mask of the network's weights. The masks are kept in a memory of
    constant size, and deleted; images of an unknown task recall theirs. Labels are classes within
    their task, 0 1 2 ...; outputs from a task's number of classes on are superfluous. A label of a
    `Prediction` is the largest of all outputs, so nothing is kept per task outside the memory.

    Batch norm in training mode has statistics of its own for every task, kept with the mask, on
    hubs or in a bank; in evaluation mode it keeps the module's.

    Args:
        module: any nn.Module over images (n, *shape) that returns logits (n, outputs); it is
            copied. Or a network by name, with its `inputs` and `outputs`: "lenet-300-100",
            "fc-1024-1024", "fc-100-100" and "layer-norm" are over flat images, inputs=784;
            "lenet-5", "alexnet-small", "gem-resnet18", "resnet18" and "resnet50" over images of
            shape, inputs=(3, 32, 32). Or a `FixedNetwork`, which has masks already.
        memory: "hopfield" (constant size) or "bank" (every mask, one bit per entry).
        masks: "weight" (default) or "signed" (a bit flips a weight's sign in place of cutting it),
            which a Hopfield memory holds on hubs, exactly; "hashed" or "unit", which it holds in
            dense couplings. Those of a `FixedNetwork` are held on hubs. What is said of weight
            masks holds for signed ones.
        hubs: of weight masks in a Hopfield memory: a power of two, and the number of tasks that
            fit; more are refused. Default: 64, doubled whenever they are full.
        bits: length of a hashed mask (default 2048, or one bit per weight where there are fewer).
        weights: "fixed" draws those of Linear and Conv2d layers anew from the seed; "given" keeps
            the module's, for a pre-trained backbone.
        seed: of everything.
        device: where to work; default where the module is. "auto" is CUDA where there is one.
        training: how masks are trained.
        mask_init: scores start "random" (default), from one "shared" draw, around "ones" (every
            weight kept: for weights="given"), or, from the second task on, around masks learned
            before: the "mean" of all, the "nearest" (of the task that the learner takes the new
            images for), the "previous" task's, or a random "earlier" one.
        rule: of dense couplings; see `hopmask.MaskMemory`.
        key_bits: of dense couplings, as well.
        signature_features: of a Hopfield memory; see there; default 2048, 0 for no content address.
        signature_groups: of weight masks in a Hopfield memory: the largest number of classes of a
            task, if the content address is to keep a mean of each class and not one of the task
            (default 1). Tasks of more classes are refused. It names the task of one image better
            where the classes of a task differ from one another as much as from other tasks'.
        recall: of a Hopfield memory: "both" (default), "entropy" (default without features),
            "address", or "posterior" (default with signature_groups, unless an objective is given):
            tasks and labels are compared in pairs, see `PosteriorInference`.
        signature: what the content address sees of an image: "input" (default), "patches"
            (responses of random filters, for images of two dimensions or flat squares), "outputs",
            "gradient", or "package.module:function".
        inference: of a bank: "try-all" (default), "one-shot", "binary", "descent" or "argmax".
        objective: whose gradient points at a task: "H" (default) or "G", on hubs and of a bank's
            inference by gradient.
        classes: the largest number of classes of a task, for inference "argmax" and objective "G".
        infer_samples: images from which `evaluate` infers a task; default 1, of unit masks 64.
        pixels: how `supsup predict` makes images of pixels: a `PixelScale`, "unknown", or None
            (default): the scale of a `Task` learned first, or "unknown"; else x = pixel / 255.
        task_free: learn by `observe`, from a stream without task boundaries.
        ask_every: task_free: batches between two novelty tests.
        budget: task_free: masks at most.
        epsilon: task_free, of a bank: see `NoveltyTest`.
        closed: task_free: called with number and masks whenever a mask is written to a Hopfield
            memory: on hubs also while it is trained, in dense couplings once it is final.

    Raises:
        ConfigError: options that do not fit together, or a module that cannot be used.

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

    @outside_inference
    def predict(
        self, images: Tensor, *, together: bool = False, task: int | None = None
    ) -> Prediction:
        """Task, label and logits of images; what is said of one never depends on the others.

        Args:
            images: (n, *shape), of the shape that was learned.
            together: all are of one task, which is inferred from 1024 of them at most.
            task: number of their task, where it is known.

        Raises:
            EmptyMemoryError, UnknownTaskError: no task was learned, or none of that number.
            ConfigError: images of another shape or type, a network that needs reference images, or
                one whose batch norms changed their mode since the tasks were learned.
            NumericalError: images that are not finite.
        """
        self._check_question(images)
        if task is not None:
            if together:
                raise ConfigError("task= names the task, together= infers it: give one of them")
            stored = self._recalled(task)
            logits = predict_under(self._network, for_forward(stored), images)
            return of_one_task(logits, int(task), recognized=stored.verified)
        inference = self._inferences.inference(self._memory)
        if not together:
            return predict_each(self._network, inference, images)
        joint = one_set(self._network, images)
        found = inference.infer(joint)
        logits = predict_under(self._network, found.of_set(0), images)
        recognized = bool(inference.recognizes(joint, found)[0])
        return of_one_task(logits, int(found.task[0]), recognized=recognized)

    @outside_inference
    def infer_task(self, images: Tensor, *, together: bool = False) -> Tensor | int:
        """Number of the task of each image (n,), or one number; see `predict`."""
        self._check_question(images)
        inference = self._inferences.inference(self._memory)
        if together:
            return int(inference.infer(one_set(self._network, images)).task[0])
        return infer_each(self._network, inference, images)

    @outside_inference
    def evaluate(
        self,
        data: Sequence[Any],
        *,
        infer_samples: int | None = None,
        protocol: str = "batch",
    ) -> Evaluation:
        """Accuracy on test data of the tasks, by the protocol of `supsup run`.

        Of each task's test images one half infers the task and the other is scored; the seed cuts
        them. The task is inferred once for every 128 scored images, or from each by itself.

        Args:
            data: per task, in the order of `tasks`, what `learn` takes, or a `Task`, which is cut
                already. Test images of one task are held at a time.
            infer_samples: images that one inference sees; default that of the learner.
            protocol: "batch" (the paper's), or "image": every scored image infers its own task, as
                in `predict`. The other half of the images then takes no part.

        Raises:
            EmptyMemoryError: no task was learned.
            ConfigError: no data or more than tasks, too few images, images or labels that do not
                fit, an unknown protocol, or a task_free learner, whose masks are no tasks.
            NumericalError: images that are not finite.
        """
        check_statistics(self._network, self.kept)
        return evaluation.evaluate(self, data, infer_samples=infer_samples, protocol=protocol)

    def module(self, task: int) -> nn.Module:
        """One task as a plain module with its weights W ⊙ M, for export; a copy.

        Its logits are those of `predict(images, task=task)`, up to rounding.

        Raises:
            EmptyMemoryError, UnknownTaskError: no such task, or its mask is lost.
            ConfigError: a network that has no such module.
        """
        stored = self._recalled(task)
        check_statistics(self._network, self.kept)
        if not stored.verified:
            raise UnknownTaskError(
                f"task {task} cannot be recalled exactly: the memory is too full. Use more bits"
            )
        return plain_module(self._network, for_forward(stored))

    def forget(self, task: int) -> None:
        """Take a task out of the memory; on hubs exactly, and its number is free again.

        Raises:
            NotForgettableError: the memory cannot forget: a bank, a rule without exact inverse
                ("storkey"), or a task_free learner.
            EmptyMemoryError, UnknownTaskError: no such task.
        """
        if not isinstance(self._memory, MaskMemory):
            raise NotForgettableError(
                f"a {type(self._memory).__name__} cannot forget a task: use memory='hopfield' with "
                "masks='weight' and no task_free"
            )
        number = self.numbers.require(task)
        self._memory.forget(task=number)
        if self._memory.capacity is None:
            self._counted.forgotten.add(number)
        if not self.tasks:
            self._image_shape = None

    def merge(self, other: "SupSup") -> None:
        """Add the tasks of another learner, under their numbers; it is not changed.

        Exact: every mask is the one that was learned, and this learner then predicts as if it had
        learned all, unless scores start from masks learned before (mask_init="mean", "nearest",
        "previous" or "earlier"): these depend on who learned them. Both keep weight masks on hubs,
        and were made alike; see `learn(task=)`. The hubs become those of the larger memory.

        Raises:
            ConfigError: learners that were made otherwise, or too little room.
            DuplicateError: a task that both hold. Nothing was changed in either case.

        Example:
            >>> one, other = (SupSup("lenet-300-100", inputs=4, outputs=8) for _ in range(2))
            >>> data = torch.randn(32, 4), torch.arange(32) % 2
            >>> one.learn(data), other.learn(data, task=5)
            (0, 5)
            >>> one.merge(other)
        """
        self._settings = replace(self._settings, pixels=merging.merge(self, other))
        self._image_shape = self._image_shape or other._image_shape

    def change_inference(self, **options: Unpack[MoreOptions]) -> None:
        """Infer tasks in another way: recall, inference, objective, infer_samples.

        Raises:
            ConfigError: another option, or options that do not fit; nothing has changed.
        """
        if others := options.keys() - {"recall", "inference", "objective", "infer_samples"}:
            raise ConfigError(f"a learner cannot change its {', '.join(sorted(others))}: make one")
        settings = replace(self._settings, **options)
        self._inferences, self._settings = Inferences(settings, self._network), settings
        if self._observer is not None and not isinstance(self._memory, MaskMemory):
            self._observer.change_test(self._inferences.novelty(self._memory))

    def save(self, folder: str | Path) -> None:
        """Write `memory.h5` and `learner.h5` into a folder; a crash leaves one state or the other.

        Neither the module nor its weights are written: `load` draws them from the seed, or is
        given them, and compares fingerprints.

        Raises:
            ConfigError: task_free: a mask is in training; call close() first.
            StoreFileError: the folder cannot be written to.
        """
        if self._observer is not None and self._observer.is_open:
            raise ConfigError("a mask is in training, which no file has a place for: call close()")
        about = {
            "origin": self._origin,
            "settings": asdict(self._settings),
            "fingerprint": self._fingerprint,
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
            module: the module that the learner was made of, or "package.module:function", which is
                called with inputs and outputs and makes it; not needed for a network by name.
                With weights="given" it needs to have the same weights. A file never names code.
            signature: "package.module:function", where the learner has one of that kind.
            device: where to work.

        Raises:
            StoreFileError: it is not there, or damaged.
            ConfigError: no module, or another than the learner's, or batch norms in another mode.
        """
        about = files.read(Path(folder))
        made = files.arguments(about, module=module, signature=signature)
        learner = cls(device=device, **made)
        if learner._fingerprint != about.get("fingerprint"):
            raise ConfigError(
                f"the network is not the one that {folder} was learned with: its weights, shapes, "
                "mask sizes or the mode of its batch norms differ. Give load(module=) the module "
                "that SupSup was given, in training or evaluation mode as it was"
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

    def _check_question(self, images: Tensor) -> None:
        if self._memory.count == 0:
            raise EmptyMemoryError("no task was learned: call learn(data) first")
        check_question(images, self._image_shape, network=self._network, memory=self.kept)
        self.commit()

    def _recalled(self, task: int) -> Recalled:
        if self._observer is None:
            self.numbers.require(task)
        return self._memory.recall(task=task)
