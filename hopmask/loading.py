"""`load`: from a file back to the memory that was saved."""

from pathlib import Path

import torch

from hopmask import storage
from hopmask.errors import ConfigError, CorruptStoreError
from hopmask.memory import MaskMemory
from hopmask.reservoir import Reservoir
from hopmask.rules import LearningRule, rule_named


def load(
    path: str | Path,
    *,
    rule: LearningRule | None = None,
    device: str | torch.device = "cpu",
) -> MaskMemory | Reservoir:
    """Read a memory that `MaskMemory.save` or `Reservoir.save` wrote, bit for bit.

    Args:
        path: the file.
        rule: the rule object, for a memory whose rule is not one of hopmask's own.
        device: where Ψ shall live.

    Returns:
        What was saved: a MaskMemory or a Reservoir.

    Raises:
        StoreNotFoundError: there is no such file.
        NotAHopmaskStoreError: it is something else.
        SchemaTooNewError: a newer hopmask wrote it.
        CorruptStoreError: it is truncated or altered.
        ConfigError: its rule is unknown here, or another than `rule`.

    Example:
        >>> import tempfile
        >>> memory = MaskMemory({"hidden": 64})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     memory.save(folder + "/memory.h5")
        ...     load(folder + "/memory.h5").count
        0

    Source:
        hopmask's own file layout, described in `hopmask/storage.py`.
    """
    meta, psi, mean, (count, next_task, length), sums = storage.read(path)
    if rule is not None and not isinstance(rule, LearningRule):
        raise ConfigError(f"rule= takes a LearningRule object, got {rule!r}")
    if rule is not None and rule.name != meta["rule"]:
        raise ConfigError(f"{path} was written by rule '{meta['rule']}', not by '{rule.name}'")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{device!r} is no device, such as 'cpu' or 'cuda'") from error
    reservoir = Reservoir(len(mean), rule=rule or rule_named(meta["rule"]), device="meta")
    try:
        reservoir.psi, reservoir.mean, reservoir.count = psi.to(device), mean.to(device), count
        sums = {name: value.to(device) for name, value in sums.items()}
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ConfigError(f"cannot put the memory on device '{device}': {error}") from error
    if meta.get("kind") == "reservoir":
        return reservoir
    try:
        return MaskMemory._restored(meta, reservoir, next_task, length, sums)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStoreError(
            f"{path}: its description does not fit its matrix ({error}). Nothing was loaded"
        ) from error
