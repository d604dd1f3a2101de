"""Labelled pictures that stay in their files, and are decoded at each access."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import current_process
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from supsup_bridge.data.files import DataError
from supsup_bridge.data.pictures import SIDE, all_of, centre, random_part
from supsup_bridge.data.pixel_scale import PixelScale
from supsup_bridge.data.task import Made

IMAGENET = PixelScale(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), centre=True)
_MOST_WORKERS = 8
_Chosen = list[tuple[int, int]]  # numbers of a batch's images, with a seed for each


@dataclass(frozen=True, kw_only=True)
class LabelledFiles:
    """Pictures in files, standardised by ImageNet's scale.

    Args:
        files: JPEG or PNG, of any sizes.
        labels: integer (n,).
    """

    files: tuple[Path, ...]
    labels: Tensor

    @property
    def scale(self) -> PixelScale:
        return IMAGENET

    def chosen(self, where: Tensor) -> "LabelledFiles":
        files = tuple(self.files[number] for number in where.tolist())
        return LabelledFiles(files=files, labels=self.labels[where])

    def on_scale_of(self, train: "LabelledFiles") -> "LabelledFiles":
        return self

    def made(self, where: Tensor) -> Made:
        """What decodes them: the centre of each picture, (k, 3, 224, 224)."""
        return Made(partial(_centres, self.chosen(where).files), len(where))

    def streamed(self, where: Tensor, labels: Tensor) -> "FileStream":
        return FileStream(LabelledFiles(files=self.chosen(where).files, labels=labels))


class FileStream:
    """Training images that are decoded batch by batch, by several processes; see `Streamed`.

    What is drawn does not depend on the number of processes.
    """

    def __init__(self, data: LabelledFiles) -> None:
        self.data, self.shape = data, (3, SIDE, SIDE)

    def batches(self, size: int, *, augment: bool, alone: bool = True) -> "FileBatches":
        """Batches of random parts, or without `augment` of centres, in random order."""
        return FileBatches(self.data, size, augment=augment, alone=alone)


class FileBatches:
    """One pass over pictures in files each time it is iterated, in another order.

    Raises:
        DataError: while iterating, a file that is no whole picture, or a process that was lost.
    """

    def __init__(
        self, data: LabelledFiles, size: int, *, augment: bool, alone: bool = True
    ) -> None:
        self._data, self._augment = data, augment
        count = len(data.files)
        starts = list(range(0, count, size))
        if not alone and count > 1 and count - starts[-1] == 1:
            starts.pop()
        self._parts = [slice(*ends) for ends in pairwise([*starts, count])]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self._data.files)
        order = torch.randperm(count, device="cpu").tolist()
        seeds = torch.randint(2**62, (count,), device="cpu").tolist()
        pairs = list(zip(order, seeds, strict=True))
        chosen = [pairs[part] for part in self._parts]
        decoded = iter(
            DataLoader(
                _Decoder(self._data, augment=self._augment),
                sampler=chosen,
                batch_size=None,
                num_workers=min(_decoders(), len(chosen)),
                worker_init_fn=_leave_signals,
            )
        )
        for part in chosen:
            try:
                pixels = next(decoded)
            except RuntimeError as error:
                raise DataError(
                    f"a process that decodes pictures was lost ({error}): often memory is short; "
                    "continue where this one was stopped, with fewer other processes"
                ) from error
            if isinstance(pixels, DataError):
                raise pixels
            labels = self._data.labels[[number for number, _ in part]]
            yield IMAGENET.images(pixels), labels


class _Decoder(Dataset[Tensor | DataError]):
    """Decodes whole batches; a worker's error comes as a value, or torch would wrap its message."""

    def __init__(self, data: LabelledFiles, *, augment: bool) -> None:
        self._files, self._augment = data.files, augment

    def __getitem__(self, chosen: _Chosen) -> Tensor | DataError:
        try:
            return torch.stack([self._one(self._files[number], seed) for number, seed in chosen])
        except DataError as error:
            return error

    def _one(self, path: Path, seed: int) -> Tensor:
        return random_part(path, seed) if self._augment else centre(path)


def _centres(files: tuple[Path, ...]) -> Tensor:
    return IMAGENET.images(all_of(centre, files))


def _leave_signals(_: int) -> None:
    """Ctrl-C reaches every process of a terminal: the training one ends those that decode."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _decoders() -> int:
    """Processes that decode; none where a worker process trains, which has one core to itself."""
    if current_process().name != "MainProcess":
        return 0
    return min(_MOST_WORKERS, _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
