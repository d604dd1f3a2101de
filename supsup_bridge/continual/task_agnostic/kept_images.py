"""KeptImages: the first images of the task at hand, for the content address and as a reference."""

import torch
from torch import Tensor

from hopmask import EmptyMemoryError
from supsup_bridge.inference.signatures import DESCRIBED


class KeptImages:
    """The first `DESCRIBED` images that were seen since the last `clear`.

    Example:
        >>> kept = KeptImages()
        >>> kept.add(torch.ones(3, 4))
        >>> kept.all().shape
        torch.Size([3, 4])
    """

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def nbytes(self) -> int:
        """Bytes of the images; they have a bound."""
        return sum(part.numel() * part.element_size() for part in self._parts)

    def add(self, images: Tensor) -> None:
        """Keep images (n, ...), as far as there is room for them."""
        left = DESCRIBED - sum(len(part) for part in self._parts)
        if left > 0:
            self._parts.append(images[:left].clone())

    def all(self) -> Tensor:
        """The images (n, ...).

        Raises:
            EmptyMemoryError: there are none.
        """
        if not self._parts:
            raise EmptyMemoryError("the open mask has seen no images: call observe(images)")
        return torch.cat(self._parts)

    def clear(self) -> None:
        """Drop the images."""
        self._parts = []

    def state(self) -> Tensor | None:
        """The images, or None."""
        return self.all() if self else None

    def restore(self, images: Tensor | None, *, device: torch.device) -> None:
        """Continue from the `state` of another."""
        self._parts = [] if images is None else [images.to(device)]
