"""The batches of a lesson, in an order that a stopped lesson can be continued in."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.networks.grad_mode import ordinary
from supsup_bridge.rng import shuffled
from supsup_bridge.training.settings import TrainingSettings

Batch = tuple[Tensor, Tensor]  # images (n, ...), labels (n,)


class Place(Protocol):
    """How far the batches of one lesson are."""

    @property
    def done(self) -> int:
        """How many were given."""
        ...

    @property
    def steps(self) -> int | None:
        """How many there will be in all; None where nobody knows."""
        ...

    def state(self) -> dict[str, Any]:
        """All that the next batch depends on, except for the data."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of batches that were made alike."""
        ...


class LessonBatches(Place, Protocol):
    """The batches of one lesson, each given once."""

    def __iter__(self) -> Iterator[Batch]: ...


class Batches:
    """Indices of the images of each step: shuffled anew every epoch, its last batch may be small.

    Args:
        images: how many there are.
        settings: batch size, epochs and how many steps at most.
        generator: of the order; other draws from it between two steps do no harm.
        alone: whether a last batch may hold one image; else it goes with the batch before.

    Example:
        >>> settings = TrainingSettings(epochs=2, batch=2)
        >>> [len(chosen) for chosen in Batches(3, settings, torch.Generator())]
        [2, 1, 2, 1]
    """

    def __init__(
        self,
        images: int,
        settings: TrainingSettings,
        generator: torch.Generator,
        *,
        alone: bool = True,
    ) -> None:
        self.images, self.batch = images, settings.batch
        self.steps = settings.steps(images, alone=alone)
        self.done = 0
        self._per_epoch = settings.per_epoch(images, alone=alone)
        self._generator = generator
        self._epoch = generator.get_state()  # when the present epoch's order was drawn
        self._order = torch.empty(0, dtype=torch.int64, device=generator.device)

    def __iter__(self) -> Iterator[Tensor]:
        while self.done < self.steps:
            number = self.done % self._per_epoch
            if number == 0:
                self._epoch = self._generator.get_state()
                self._order = shuffled(self.images, self._generator)
            first = number * self.batch
            end = self.images if number + 1 == self._per_epoch else first + self.batch
            self.done += 1
            yield self._order[first:end]

    def state(self) -> dict[str, Any]:
        """How many batches were given, and the generator as it was and is."""
        return {
            "done": self.done,
            "epoch": self._epoch,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` of batches that were made alike."""
        self.done, self._epoch = state["done"], state["epoch"]
        self._generator.set_state(self._epoch)
        self._order = shuffled(self.images, self._generator)
        self._generator.set_state(state["generator"])


class IndexedBatches:
    """Batches of data that is read by index.

    Args:
        batches: the indices.
        read: indices (n,) -> images and labels.
    """

    def __init__(self, batches: Batches, read: Callable[[Tensor], Batch]) -> None:
        self.steps = batches.steps
        self._batches, self._read = batches, read

    @property
    def done(self) -> int:
        return self._batches.done

    def __iter__(self) -> Iterator[Batch]:
        return (self._read(chosen) for chosen in self._batches)

    def state(self) -> dict[str, Any]:
        return self._batches.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._batches.restore(state)


class LoadedBatches:
    """Batches as a loader gives them, epoch after epoch.

    Random numbers that the loader draws from torch's global generator, for its order or in its
    transforms, come from one seed per epoch instead, and the global generator stays as it is.
    Workers of a loader get their seeds in the same way.

    Args:
        loader: gives batches (images, labels) each time it is iterated.
        settings: epochs and how many steps at most; the size of a batch is the loader's.
        generator: gives the seeds.

    Raises:
        ConfigError: while iterating, a loader that gives no batch, or something else than pairs.
    """

    def __init__(
        self, loader: Iterable[Any], settings: TrainingSettings, generator: torch.Generator
    ) -> None:
        self._loader, self._settings, self._generator = loader, settings, generator
        self.done, self.steps = 0, _steps(loader, settings)
        self._epoch, self._within = 0, 0  # epochs that are over, batches given of the present one
        self._seed, self._own = 0, _own_state(loader)  # of the present epoch

    def __iter__(self) -> Iterator[Batch]:
        while self._epoch < self._settings.epochs and not self._full():
            if self._within == 0:
                self._seed, self._own = _seed(self._generator), _own_state(self._loader)
            for batch in islice(self._read(), self._within, None):
                self.done, self._within = self.done + 1, self._within + 1
                yield batch
                if self._full():
                    return
            if self._within == 0:
                raise ConfigError(
                    f"the loader gave no batch in epoch {self._epoch + 1}: give one that starts "
                    "again each time it is iterated, such as a DataLoader with data"
                )
            self._epoch, self._within = self._epoch + 1, 0

    def state(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "epoch": self._epoch,
            "within": self._within,
            "seed": self._seed,
            "own": self._own,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from such a `state`: the present epoch is read again up to the same batch."""
        self.done, self._epoch, self._within = state["done"], state["epoch"], state["within"]
        self._seed, self._own = state["seed"], state["own"]
        self._generator.set_state(state["generator"])

    def _full(self) -> bool:
        most = self._settings.max_batches
        return most is not None and self.done >= most

    def _read(self) -> Iterator[Batch]:
        """The batches of the present epoch, from its first."""
        if self._own is not None:
            self._loader.generator.set_state(self._own)  # type: ignore[attr-defined]
        drawn = torch.Generator("cpu").manual_seed(self._seed).get_state()
        batches: Iterator[Any] | None = None
        while True:
            with torch.random.fork_rng(devices=[]), torch.no_grad():  # of code of a user's
                torch.set_rng_state(drawn)
                batches = iter(self._loader) if batches is None else batches
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                drawn = torch.get_rng_state()
            yield as_pair(batch)


def check_labels(images: Tensor, labels: Tensor, outputs: int) -> None:
    """Raise ConfigError unless these are images (n, ...) and as many classes below `outputs`."""
    for name, value in (("images", images), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise ConfigError(f"{name} must be a tensor, got {type(value).__name__}")
    if not images.is_floating_point():
        raise ConfigError(f"images must be floating-point, got {images.dtype}: use images.float()")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ConfigError(f"labels must be whole numbers, got {labels.dtype}: use labels.long()")
    if images.ndim < 2 or labels.ndim != 1 or len(images) == 0 or len(images) != len(labels):
        raise ConfigError(
            "a task needs images (n, ...) and as many labels (n,), n >= 1, got "
            f"{tuple(images.shape)} and {tuple(labels.shape)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= outputs:
        raise ConfigError(
            f"labels must lie in 0 .. {outputs - 1} (the network's outputs), "
            f"got {int(labels.min())} .. {int(labels.max())}; labels count from 0 in each task"
        )


def as_pair(batch: Any) -> Batch:
    """A batch as its images and labels; ConfigError unless it is a pair."""
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return ordinary(batch[0]), ordinary(batch[1])
    raise ConfigError(
        f"a task's data must come as batches (images, labels), got {type(batch).__name__}"
    )


def _steps(loader: Iterable[Any], settings: TrainingSettings) -> int | None:
    try:
        steps = settings.epochs * len(loader)  # type: ignore[arg-type]
    except TypeError:  # it has no length
        return None
    return steps if settings.max_batches is None else min(steps, settings.max_batches)


def _seed(generator: torch.Generator) -> int:
    where = generator.device
    drawn = torch.randint(2**62, (), generator=generator, dtype=torch.int64, device=where)
    return int(drawn)


def _own_state(loader: Iterable[Any]) -> Tensor | None:
    """State of the generator that a DataLoader was given, if any."""
    own = getattr(loader, "generator", None)
    return own.get_state() if isinstance(own, torch.Generator) else None
