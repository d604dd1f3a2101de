"""Pickles of plain arrays of bytes, lists, dicts, texts and numbers; no other name is looked up."""

import io
import math
import pickle
from typing import Any

import numpy as np

from supsup_bridge.data.files import DataError


def plain(content: bytes, name: str) -> Any:
    """What a pickle holds, where that is plain; nothing that it names is imported or called.

    An array of numpy is put together here from its shape and its bytes. Texts of Python 2 come as
    bytes.

    Args:
        content: of the file.
        name: of the file, for errors.

    Raises:
        DataError: it names anything but numpy's arrays of bytes, or is truncated or damaged.

    Example:
        >>> plain(pickle.dumps({"data": np.zeros((2, 3), np.uint8)}, protocol=4), "a file")["data"]
        array([[0, 0, 0],
               [0, 0, 0]], dtype=uint8)

    Source:
        https://docs.python.org/3/library/pickle.html#restricting-globals
    """
    try:
        return _arrays(_Restricted(io.BytesIO(content), encoding="bytes").load())
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(
            f"{name} is no whole pickle of plain arrays ({type(error).__name__}: {error}): fetch "
            "it again"
        ) from error


class _Array:
    """An array of a pickle that is being read; it holds the state that numpy's would be given."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, kind, by_columns, content = self.state
        if not isinstance(kind, _Type) or kind.name not in ("u1", b"u1"):
            raise ValueError("an array of something else than bytes")
        if len(content) != math.prod(shape):
            raise ValueError(f"{len(content)} bytes in an array of shape {shape}")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


class _Type:
    """The type of such an array's entries."""

    def __init__(self, name: object = None, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and such, which bytes have none of."""


_ADMITTED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which is no plain data"
            ) from None


def _arrays(value: Any) -> Any:
    """The value, or the entries of a dict, with stand-ins made arrays; no deeper ones are."""

    def plain_one(entry: Any) -> Any:
        return entry.array() if isinstance(entry, _Array) else entry

    if isinstance(value, dict):
        return {key: plain_one(entry) for key, entry in value.items()}
    return plain_one(value)
