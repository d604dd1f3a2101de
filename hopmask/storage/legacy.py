"""Files from before the container: plain HDF5, their SHA-256 within. They are read, never written.

All datasets stand at the root, contiguous, without attributes: `meta` (uint8, JSON: format,
version and the kind's own), the arrays, and `sha256` (uint8, of the bytes of all others in the
order below).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hopmask.errors import CorruptStoreError, NotAHopmaskStoreError, SchemaTooNewError

SCHEMA = 2
_MAGIC = b"\x89HDF\r\n\x1a\n"
_ORDER = ("meta", "psi", "mean", "counters", "within", "link", "keys", "scalars", "masks")
_BANK = "supsup_bridge.bank"
_VERSIONS = {"hopmask": 2, _BANK: 1}  # 1 of hopmask's kept address bits in Ψ; no release wrote it


def begins(payload: memoryview) -> bool:
    """Whether a file begins as plain HDF5."""
    return bytes(payload[: len(_MAGIC)]) == _MAGIC


def read(
    path: Path, arrays: dict[str, np.ndarray]
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Kind, description and arrays of an old file, from what its image holds.

    Raises:
        NotAHopmaskStoreError, SchemaTooNewError, CorruptStoreError
    """
    meta = _meta(path, arrays)
    known = _VERSIONS[meta["format"]]
    if type(meta.get("version")) is not int or meta["version"] < 1:
        raise CorruptStoreError(f"{path}: version {meta.get('version')!r} does not exist")
    if meta["version"] < known:
        raise CorruptStoreError(
            f"{path} has version {meta['version']}, from before the first release, whose address "
            "bits cannot be turned into this one's sums: store its masks anew"
        )
    if meta["version"] > known:
        raise SchemaTooNewError(
            f"{path} has version {meta['version']}, the last of its kind was {known}: install a "
            "newer hopmask"
        )
    digest = hashlib.sha256()
    for name in _ORDER:
        if name in arrays:
            digest.update(arrays[name].tobytes())
    if not np.array_equal(arrays.pop("sha256", np.zeros(0)), [*digest.digest()]):
        raise CorruptStoreError(f"{path} was altered: its SHA-256 does not match")
    kind = "bank" if meta["format"] == _BANK else meta.get("kind")
    if not isinstance(kind, str) or set(arrays) - {*_ORDER}:
        raise CorruptStoreError(f"{path} holds {sorted(arrays)}, of kind {kind!r}")
    del arrays["meta"]
    about = {n: v for n, v in meta.items() if n not in ("format", "version", "kind")}
    return kind, about, arrays


def _meta(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    try:
        meta = json.loads(np.asarray(arrays["meta"], np.uint8).tobytes())
        ours = meta["format"] in _VERSIONS
    except (KeyError, ValueError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise NotAHopmaskStoreError(f"{path} is an HDF5 file, but none of hopmask's")
    return dict(meta)
