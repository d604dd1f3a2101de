"""Masks from a file of the user's: arrays of masks, or a saved memory, which keeps none."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from hopmask.capacity.headroom import biased_masks
from hopmask.capacity.mask_sources import Ensemble, GivenMasks
from hopmask.errors import (
    MaskError,
    NotAHopmaskStoreError,
    StoreNotFoundError,
    UnsafeStoreError,
)
from hopmask.memory.loading import load
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.reservoir import Reservoir
from hopmask.storage.commit import header_or_none


@dataclass(frozen=True, kw_only=True)
class MaskFile:
    """What `read_masks` found.

    Attributes:
        masks: to measure with.
        what: in words: how many, and which layers.
        rule: name of the rule of a saved memory; None for masks.
    """

    masks: Ensemble
    what: str
    rule: str | None = None


def read_masks(path: str | Path) -> MaskFile:
    """Read masks to measure a capacity on.

    Args:
        path: an .npz or HDF5 file with one array a layer, bool or {0, 1}, (masks, *shape): row i of
            all of them together is mask i. Or the file of a saved memory or reservoir: masks are
            then drawn with the statistics of what it holds, see `biased_masks`.

    Raises:
        StoreNotFoundError: there is no such file.
        MaskError: it holds no such arrays.
        StoreFileError: it is a memory's file, but damaged.
        EmptyMemoryError: it is the file of a memory that holds nothing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(folder + "/masks.npz", hidden=np.eye(8, dtype=bool))
        ...     read_masks(folder + "/masks.npz").what
        '8 masks of 8 bits (hidden 8)'
    """
    path = Path(path)
    if not path.is_file():
        raise StoreNotFoundError(f"there is no file {path}")
    if zipfile.is_zipfile(path):
        return _joined(path, _archived(path))
    if not h5py.is_hdf5(path):
        raise MaskError(
            f"{path} is neither an .npz nor an HDF5 file: save masks with numpy.savez(path, "
            "name=masks), one array (masks, *shape) a layer"
        )
    try:
        return _remembered(load(path))
    except (NotAHopmaskStoreError, UnsafeStoreError):
        if header_or_none(path) is not None:
            raise  # else an HDF5 file of the user's own
        return _joined(path, _datasets(path))


def _archived(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; another zip, such as one by torch.save, is refused."""
    name = ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {}
            for name in archive.files:
                arrays[name] = archive[name]
    except (ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
        where = f"array '{name}'" if name else "the archive"
        raise MaskError(f"{path}: {where} cannot be read ({error})") from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise MaskError(
            f"{path} is a zip file, but no .npz of numpy's: save masks with numpy.savez(path, "
            "name=masks), one array (masks, *shape) a layer"
        )
    return arrays


def _datasets(path: Path) -> dict[str, np.ndarray]:
    """The datasets at the top of an HDF5 file."""
    try:
        with h5py.File(path, "r") as file:
            groups = [name for name in file if not isinstance(file[name], h5py.Dataset)]
            if groups:
                raise MaskError(
                    f"{path} has groups, {groups}: put all layers at the top, as datasets"
                )
            return {name: np.asarray(file[name]) for name in file}
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, MaskError):
            raise
        raise MaskError(f"{path} cannot be read ({error})") from error


def _remembered(store: MaskMemory | Reservoir) -> MaskFile:
    """The statistics of a saved memory's masks."""
    inner = store.couplings
    what = f"masks like the {store.count} of a memory, patterns of {inner.size} spins"
    if isinstance(store, MaskMemory):
        bits = store.code.bits
        what += f": {bits} mask bits, {inner.size - bits} of keys and checks"
        if store.capacity is not None:
            what += f"; in dense couplings, where its hubs hold {store.capacity} exactly"
    return MaskFile(masks=biased_masks(store), what=what, rule=inner.rule_name)


def _joined(path: Path, arrays: Mapping[str, np.ndarray]) -> MaskFile:
    """Arrays (masks, *shape), side by side."""
    if not arrays:
        raise MaskError(f"{path} holds no array at its top: give one (masks, *shape) a layer")
    for name, array in arrays.items():
        binary = array.dtype.kind in "biuf" and bool(((array == 0) | (array == 1)).all())
        if array.ndim < 2 or array.size == 0 or not binary:
            raise MaskError(
                f"{path}: array '{name}' is {array.dtype} {array.shape}; masks are bool or "
                "{0, 1}, (masks, *shape)"
            )
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        raise MaskError(f"{path}: the layers hold different numbers of masks, {rows}")
    flat = [array.reshape(len(array), -1) == 1 for array in arrays.values()]
    masks = GivenMasks(torch.from_numpy(np.concatenate(flat, axis=1)))
    layers = ", ".join(
        f"{name} {' × '.join(map(str, array.shape[1:]))}" for name, array in arrays.items()
    )
    return MaskFile(masks=masks, what=f"{masks.most} masks of {masks.size} bits ({layers})")
