"""Data sets in the IDX format: MNIST, Fashion-MNIST, KMNIST, EMNIST, notMNIST, USPS and others."""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch

from supsup_bridge.data.files import DataError, given_folder, read_file
from supsup_bridge.data.labelled import LabelledPixels, LabelledSet, scale_of
from supsup_bridge.data.pixel_scale import PixelScale

_BYTES = 8  # the code of unsigned bytes
_TYPES = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
_IMAGES, _LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
_TEST = ("t10k", "test")


def load_idx(folder: str | Path | None = None) -> LabelledSet:
    """Any data set of grey images in IDX files, plain or gzip: flat images, standardised.

    The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and `t10k-` in the place of
    `train-`; EMNIST's have `emnist-letters-` and so on before that, and `test-`. A set may have one
    of the two parts alone. Mean and standard deviation are those of all pixels of the training
    part; where one part is cut in two, they are measured anew in what is left for training.
    EMNIST's images stay as they are stored, with rows and columns swapped.

    Args:
        folder: where the files of one set lie. Default: the variable HOPMASK_DATA.

    Raises:
        DataError: no such files, those of several sets, or files that are truncated, of another
            type, or do not go with one another.

    Source:
        Y. LeCun, C. Cortes, C. Burges, the MNIST database: its file format.
    """
    where = given_folder(folder, what="IDX files")
    parts = {name: _part(path) for name, path in _parts(where).items()}
    train, test = parts.get("train"), parts.get("test")
    if train is None or test is None:
        images, labels = train or test  # type: ignore[misc]  # there is one of them
        whole = _labelled(images, labels, scale_of(torch.tensor(images)))
        return LabelledSet(train=whole, test=None)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"{where} has training images of {train[0].shape[1:]} pixels and test images of "
            f"{test[0].shape[1:]}: its files are of different sets; fetch them again"
        )
    scale = scale_of(torch.tensor(train[0]))
    return LabelledSet(train=_labelled(*train, scale), test=_labelled(*test, scale))


def read_idx(content: bytes, name: str, *, dimensions: int) -> np.ndarray:
    """The array of an IDX file of unsigned bytes.

    Args:
        content: of the file, unpacked.
        name: of the file, for errors.
        dimensions: that the array is to have: 1 for labels, 3 for images.

    Raises:
        DataError: another format, type or number of dimensions, or a length that does not fit.

    Example:
        >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "labels", dimensions=1)
        array([7, 9], dtype=uint8)

    Source:
        Y. LeCun, C. Cortes, C. Burges, the MNIST database: its file format.
    """
    start = 4 + 4 * dimensions
    if len(content) < 4 or content[:2] != bytes(2) or content[2] not in _TYPES:
        raise DataError(f"{name} is no IDX file (it begins with {content[:4]!r}): fetch it again")
    if content[2] != _BYTES or content[3] != dimensions:
        raise DataError(
            f"{name} holds {_TYPES[content[2]]} numbers in {content[3]} dimensions where bytes in "
            f"{dimensions} are expected: it is another file of the set; fetch it again"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start]) if len(content) >= start else ()
    if not shape or len(content) != start + prod(shape):
        raise DataError(
            f"{name} holds {len(content)} bytes where its own sizes {shape} need "
            f"{start + prod(shape)}: it is truncated or altered; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def unpacked(raw: bytes, name: str) -> bytes:
    """A file's content, unpacked if its name ends in .gz.

    Raises:
        DataError: it cannot be unpacked.
    """
    try:
        return gzip.decompress(raw) if name.endswith(".gz") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} cannot be read ({error}): fetch it again") from error


def found_file(folder: Path, name: str, *, remedy: str) -> Path:
    """A file of a folder, plain or with .gz at the end of its name.

    Raises:
        DataError: there is neither.
    """
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise DataError(f"{folder} has neither {name} nor {name}.gz: {remedy}")
    return path


def _parts(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Of each part that a folder holds, its files of images and labels."""
    found: dict[str, set[str]] = {}
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        name = path.name.removesuffix(".gz")
        for ending in (_IMAGES, _LABELS):
            if name.endswith(ending):
                before, _, part = name.removesuffix(ending).rpartition("-")
                found.setdefault(before, set()).add(part)
    if len(found) != 1:
        several = f"those of {len(found)} sets ({', '.join(sorted(found))})" if found else "none"
        raise DataError(
            f"{folder} is to hold the IDX files of one set, and holds {several}: give the folder "
            f"with train{_IMAGES}, train{_LABELS} and so on of one set alone"
        )
    ((before, prefixes),) = found.items()
    parts = {}
    for prefix in sorted(prefixes):
        part = "test" if prefix in _TEST else prefix
        if part not in ("train", "test") or part in parts:
            raise DataError(
                f"{folder} has files of the part '{prefix}', which is neither train nor t10k, or "
                "is there twice: rename them"
            )
        stem = f"{before}-{prefix}" if before else prefix
        images, labels = (
            found_file(folder, stem + ending, remedy="images and labels go together; fetch both")
            for ending in (_IMAGES, _LABELS)
        )
        parts[part] = (images, labels)
    return parts


def _part(paths: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, height, width) and labels (n,)."""
    images, labels = (
        read_idx(unpacked(read_file(path), str(path)), str(path), dimensions=dimensions)
        for path, dimensions in zip(paths, (3, 1), strict=True)
    )
    if len(images) != len(labels) or len(images) == 0:
        raise DataError(
            f"{paths[0]} holds {len(images)} images, {paths[1]} {len(labels)} labels: they do not "
            "go together; fetch both again"
        )
    if images.size == 0:
        raise DataError(f"{paths[0]} holds images of {images.shape[1:]} pixels: fetch it again")
    return images, labels


def _labelled(images: np.ndarray, labels: np.ndarray, scale: PixelScale) -> LabelledPixels:
    return LabelledPixels(
        pixels=torch.from_numpy(images.reshape(len(images), -1).copy()),
        labels=torch.from_numpy(labels.astype(np.int64)),
        scale=scale,
        measured=True,
    )
