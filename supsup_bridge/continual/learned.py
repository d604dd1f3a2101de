"""What a learner adds for one task once its mask is trained: small, and free of the learner."""

from dataclasses import dataclass, replace
from math import prod

import torch

from hopmask import SignatureSums
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.stores.packed import pack, unpack


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """One task as it goes into a memory; it can be pickled, and computed in another process.

    Attributes:
        packed: the masks of all layers, at one bit each, name -> uint8 (⌈bits/8⌉,).
        shapes: of the masks.
        extras: statistics of batch norms that belong to the task, name -> (*shape).
        sums: what it adds to the content address of a memory on hubs; None of other memories.
        image_shape: of its images.

    Example:
        >>> masks = {"hidden": torch.arange(12).reshape(3, 4) % 3 == 0}
        >>> learned = Learned.of(masks, image_shape=(64,))
        >>> learned.packed["hidden"].shape, bool((learned.masks["hidden"] == masks["hidden"]).all())
        (torch.Size([2]), True)
    """

    packed: Masks
    shapes: dict[str, tuple[int, ...]]
    extras: Masks
    sums: SignatureSums | None
    image_shape: tuple[int, ...]

    @classmethod
    def of(
        cls,
        masks: Masks,
        *,
        image_shape: tuple[int, ...],
        extras: Masks | None = None,
        sums: SignatureSums | None = None,
    ) -> "Learned":
        """Pack masks, name -> bool (*shape)."""
        return cls(
            packed={name: pack(mask.flatten()) for name, mask in masks.items()},
            shapes={name: tuple(mask.shape) for name, mask in masks.items()},
            extras=extras or {},
            sums=sums,
            image_shape=image_shape,
        )

    @property
    def masks(self) -> Masks:
        """Name -> bool (*shape)."""
        return {
            name: unpack(self.packed[name], prod(shape)).reshape(shape)
            for name, shape in self.shapes.items()
        }

    def to(self, device: torch.device) -> "Learned":
        """The same on a device."""
        packed = {name: value.to(device) for name, value in self.packed.items()}
        extras = {name: value.to(device) for name, value in self.extras.items()}
        sums = None if self.sums is None else self.sums.to(device)
        return replace(self, packed=packed, extras=extras, sums=sums)
