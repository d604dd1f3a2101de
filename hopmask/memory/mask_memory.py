"""MaskMemory: named masks of many tasks in couplings of constant size, recalled as one."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from hopmask._precision import in_full_precision
from hopmask.errors import CueError
from hopmask.memory.features import Samples
from hopmask.memory.groups import Groups
from hopmask.memory.hub_operations import HubOperations
from hopmask.memory.mask_penalty import MaskPenalty
from hopmask.memory.signature_sums import SignatureSums
from hopmask.recall.options import Search
from hopmask.recall.result import Hit


class MaskMemory(HubOperations):
    """Supermasks of many tasks in constant space, recalled by number, by damage, or by data.

    Dense couplings: key bits and the masks of all layers form one ±1 vector in a matrix Ψ (d, d),
    which is quadratic in the mask. Hub couplings: mask neurons are coupled to K hubs alone, which
    carry the task's key, in a matrix A (D, K) of integers, which is linear in the mask and exact
    for up to K tasks. Beside the couplings a memory keeps the sums of the content address (from a
    task's data to its key) and counters, however many tasks there are. Autocast around a call
    changes nothing.

    Args:
        sizes: name of each layer -> number of bits, or shape, of its mask. Fixed for life.
        couplings: "dense" or "hub".
        seed: makes the keys and the features of the content address.
        signature_features: random features of the content address; 0 for none. More features
            separate tasks that are more alike. The sums take about (features + key_bits)² numbers;
            of hub couplings features² / 2 + features · groups · hubs.
        device: where the couplings live.
        fingerprint: what the masks belong to, such as a digest of a network's weights. It is kept
            in the file and compared by the code that uses the masks; hopmask ignores it.
        rule: of dense couplings: learning rule, by name or as an object; default "storkey".
        key_bits: of dense couplings: bits that stand for a task's number; default 256. The content
            address is exact for as many tasks, and approximate beyond.
        dtype: of dense couplings: torch.float32 (default) or torch.float64.
        hubs: of hub couplings: K, a power of two, and the number of tasks that fit; default 64.
        precision: of hub couplings: "int8", "int16" or "auto" (default; int8 up to 256 hubs).
        signature_groups: of hub couplings: groups that a task's samples may be of, such as its
            classes; default 1. The address keeps a mean of each, which names tasks whose classes
            differ much better from one sample.
        extras: of hub couplings: name -> number, or shape, of real values that belong to a task
            beside its masks, such as statistics of normalisation. Their names are not masks' names.

    Attributes:
        couplings: Ψ and μ, or A and its wide columns; the number of tasks held.
        code: how a task's number and masks become one joint vector.
        address: the content address; None without one.
        numbered: the largest task number given out so far, plus 1.

    Raises:
        ConfigError: sizes, bits, rule or seed that nothing can be built from, options of the other
            kind of couplings, or too little room.

    Example:
        >>> import torch
        >>> memory = MaskMemory({"hidden": 256}, seed=0)
        >>> mask = torch.rand(256, generator=torch.Generator().manual_seed(1)) < 0.5
        >>> memory.store({"hidden": mask})
        0
        >>> bool((memory.recall(0).masks["hidden"] == mask).all())
        True
        >>> exact = MaskMemory({"hidden": 256}, couplings="hub", hubs=8)
        >>> exact.store({"hidden": mask}, task=5)
        5
        >>> exact.capacity
        8

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5 (HopSupSup); hubs: Kosko 1988
        (bidirectional associative memory); orthogonal keys and content address are hopmask's own.
    """

    @in_full_precision
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
        """Store one task's masks; they are not kept. Where this raises, nothing is changed.

        Args:
            masks: name -> bool or {0, 1} of the layer's size; every layer, no other.
            task: its number, of hub couplings; by default the next one, and from the last on the
                lowest that is free.
            signature: what the task's data look like, for the content address: one real vector
                (n,), or, better, many samples of it (s, n), such as the task's images, or an
                iterable of such parts (s_i, n), of which one is held at a time: from their spread
                the address learns what to ignore. Without one, `recall(signature=...)` cannot find
                the task. All signatures of a memory have one length n. Of hub couplings also what
                `describe` returned.
            groups: group of each sample of the signature in its order, integers (s,) from 0 to
                signature_groups - 1, or an iterable of such parts; by default all are of group 0.
                A task need not have all groups.
            extras: name -> values of every extra of the memory; kept as half floats.
            check: of dense couplings: recall the newest task and a few others afterwards, to warn
                in time. It takes most of the time of a store. Hub couplings are exact.

        Returns:
            The task's number.

        Raises:
            MaskError: a wrong name, size, type or value.
            CueError: a signature that is not finite or all zero, that differs in length from the
                memory's others, or that has no address here; one that was described by a memory
                that was made otherwise; groups that are not those of its samples.
            DuplicateError: of dense couplings: the same masks are stored already. Of hub
                couplings: that number is taken.
            MemoryFullError: as many tasks as hubs; `grow` makes room.
            SaturationError: an integer would leave its range.
            ReadOnlyMemoryError: the memory was saved with few bits per coupling.
            NumericalError: Ψ is not finite, or takes nothing from the masks.
            ConfigError: task=, groups= or extras= of a memory that has none.

        Warns:
            OverloadWarning: the memory is too full to hold the masks exactly, or the next ones.
        """
        return self._masks.store(
            masks, task=task, signature=signature, groups=groups, extras=extras, check=check
        )

    @in_full_precision
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
        """Store a task anew under its number, exactly.

        Args:
            task: number of a stored task.
            masks: as in `store`.
            extras: as in `store`.
            check: as in `store`.
            signature: as in `store`. Without one, hub couplings keep the signature that the task
                had, dense ones forget it.
            groups: as in `store`.

        Raises:
            NotForgettableError: the rule has no exact inverse; nothing was changed.
            UnknownTaskError: no such task, or what `store` raises. Nothing was changed.

        Example:
            >>> import torch
            >>> memory = MaskMemory({"hidden": 256}, rule="hebbian")
            >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
            0
            >>> memory.replace(0, {"hidden": torch.arange(256) % 5 == 0})
            >>> int(memory.recall(0).masks["hidden"].sum())
            52
        """
        self._masks.replace(
            task, masks, signature=signature, groups=groups, extras=extras, check=check
        )

    @in_full_precision
    def recall(
        self,
        task: int | Sequence[int] | Tensor | None = None,
        *,
        cue: Mapping[str, Tensor] | None = None,
        signature: Tensor | None = None,
        penalty: MaskPenalty | None = None,
        batch: int | None = None,
        search: Search | None = None,
    ) -> Hit:
        """Recall masks, all layers of a task together.

        Give a task's number, a damaged mask, both (dense couplings), or data through `signature`
        and `penalty`, with or without a damaged mask. With a signature or a penalty the answer is
        the memory of lowest penalty − w · agreement with the cue (see `Search`): the content
        address points, the gradient of the penalty at μ points, and both decide.

        Args:
            task: number of the task, or numbers (b,), recalled in one batch.
            cue: name -> values in [0, 1], (size,) or (batch, size): 0.5 where a bit is unknown;
                layers may be missing.
            signature: (n,), or (batch, n) for so many recalls, or (batch, s, n): s samples of the
                data of each. Of the length given to `store`. Zeros alone point nowhere: that row is
                recalled by the rest of the question, and never `recognized`.
            penalty: differentiable; takes name -> masks in [0, 1], with the batch dimension of cue
                or signature if these have one, and returns a scalar, or (batch,). Extras of tasks
                are in the mapping too: at the mean mask their mean over all tasks, else those of
                the task that is tried. It is differentiated by the masks alone. One with a method
                `of_rows` (`RowPenalty`) is not evaluated for rows that are done; one with a method
                `pointing` (`PointingPenalty`) points by another function than it compares by.
            batch: rows to recall at once where the penalty alone is given: it then takes masks
                (batch, size) and returns (batch,).
            search: options; see `Search`.

        Returns:
            Hit. An answer that is no memory is a result (`verified`), not an error.

        Raises:
            EmptyMemoryError: nothing is stored.
            UnknownTaskError: no task of that number.
            CueError: nothing to recall by, or a cue or signature of wrong shape or value.
            ConfigError: options that such a recall would ignore.
            PenaltyError: the penalty is not a finite, differentiable scalar.

        Example:
            >>> import torch
            >>> memory = MaskMemory({"hidden": 256})
            >>> for step in (3, 5, 7):
            ...     task = memory.store({"hidden": torch.arange(256) % step == 0})
            >>> memory.recall([0, 2]).masks["hidden"].sum(-1)
            tensor([86, 37])

        Source:
            Wortsman et al. 2020 (arXiv 2006.14769), section 3.5.
        """
        self._require_tasks()
        if task is not None and not (signature is None and penalty is None):
            raise CueError(
                "task= names the memory: leave it out to recall by signature= or penalty=, or "
                "leave these out"
            )
        return self._masks.recall(
            task,
            cue=cue,
            signature=signature,
            penalty=penalty,
            batch=batch,
            search=search or Search(),
        )

    @in_full_precision
    def forget(self, task: int) -> None:
        """Take one task out again, exactly, where the memory can.

        Hub couplings free the number; dense ones do not use it again. What the content address
        learned of the spread within tasks stays in its average until no task is left.

        Raises:
            NotForgettableError: the rule has no exact inverse, or the content address holds more
                tasks than key bits.
            EmptyMemoryError: nothing is stored.
            UnknownTaskError: no task of that number, or it can no longer be recalled.
            ReadOnlyMemoryError: as in `store`.

        Example:
            >>> import torch
            >>> memory = MaskMemory({"hidden": 256}, couplings="hub")
            >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
            0
            >>> memory.forget(task=0)
            >>> memory.count
            0
        """
        self._require_tasks()
        self._masks.forget(task)
