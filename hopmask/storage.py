"""Memories as HDF5 files: complete, exact, of a size that depends on the memory's sizes alone.

Layout, all datasets at the root, contiguous, without attributes: `meta` (uint8, canonical JSON:
format, version, kind, rule, dtype and what the kind adds), `psi` (d, d), `mean` (d,), `counters`
(int64: patterns held, number of the next task, length of the signatures or 0), for a memory with a
content address its sums `within` (F, F), `link` (F, key bits + 1), `keys` (square) and `scalars`
(4,), and `sha256` (uint8, of the bytes of all others in this order).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from torch import Tensor

from hopmask.errors import (
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
)
from hopmask.rules import LearningRule

FORMAT = "hopmask"
VERSION = 2  # 1 kept address bits in Ψ; no release wrote it
_DATASETS = ("meta", "psi", "mean", "counters")
_SUMS = ("within", "link", "keys", "scalars")
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Storable(Protocol):
    """What of a reservoir goes into a file."""

    psi: Tensor
    mean: Tensor
    count: int
    rule: LearningRule


def write(
    path: str | Path,
    meta: dict[str, Any],
    reservoir: Storable,
    counters: tuple[int, int] = (0, 0),
    sums: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a memory beside its target and move it there, so that a failure leaves the old file.

    Raises:
        StoreFileError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "rule": reservoir.rule.name,
        "dtype": str(reservoir.psi.dtype).removeprefix("torch."),
        **meta,
    }
    if not path.name or "\0" in path.name:
        raise StoreFileError(f"{str(path)!r} names no file to write to")
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(draft, "w", libver="earliest") as file:
            text = json.dumps(meta, sort_keys=True, separators=(",", ":")).encode()
            file["meta"] = np.frombuffer(text, np.uint8)
            file["psi"] = reservoir.psi.cpu().numpy()
            file["mean"] = reservoir.mean.cpu().numpy()
            file["counters"] = np.array([reservoir.count, *counters], np.int64)
            for name, value in (sums or {}).items():
                file[name] = value.cpu().numpy()
            file["sha256"] = _digest(file)
        draft.replace(path)
    except OSError as error:
        raise StoreFileError(
            f"cannot write {path}: {error}. A file that stood there before is intact"
        ) from error
    finally:
        with suppress(OSError):  # the folder itself may be what is missing
            draft.unlink()


def read(
    path: str | Path,
) -> tuple[dict[str, Any], Tensor, Tensor, tuple[int, int, int], dict[str, Tensor]]:
    """Read a memory file: meta, Ψ, μ, the counters, and the content address's sums or {}.

    Raises:
        StoreNotFoundError, NotAHopmaskStoreError, SchemaTooNewError, CorruptStoreError
    """
    path = Path(path)
    try:
        if not path.exists():
            raise StoreNotFoundError(f"there is no file {path}")
        with path.open("rb") as plain:
            magic = plain.read(8)
        if magic != b"\x89HDF\r\n\x1a\n":
            raise NotAHopmaskStoreError(f"{path} is not an HDF5 file: save it with memory.save()")
        with h5py.File(path, "r") as file:
            meta = _meta(path, file)
            wanted = (*_DATASETS, *(_SUMS if meta.get("signature_features") else ()))
            if set(file) != {*wanted, "sha256"}:
                raise CorruptStoreError(f"{path} holds {sorted(file)}, not {sorted(wanted)}")
            if not np.array_equal(np.asarray(file["sha256"]), _digest(file)):
                raise CorruptStoreError(
                    f"{path} was altered: its SHA-256 does not match. Nothing was loaded: restore "
                    "a copy"
                )
            psi, mean = np.asarray(file["psi"]), np.asarray(file["mean"])
            count, next_task, length = (int(n) for n in np.asarray(file["counters"]))
            sums = {name: np.asarray(file[name]) for name in _SUMS if name in file}
    except StoreFileError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise CorruptStoreError(
            f"{path} is truncated or altered ({error}). Nothing was loaded: restore a copy"
        ) from error
    dtype = str(_DTYPES[meta["dtype"]]).removeprefix("torch.")
    square = psi.ndim == 2 and psi.size > 0 and psi.shape == (mean.size, mean.size)
    if not square or mean.ndim != 1 or psi.dtype != dtype or mean.dtype != dtype:
        raise CorruptStoreError(
            f"{path}: psi {psi.dtype}{psi.shape} and mean {mean.shape} disagree"
        )
    finite = all(v.dtype.kind == "f" and np.isfinite(v).all() for v in (psi, mean, *sums.values()))
    if not finite or min(count, next_task, length) < 0:
        raise CorruptStoreError(f"{path} holds NaN, infinity or a negative counter")
    arrays = {name: torch.from_numpy(value) for name, value in sums.items()}
    return meta, torch.from_numpy(psi), torch.from_numpy(mean), (count, next_task, length), arrays


def _digest(file: h5py.File) -> np.ndarray:
    """SHA-256 over the bytes of all datasets; contents are read once more from the file."""
    digest = hashlib.sha256()
    for name in (*_DATASETS, *_SUMS):
        if name in file:
            digest.update(np.asarray(file[name]).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _meta(path: Path, file: h5py.File) -> dict[str, Any]:
    try:
        meta = json.loads(np.asarray(file["meta"], np.uint8).tobytes())
        ours = meta["format"] == FORMAT
    except (KeyError, ValueError, TypeError):
        ours = False
    if not ours:
        raise NotAHopmaskStoreError(f"{path} is an HDF5 file, but not a hopmask memory")
    if type(meta.get("version")) is not int or meta["version"] < 1:
        raise CorruptStoreError(f"{path}: version {meta.get('version')!r} does not exist")
    if meta["version"] < VERSION:
        raise CorruptStoreError(
            f"{path} has version {meta['version']}, from before the first release, whose address "
            "bits cannot be turned into this one's sums: store its masks anew"
        )
    if meta["version"] > VERSION:
        raise SchemaTooNewError(
            f"{path} has version {meta.get('version')}, this hopmask reads up to {VERSION}: "
            "install a newer one"
        )
    known = meta.get("dtype") in _DTYPES and meta.get("kind") in ("masks", "reservoir")
    if not known or not isinstance(meta.get("rule"), str):
        raise CorruptStoreError(f"{path}: its description lacks a known dtype, kind or rule")
    return dict(meta)
