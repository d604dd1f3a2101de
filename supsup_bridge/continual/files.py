"""A learner's folder: `memory.h5` holds the masks, `learner.h5` everything else.

`learner.h5` is a document of `hopmask.storage`, of kind "learner", without arrays. It names the
memory that it goes with by SHA-256. The memory is written first, and the one before stays beside it
as `memory.h5.prev`, so that whenever a save is cut short, the memory that `learner.h5` names is
there under one of the two names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import hopmask
from hopmask import ConfigError, MaskMemory, storage
from hopmask.errors import CorruptStoreError, StoreFileError
from supsup_bridge.continual.settings import LearnerSettings
from supsup_bridge.data.pixel_scale import PixelScale
from supsup_bridge.networks.registry import NETWORKS, module_named, sized_by_bits
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.training.settings import TrainingSettings

KIND = "learner"
LEARNER, MEMORY = "learner.h5", "memory.h5"


def write(folder: Path, about: Mapping[str, Any], memory: MaskMemory | MaskBank) -> None:
    """Write a learner; a failure leaves what was saved before.

    Args:
        folder: where; made if need be.
        about: all but the memory, as JSON.
        memory: what holds the masks.

    Raises:
        StoreFileError: the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put_back(folder)
    except OSError as error:
        raise StoreFileError(f"cannot write to {folder}: {error}") from error
    stamp = memory.save(folder / MEMORY)
    document = storage.Document(kind=KIND, about={**about, "memory": stamp.sha256}, arrays={})
    storage.write(folder / LEARNER, document)


def read(folder: Path) -> dict[str, Any]:
    """What `write` was given about a learner, with the SHA-256 of its memory.

    Raises:
        StoreNotFoundError: there is no learner.
        StoreFileError: it is damaged.
    """
    return dict(storage.read(folder / LEARNER, kinds=(KIND,)).about)


def arguments(
    about: Mapping[str, Any], *, module: nn.Module | str | None, signature: str | None
) -> dict[str, Any]:
    """What to make a learner of, from a file and what the file may not name.

    Args:
        about: what `read` returned.
        module: a module of the user's, or the name of a function that makes it.
        signature: "package.module:function".

    Raises:
        ConfigError: a module or signature that the file may not name is missing.
        CorruptStoreError: this version does not know such a learner.
    """
    try:
        settings, origin = dict(about["settings"]), dict(about["origin"])
        settings["training"] = TrainingSettings(**settings["training"])
        if isinstance(settings.get("pixels"), dict):
            settings["pixels"] = PixelScale(**settings["pixels"])
        kind = LearnerSettings(**settings).mask_kind
        name, own = origin.pop("name"), settings["signature"]
        if name in NETWORKS and not sized_by_bits(name, kind):
            settings["bits"] = None  # earlier learners kept a number that said nothing
        shape = about["state"]["image_shape"]
    except (LookupError, TypeError, ValueError) as error:
        raise CorruptStoreError(
            f"the learner is whole, but of a kind that this version does not know ({error!r})"
        ) from error
    if name not in NETWORKS and module is None:
        raise ConfigError(
            "the learner has a module of its user's, which no file names: give it again, "
            f"SupSup.load(folder, module={'net' if name is None else repr(name)}), or in a shell "
            f"--network {name or 'package.module:function'}"
        )
    if own is not None and ":" in own and signature != own:
        raise ConfigError(
            f"the learner calls the signature {own!r}: give it to load(signature=), so that "
            "nothing is run that only a file names"
        )
    if name is None and isinstance(module, str):
        if shape is None or origin["outputs"] is None:
            raise ConfigError(
                f"the file does not say which inputs and outputs {module!r} is to be called with: "
                "make the module in Python, SupSup.load(folder, module=net)"
            )
        inputs = shape[0] if len(shape) == 1 else tuple(shape)
        module = module_named(module, inputs, origin["outputs"], seed=settings["seed"])
    if module is not None and not isinstance(module, str):
        origin = {}
    return {"module": name if module is None else module, **origin, **settings}


def read_memory(
    folder: Path, sha256: str, *, bank: bool, device: torch.device
) -> MaskMemory | MaskBank:
    """The memory of that SHA-256.

    Raises:
        StoreFileError: it is not there, or damaged.
    """
    path = _memory_path(folder, sha256)
    if bank:
        return MaskBank.load(path, device=device, expect_sha256=sha256)
    memory = hopmask.load(path, device=device, expect_sha256=sha256)
    if not isinstance(memory, MaskMemory):
        raise CorruptStoreError(f"{path} holds no masks, but a {type(memory).__name__}")
    return memory


def _memory_path(folder: Path, sha256: str) -> Path:
    previous = _previous(folder)
    return previous if _sha256(previous) == sha256 else folder / MEMORY


def _put_back(folder: Path) -> None:
    """Undo a save that was cut short after it wrote the memory, so that this one can begin."""
    try:
        named = read(folder)["memory"]
    except (StoreFileError, KeyError):
        return
    if _sha256(folder / MEMORY) != named and _sha256(_previous(folder)) == named:
        _previous(folder).replace(folder / MEMORY)


def _previous(folder: Path) -> Path:
    return folder / f"{MEMORY}.prev"


def _sha256(path: Path) -> str | None:
    try:
        return storage.read_stamped(path)[1].sha256
    except StoreFileError:
        return None
