"""`load`: from a file back to the memory that was saved.

What the kinds of document hold, "masks" and "reservoir" (see `storage/document.py`):

    about    rule, dtype ("float32" or "float64"); of masks also layers ([[name, [side ...]] ...]),
             seed, key_bits and signature_features
    psi      Ψ, (d, d), of that dtype
    mean     μ, (d,), of that dtype
    counters int64 (3,): patterns held; number of the next task; length of a signature, or 0
    within, link, keys, scalars: the sums of a content address of F features, if F > 0: (F, F),
             (F, key bits + 1), (key bits + 1, key bits + 1) of that dtype, float64 (4,)
"""

from pathlib import Path

import numpy as np
import torch

from hopmask import storage
from hopmask.errors import ConfigError, CorruptStoreError, StoreTooLargeError
from hopmask.memory import MaskMemory
from hopmask.reservoir import LARGEST_SIZE, MOST_TASKS, Reservoir
from hopmask.rules import LearningRule, rule_named
from hopmask.storage import Document

KINDS = ("masks", "reservoir")
_STATE = ("psi", "mean", "counters")
_SUMS = ("within", "link", "keys", "scalars")
_DTYPES = ("float32", "float64")
_MOST_LAYERS = 4096
_MOST_FEATURES = 16_384


def load(
    path: str | Path,
    *,
    rule: LearningRule | None = None,
    device: str | torch.device = "cpu",
    expect_sha256: str | None = None,
) -> MaskMemory | Reservoir:
    """Read a memory that `MaskMemory.save` or `Reservoir.save` wrote, bit for bit.

    Takes no lock and never waits for a writer: what is read is one generation of the file, whole.

    Args:
        path: the file.
        rule: the rule object, for a memory whose rule is not one of hopmask's own.
        device: where Ψ shall live.
        expect_sha256: of the file's payload, as `hopmask inspect` prints it, from a source that you
            trust. The file's own SHA-256 shows damage, not forgery.

    Returns:
        What was saved: a MaskMemory or a Reservoir.

    Raises:
        StoreNotFoundError: there is no such file.
        NotAHopmaskStoreError: it is something else.
        TruncatedStoreError, CorruptStoreError: it is damaged, or not the one expected.
        UnsafeStoreError, StoreTooLargeError: nothing that hopmask writes.
        SchemaTooNewError: a newer hopmask wrote it.
        ConfigError: its rule is unknown here, or another than `rule`.

    Example:
        >>> import tempfile
        >>> memory = MaskMemory({"hidden": 64})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stamp = memory.save(folder + "/memory.h5")
        ...     load(folder + "/memory.h5").count
        0

    Source:
        hopmask's own file format, `docs/file_format.md`.
    """
    if rule is not None and not isinstance(rule, LearningRule):
        raise ConfigError(f"rule= takes a LearningRule object, got {rule!r}")
    document = storage.read(path, kinds=KINDS, sha256=expect_sha256)
    return restored(Path(path), document, rule=rule, device=device)


def restored(
    path: Path,
    document: Document,
    *,
    rule: LearningRule | None = None,
    device: str | torch.device = "cpu",
) -> MaskMemory | Reservoir:
    """The memory of a document that was read from a file."""
    check(path, document)
    about, arrays = document.about, document.arrays
    if rule is not None and rule.name != about["rule"]:
        raise ConfigError(f"{path} was written by rule '{about['rule']}', not by '{rule.name}'")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{device!r} is no device, such as 'cpu' or 'cuda'") from error
    size = len(arrays["mean"])
    reservoir = Reservoir(size, rule=rule or rule_named(about["rule"]), device="meta")
    try:  # copies, which lie as tensors of a memory's own do, so that sums round alike
        tensors = {
            name: torch.tensor(arrays[name], device=device) for name in arrays if name != "counters"
        }
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ConfigError(f"cannot put the memory on device '{device}': {error}") from error
    reservoir.psi, reservoir.mean = tensors.pop("psi"), tensors.pop("mean")
    reservoir.count, next_task, length = (int(n) for n in arrays["counters"])
    if document.kind == "reservoir":
        return reservoir
    try:
        return MaskMemory._restored(about, reservoir, next_task, length, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStoreError(
            f"{path}: its description does not fit its matrix ({error}). Nothing was loaded"
        ) from error


def check(path: Path, document: Document) -> None:
    """Raise unless the parts of a memory's document fit together.

    Raises:
        CorruptStoreError: they do not. (What only a MaskMemory can tell, `restored` finds out.)
        StoreTooLargeError: more spins, layers or features than hopmask writes.
    """
    kind, about, arrays = document.kind, document.about, document.arrays
    known = about.get("dtype") in _DTYPES and isinstance(about.get("rule"), str)
    layers, features = about.get("layers"), about.get("signature_features", 0)
    if not known or (kind == "masks" and not isinstance(layers, list)):
        raise _corrupt(path, "its description lacks a known dtype, rule or list of layers")
    if kind == "masks" and len(layers or []) > _MOST_LAYERS:
        raise StoreTooLargeError(f"{path} has {len(layers or [])} layers, more than {_MOST_LAYERS}")
    if isinstance(features, int) and features > _MOST_FEATURES:
        raise StoreTooLargeError(
            f"{path} has {features} features of signatures, more than {_MOST_FEATURES}"
        )
    wanted = {*_STATE, *(_SUMS if features and kind == "masks" else ())}
    if set(arrays) != wanted:
        raise _corrupt(path, f"it holds {sorted(arrays)}, not {sorted(wanted)}")
    psi, mean, counters = (arrays[name] for name in _STATE)
    if mean.size > LARGEST_SIZE:
        raise StoreTooLargeError(f"{path} has {mean.size} spins, more than {LARGEST_SIZE}")
    square = psi.ndim == 2 and psi.size > 0 and psi.shape == (mean.size, mean.size)
    typed = psi.dtype == mean.dtype == about["dtype"] and counters.dtype == np.int64
    if not square or mean.ndim != 1 or not typed or counters.shape != (3,):
        raise _corrupt(path, f"psi {psi.dtype}{psi.shape} and mean {mean.shape} disagree")
    floats = [array for name, array in arrays.items() if name != "counters"]
    if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in floats):
        raise _corrupt(path, "it holds NaN or infinity")
    if counters.min() < 0:
        raise _corrupt(path, "it holds a negative counter")
    if counters[1] > MOST_TASKS:
        raise StoreTooLargeError(f"{path} gave out {counters[1]} numbers, more than {MOST_TASKS}")


def _corrupt(path: Path, why: str) -> CorruptStoreError:
    return CorruptStoreError(f"{path}: {why}. Nothing was loaded: restore a copy")
