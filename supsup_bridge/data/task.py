"""One task, and streams of tasks that are made at each access: thousands take no more memory."""

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Protocol, overload

from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.data.pixel_scale import PixelScale


class Streamed(Protocol):
    """Labelled training images of a task that are read batch by batch."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image."""
        ...

    def batches(
        self, size: int, *, augment: bool, alone: bool = True
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """Batches of images (n, *shape) and labels (n,), as many as its length says.

        Unless one may be `alone`, an image that is left over goes with the batch before it.
        Order, crops and flips are drawn from torch's global generator each time it is iterated.
        """
        ...


@dataclass(frozen=True)
class Made:
    """A function that makes images, with their number, which is known before they are made.

    Example:
        >>> import torch
        >>> images = Made(lambda: torch.zeros(3, 4), count=3)
        >>> len(images), images().shape
        (3, torch.Size([3, 4]))
    """

    make: Callable[[], Tensor]
    count: int

    def __call__(self) -> Tensor:
        return self.make()

    def __len__(self) -> int:
        return self.count


class _Images:
    """A dataclass field without default that takes a tensor, or a function called at each access.

    Source:
        https://docs.python.org/3/library/dataclasses.html#descriptor-typed-fields
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: object, owner: type) -> Tensor:
        if task is None:
            raise AttributeError(self._name)  # the dataclass takes it for: no default
        value: Tensor | Callable[[], Tensor] = task.__dict__[self._name]
        return value if isinstance(value, Tensor) else value()

    def __set__(self, task: object, value: Tensor | Callable[[], Tensor]) -> None:
        task.__dict__[self._name] = value


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One task. Recall images and scored images are disjoint halves of its test images.

    Images may be given as a function that makes them: it is called at each access, and the task
    keeps nothing of what it returns.

    Attributes:
        name: what it is, for people.
        train_images: (n, *shape); train_labels: class within the task (n,).
        inference_images: unlabelled, for task inference, (r, *shape).
        scored_images: (s, *shape); scored_labels: class within the task (s,).
        streamed: the training images batch by batch, where they are too many to hold at once.
        scale: how its images were made of a picture's pixels, for `supsup predict` of pictures;
            None where that is unknown, or where pixels were moved.
        classes: how many classes the task has: outputs from that one on are superfluous. Default:
            the largest label, and one.

    Raises:
        ConfigError: fewer classes than labels.

    Example:
        >>> import supsup_bridge
        >>> task = supsup_bridge.split_digits(tasks=1)[0]
        >>> len(task.inference_images), sorted(set(task.train_labels.tolist()))
        (72, [0, 1])
        >>> task
        Task(name='digits 0 and 1', classes=2)

    Source:
        Paper's section on benchmarks; the cut into recall and scored images is ours.
    """

    name: str
    train_images: _Images = _Images()
    train_labels: Tensor
    inference_images: _Images = _Images()
    scored_images: _Images = _Images()
    scored_labels: Tensor
    streamed: Streamed | None = None
    scale: PixelScale | None = None
    classes: int = 0

    def __post_init__(self) -> None:
        labels = (self.train_labels, self.scored_labels)
        needed = max((int(some.max()) + 1 for some in labels if len(some)), default=0)
        if not self.classes:
            object.__setattr__(self, "classes", needed)
        elif self.classes < needed:
            raise ConfigError(
                f"task '{self.name}' has labels up to {needed - 1}, got classes={self.classes}: "
                f"give at least {needed}, or leave it out"
            )

    @property
    def inference_count(self) -> int:
        """Number of inference images; `Made` ones are not made for it."""
        images = self.__dict__["inference_images"]
        return len(images if isinstance(images, Sized) else images())

    def __repr__(self) -> str:
        return f"Task(name={self.name!r}, classes={self.classes})"


class TaskStream(Sequence[Task]):
    """Tasks made at each access; none is kept.

    Args:
        make: number of a task -> the task.
        tasks: how many there are.

    Example:
        >>> import supsup_bridge
        >>> digits = supsup_bridge.split_digits()
        >>> stream = TaskStream(lambda number: digits[number], tasks=5)
        >>> len(stream), stream[-1], len(stream[:2])
        (5, Task(name='digits 8 and 9', classes=2), 2)
    """

    def __init__(self, make: Callable[[int], Task], *, tasks: int) -> None:
        self._make = make
        self._numbers = range(tasks)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self._make(number) for number in self._numbers[index]]
        return self._make(self._numbers[index])
