"""Dense memories as documents of a file, and documents as their parts. See `schema.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hopmask.couplings.dense import DenseCouplings
from hopmask.couplings.rules import LearningRule, rule_named
from hopmask.errors import ConfigError, CorruptStoreError, NumericalError, StoreTooLargeError
from hopmask.memory import schema
from hopmask.memory.dense_masks import DenseMasks
from hopmask.storage import Document


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the document of a memory holds.

    Attributes:
        couplings: of the patterns.
        layers: name -> shape of each mask; empty for a reservoir, as what follows.
        seed, key_bits, signature_features, fingerprint: as in `MaskMemory`.
        numbered: how many task numbers were given out.
        signature_length: length of a signature, or 0.
        sums: of the content address.
    """

    couplings: DenseCouplings
    layers: dict[str, tuple[int, ...]]
    seed: int
    key_bits: int
    signature_features: int
    fingerprint: str
    numbered: int
    signature_length: int
    sums: dict[str, Tensor]


def of_couplings(
    couplings: DenseCouplings,
    *,
    kind: str,
    about: Mapping[str, Any],
    counters: tuple[int, int] = (0, 0),
    sums: Mapping[str, Tensor] | None = None,
) -> Document:
    """The document of a memory around couplings.

    Args:
        couplings: what it holds.
        kind: "masks" or "reservoir".
        about: the description of masks.
        counters: numbers of tasks given out; length of a signature.
        sums: of the content address.

    Raises:
        StoreTooLargeError: no file may hold it.
        NumericalError: it holds NaN or infinity.
    """
    about = {
        "rule": couplings.rule_name,
        "dtype": str(couplings.dtype).removeprefix("torch."),
        **about,
    }
    if large := schema.too_large(about, couplings.size, counters[0]):
        raise StoreTooLargeError(
            f"the memory has {large}, which no file may hold: nothing was written. Use several "
            "smaller memories"
        )
    arrays = {
        **{name: value.cpu().numpy() for name, value in couplings.arrays().items()},
        "counters": np.array([couplings.count, *counters], np.int64),
        **{name: value.cpu().numpy() for name, value in (sums or {}).items()},
    }
    found = Document(kind=kind, about=about, arrays=arrays)
    if wrong := schema.not_finite(found):
        raise NumericalError(f"{wrong}: nothing was written. Load a saved memory")
    return found


def of_masks(masks: DenseMasks, about: Mapping[str, Any]) -> Document:
    """The document of masks in dense couplings.

    Args:
        masks: what it holds.
        about: layers, seed, signature_features and fingerprint.
    """
    address = masks.address
    return of_couplings(
        masks.couplings,
        kind="masks",
        about={**about, "key_bits": masks.code.keys.bits},
        counters=(masks.numbered, address.length if address else 0),
        sums=address.sums if address else {},
    )


def masks_of(parts: Parts) -> DenseMasks:
    """Masks of parts that were read from a document.

    Raises:
        ConfigError: parts that do not fit together.
    """
    masks = DenseMasks(
        parts.layers,
        rule=parts.couplings.rule,
        seed=parts.seed,
        key_bits=parts.key_bits,
        signature_features=parts.signature_features,
        dtype=parts.couplings.dtype,
        device="meta",
    )
    if masks.couplings.size != parts.couplings.size:
        raise ConfigError(
            f"its layers need {masks.couplings.size} spins, its matrix has {parts.couplings.size}"
        )
    if parts.numbered < parts.couplings.count:
        raise ConfigError(
            f"it holds {parts.couplings.count} tasks, and gave out {parts.numbered} numbers"
        )
    masks.couplings, masks.numbered = parts.couplings, parts.numbered
    if masks.address is not None:
        masks.address.restore(parts.sums, length=parts.signature_length)
    elif parts.sums:
        raise ConfigError("it holds sums of a content address that it does not have")
    return masks


def parts_of(
    path: Path,
    document: Document,
    *,
    rule: LearningRule | None = None,
    device: str | torch.device = "cpu",
) -> Parts:
    """The parts of a memory from a document that was read from a file.

    Raises:
        ConfigError: another rule than the one given, or a device that there is not.
    """
    about, arrays = document.about, document.arrays
    if rule is not None and rule.name != about["rule"]:
        raise ConfigError(f"{path} was written by rule '{about['rule']}', not by '{rule.name}'")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{device!r} is no device, such as 'cpu' or 'cuda'") from error
    found = rule or rule_named(about["rule"])
    try:  # copies, which lie as tensors of a memory's own do, so that sums round alike
        tensors = {
            name: torch.tensor(arrays[name], device=device) for name in arrays if name != "counters"
        }
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ConfigError(f"cannot put the memory on device '{device}': {error}") from error
    count, numbered, length = (int(number) for number in arrays["counters"])
    psi, mean = tensors.pop("psi"), tensors.pop("mean")
    return Parts(
        couplings=DenseCouplings.of(psi, mean, count, rule=found),
        layers={name: tuple(shape) for name, shape in about.get("layers", [])},
        seed=about.get("seed", 0),
        key_bits=about.get("key_bits", 0),
        signature_features=about.get("signature_features", 0),
        fingerprint=about.get("fingerprint", ""),
        numbered=numbered,
        signature_length=length,
        sums=tensors,
    )


def check(path: Path, document: Document) -> None:
    """Raise unless the parts of a memory's document fit together.

    Raises:
        CorruptStoreError: they do not. (`masks_of` checks what needs the layers.)
        StoreTooLargeError: more spins, layers, features or tasks than hopmask writes.
    """
    mean, counters = (document.arrays.get(name, np.zeros(3)) for name in ("mean", "counters"))
    numbers = int(counters[1]) if counters.dtype.kind == "i" and counters.shape == (3,) else 0
    if large := schema.too_large(document.about, mean.size, numbers):
        raise StoreTooLargeError(f"{path} has {large}. Nothing was loaded")
    if wrong := schema.misfit(document) or schema.not_finite(document):
        raise CorruptStoreError(f"{path}: {wrong}. Nothing was loaded: restore a copy")
