"""A live memory: one file that many processes read and store into, always the newest state."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor

from hopmask import storage
from hopmask.couplings.rules import LearningRule
from hopmask.errors import (
    ConfigError,
    StaleStoreError,
    StoreExistsError,
    StoreFileError,
    StoreNotFoundError,
)
from hopmask.memory.features import Samples
from hopmask.memory.groups import Groups
from hopmask.memory.health import LoadReport
from hopmask.memory.loading import restored
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.signature_sums import SignatureSums
from hopmask.patterns.layout import Masks
from hopmask.recall.result import Hit
from hopmask.storage import Stamp
from hopmask.storage.commit import header_or_none, previous_of
from hopmask.storage.document import stamp_of
from hopmask.storage.lock import WAIT

MODES = ("r", "r+", "a", "x")
_Answer = TypeVar("_Answer")


def open_memory(
    path: str | Path,
    mode: str = "r",
    *,
    new: MaskMemory | None = None,
    rule: LearningRule | None = None,
    device: str | torch.device = "cpu",
    wait: float = WAIT,
) -> "LiveMemory":
    """Open a memory file that stays up to date, for this process and all others.

    Args:
        path: the file.
        mode: "r" to read; "r+" to store too; "a" the same, and the file is made from `new` where
            there is none; "x" makes it from `new`, and there must be none.
        new: the memory that a new file begins with; it is not kept. Where mode "a" finds a file,
            this must be a memory of the same sizes, rule, seed, bits and hubs at birth.
        rule: the rule object, for a memory whose rule is not one of hopmask's own.
        device: where Ψ shall live.
        wait: seconds that a store waits for other writers.

    Raises:
        ConfigError: no such mode, or a `new` that is missing or does not fit.
        StoreNotFoundError, NotAHopmaskStoreError, CorruptStoreError, ...: as in `load`.
        StoreExistsError: mode "x" and the file is there already.
        CommitFailedError, StoreLockedError, LockingUnsupportedError: a new file cannot be made.

    Example:
        >>> import tempfile
        >>> mask = {"hidden": torch.arange(256) % 3 == 0}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = folder + "/memory.h5"
        ...     with open_memory(path, "x", new=MaskMemory({"hidden": 256})) as memory:
        ...         task = memory.store(mask)  # on the disk, for good
        ...     bool((open_memory(path).recall(task=task).masks["hidden"] == mask["hidden"]).all())
        True

    Source:
        hopmask's own; see `hopmask.storage`.
    """
    if mode not in MODES:
        raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if new is not None and not isinstance(new, MaskMemory):
        raise ConfigError(f"new= takes a MaskMemory, got {type(new).__name__}")
    if (mode == "x" and new is None) or (mode in ("r", "r+") and new is not None):
        raise ConfigError(f"mode '{mode}' {'needs' if new is None else 'does not take'} new=")
    if mode == "x" or (mode == "a" and new is not None):
        _begin(Path(path), new, exclusive=mode == "x", wait=wait)
    live = LiveMemory(path, writable=mode != "r", rule=rule, device=device, wait=wait)
    here, there = live._form(), None if new is None else _form_of(new)
    if there is not None and here != there:
        raise ConfigError(f"{path} holds a memory of {here}, new= is one of {there}")
    return live


def _form_of(memory: MaskMemory) -> dict[str, Any]:
    """What describes a memory in its file and never changes: all but the hubs, which may grow."""
    return {name: value for name, value in memory.document().about.items() if name != "hubs"}


def _begin(path: Path, new: MaskMemory | None, *, exclusive: bool, wait: float) -> None:
    """Make a file of a new memory, unless it is there."""
    assert new is not None  # checked by `open_memory`
    if not exclusive and path.exists():
        return
    with storage.writing(path, wait=wait) as writer:
        if writer.path.exists():
            if exclusive:
                raise StoreExistsError(f"{path} is there already: open it with mode 'r+' or 'a'")
        elif previous_of(writer.path).exists():
            raise StoreNotFoundError(
                f"{path} is lost, but {previous_of(writer.path)}, the generation before it, is "
                f"there: run `hopmask recover {path}`, or delete that file to begin anew"
            )
        else:
            writer.write(new.document())


class LiveMemory:
    """A memory in a file; `hopmask.open_memory` makes it.

    Every reading takes the newest generation of the file, whole, without waiting.
    Every change is made to the newest state under the lock of all writers, and returns only when it
    is on the disk for good. If a change raises, the file is as it was (after CommitUncertainError:
    as it should be; after an interruption from outside: one of them), and the next call reads the
    file anew.

    A file that did not come of the state last read by stores of live memories alone (it was
    recovered, saved over, or replaced by another file or a copy that went on) raises
    StaleStoreError, whatever is called: open the file again.

    A live memory may be used in a process forked later, and by one thread at a time. (torch itself
    hangs in a forked child whose parent has used more threads than one: call
    torch.set_num_threads(1) before, or spawn.)

    Attributes:
        path: of the file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        writable: bool,
        rule: LearningRule | None,
        device: str | torch.device,
        wait: float,
    ) -> None:
        self.path = Path(path).absolute()
        self._writable, self._rule, self._device, self._wait = writable, rule, device, wait
        self._memory: MaskMemory | None = None
        self._stamp: Stamp | None = None
        self._closed = False
        self._newest()

    @property
    def stamp(self) -> Stamp:
        """Generation and SHA-256 of the newest state."""
        self._newest()
        assert self._stamp is not None
        return self._stamp

    @property
    def count(self) -> int:
        """Number of tasks stored."""
        return self._newest().count

    @property
    def tasks(self) -> tuple[int, ...]:
        """Numbers of the tasks held; see `MaskMemory.tasks`."""
        return self._newest().tasks

    @property
    def capacity(self) -> int | None:
        """Tasks that fit; see `MaskMemory.capacity`."""
        return self._newest().capacity

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each layer -> shape of its mask."""
        return self._newest().shapes

    @property
    def mean(self) -> Masks:
        """Mean of the masks stored; see `MaskMemory.mean`."""
        return self._newest().mean

    @property
    def nbytes(self) -> int:
        """Bytes of the state; see `MaskMemory.nbytes`."""
        return self._newest().nbytes

    def recall(self, *task: Any, **by: Any) -> Hit:
        """Recall masks from the newest state; arguments as in `MaskMemory.recall`."""
        return self._newest().recall(*task, **by)

    def report(self, *, sample: int = 32) -> LoadReport:
        """How safely the newest state holds its tasks; see `MaskMemory.report`."""
        return self._newest().report(sample=sample)

    def store(
        self,
        masks: Mapping[str, Tensor],
        *,
        task: int | None = None,
        signature: Samples | SignatureSums | None = None,
        groups: Groups | None = None,
        extras: Mapping[str, Tensor] | None = None,
        check: bool = True,
    ) -> int:
        """Store one task's masks; returns its number when they are durable.

        Arguments as in `MaskMemory.store`.

        Raises:
            CommitFailedError, StoreLockedError: nothing was stored.
            CommitUncertainError: stored, but may not outlast a loss of power.
            StaleStoreError: the file did not come of what was read from it; open it again.
            MaskError, CueError, DuplicateError, MemoryFullError, ...: as in `MaskMemory.store`;
                nothing was stored.
        """
        return self._change(
            lambda memory: memory.store(
                masks,
                task=task,
                signature=signature,
                groups=groups,
                extras=extras,
                check=check,
            )
        )

    def replace(
        self,
        task: int,
        masks: Mapping[str, Tensor],
        *,
        signature: Samples | SignatureSums | None = None,
        groups: Groups | None = None,
        extras: Mapping[str, Tensor] | None = None,
        check: bool = True,
    ) -> None:
        """Store a task anew, durably; as `MaskMemory.replace`, and raises as `store` does."""
        self._change(
            lambda memory: memory.replace(
                task, masks, signature=signature, groups=groups, extras=extras, check=check
            )
        )

    def forget(self, task: int) -> None:
        """Take one task out again, durably; as `MaskMemory.forget`, and raises as `store` does."""
        self._change(lambda memory: memory.forget(task))

    def grow(self) -> None:
        """Twice the hubs, durably; as `MaskMemory.grow`, and raises as `store` does."""
        self._change(lambda memory: memory.grow())

    def merge(self, other: MaskMemory) -> None:
        """Add another memory's tasks, durably; as `MaskMemory.merge`, and raises as `store` does.

        Args:
            other: a memory at hand; of a file, `hopmask.load(path)`.
        """
        self._change(lambda memory: memory.merge(other))

    def close(self) -> None:
        """Let go of the memory; everything stored is in the file already."""
        self._memory, self._closed = None, True

    def __len__(self) -> int:
        """Number of tasks stored."""
        return self.count

    def __enter__(self) -> "LiveMemory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"generation {self._stamp and self._stamp.generation}"
        return f"LiveMemory({str(self.path)!r}, {state})"

    def _change(self, change: Callable[[MaskMemory], _Answer]) -> _Answer:
        if not self._writable:
            raise StoreFileError(f"{self.path} was opened to read: open it with mode 'r+' or 'a'")
        with storage.writing(self.path, wait=self._wait) as writer:
            memory = self._newest()
            self._memory = None  # if anything goes wrong from here on, the file is what counts
            answer = change(memory)
            self._stamp = writer.write(memory.document(), after=self._stamp)
            self._memory = memory
        return answer

    def _newest(self) -> MaskMemory:
        """The newest state; read only where it is not the one at hand."""
        if self._closed:
            raise StoreFileError(f"{self.path} was closed: open it again")
        header, stamp = header_or_none(self.path), self._stamp
        known = header and stamp and stamp_of(header, schema=stamp.schema) == stamp
        if self._memory is not None and known:
            return self._memory
        try:
            document, stamp = storage.read_stamped(self.path, kinds=("masks",))
        except StoreNotFoundError as error:
            raise StoreNotFoundError(
                f"{error}: make one with hopmask.open_memory({str(self.path)!r}, 'x', "
                "new=MaskMemory(...))"
            ) from error
        self._check_successor(stamp)
        memory = restored(self.path, document, rule=self._rule, device=self._device)
        assert isinstance(memory, MaskMemory)  # of its kind
        self._memory, self._stamp = memory, stamp
        return memory

    def _check_successor(self, stamp: Stamp) -> None:
        """Raise StaleStoreError where the file did not come of the state at hand by stores."""
        before = self._stamp
        if before is not None and not stamp.succeeds(before):
            raise StaleStoreError(
                f"{self.path} was generation {before.generation} of store {before.store} when it "
                f"was last read, and is now generation {stamp.generation} of {stamp.store}, which "
                "did not come of it: the file was recovered, saved over or replaced. Nothing was "
                "changed: open it again"
            )

    def _form(self) -> dict[str, Any]:
        return _form_of(self._newest())
