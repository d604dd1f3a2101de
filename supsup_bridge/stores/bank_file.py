"""The file of a `MaskBank`: a document of `hopmask.storage`, of kind "bank".

About `layers`, [[name, [side ...]] ...], with one array `masks` (uint8, (k, ⌈w/8⌉), packed). Where
tasks have extras, about `extras` of the same form goes with it, and an array `extras` (int16, (k,
values), the bits of half floats).
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hopmask import ConfigError, Layout, storage
from hopmask.errors import CorruptStoreError

KIND = "bank"
Shapes = Mapping[str, tuple[int, ...]]


class BankParts(NamedTuple):
    """What is in a bank's file.

    Attributes:
        layers, extras: name -> shape.
        rows: packed masks, uint8 (k, ⌈w/8⌉).
        halves: extras of the tasks, float16 (k, values).
    """

    layers: Shapes
    extras: Shapes
    rows: npt.NDArray[np.uint8]
    halves: npt.NDArray[np.float16]


def document_of(parts: BankParts) -> storage.Document:
    """A bank as a document."""
    about = {"layers": [[name, list(shape)] for name, shape in parts.layers.items()]}
    arrays: dict[str, npt.NDArray[Any]] = {"masks": parts.rows}
    if parts.extras:
        about["extras"] = [[name, list(shape)] for name, shape in parts.extras.items()]
        arrays["extras"] = parts.halves.view(np.int16)
    return storage.Document(kind=KIND, about=about, arrays=arrays)


def read(path: str | Path, *, sha256: str | None) -> BankParts:
    """The parts of a bank's file, checked.

    Raises:
        StoreFileError: as of `MaskBank.load`.
    """
    document = storage.read(path, kinds=(KIND,), sha256=sha256)
    try:
        layers = [(name, tuple(shape)) for name, shape in document.about["layers"]]
        extras = [(name, tuple(shape)) for name, shape in document.about.get("extras", [])]
        named = Layout(dict([*layers, *extras]), head=0)
        width, values = (sum(prod(shape) for _, shape in part) for part in (layers, extras))
        if not layers or len(named.shapes) < len(layers) + len(extras):
            raise ConfigError("names are missing, or come twice")
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CorruptStoreError(f"{path}: its layers cannot be read ({error})") from error
    rows = document.arrays.get("masks", np.zeros(0))
    fits = rows.ndim == 2 and rows.shape[1] == -(-width // 8) and rows.dtype == np.uint8
    names = {"masks", "extras"} if extras else {"masks"}
    if set(document.arrays) != names or not fits:
        raise CorruptStoreError(
            f"{path}: {sorted(document.arrays)}, {rows.dtype}{rows.shape}, are not masks in rows "
            f"of {width} bits"
        )
    if width % 8 and (rows[:, -1] >> width % 8).any():
        raise CorruptStoreError(f"{path}: masks have bits beyond their {width}")
    halves = document.arrays.get("extras", np.zeros((len(rows), 0), np.int16))
    alike = halves.dtype == np.int16 and halves.shape == (len(rows), values)
    if not alike or not np.isfinite(halves.view(np.float16)).all():
        raise CorruptStoreError(f"{path}: {halves.dtype}{halves.shape} are not its extras")
    return BankParts(dict(layers), dict(extras), rows, halves.view(np.float16))
