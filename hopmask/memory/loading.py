"""`load`: from a file back to the memory that was saved."""

from pathlib import Path

import torch

from hopmask import storage
from hopmask.couplings.rules import LearningRule
from hopmask.errors import ConfigError, CorruptStoreError, HopmaskError
from hopmask.memory import dense_document, hub_document
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


@torch.inference_mode(False)  # or the memory could not be changed outside of it
def restored(
    path: Path,
    document: Document,
    *,
    rule: LearningRule | None = None,
    device: str | torch.device = "cpu",
) -> MaskMemory | Reservoir:
    """The memory of a document that was read from a file.

    Raises:
        CorruptStoreError, StoreTooLargeError: see `check`.
        ConfigError: another rule than the one given, or a device that there is not.
    """
    check(path, document)
    fingerprint = document.about.get("fingerprint", "")
    try:
        if is_hub(document):
            if rule is not None:
                raise ConfigError(f"{path} holds hub couplings, which take no rule=: leave it out")
            return MaskMemory.of(hub_document.masks_of(document, device), fingerprint=fingerprint)
        parts = dense_document.parts_of(path, document, rule=rule, device=device)
        if document.kind == "reservoir":
            return Reservoir.of(parts.couplings)
        try:
            masks = dense_document.masks_of(parts)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return MaskMemory.of(masks, fingerprint=fingerprint)
    except HopmaskError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStoreError(
            f"{path}: its description does not fit its matrix ({error}). Nothing was loaded"
        ) from error


def check(path: Path, document: Document) -> None:
    """Raise unless the parts of a memory's document fit together.

    Raises:
        CorruptStoreError: they do not.
        StoreTooLargeError: more spins, layers, features or tasks than hopmask writes.
    """
    if is_hub(document):
        hub_document.check(path, document)
    else:
        dense_document.check(path, document)


def is_hub(document: Document) -> bool:
    """Whether a document is of hub couplings."""
    return document.kind == "masks" and document.about.get("couplings") == "hub"
