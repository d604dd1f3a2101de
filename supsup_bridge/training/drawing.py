"""The batches of several tasks, drawn side by side: each task's own, in its own order."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from hopmask import ConfigError
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.training.batches import Batch, Batches, LessonBatches, Place, check_labels
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.transfer import sent


class Drawn(Protocol):
    """Batches of T tasks at once: images (T, n, ...) and labels (T, n)."""

    @property
    def batches(self) -> Sequence[Place]:
        """Those of each task, which hold how far they are."""
        ...

    def __iter__(self) -> Iterator[Batch]: ...


class SideBySide:
    """Batches of any kind, stacked as they come.

    Args:
        batches: of each task.
        outputs: of the network; labels are below it.
        checked: whether all labels were looked at before.

    Raises:
        ConfigError: while iterating, a batch that cannot be learned, or batches of unequal shapes
            or numbers.
    """

    def __init__(
        self, batches: Sequence[LessonBatches], *, outputs: int, checked: bool = False
    ) -> None:
        self.batches = batches
        self._outputs, self._checked = outputs, checked

    def __iter__(self) -> Iterator[Batch]:
        sources = [iter(batches) for batches in self.batches]
        while True:
            pairs = [pair for source in sources if (pair := next(source, None)) is not None]
            if not pairs:
                return
            if len(pairs) < len(sources):
                raise _unequal("numbers of batches", [batches.done for batches in self.batches])
            if not self._checked:
                for images, labels in pairs:
                    check_labels(images, labels, self._outputs)
            if len(pairs) == 1:
                ((images, labels),) = pairs
                yield images[None], labels[None]
                continue
            shapes = [tuple(images.shape) for images, _ in pairs]
            if len(set(shapes)) > 1:
                raise _unequal("batches", shapes)
            yield torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])


class Gathered:
    """Batches of images that all lie on one device, each step by one index for all tasks.

    The images of the tasks are copied there as one tensor, T times those of a task.

    Args:
        data: equally many images of each task.
        batches: indices of the images of each step, of each task.
        device: where the copy goes.
    """

    def __init__(
        self, data: Sequence[TensorData], batches: Sequence[Batches], device: torch.device
    ) -> None:
        self.batches, self._device = batches, device
        first = data[0]
        self._images = torch.empty(
            (len(data), *first.images.shape), dtype=first.images.dtype, device=device
        )
        self._labels = torch.empty(
            (len(data), *first.labels.shape), dtype=torch.int64, device=device
        )
        for task, one in enumerate(data):
            self._images[task].copy_(one.images)
            self._labels[task].copy_(one.labels)

    def __iter__(self) -> Iterator[Batch]:
        tasks = torch.arange(len(self.batches), device=self._device)[:, None]
        for chosen in zip(*self.batches, strict=True):
            which = sent(torch.stack(chosen), self._device)
            yield self._images[tasks, which], self._labels[tasks, which]


def drawn(
    network: FixedNetwork,
    data: Sequence[LessonData],
    settings: TrainingSettings,
    generators: Sequence[torch.Generator],
) -> Drawn:
    """Batches of tasks side by side, for training on the network's device.

    Args:
        network: that is trained on them.
        data: of each task.
        settings: batch size, epochs, how many steps at most, and augmentation.
        generators: of each task's order, and of any augmentation.

    Raises:
        ConfigError: data that cannot be learned, or that is known to come in unequal batches.
    """
    for number, one in enumerate(data):
        try:
            one.check(network.outputs)
        except ConfigError as error:
            if len(data) == 1:
                raise
            raise ConfigError(f"data {number} of {len(data)}: {error}") from error
    alone, device = network.pointwise, network.device
    tensors = [one for one in data if isinstance(one, TensorData)]
    shapes = [(tuple(one.images.shape), one.images.dtype) for one in tensors]
    if len(set(shapes)) > 1:
        raise _unequal("images", shapes)
    whole = len(tensors) == len(data)
    if whole and len(data) > 1 and settings.augment is None and device.type != "cpu":
        count = len(tensors[0].images)
        orders = [Batches(count, settings, g, alone=alone) for g in generators]
        return Gathered(tensors, orders, device)
    batches = [
        one.batches(settings, g, alone=alone) for one, g in zip(data, generators, strict=True)
    ]
    steps = [one.steps for one in batches]
    if len(set(steps)) > 1:
        raise _unequal("numbers of batches", steps)
    return SideBySide(batches, outputs=network.outputs, checked=whole)


def _unequal(what: str, found: Sequence[object]) -> ConfigError:
    first = found[0]
    other = next(number for number, one in enumerate(found) if one != first)
    return ConfigError(
        f"tasks that are trained at once need equal {what}: data 0 has {first}, data {other} has "
        f"{found[other]}. Train them one by one, or in groups of equal size"
    )
