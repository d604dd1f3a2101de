"""Data sets as plain arrays: read, checked against their known contents, never silently wrong."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits as _sklearn_digits

from supsup_bridge.data.files import DataError, cache, download, given_place, read_file
from supsup_bridge.data.idx import found_file, read_idx, unpacked
from supsup_bridge.data.labelled import LabelledImages
from supsup_bridge.data.pixel_scale import PixelScale

# name -> (MD5 of the decompressed file, bytes of the decompressed file)
_MNIST_FILES = {
    "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", 47_040_016),
    "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", 60_008),
    "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", 7_840_016),
    "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", 10_008),
}
_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_MNIST = PixelScale(mean=(0.1307,), std=(0.3081,))  # of the training images, as is the custom
_DIGITS = PixelScale(mean=(0.3,), std=(0.375,))  # close to the data's own
_BY_HAND = "fetch MNIST's IDX files by hand and pass their folder as --data"


def load_digits() -> LabelledImages:
    """scikit-learn's 1797 digits of 8×8 pixels; embedded, nothing to download.

    Example:
        >>> load_digits().images.shape
        torch.Size([1797, 64])

    Source:
        E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository.
    """
    data = _sklearn_digits()
    values = torch.from_numpy(data.data.astype(np.float32)) / 16  # of 17 shades
    images = (values - _DIGITS.mean[0]) / _DIGITS.std[0]
    return LabelledImages(images=images, labels=torch.from_numpy(data.target), scale=_DIGITS)


def load_mnist(folder: str | Path | None = None) -> tuple[LabelledImages, LabelledImages]:
    """MNIST, 60 000 training and 10 000 test images of 28×28 pixels.

    Args:
        folder: where the four IDX files lie (plain or gzip), or a folder holding `mnist/`. Default:
            the variable HOPMASK_DATA, then a cache, to which the files are downloaded if missing.

    Returns:
        Training part, test part.

    Raises:
        DataError: a file is missing, truncated or altered, or no mirror could be reached.

    Source:
        Y. LeCun, C. Cortes, C. Burges, the MNIST database of handwritten digits.
    """
    where = given_place(folder, what="MNIST's IDX files")
    if where is not None:
        where = where / "mnist" if (where / "mnist").is_dir() else where
    else:
        where = cache("mnist")
        for name in _MNIST_FILES:
            if not (where / name).is_file():
                urls = [f"{mirror}{name}.gz" for mirror in _MNIST_MIRRORS]
                check = partial(_verified, name)
                download(where / f"{name}.gz", urls, check, by_hand=_BY_HAND)
    content = {name: _checked(where, name) for name in _MNIST_FILES}
    return _part(content, "train"), _part(content, "t10k")


def _part(content: dict[str, bytes], prefix: str) -> LabelledImages:
    names = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    pixels, labels = (
        read_idx(content[name], name, dimensions=dimensions)
        for name, dimensions in zip(names, (3, 1), strict=True)
    )
    return LabelledImages(
        images=_MNIST.images(torch.from_numpy(pixels.reshape(-1, 784).copy())),
        labels=torch.from_numpy(labels.astype(np.int64)),
        scale=_MNIST,
    )


def _checked(folder: Path, name: str) -> bytes:
    """Decompressed bytes of one IDX file, equal to the published ones."""
    remedy = "put MNIST's four IDX files there, or leave out --data to download them"
    path = found_file(folder, name, remedy=remedy)
    return _verified(name, read_file(path), str(path))


def _verified(name: str, raw: bytes, path: str) -> bytes:
    """Decompressed content of one file from its bytes; DataError unless it is MNIST's."""
    digest, size = _MNIST_FILES[name]
    content = unpacked(raw, path)
    if len(content) != size:
        raise DataError(
            f"{path} holds {len(content)} bytes where MNIST has {size}: it is truncated or another "
            "file; fetch it again"
        )
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != digest:
        raise DataError(f"{path} was altered (MD5 differs from MNIST's {digest}): fetch it again")
    return content
