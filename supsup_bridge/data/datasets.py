"""Data sets as plain arrays: read, checked against their known contents, never silently wrong."""

import gzip
import hashlib
import os
import urllib.request
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits as _sklearn_digits
from torch import Tensor

from hopmask import HopmaskError


class DataError(HopmaskError, OSError):
    """A data set that is missing, truncated, altered, or cannot be downloaded."""


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Standardised float32 images (n, pixels) and integer labels (n,)."""

    images: Tensor
    labels: Tensor


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
_MNIST_MEAN, _MNIST_STD = 0.1307, 0.3081  # of the training images, as is the custom
_DIGITS_MEAN, _DIGITS_STD = 0.3, 0.375  # a fixed scale, close to the data's own
_TIMEOUT = 30  # seconds to wait for a mirror


def load_digits() -> LabelledImages:
    """scikit-learn's 1797 digits of 8×8 pixels; embedded, nothing to download.

    Example:
        >>> load_digits().images.shape
        torch.Size([1797, 64])

    Source:
        E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository.
    """
    data = _sklearn_digits()
    pixels = torch.from_numpy(data.data.astype(np.float32)) / 16
    return LabelledImages(
        images=(pixels - _DIGITS_MEAN) / _DIGITS_STD, labels=torch.from_numpy(data.target)
    )


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
    given = folder if folder is not None else os.environ.get("HOPMASK_DATA") or None
    if given is not None:
        where = Path(given)
        if not where.is_dir():
            raise DataError(f"there is no folder {where}: give the one with MNIST's IDX files")
        where = where / "mnist" if (where / "mnist").is_dir() else where
    else:
        where = _cache() / "mnist"
        _download_missing(where)
    content = {name: _checked(where, name) for name in _MNIST_FILES}
    return _part(content, "train"), _part(content, "t10k")


def _part(content: dict[str, bytes], prefix: str) -> LabelledImages:
    pixels = np.frombuffer(content[f"{prefix}-images-idx3-ubyte"], np.uint8, offset=16)
    labels = np.frombuffer(content[f"{prefix}-labels-idx1-ubyte"], np.uint8, offset=8)
    images = torch.from_numpy(pixels.reshape(-1, 784).astype(np.float32)) / 255
    return LabelledImages(
        images=(images - _MNIST_MEAN) / _MNIST_STD, labels=torch.from_numpy(labels.astype(np.int64))
    )


def _checked(folder: Path, name: str) -> bytes:
    """Decompressed bytes of one IDX file, equal to the published ones."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise DataError(
            f"{folder} has neither {name} nor {name}.gz: put MNIST's four IDX files there, "
            "or leave out --data to download them"
        )
    try:
        return _verified(path.read_bytes(), name, path)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read ({error})") from error


def _verified(raw: bytes, name: str, path: Path | str) -> bytes:
    """Decompressed content of one file from its bytes; DataError unless it is MNIST's."""
    digest, size = _MNIST_FILES[name]
    try:
        content = gzip.decompress(raw) if str(path).endswith(".gz") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): fetch it again") from error
    if len(content) != size:
        raise DataError(
            f"{path} holds {len(content)} bytes where MNIST has {size}: it is truncated or another "
            "file; fetch it again"
        )
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != digest:
        raise DataError(f"{path} was altered (MD5 differs from MNIST's {digest}): fetch it again")
    return content


def _download_missing(folder: Path) -> None:
    for name in _MNIST_FILES:
        if (folder / name).is_file() or (folder / f"{name}.gz").is_file():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"cannot write to {folder} ({error}): set XDG_CACHE_HOME, or pass the folder with "
                "MNIST's IDX files as --data"
            ) from error
        _download(name, folder)


def _download(name: str, folder: Path) -> None:
    reasons = []
    for mirror in _MNIST_MIRRORS:
        part = folder / f"{name}.gz.{os.getpid()}.part"
        try:
            with urllib.request.urlopen(f"{mirror}{name}.gz", timeout=_TIMEOUT) as answer:
                raw = answer.read()
            _verified(raw, name, f"{mirror}{name}.gz")
            part.write_bytes(raw)
            part.replace(folder / f"{name}.gz")
            return
        except (OSError, HTTPException) as error:
            reasons.append(f"{mirror}: {error}")
        finally:
            part.unlink(missing_ok=True)
    raise DataError(
        f"{name} is not in {folder} and no mirror could be reached ({'; '.join(reasons)}): "
        "fetch MNIST's IDX files by hand and pass their folder as --data"
    )


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hopmask"
