"""InPlaceMemory: a hub memory whose newest mask is replaced in place while it is trained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hopmask import (
    ConfigError,
    EmptyMemoryError,
    Layout,
    MaskMemory,
    MemoryFullError,
    NotForgettableError,
    storage,
    undisturbed,
)
from supsup_bridge.continual.task_agnostic.kept_images import KeptImages
from supsup_bridge.continual.task_agnostic.staged_memory import StagedMemory
from supsup_bridge.inference.signatures import Signature
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.stores.protocols import Recalled


class InPlaceMemory:
    """Masks in a `MaskMemory` with hub couplings, the newest of which is open: still in training.

    Hub couplings replace a mask exactly, so that no mask has to wait outside the memory. Beside it
    are some images of the open mask's task alone: once the mask is closed, the content address
    learns from them, one time for each mask, and they are deleted. What is kept has a bound.

    Args:
        memory: of hub couplings, empty. Its tasks are to be stored through here alone.
        signature: of images, for the content address; None for none.
        written: called with the number and masks of each mask that is stored or replaced.
        grows: whether the hubs are doubled when they are full; else a further mask is refused.

    Raises:
        ConfigError: a memory that holds tasks already, or has dense couplings.

    Example:
        >>> import torch
        >>> memory = InPlaceMemory(
        ...     MaskMemory({"hidden": 64}, couplings="hub", hubs=2), signature=None
        ... )
        >>> first, better, second = torch.arange(3 * 64).reshape(3, 64) % 5 == 0
        >>> memory.store({"hidden": first})
        0
        >>> memory.replace(0, {"hidden": better})
        >>> memory.store({"hidden": second})
        1
        >>> memory.count, memory.closed
        (2, 1)

    Source:
        Learning without task identities: Wortsman et al. 2020 (arXiv 2006.14769), section 3.6.
    """

    def __init__(
        self,
        memory: MaskMemory,
        *,
        signature: Signature | None,
        written: Callable[[int, Masks], None] = lambda number, masks: None,
        grows: bool = False,
    ) -> None:
        if memory.count or memory.capacity is None:
            raise ConfigError(
                f"an InPlaceMemory begins with an empty MaskMemory of hub couplings, got {memory!r}"
            )
        self.memory, self.signature, self.grows = memory, signature, grows
        self._written = written
        self._is_open = False
        self._images = KeptImages()

    @property
    def count(self) -> int:
        """Number of masks, the open one included."""
        return self.memory.count

    @property
    def closed(self) -> int:
        """Number of closed masks, and the number of the open one."""
        return self.memory.count - self._is_open

    @property
    def open(self) -> Masks | None:
        """The open mask, recalled; None where there is none."""
        return self.memory.recall(task=self.closed).masks if self._is_open else None

    @property
    def nbytes(self) -> int:
        """Bytes of the memory and the images kept for its address."""
        return self.memory.nbytes + self._images.nbytes

    @property
    def mean(self) -> Masks:
        """Mean of all masks, name -> levels in [0, 1]."""
        return self.memory.mean

    @property
    def images(self) -> Tensor:
        """Images (n, ...) of the open mask's task, the first that were seen.

        Raises:
            EmptyMemoryError: there are none.
        """
        return self._images.all()

    def store(self, masks: Mapping[str, Tensor], *, signature: Tensor | None = None) -> int:
        """Close the open mask, if there is one, and open another.

        Args:
            masks: name -> bool or {0, 1} of the layer's size.
            signature: not taken: the content address learns from the images observed.

        Returns:
            Its number.

        Raises:
            ConfigError: a signature.
            MaskError: masks of a wrong name, size, type or value; nothing was changed.
            MemoryFullError: as many masks as hubs, and they are not to be doubled; nothing was
                changed.
        """
        if signature is not None:
            raise ConfigError("an InPlaceMemory takes images by observe(images), not a signature")
        Layout(self.memory.shapes, head=0).bits(masks)  # refused before the open mask is closed
        full = self.memory.count == self.memory.capacity
        if full and not self.grows:
            raise MemoryFullError(
                f"the memory holds {self.memory.count} masks, as many as it has hubs: nothing was "
                "changed. Make the learner without hubs=, or with more"
            )
        with undisturbed():
            if full:
                self.memory.grow()
            self.close()
            number = self.memory.store(masks)
            self._is_open = True
            self._written(number, dict(masks))
        return number

    def replace(self, task: int, masks: Mapping[str, Tensor]) -> None:
        """Put other masks in the place of the open one's.

        Raises:
            NotForgettableError: the task is not the open one.
            MaskError: as in `store`; nothing was changed.
        """
        if not self._is_open or task != self.closed:
            raise NotForgettableError(
                f"mask {task} is not in training, and what the content address learned of its "
                "images is final: store it as a new one"
            )
        self.memory.replace(task, masks)
        self._written(task, dict(masks))

    def observe(self, images: Tensor, labels: Tensor | None = None) -> None:
        """Take note of images (n, ...) of the open mask's task; the first 8192 are kept.

        Args:
            images: of the task.
            labels: their classes (n,); needed where the content address keeps a mean of each, else
                not looked at.

        Raises:
            EmptyMemoryError: no mask is open.
            ConfigError: labels that are needed are missing.
        """
        if not self._is_open:
            raise EmptyMemoryError("no mask is open to take images for: store one first")
        by_class = self.memory.signature_groups > 1
        if by_class and labels is None:
            raise ConfigError(
                "the content address keeps a mean of each class: give observe(images, labels)"
            )
        self._images.add(images, labels if by_class else None)

    def close(self) -> None:
        """Give the open mask its place in the content address; without one nothing happens."""
        if self._is_open and self.signature is not None and self._images:
            number, groups = self.closed, self._images.labels()
            masks = self.memory.recall(task=number).masks
            signature = self.signature(self.images)
            with undisturbed():
                self.memory.replace(number, masks, signature=signature, groups=groups)
                self._is_open = False
        self._is_open = False
        self._images.clear()

    def recall(self, *, task: int) -> Recalled:
        """The masks of a number.

        Raises:
            EmptyMemoryError, UnknownTaskError: as in `MaskMemory.recall`.
        """
        return self.memory.recall(task=task)

    def save(self, path: str | Path) -> storage.Stamp:
        """Write the memory to an HDF5 file, which `hopmask.load` reads.

        Raises:
            ConfigError: a mask is open, which has no place in the content address yet.
            StoreFileError: the file cannot be written.
        """
        if self._is_open:
            raise ConfigError(
                f"mask {self.closed} is open and images could not name it: end its learning with "
                "close() first"
            )
        return self.memory.save(path)

    def state(self) -> dict[str, Any]:
        """What stands beside the memory: whether a mask is open, and images of its task."""
        return {"open": self._is_open, "images": self._images.state()}

    def restore(self, memory: MaskMemory, state: Mapping[str, Any]) -> None:
        """Continue with a memory that was saved and the `state` that stood beside it."""
        self.memory, self._is_open = memory, bool(state["open"])
        self._images.restore(state["images"], device=memory.device)


Stage = StagedMemory | InPlaceMemory
"""Where a learner without task boundaries keeps masks, the newest of which is in training."""
