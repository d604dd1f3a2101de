"""Hub memories, exact and rounded, whose parts contradict one another."""

from typing import Any

import numpy as np
import torch

from hopmask import MaskMemory
from hopmask.storage import Document
from torture_rows.memories import mask


def described_hub() -> MaskMemory:
    """A grown hub memory of everything that there is: two tasks, extras, and a content address."""
    sizes, extras = {"a": 10, "b": (2, 3)}, {"x": 2}
    memory = MaskMemory(sizes, couplings="hub", hubs=4, extras=extras, signature_features=4)
    for task in range(2):
        values = {"x": torch.tensor([1.0, task])}
        memory.store(mask(memory.shapes, 0, task), signature=torch.eye(3)[task:], extras=values)
    memory.grow()
    return memory


def contradictions() -> dict[str, Document]:
    """Documents whose digests fit, and which no memory is."""
    memory = described_hub()
    exact, rounded = memory.document(), memory.document(bits=3)
    found = {}
    for kind, good in (("exact", exact), ("rounded", rounded)):
        odd = {**odd_descriptions(), **odd_tasks(good), **odd_shapes(good)}
        found |= {f"{kind}-{name}": changed(good, **parts) for name, parts in odd.items()}
    without_bits = {name: value for name, value in rounded.about.items() if name != "bits"}
    planes, narrow = rounded.arrays["planes"], exact.arrays["narrow"]
    both = {**rounded.arrays, "narrow": narrow}
    return found | {
        "rounded-claims-exact": Document(kind="masks", about=without_bits, arrays=rounded.arrays),
        "exact-claims-rounded": changed(exact, bits=3),
        "rounded-and-exact": Document(kind="masks", about=rounded.about, arrays=both),
        "rounded-and-exact-claims-exact": Document(kind="masks", about=without_bits, arrays=both),
        "planes-of-2-bits": changed(rounded, arrays={"planes": planes[:2]}),
        "bits-2": changed(rounded, bits=2),
        "bits-0": changed(rounded, bits=0),
        "bits-5": changed(rounded, bits=5),
        "bits-billions": changed(rounded, bits=10**9),
        "bits-float": changed(rounded, bits=3.0),
        "bits-true": changed(rounded, bits=True),
        "bits-none": changed(rounded, bits=None),
        "planes-tail": changed(rounded, arrays={"planes": np.pad(planes, ((0, 0), (0, 1)))}),
        "planes-short": changed(rounded, arrays={"planes": planes[:, :-1]}),
        "planes-flat": changed(rounded, arrays={"planes": planes.ravel()}),
    }


def changed(
    document: Document, *, arrays: dict[str, np.ndarray] | None = None, **about: Any
) -> Document:
    """A document with other parts."""
    return Document(
        kind=document.kind,
        about={**document.about, **about},
        arrays={**document.arrays, **(arrays or {})},
    )


def odd_descriptions() -> dict[str, dict[str, Any]]:
    """Descriptions of other memories, or of none."""
    many = 1 << 40
    return {
        "couplings-dense": {"couplings": "dense"},
        "couplings-unknown": {"couplings": "x" * 1000},
        "couplings-list": {"couplings": ["hub"]},
        "rule-hebbian": {"rule": "hebbian"},
        "hubs-4": {"hubs": 4},
        "hubs-16": {"hubs": 16},
        "hubs-65536": {"hubs": 1 << 16},
        "hubs-beyond": {"hubs": 1 << 17},
        "hubs-billions": {"hubs": 1 << 60},
        "hubs-no-power": {"hubs": 7},
        "hubs-0": {"hubs": 0},
        "hubs-negative": {"hubs": -8},
        "hubs-float": {"hubs": 8.0},
        "hubs-true": {"hubs": True},
        "hubs-text": {"hubs": "8"},
        "born-2": {"born": 2},
        "born-8": {"born": 8},
        "born-16": {"born": 16},
        "born-no-power": {"born": 3},
        "born-0": {"born": 0},
        "born-huge": {"born": 1 << 62},
        "born-list": {"born": [4]},
        "precision-int16": {"precision": "int16"},
        "precision-int32": {"precision": "int32"},
        "precision-list": {"precision": ["int8"]},
        "layers-terabit": {"layers": [["a", [many]]]},
        "layers-terabit-squared": {"layers": [["a", [many, many]]]},
        "layers-to-2-1280": {"layers": [["a", [many] * 32]]},
        "layers-none": {"layers": []},
        "extras-terabit": {"extras": [["x", [many]]]},
        "extras-none": {"extras": []},
        "extras-3": {"extras": [["x", [3]]]},
        "extras-twice": {"extras": [["x", [1]], ["x", [1]]]},
        "extras-text": {"extras": "x"},
        "extras-named-like-masks": {"extras": [["a", [2]]]},
        "features-0": {"signature_features": 0},
        "features-5": {"signature_features": 5},
        "features-none": {"signature_features": None},
        "seed-beyond": {"seed": 1 << 64},
        "seed-of-other-keys": {"seed": 1},
        "fingerprint-long": {"fingerprint": "x" * 1000},
        "fingerprint-list": {"fingerprint": []},
    }


