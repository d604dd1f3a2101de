"""Groups of a task's samples, such as its classes, as they are given beside a signature."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from hopmask._checks import is_tensor, kind_of
from hopmask.errors import CueError

LARGEST = 1024  # groups of a task
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
Groups = Tensor | Iterable[Tensor]  # integers (s,), or parts of them


class GroupLabels:
    """Which group each sample is of, taken in the order of the samples.

    Args:
        groups: integers from 0 to count - 1, (s,), or an iterable of such parts, one of which is
            held at a time; None where all samples are of group 0.
        count: G.

    Raises:
        CueError: in `take` and `end`: groups that there are not, or not one for each sample.

    Example:
        >>> labels = GroupLabels([torch.tensor([0, 1, 1]), torch.tensor([0])], count=2)
        >>> labels.take(2), labels.take(2)
        (tensor([0, 1]), tensor([1, 0]))
        >>> labels.end()
    """

    def __init__(self, groups: Groups | None, *, count: int) -> None:
        self._count, self._all_of_one = count, groups is None
        self._parts = _parts_of(groups)
        self._left = torch.zeros(0, dtype=torch.long, device="cpu")

    def take(self, samples: int) -> Tensor:
        """Groups of the next samples, int64 (samples,)."""
        if self._all_of_one:
            return torch.zeros(samples, dtype=torch.long, device="cpu")
        while len(self._left) < samples:
            part = next(self._parts, None)
            if part is None:
                raise CueError("groups= has fewer numbers than the signature has samples")
            self._left = torch.cat([self._left, self._checked(part)])
        taken, self._left = self._left[:samples], self._left[samples:]
        return taken

    def end(self) -> None:
        """Make sure that no group is left without a sample."""
        if len(self._left) or any(len(self._checked(part)) for part in self._parts):
            raise CueError("groups= has more numbers than the signature has samples")

    def _checked(self, groups: Tensor) -> Tensor:
        if not is_tensor(groups) or groups.ndim != 1 or groups.dtype not in _WHOLE:
            raise CueError(
                "groups must be an integer tensor (s,), one number for each sample of the "
                f"signature, got {_shown(groups)}"
            )
        if len(groups) and not (int(groups.min()) >= 0 and int(groups.max()) < self._count):
            raise CueError(
                f"groups are numbers from 0 to {self._count - 1}, got {int(groups.min())} to "
                f"{int(groups.max())}: build the memory with as many signature_groups as a task has"
            )
        return groups.to(self._left)


def _parts_of(groups: Groups | None) -> Iterator[Tensor]:
    if isinstance(groups, Tensor) or not isinstance(groups, Iterable):
        return iter([] if groups is None else [groups])
    return iter(groups)


def _shown(groups: object) -> str:
    if is_tensor(groups):
        return f"{groups.dtype} {tuple(groups.shape)}"
    return kind_of(groups)
