"""What only a memory on hub couplings can do: describe and weigh samples, grow, and merge."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from hopmask._precision import in_full_precision
from hopmask.errors import ConfigError
from hopmask.memory.features import Samples
from hopmask.memory.groups import Groups
from hopmask.memory.hub_growth import growing
from hopmask.memory.hub_masks import HubMasks
from hopmask.memory.signature_sums import SignatureSums
from hopmask.memory.state import MemoryState


class HubOperations(MemoryState):
    """The part of `MaskMemory` that dense couplings refuse."""

    @in_full_precision
    def describe(self, signature: Samples, *, groups: Groups | None = None) -> SignatureSums:
        """What a task's data add to the content address, for a later `store`; nothing changes.

        `store(masks, signature=memory.describe(data))` is `store(masks, signature=data)`, to the
        bit. The memory that describes may be another one, in another process: it needs the same
        seed, signature features and groups, and no task or hub of the other.

        Args:
            signature: samples of the task's data, as in `store`.
            groups: as in `store`.

        Raises:
            CueError: as in `store`.
            ConfigError: dense couplings.

        Example:
            >>> import torch
            >>> from hopmask import MaskMemory
            >>> small, large = (
            ...     MaskMemory({"h": 256}, couplings="hub", hubs=hubs, signature_features=32)
            ...     for hubs in (2, 64)
            ... )
            >>> sums = small.describe(torch.eye(8))
            >>> large.store({"h": torch.arange(256) % 3 == 0}, task=40, signature=sums)
            40
            >>> int(large.recall(signature=torch.eye(8)).task[0])
            40

        Source:
            See `HubAddress`: the sums are whole numbers, and add exactly.
        """
        return self._hub("describe data apart from a store").describe(signature, groups)

    @in_full_precision
    def evidence(self, signature: Tensor) -> Tensor:
        """What the content address says of samples: log p(x, g | t) − log p₀(x), in nats.

        Each sample is judged by itself. The logsumexp over the groups g is that of log p(x | t), by
        which a recall names a task; the log_softmax over them is log p(g | x, t). All groups are
        Gaussians of one covariance, see `HubAddress`, and p₀ is another around the mean of all
        groups: data nearer to that mean than to any group have evidence below 0. The model is more
        certain than right.

        Args:
            signature: samples (b, n), computed as those that were given to `store`.

        Returns:
            (b, hubs, signature_groups), by task number; −∞ of tasks, and of groups of a task, that
            no signature was stored of.

        Raises:
            EmptyMemoryError: nothing is stored.
            CueError: samples of another shape or length or not finite, no content address, or no
                task with a signature.
            ConfigError: dense couplings.

        Example:
            >>> import torch
            >>> from hopmask import MaskMemory
            >>> options = {"hubs": 4, "signature_features": 32, "signature_groups": 2}
            >>> memory = MaskMemory({"hidden": 256}, couplings="hub", **options)
            >>> mask = {"hidden": torch.arange(256) % 3 == 0}
            >>> data, groups = torch.eye(4).repeat(8, 1), torch.arange(32) % 4 // 2
            >>> memory.store(mask, signature=data, groups=groups)
            0
            >>> memory.evidence(torch.eye(4))[:, 0].argmax(-1)
            tensor([0, 0, 1, 1])

        Source:
            Linear discriminant analysis: Fisher 1936.
        """
        self._require_tasks()
        return self._hub("say how likely data are").evidence(signature)

    @in_full_precision
    def grow(self) -> None:
        """Twice the hubs, and so twice the tasks that fit: exact, and without any mask.

        Raises:
            ConfigError: dense couplings, or too little room; nothing was changed.
            ReadOnlyMemoryError: as in `store`.

        Example:
            >>> from hopmask import MaskMemory
            >>> memory = MaskMemory({"hidden": 256}, couplings="hub", hubs=8)
            >>> memory.grow()
            >>> memory.capacity
            16
        """
        self._hub("grow").grow()

    @contextmanager
    def growing(self, hubs: int) -> Iterator[None]:
        """Grow to at least so many hubs for a change that needs them, unless the change fails.

        Args:
            hubs: K, at least. The block is one `store` or `merge`, each of which changes nothing
                where it fails.

        Raises:
            ConfigError, ReadOnlyMemoryError: as in `grow`. Whatever the block raises leaves the
                memory with the hubs that it had.

        Example:
            >>> import torch
            >>> from hopmask import MaskMemory
            >>> memory = MaskMemory({"hidden": 256}, couplings="hub", hubs=8)
            >>> with memory.growing(16):
            ...     memory.store({"hidden": torch.arange(256) % 3 == 0}, task=12)
            12
        """
        with growing(self._hub("grow"), hubs):
            yield

    @in_full_precision
    def merge(self, other: "HubOperations") -> None:
        """Add the tasks of another memory, under the numbers that they have there.

        Exact and free of order: the sums of four memories are those of one that stored all.

        Args:
            other: hub couplings of the same layers, extras, seed, hubs (at birth and now),
                precision, signature features and groups; its tasks are others. It is not changed.

        Raises:
            ConfigError: it has another form, or other things belong to its masks; the error says
                what.
            DuplicateError: both hold a task of the same number; the error says which.
            SaturationError, ReadOnlyMemoryError: as in `store`. Nothing was changed in all cases.

        Example:
            >>> import torch
            >>> from hopmask import MaskMemory
            >>> one, other = (MaskMemory({"h": 256}, couplings="hub", hubs=8) for _ in range(2))
            >>> one.store({"h": torch.arange(256) % 3 == 0}, task=0)
            0
            >>> other.store({"h": torch.arange(256) % 5 == 0}, task=1)
            1
            >>> one.merge(other)
            >>> one.tasks
            (0, 1)
        """
        if not isinstance(other, HubOperations):
            raise ConfigError(f"merge takes a MaskMemory, got {type(other).__name__}")
        if self.fingerprint != other.fingerprint:
            raise ConfigError(
                f"the masks of the two memories belong to different things: "
                f"{self.fingerprint!r:.40} "
                f"and {other.fingerprint!r:.40}"
            )
        self._hub("merge").merge(other._hub("merge"))

    def _hub(self, what: str) -> HubMasks:
        if not isinstance(self._masks, HubMasks):
            raise ConfigError(
                f"dense couplings cannot {what}: build the memory with couplings='hub'"
            )
        return self._masks
