"""CIFAR-10 and CIFAR-100, from the archives in which their authors publish them."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from supsup_bridge.data.archives import Content, Layout, contents
from supsup_bridge.data.cifar_names import CIFAR10, CIFAR100
from supsup_bridge.data.files import DataError, cache, download, given_place
from supsup_bridge.data.labelled import LabelledPixels
from supsup_bridge.data.pixel_scale import PixelScale
from supsup_bridge.data.plain_pickle import plain

_SHAPE = (3, 32, 32)
_PIXELS = 3072
_SITE = "https://www.cs.toronto.edu/~kriz/"
_COUNTS = {"train": 50_000, "test": 10_000}


@dataclass(frozen=True, kw_only=True)
class _Cifar:
    """What is known of one of the two sets.

    Args:
        name: its name.
        classes: their names.
        binary, python: its two layouts; files of the training part, then one of the test part.
        label_bytes: at the start of a binary record; the last of them is the label.
        key: of the labels in a python file.
        scale: by the training images' channels.
        fingerprints: of each part, where known.
        archive: bytes and MD5 of the binary archive, as published.
    """

    name: str
    classes: tuple[str, ...]
    binary: Layout
    python: Layout
    label_bytes: int
    key: str
    scale: PixelScale
    fingerprints: dict[str, str]
    archive: tuple[int, str]


_CIFAR10 = _Cifar(
    name="CIFAR-10",
    classes=CIFAR10,
    binary=Layout(
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        files=(*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
    ),
    python=Layout(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
    ),
    label_bytes=1,
    key="labels",
    scale=PixelScale(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    fingerprints={},
    archive=(170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),
)
_CIFAR100 = _Cifar(
    name="CIFAR-100",
    classes=CIFAR100,
    binary=Layout(
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        files=("train.bin", "test.bin"),
    ),
    python=Layout(
        folder="cifar-100-python", archive="cifar-100-python.tar.gz", files=("train", "test")
    ),
    label_bytes=2,
    key="fine_labels",
    scale=PixelScale(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
    fingerprints={
        "train": "6f97a7cebe378765c1f498386fa556b4e2b231efc135c5a49c46ceb4c92b1b33",
        "test": "fcc850d7d1db11ca3367b03e77876b010b39f658a11decaf8ff5d13fba8201bd",
    },
    archive=(168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),
)


def load_cifar10(place: str | Path | None = None) -> tuple[LabelledPixels, LabelledPixels]:
    """CIFAR-10: 50 000 training and 10 000 test images of 3×32×32 pixels, in ten classes.

    Checked are the sizes of the files, the labels, and that each class has 5 000 and 1 000 images.
    Altered pixels are noticed only in a .tar.gz, by its checksum.

    Args:
        place: as for `load_cifar100`, with `cifar-10-batches-bin` or `cifar-10-batches-py`.

    Returns:
        Training part, test part; labels are those of `cifar_names.CIFAR10`.

    Raises:
        DataError: a file is missing, truncated or of another kind, or cannot be downloaded.

    Source:
        A. Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    return _loaded(_CIFAR10, place)


def load_cifar100(place: str | Path | None = None) -> tuple[LabelledPixels, LabelledPixels]:
    """CIFAR-100: 50 000 training and 10 000 test images of 3×32×32 pixels, in 100 classes.

    Mirrors differ in the order of the images, so the content is compared free of it; see
    `fingerprint`. In the original, ten images stand in both parts.

    Args:
        place: folder with the files of `cifar-100-binary` or `cifar-100-python`, or one that holds
            such a folder or its .tar.gz, or a .tar.gz itself. Default: the variable HOPMASK_DATA,
            then a cache, to which the binary archive is downloaded if missing.

    Returns:
        Training part, test part; labels are those of `cifar_names.CIFAR100` (the fine ones).

    Raises:
        DataError: a file is missing, truncated, altered or of another kind, or cannot be
            downloaded.

    Source:
        A. Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """
    return _loaded(_CIFAR100, place)


def fingerprint(labels: np.ndarray, pixels: np.ndarray) -> str:
    """A checksum of labelled images that does not depend on their order.

    Σ SHA-256(label, pixels) mod 2²⁵⁶, in hexadecimal digits. An image that is there twice counts
    twice.

    Args:
        labels: uint8 (n,).
        pixels: uint8 (n, k).

    Example:
        >>> labels, pixels = np.array([0, 1], np.uint8), np.array([[5, 6], [7, 8]], np.uint8)
        >>> fingerprint(labels, pixels) == fingerprint(labels[::-1], pixels[::-1])
        True
        >>> fingerprint(labels, pixels) == fingerprint(labels[::-1], pixels)
        False

    Source:
        AdHash: Bellare, Micciancio 1997, A New Paradigm for Collision-Free Hashing.
    """
    records = np.concatenate([labels[:, None], pixels], axis=1)
    digests = (hashlib.sha256(record).digest() for record in np.ascontiguousarray(records))
    return f"{sum(int.from_bytes(digest) for digest in digests) % 2**256:064x}"


