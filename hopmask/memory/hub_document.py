"""Hub memories as documents of a file, and documents as hub memories.

A document of kind "masks" whose `about` says `couplings` "hub" holds

    about    couplings, rule, layers and extras ([[name, [side ...]] ...]), seed, hubs, born (hubs
             at birth), precision, signature_features; where they are given fingerprint, and bits of
             rounded couplings; signature_groups, where it is not 1
    narrow   A without its wide columns (D, K), int8 or int16
    planes   instead, of rounded couplings: those of the mask bits, see `couplings/levels.py`
    proof    beside planes: the rows of A of extras and digest, exact
    wide     (D, K / born), int32
    flags    uint8 (K,): 1 for a task that is held, 2 for one that the content address knows
    counters int64 (3,): tasks held; number of the next task; length of a signature, or 0
    extras   Σ of extras in units of 2⁻²⁴, int64, if there are any
    within, link, scalars: the sums of the content address, int64, if F > 0
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hopmask._checks import index_or_none
from hopmask._room import check_room, zeros
from hopmask.couplings.hub import HubCouplings
from hopmask.couplings.hub_state import KINDS, MOST_HUBS, narrow_type
from hopmask.couplings.levels import BITS, Levels, packed, unpack
from hopmask.errors import (
    ConfigError,
    CorruptStoreError,
    ReadOnlyMemoryError,
    StoreTooLargeError,
)
from hopmask.memory import schema
from hopmask.memory.features import LARGEST as MOST_FEATURES
from hopmask.memory.groups import LARGEST as MOST_GROUPS
from hopmask.memory.hub_masks import HubMasks
from hopmask.patterns.hadamard import OrthogonalKeys, transform
from hopmask.storage import Document

_HELD, _ADDRESSED = 1, 2  # flags
_TAIL = 64  # bits of a digest
_HALF = 16  # bits of an extra value
_SIDE = 1 << 40  # of a layer


def document_of(masks: HubMasks, about: Mapping[str, Any], *, bits: int | None) -> Document:
    """The document of a hub memory.

    Args:
        masks: the memory; its arrays are not copied.
        about: layers, seed, signature_features and fingerprint.
        bits: per coupling, or None for exact couplings.

    Raises:
        ConfigError: bits that there are not.
        ReadOnlyMemoryError: couplings that were rounded already, to another number of bits.
    """
    couplings, code, address = masks.couplings, masks.code, masks.address
    levels = _levels(masks, bits)
    flags = couplings.live * _HELD
    if address is not None:
        flags = flags + address.addressed * _ADDRESSED
    length = address.length if address else 0
    described = {
        **about,
        "couplings": "hub",
        "rule": couplings.rule_name,
        "extras": [[n, list(s)] for n, s in (code.extras.shapes if code.extras else {}).items()],
        "hubs": couplings.hubs,
        "born": couplings.keys.born,
        "precision": couplings.precision,
        **({"signature_groups": masks.groups} if masks.groups > 1 else {}),
        **({"bits": levels.bits} if levels else {}),
    }
    arrays: dict[str, Any] = {
        "wide": couplings.wide,
        "flags": flags.to(torch.uint8),
        "counters": np.array([couplings.count, masks.numbered, length], np.int64),
        **({"extras": masks.extras_sum} if code.values else {}),
        **(address.sums if address else {}),
    }
    if levels is None:
        arrays["narrow"] = couplings.narrow
    else:
        exact = couplings.levels is None
        arrays["proof"] = couplings.narrow[levels.neurons :]
        arrays["planes"] = packed(couplings.narrow, couplings.wide if exact else None, levels)
    found = {n: v.cpu().numpy() if isinstance(v, Tensor) else v for n, v in arrays.items()}
    return Document(kind="masks", about=described, arrays=found)


def masks_of(document: Document, device: str | torch.device) -> HubMasks:
    """The hub memory of a document that is in form (`misfit`); int arrays are taken as they are."""
    about = document.about
    arrays = {name: _tensor(array) for name, array in document.arrays.items() if name != "planes"}
    hubs, born = about["hubs"], about["born"]
    found = HubMasks(
        {name: tuple(shape) for name, shape in about["layers"]},
        seed=about["seed"],
        hubs=hubs,
        born=born,
        precision=about["precision"],
        extras={name: tuple(shape) for name, shape in about["extras"]},
        signature_features=about["signature_features"],
        signature_groups=about.get("signature_groups", 1),
        device="meta",
    )
    levels = None
    if "bits" in about:
        tasks = int(arrays["counters"][0])
        levels = Levels(bits=about["bits"], neurons=found.code.bits, tasks=tasks, hubs=hubs)
        narrow = _opened(document.arrays["planes"], arrays["proof"], levels, spacing=born)
    else:
        narrow = arrays["narrow"]
    flags = arrays["flags"]
    found.couplings.restore(narrow, arrays["wide"], (flags & _HELD) != 0, levels)
    none = torch.zeros(0, dtype=torch.int64, device="cpu")
    found.extras_sum = arrays.get("extras", none).clone()  # no view that would hold the file's
    found.numbered = int(arrays["counters"][1])
    if found.address is not None:
        sums = {name: arrays[name] for name in found.address.sums}
        sums |= {name: sums[name].clone() for name in ("within", "scalars")}
        known = (flags & _ADDRESSED) != 0
        found.address.restore(sums, known, length=int(arrays["counters"][2]))
    found.to(device)
    return found


def check(path: Path, document: Document) -> None:
    """Raise unless the parts of a hub memory's document fit together.

    Raises:
        CorruptStoreError: they do not.
        StoreTooLargeError: more features than any memory has.
    """
    features = document.about.get("signature_features")
    if isinstance(features, int) and features > MOST_FEATURES:
        raise StoreTooLargeError(
            f"{path} has {features} features of signatures, more than {MOST_FEATURES}. Nothing was "
            "loaded"
        )
    if wrong := _misfit(document):
        raise CorruptStoreError(f"{path}: {wrong}. Nothing was loaded: restore a copy")


def _misfit(document: Document) -> str | None:
    """Why the parts of a document do not fit together, in form."""
    about, arrays = document.about, document.arrays
    if wrong := schema.misdescribed(about, ("seed", "signature_features"), side=_SIDE):
        return wrong
    if about["layers"] == []:
        return "it has no layers"
    if about["seed"] >= 1 << 64:
        return "its seed has more than 64 bits"
    if wrong := schema.unshaped(about.get("extras"), "extras", side=_SIDE):
        return wrong
    if {name for name, _ in about["extras"]} & {name for name, _ in about["layers"]}:
        return "an extra is named like a layer"
    if about.get("rule") != HubCouplings.rule_name:
        return f"hub couplings of rule {about.get('rule')!r:.20} are unknown"
    hubs, born = _power(about.get("hubs")), _power(about.get("born"))
    features, groups = int(about["signature_features"]), about.get("signature_groups", 1)
    if "signature_groups" in about and not (_is_groups(groups) and features):
        return f"its groups of signatures, {groups!r:.20}, are none"
    if not 0 < born <= hubs:
        return "its hubs, now and at birth, are no powers of two in order"
    precision = about.get("precision")
    if precision not in ("auto", *KINDS):
        return f"its precision {precision!r:.20} is unknown"
    bits = sum(prod(shape) for _, shape in about["layers"])
    values = sum(prod(shape) for _, shape in about["extras"])
    neurons = bits + _HALF * values + _TAIL
    kind: Any = {torch.int8: np.int8, torch.int16: np.int16}[narrow_type(precision, hubs)]
    wanted: dict[str, tuple[Any, tuple[int, ...]]] = {
        "narrow": (kind, (neurons, hubs)),
        "wide": (np.int32, (neurons, hubs // born)),
        "flags": (np.uint8, (hubs,)),
        "counters": (np.int64, (3,)),
    }
    if "bits" in about:
        bits_of = about["bits"]
        if type(bits_of) is not int or bits_of not in BITS or "step" in about:
            return "its couplings were rounded in an unknown way"
        del wanted["narrow"]
        wanted["planes"] = (np.uint8, (bits_of, -(-bits * hubs // 8)))
        wanted["proof"] = (kind, (neurons - bits, hubs))
    if values:
        wanted["extras"] = (np.int64, (values,))
    if features:
        wanted["within"] = (np.int64, (features * (features + 1) // 2,))
        wanted["link"] = (np.int64, (groups * features, hubs))
        wanted["scalars"] = (np.int64, (2,))
    if set(arrays) != set(wanted):
        return f"it holds {sorted(arrays)}, not {sorted(wanted)}"
    for name, (dtype, shape) in wanted.items():
        if arrays[name].dtype != dtype or arrays[name].shape != shape:
            return (
                f"'{name}' is {arrays[name].dtype} {arrays[name].shape}, not "
                f"{np.dtype(dtype)} {shape}"
            )
    return _odd_counters(about, arrays)


def _odd_counters(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str | None:
    """Why the flags and counters of a document in form contradict one another."""
    flags, (count, numbered, length) = arrays["flags"], arrays["counters"].tolist()
    held = np.flatnonzero(flags & _HELD)
    if (flags > (_HELD | _ADDRESSED)).any() or ((flags & (_HELD | _ADDRESSED)) == _ADDRESSED).any():
        return "its flags make no sense"
    if len(held) != count:
        return f"it says {count} tasks, and marks {len(held)}"
    if (flags & _ADDRESSED).any() and not (about["signature_features"] and length):
        return "it knows signatures, and has no address or length of them"
    last = int(held[-1]) + 1 if len(held) else 0
    if not last <= numbered <= about["hubs"] or length < 0:
        return f"its next task would have the number {numbered}, its last one has {last - 1}"
    return _odd_couplings(about, arrays)


def _odd_couplings(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str | None:
    """Why the couplings are not of the tasks held.

    Wide columns are sums of k numbers ±1. In the rows of digests, which are always exact, A κ / K
    is ±1 under the key of a task held, and 0 under any other key.
    """
    narrow, wide = arrays["narrow" if "narrow" in arrays else "proof"], arrays["wide"]
    count = int(arrays["counters"][0])
    parity = (np.bitwise_and if count % 2 else np.bitwise_or).reduce(wide, axis=None) & 1
    if not -count <= wide.min() <= wide.max() <= count or parity != count % 2:
        return f"its wide couplings are not sums over {count} tasks"
    if narrow[:, :: about["born"]].any():
        return "narrow couplings stand where the wide ones are"
    tail = torch.from_numpy(narrow[-_TAIL:].astype(np.float64))
    tail[:, :: about["born"]] = torch.from_numpy(wide[-_TAIL:].astype(np.float64))
    keys = OrthogonalKeys(seed=about["seed"], born=about["born"])
    fields = keys.by_task(transform(tail)) / about["hubs"]
    held = torch.from_numpy((arrays["flags"] & _HELD) != 0)
    if not bool((fields.abs() == held).all()):
        return f"its couplings are not those of the {count} tasks that it names"
    return None


def _levels(masks: HubMasks, bits: int | None) -> Levels | None:
    """How the couplings are to be rounded."""
    couplings = masks.couplings
    if couplings.levels is not None:
        if bits not in (None, couplings.levels.bits):
            raise ReadOnlyMemoryError(
                f"the memory was rounded to {couplings.levels.bits} bits per coupling already: "
                "save it so, or load the file that was saved without bits="
            )
        return couplings.levels
    if bits is None:
        return None
    number = index_or_none(bits)
    if number is None or number not in BITS:
        raise ConfigError(f"bits= takes {', '.join(map(str, BITS))} or None, got {bits!r:.40}")
    return Levels(bits=number, neurons=masks.code.bits, tasks=couplings.count, hubs=couplings.hubs)


def _opened(planes: np.ndarray, proof: Tensor, levels: Levels, *, spacing: int) -> Tensor:
    """The narrow couplings of a rounded memory: u, and the rows that are exact."""
    rows, hubs = levels.neurons + len(proof), proof.shape[1]
    check_room(rows * hubs * proof.itemsize, "cpu", f"couplings with {hubs} hubs")
    narrow = zeros(rows, hubs, dtype=proof.dtype, device="cpu")
    unpack(planes, levels, into=narrow, spacing=spacing)
    narrow[levels.neurons :] = proof
    return narrow


def _tensor(array: np.ndarray) -> Tensor:
    """A tensor over an array's own bytes, or over a copy where they may not be written to."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _is_groups(number: object) -> bool:
    return type(number) is int and 1 < number <= MOST_GROUPS


def _power(number: object) -> int:
    """A number of hubs, or 0 for what is none."""
    if not isinstance(number, int) or isinstance(number, bool) or not 2 <= number <= MOST_HUBS:
        return 0
    return 0 if number & (number - 1) else number
