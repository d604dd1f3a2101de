"""What the file of a memory holds, and what of it cannot be.

Kinds of document (see `storage/document.py`): "masks" and "reservoir". Of dense couplings (for hub
couplings see `hub_document.py`) they hold

    about    rule, dtype ("float32" or "float64"); of masks also layers ([[name, [side ...]] ...]),
             seed, key_bits, signature_features and, where it was given, fingerprint
    psi      Ψ, (d, d), of that dtype
    mean     μ, (d,), of that dtype
    counters int64 (3,): patterns held; number of the next task; length of a signature, or 0
    within, link, keys, scalars: the sums of a content address of F features, if F > 0: (F, F),
             (F, key bits + 1), (key bits + 1, key bits + 1) of that dtype, float64 (4,)
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from hopmask.couplings.dense import LARGEST
from hopmask.memory import features
from hopmask.storage import Document

KINDS = ("masks", "reservoir")
_FINGERPRINT = 256  # characters
_MOST_LAYERS = 4096
_MOST_SIDES = 64
_MOST_TASKS = 1 << 20  # numbers given out: every recall makes all their keys
_STATE = ("psi", "mean", "counters")
_SUMS = ("within", "link", "keys", "scalars")
_DTYPES = ("float32", "float64")


def misfit(document: Document) -> str | None:
    """Why a document's parts do not fit together, in form."""
    about, arrays = document.about, document.arrays
    if about.get("dtype") not in _DTYPES or not isinstance(about.get("rule"), str):
        return "its description lacks a known dtype or rule"
    if document.kind == "masks" and (trouble := _masks_misfit(document)):
        return trouble
    addressed = document.kind == "masks" and about["signature_features"] > 0
    wanted = {*_STATE, *(_SUMS if addressed else ())}
    if set(arrays) != wanted:
        return f"it holds {sorted(arrays)}, not {sorted(wanted)}"
    psi, mean, counters = (arrays[name] for name in _STATE)
    square = psi.ndim == 2 and psi.size > 0 and psi.shape == (mean.size, mean.size)
    typed = psi.dtype == mean.dtype == about["dtype"] and counters.dtype == np.int64
    if not square or mean.ndim != 1 or not typed or counters.shape != (3,):
        return f"psi {psi.dtype}{psi.shape} and mean {mean.dtype}{mean.shape} disagree"
    if counters.min() < 0:
        return "it holds a negative counter"
    if any(arrays[name].dtype.kind != "f" for name in wanted - {"counters"}):
        return "its sums are no floating numbers"
    return None


def too_large(about: Mapping[str, Any], spins: int, numbers: int) -> str | None:
    """What of a memory is larger than hopmask writes and reads.

    Args:
        about: its description, which need not be in form.
        spins: d.
        numbers: of tasks that were given out.
    """
    layers, number_of = about.get("layers"), about.get("signature_features")
    for what, number, most in (
        ("spins", spins, LARGEST),
        (
            "features of signatures",
            number_of if isinstance(number_of, int) else 0,
            features.LARGEST,
        ),
        ("layers", len(layers) if isinstance(layers, list) else 0, _MOST_LAYERS),
        ("numbers of tasks given out", numbers, _MOST_TASKS),
    ):
        if number > most:
            return f"{number} {what}, more than {most}"
    return None


def not_finite(document: Document) -> str | None:
    """Which array of a document in form holds NaN or infinity."""
    for name, array in document.arrays.items():
        extremes = () if name == "counters" or not array.size else (array.min(), array.max())
        if not np.isfinite(extremes).all():
            return f"'{name}' holds NaN or infinity"
    return None


def _masks_misfit(document: Document) -> str | None:
    """Why the description of masks is none, or not one of so many spins."""
    about = document.about
    if wrong := misdescribed(about, ("seed", "key_bits", "signature_features"), side=LARGEST):
        return wrong
    bits = sum(prod(shape) for _, shape in about["layers"])
    if bits + about["key_bits"] > document.arrays.get("mean", np.zeros(0)).size:
        return (
            f"its layers of {bits} bits, with {about['key_bits']} of a key, do not fit its matrix"
        )
    return None


def misdescribed(about: Mapping[str, Any], whole: Sequence[str], *, side: int) -> str | None:
    """Why the description of masks is none.

    Args:
        about: the description.
        whole: names of what has to be a whole number.
        side: largest side of a layer.
    """
    if not all(type(about.get(name)) is int and about[name] >= 0 for name in whole):
        return f"one of {', '.join(whole)} is no whole number >= 0"
    if wrong := unshaped(about.get("layers"), "layers", side=side):
        return wrong
    fingerprint = about.get("fingerprint", "")
    if not isinstance(fingerprint, str) or len(fingerprint) > _FINGERPRINT:
        return "its fingerprint is no short text"
    return None


def unshaped(layers: object, what: str, *, side: int) -> str | None:
    """Why a list of names and shapes is none."""
    if not isinstance(layers, list) or not all(_is_shaped(layer, side) for layer in layers):
        return f"its {what} are not [[name, [side ...]] ...]"
    if len({name for name, _ in layers}) < len(layers):
        return f"two of its {what} have one name"
    return None


def _is_shaped(layer: object, most: int) -> bool:
    if not isinstance(layer, list) or len(layer) != 2:
        return False
    name, shape = layer
    if not isinstance(name, str) or not name:
        return False
    sides = isinstance(shape, list) and 1 <= len(shape) <= _MOST_SIDES
    return sides and all(type(side) is int and 1 <= side <= most for side in shape)
