"""Masks from a file of the user's: arrays of masks, or a saved memory, which keeps none."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch

from hopmask.capacity import leaning
from hopmask.ensemble import Ensemble, GivenMasks
from hopmask.errors import MaskError, NotAHopmaskStoreError, StoreNotFoundError
from hopmask.loading import load


def read_masks(path: str | Path) -> Ensemble:
    """Read masks to measure a capacity on.

    Args:
        path: an .npz or HDF5 file with one array a layer, bool or {0, 1}, (masks, *shape): row i of
            all of them together is mask i. Or the file of a saved memory or reservoir: masks are
            then drawn with the statistics of what it holds, see `leaning`.

    Raises:
        StoreNotFoundError: there is no such file.
        MaskError: it holds no such arrays.
        StoreFileError: it is a memory's file, but damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(folder + "/masks.npz", hidden=np.eye(8, dtype=bool))
        ...     read_masks(folder + "/masks.npz").most
        8
    """
    path = Path(path)
    if not path.is_file():
        raise StoreNotFoundError(f"there is no file {path}")
    if zipfile.is_zipfile(path):
        with np.load(path, allow_pickle=False) as arrays:
            return _joined(path, {name: _array(path, name, arrays) for name in arrays.files})
    if not h5py.is_hdf5(path):
        raise MaskError(
            f"{path} is neither an .npz nor an HDF5 file: save masks with numpy.savez(path, "
            "name=masks), one array (masks, *shape) a layer"
        )
    try:
        return leaning(load(path))
    except NotAHopmaskStoreError:  # an HDF5 file of the user's own
        with h5py.File(path, "r") as file:
            sets = {name: file[name] for name in file if isinstance(file[name], h5py.Dataset)}
            return _joined(path, {name: np.asarray(data) for name, data in sets.items()})


def _array(path: Path, name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    try:
        return arrays[name]
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        raise MaskError(f"{path}: array '{name}' cannot be read ({error})") from error


def _joined(path: Path, arrays: Mapping[str, np.ndarray]) -> GivenMasks:
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
    return GivenMasks(torch.from_numpy(np.concatenate(flat, axis=1)))
