"""KeptImages: the first images of the task at hand, for the content address and as a reference."""

from typing import Any

import torch
from torch import Tensor

from hopmask import EmptyMemoryError
from supsup_bridge.inference.signatures import DESCRIBED


class KeptImages:
    """The first `DESCRIBED` images that were seen since the last `clear`, and their labels.

    Example:
        >>> kept = KeptImages()
        >>> kept.add(torch.ones(3, 4))
        >>> kept.all().shape
        torch.Size([3, 4])
    """

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._labels: list[Tensor] = []  # of the parts, or none

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept; they have a bound."""
        kept = (*self._parts, *self._labels)
        return sum(part.numel() * part.element_size() for part in kept)

    def add(self, images: Tensor, labels: Tensor | None = None) -> None:
        """Keep images (n, ...), with their labels or always without, as far as there is room."""
        left = DESCRIBED - sum(len(part) for part in self._parts)
        if left > 0:
            self._parts.append(images[:left].clone())
            self._labels += [] if labels is None else [labels[:left].clone()]

    def all(self) -> Tensor:
        """The images (n, ...).

        Raises:
            EmptyMemoryError: there are none.
        """
        if not self._parts:
            raise EmptyMemoryError("the open mask has seen no images: call observe(images)")
        return torch.cat(self._parts)

    def labels(self) -> Tensor | None:
        """The labels (n,) of the images, if they came with any."""
        return torch.cat(self._labels) if self._labels else None

    def clear(self) -> None:
        """Drop what is kept."""
        self._parts, self._labels = [], []

    def state(self) -> dict[str, Any]:
        """What is kept."""
        return {"images": self.all() if self else None, "labels": self.labels()}

    def restore(self, state: dict[str, Any], *, device: torch.device) -> None:
        """Continue from the `state` of another."""
        self._parts, self._labels = (
            [] if state[name] is None else [state[name].to(device)] for name in ("images", "labels")
        )