def _loaded(which: _Cifar, place: str | Path | None) -> tuple[LabelledPixels, LabelledPixels]:
    where = given_place(place, what=f"{which.name}'s archive, unpacked or not")
    if where is None:
        where = cache(which.binary.folder)
        download(
            where / which.binary.archive,
            [_SITE + which.binary.archive],
            partial(_check_archive, which),
            by_hand=f"fetch {which.binary.archive} by hand and pass its folder as --data",
        )
    layout, files = contents(where, (which.binary, which.python), what=which.name)
    read = _of_binary if layout is which.binary else _of_python
    *train, test = (read(which, files[name]) for name in layout.files)
    return _part(which, "train", train, where), _part(which, "test", [test], where)


def _part(
    which: _Cifar, part: str, files: list[tuple[np.ndarray, np.ndarray]], where: Path
) -> LabelledPixels:
    labels, pixels = (np.concatenate(arrays) for arrays in zip(*files, strict=True))
    each = _COUNTS[part] // len(which.classes)
    counts = np.bincount(labels, minlength=len(which.classes))
    wrong = next((label for label, count in enumerate(counts) if count != each), None)
    if wrong is not None:
        raise DataError(
            f"the {part} part of {which.name} in {where} has {counts[wrong]} images of class "
            f"{which.classes[wrong]} where the original has {each}: its files are incomplete, "
            "mixed up or altered; fetch them again"
        )
    known = which.fingerprints.get(part)
    if known is not None and fingerprint(labels, pixels) != known:
        raise DataError(
            f"the {part} part of {which.name} in {where} was altered (its fingerprint, free of "
            f"order, is not {known:.12}...): fetch it again"
        )
    return LabelledPixels(
        pixels=torch.from_numpy(pixels).reshape(-1, *_SHAPE),
        labels=torch.from_numpy(labels.astype(np.int64)),
        scale=which.scale,
    )


def _of_binary(which: _Cifar, file: Content) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and pixels (n, 3072) of records: labels, then pixels."""
    record, images = which.label_bytes + _PIXELS, _images(which, file.name)
    if len(file.raw) != images * record:
        raise DataError(
            f"{file.name} holds {len(file.raw)} bytes where {which.name} has {images * record}: it "
            "is truncated or another file; fetch it again"
        )
    rows = np.frombuffer(file.raw, np.uint8).reshape(-1, record)
    return _checked(which, file, rows[:, which.label_bytes - 1], rows[:, which.label_bytes :])


def _of_python(which: _Cifar, file: Content) -> tuple[np.ndarray, np.ndarray]:
    """The same of a pickled dict."""
    held = plain(file.raw, file.name)
    entries = {
        key.decode("latin1") if isinstance(key, bytes) else key: value
        for key, value in (held.items() if isinstance(held, dict) else ())
    }
    labels, pixels = entries.get(which.key), entries.get("data")
    images = _images(which, file.name)
    if not (
        isinstance(labels, list)
        and len(labels) == images
        and all(type(label) is int and 0 <= label < 256 for label in labels)
        and isinstance(pixels, np.ndarray)
        and pixels.shape == (images, _PIXELS)
    ):
        raise DataError(
            f"{file.name} is none of {which.name}: it has no '{which.key}' of {images} images, or "
            f"no 'data' of {images} rows of {_PIXELS} bytes; fetch it again"
        )
    return _checked(which, file, np.array(labels, np.uint8), pixels)


def _checked(
    which: _Cifar, file: Content, labels: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if int(labels.max()) >= len(which.classes):
        raise DataError(
            f"{file.name} has label {labels.max()}, {which.name} has 0 .. {len(which.classes) - 1}:"
            " it is another file, or was altered; fetch it again"
        )
    return labels, pixels


def _images(which: _Cifar, name: str) -> int:
    """How many images a file of that name holds."""
    of_training = len(which.binary.files) - 1
    return _COUNTS["test"] if "test" in Path(name).name else _COUNTS["train"] // of_training


def _check_archive(which: _Cifar, raw: bytes, name: str) -> None:
    size, digest = which.archive
    if len(raw) != size or hashlib.md5(raw, usedforsecurity=False).hexdigest() != digest:
        raise DataError(
            f"{name} answered with {len(raw)} bytes that are not {which.name}'s archive "
            f"({size} bytes, MD5 {digest})"
        )