def odd_tasks(document: Document) -> dict[str, dict[str, Any]]:
    """Flags, counters and wide columns that contradict one another."""
    flags, counters, wide = (document.arrays[name] for name in ("flags", "counters", "wide"))
    exact = "proof" if "proof" in document.arrays else "narrow"
    couplings = document.arrays[exact]
    held, numbered, length = counters.tolist()

    def counted(*numbers: int) -> dict[str, np.ndarray]:
        return {"counters": np.array(numbers, np.int64)}

    odd: dict[str, dict[str, np.ndarray]] = {
        "flags-none": {"flags": flags * 0},
        "flags-all": {"flags": flags * 0 + 1},
        "flags-address-alone": {"flags": flags * 0 + 2},
        "flags-unknown": {"flags": flags + 4 * (flags > 0).astype(np.uint8)},
        "flags-of-another-task": {"flags": np.roll(flags, 1), **counted(held, 8, length)},
        "flags-beyond-numbered": {"flags": np.roll(flags, 4)},
        "counters-one-more": counted(held + 1, numbered, length),
        "counters-none": counted(0, numbered, length),
        "counters-negative": counted(-held, numbered, length),
        "counters-huge": counted(1 << 62, numbered, length),
        "numbered-below": counted(held, held - 1, length),
        "numbered-beyond": counted(held, 9, length),
        "numbered-huge": counted(held, 1 << 62, length),
        "numbered-negative": counted(held, -1, length),
        "length-0": counted(held, numbered, 0),
        "length-negative": counted(held, numbered, -1),
        "no-task-and-couplings": {"flags": flags * 0, **counted(0, 0, 0)},
        "couplings-opposite": {exact: -couplings},
        "couplings-least": {exact: np.full_like(couplings, -128)},
        "couplings-none": {exact: couplings * 0},
        "wide-odd": {"wide": wide + 1},
        "wide-beyond": {"wide": wide + 2 * held},
        "wide-least": {"wide": np.full_like(wide, -(1 << 31))},
        "wide-most": {"wide": np.full_like(wide, (1 << 31) - 2)},
        "wide-of-one-neuron": {"wide": changed_first(wide, (1 << 31) - 2)},
        "narrow-under-wide": {exact: changed_first(couplings, 1)},
    }
    return {name: {"arrays": arrays} for name, arrays in odd.items()}


def changed_first(array: np.ndarray, value: int) -> np.ndarray:
    """A copy whose first number is another."""
    copy = array.copy()
    copy.flat[0] = value
    return copy


def odd_shapes(document: Document) -> dict[str, dict[str, Any]]:
    """Arrays of other types and shapes, one at a time."""
    found = {}
    for name, array in document.arrays.items():
        other = np.int16 if array.dtype != np.int16 else np.int32
        odd = {
            "type": array.astype(other),
            "floats": array.astype(np.float32),
            "row-short": array[:-1],
            "row-more": np.concatenate([array, array[:1]]),
            "none": array[:0],
            "other-dimensions": array.ravel() if array.ndim == 2 else array[None],
            "transposed": array.T if array.ndim == 2 else array[:, None],
        }
        found |= {f"{name}-{how}": {"arrays": {name: data}} for how, data in odd.items()}
    return found
