"""`load`: from a file back to the memory that was saved."""

from pathlib import Path

import numpy as np
import torch

from hopmask import storage
from hopmask.couplings.rules import LearningRule, rule_named
from hopmask.errors import ConfigError, CorruptStoreError, StoreTooLargeError
from hopmask.memory import schema
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.reservoir import Reservoir
from hopmask.memory.schema import KINDS
from hopmask.storage import Document


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
        StoreTooLargeError: more spins, layers, features or tasks than hopmask writes.
    """
    mean, counters = (document.arrays.get(name, np.zeros(3)) for name in ("mean", "counters"))
    numbers = int(counters[1]) if counters.dtype.kind == "i" and counters.shape == (3,) else 0
    if large := schema.too_large(document.about, mean.size, numbers):
        raise StoreTooLargeError(f"{path} has {large}. Nothing was loaded")
    if wrong := schema.misfit(document) or schema.not_finite(document):
        raise CorruptStoreError(f"{path}: {wrong}. Nothing was loaded: restore a copy")
