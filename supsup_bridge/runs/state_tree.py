"""A tree of tensors and plain values as a few flat arrays, and back to the bit; no pickle."""

import json
import zlib
from collections.abc import Mapping
from math import isfinite, prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hopmask.errors import CorruptStoreError, StoreTooLargeError

_TYPES = {
    torch.bool: np.uint8,
    torch.uint8: np.uint8,
    torch.int32: np.int64,
    torch.int64: np.int64,
    torch.float32: np.float32,
    torch.float64: np.float64,
}
_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in _TYPES}
_MOST = 1 << 26  # bytes of the tree's text


def packed(tree: object) -> dict[str, np.ndarray]:
    """Arrays that hold a tree: its text, and all numbers of its tensors, one array a type.

    Args:
        tree: of dicts, lists and tuples; tensors (bool, integers, float32 or float64, of any
            device), numbers, strings, booleans and None are its leaves.

    Raises:
        StoreTooLargeError: more than `unpacked` would take.

    Example:
        >>> unpacked(packed({"scores": torch.ones(2), 3: [None, 0.5]}))
        {'scores': tensor([1., 1.]), 3: [None, 0.5]}
    """
    parts: dict[str, list[np.ndarray]] = {}
    text = json.dumps(_plain(tree, parts), separators=(",", ":"), allow_nan=False).encode()
    if len(text) > _MOST:
        raise StoreTooLargeError(f"a state of {len(text)} bytes of text is more than {_MOST}")
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    return {"tree": np.frombuffer(zlib.compress(text), np.uint8), **arrays}


def unpacked(arrays: Mapping[str, np.ndarray]) -> Any:
    """The tree that `packed` made arrays of; its tensors are on the CPU and own their numbers.

    Raises:
        CorruptStoreError: arrays that it did not make.
    """
    try:
        text = zlib.decompressobj()
        plain = text.decompress(arrays["tree"].tobytes(), _MOST)
        if not text.eof:
            raise ValueError("its text is cut, or too long")
        return _tree(json.loads(plain), arrays)
    except (LookupError, TypeError, ValueError, RuntimeError, zlib.error) as error:
        raise CorruptStoreError(f"the arrays of a checkpoint make no sense ({error})") from error


def _plain(value: object, parts: dict[str, list[np.ndarray]]) -> Any:
    """A value as JSON: [kind, ...] for what JSON does not know."""
    if isinstance(value, Tensor):
        name = np.dtype(_TYPES[value.dtype]).name
        numbers = value.detach().cpu().reshape(-1).numpy().astype(name)
        where = sum(map(len, parts.setdefault(name, [])))
        parts[name].append(numbers)
        kind = str(value.dtype).removeprefix("torch.")
        return ["tensor", kind, list(value.shape), where]
    if isinstance(value, Mapping):
        return ["dict", [[key, _plain(item, parts)] for key, item in value.items()]]
    if isinstance(value, tuple | list):
        return [type(value).__name__, [_plain(item, parts) for item in value]]
    if isinstance(value, float) and not isfinite(value):
        return ["float", repr(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint takes no {type(value).__name__}")


def _tree(plain: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(plain, list):
        return plain
    kind, *rest = plain
    if kind == "dict":
        return {key: _tree(item, arrays) for key, item in rest[0]}
    if kind in ("list", "tuple"):
        items = [_tree(item, arrays) for item in rest[0]]
        return tuple(items) if kind == "tuple" else items
    if kind == "float":
        return float(rest[0])
    if kind != "tensor":
        raise ValueError(f"there is no kind {kind!r}")
    name, shape, where = rest
    dtype = _NAMES[name]
    numbers = arrays[np.dtype(_TYPES[dtype]).name][where : where + prod(shape)]
    return (
        torch.from_numpy(numbers.copy()).to(dtype).reshape(shape)
    )  # on the CPU, whatever the default
