"""StagedMemory: a Hopfield memory and, beside it, the one mask that is still being learned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopmask import (
    ConfigError,
    EmptyMemoryError,
    Layout,
    MaskMemory,
    NotForgettableError,
    storage,
    undisturbed,
)
from supsup_bridge.continual.task_agnostic.kept_images import KeptImages
from supsup_bridge.inference.signatures import Signature
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.stores.protocols import Recalled


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The mask in training, as the store that holds it gives it back.

    Attributes:
        masks: name -> bool (*size).
        extras: nothing else belongs to it.
        steps: 0.
        verified: True.
    """

    masks: Masks
    extras: Masks = field(default_factory=dict)
    steps: int = 0
    verified: bool = True


class StagedMemory:
    """Masks in a `MaskMemory`, but for the newest, which can be replaced until another one comes.

    Dense couplings cannot take a mask back, so a learner that does not know when a task ends
    keeps the mask in training outside it, with some of the task's images for the content address.
    Once it begins another mask, the former one is closed: stored in the memory and deleted. What is
    kept has a bound, however many masks there are.

    Args:
        memory: what closed masks go to. Its tasks are to be stored through here alone.
        signature: of images, for the content address; None for none.
        closed: called with the number and masks of each mask that is closed.

    Raises:
        ConfigError: a memory that holds tasks already.

    Example:
        >>> memory = StagedMemory(MaskMemory({"hidden": 64}), signature=None)
        >>> first, better, second = torch.arange(3 * 64).reshape(3, 64) % 5 == 0
        >>> memory.store({"hidden": first})
        0
        >>> memory.replace(0, {"hidden": better})
        >>> memory.store({"hidden": second})
        1
        >>> memory.count, memory.memory.count
        (2, 1)

    Source:
        Learning without task identities: Wortsman et al. 2020 (arXiv 2006.14769), section 3.6; the
        open mask is ours.
    """

    def __init__(
        self,
        memory: MaskMemory,
        *,
        signature: Signature | None,
        closed: Callable[[int, Masks], None] = lambda number, masks: None,
    ) -> None:
        if memory.count:
            raise ConfigError(
                f"a StagedMemory begins with an empty MaskMemory, got one of {memory.count} tasks"
            )
        self.memory, self.signature = memory, signature
        self.open: Masks | None = None
        self._closed = closed
        self._layout = Layout(memory.shapes, head=0)
        self._images = KeptImages()  # of the open mask's task

    @property
    def count(self) -> int:
        """Number of masks, the open one included."""
        return self.memory.count + (self.open is not None)

    @property
    def closed(self) -> int:
        """Number of closed masks, and the number of the open one."""
        return self.memory.count

    @property
    def nbytes(self) -> int:
        """Bytes of the memory, the open mask and the images kept for its address."""
        opened = (self.open or {}).values()
        held = sum(mask.numel() * mask.element_size() for mask in opened)
        return self.memory.nbytes + held + self._images.nbytes

    @property
    def mean(self) -> Masks:
        """Mean of all masks, name -> levels in [0, 1]."""
        closed = self.memory.mean
        if self.open is None:
            return closed
        weight = 1 / self.count
        return {n: torch.lerp(closed[n], m.to(closed[n]), weight) for n, m in self.open.items()}

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
            DuplicateError: the mask to be closed is in the memory already; it stays open.
        """
        if signature is not None:
            raise ConfigError("a StagedMemory takes images by observe(images), not a signature")
        opened = self._checked(masks)
        self.close()
        self.open = opened
        return self.memory.count

    def replace(self, task: int, masks: Mapping[str, Tensor]) -> None:
        """Put other masks in the place of the open one's.

        Raises:
            NotForgettableError: the task is not the open one.
            MaskError: as in `store`; nothing was changed.
        """
        if self.open is None or task != self.memory.count:
            state = "none is open" if self.open is None else f"open is {self.memory.count}"
            raise NotForgettableError(
                f"mask {task} is in the Hopfield memory for good, only an open mask can be "
                f"replaced, and {state}: store it as a new one"
            )
        self.open = self._checked(masks)

    def observe(self, images: Tensor, labels: Tensor | None = None) -> None:
        """Take note of images (n, ...) of the open mask's task; the first 8192 are kept.

        Args:
            images: of the task.
            labels: not looked at: the content address of dense couplings keeps a mean of the task.

        Raises:
            EmptyMemoryError: no mask is open.
        """
        if self.open is None:
            raise EmptyMemoryError("no mask is open to take images for: store one first")
        self._images.add(images)

    def close(self) -> None:
        """Store the open mask in the memory and delete it; without one nothing happens."""
        if self.open is None:
            return
        described = self._images and self.signature is not None
        signature = self.signature(self.images) if described and self.signature else None
        with undisturbed():
            number = self.memory.store(self.open, signature=signature)
            self._closed(number, self.open)
            self.open = None
            self._images.clear()

    def recall(self, *, task: int) -> Recalled:
        """The masks of a number: the open one as it is, others from the memory.

        Raises:
            EmptyMemoryError, UnknownTaskError: as in `MaskMemory.recall`.
        """
        if self.open is not None and task == self.memory.count:
            return Opened(masks={name: mask.clone() for name, mask in self.open.items()})
        return self.memory.recall(task=task)

    def save(self, path: str | Path) -> storage.Stamp:
        """Write the memory to an HDF5 file, which `hopmask.load` reads.

        Raises:
            ConfigError: a mask is open, which the file has no place for.
            StoreFileError: the file cannot be written.
        """
        if self.open is not None:
            raise ConfigError(
                f"mask {self.memory.count} is open and would be missing in the file: end its "
                "learning with close() first"
            )
        return self.memory.save(path)

    def state(self) -> dict[str, Any]:
        """What stands beside the memory: the open mask and the images of its task."""
        return {"open": self.open, "images": self._images.state()}

    def restore(self, memory: MaskMemory, state: Mapping[str, Any]) -> None:
        """Continue with a memory that was saved and the `state` that stood beside it."""
        device = memory.device
        opened = state["open"]
        self.memory = memory
        self.open = None if opened is None else {n: m.to(device) for n, m in opened.items()}
        self._images.restore(state["images"], device=device)

    def _checked(self, masks: Mapping[str, Tensor]) -> Masks:
        """A copy of masks that fit the memory, as bool."""
        joined = self._layout.join(masks)
        return {name: spins > 0 for name, spins in self._layout.split(joined).items()}
