"""MaskMemory: named masks of many tasks in couplings of constant size, recalled as one."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hopmask._precision import in_full_precision
from hopmask.errors import CueError, NotForgettableError, OverloadWarning, UnknownTaskError
from hopmask.memory import health
from hopmask.memory.address import STRANGE, ContentAddress, Description, Samples
from hopmask.memory.duplicates import refuse_duplicate
from hopmask.memory.numbers import task_number, task_numbers
from hopmask.memory.query import MaskPenalty, Query
from hopmask.memory.state import MemoryState
from hopmask.recall.options import Search
from hopmask.recall.result import Hit


class MaskMemory(MemoryState):
    """Supermasks of many tasks in constant space, recalled by number, by damage, or by data.

    Key bits and the masks of all layers form one ±1 vector, so layers can never disagree about the
    task. What is kept is Ψ, μ, the sums of the content address (from a task's data to its key) and
    counters, however many tasks there are. Autocast around a call changes nothing.

    Args:
        sizes: name of each layer -> number of bits, or shape, of its mask. Fixed for life.
        rule: learning rule, by name or as an object.
        seed: makes the keys and the features of the content address.
        key_bits: bits that stand for a task's number. The content address is exact for as many
            tasks, and approximate beyond.
        signature_features: random features of the content address; 0 for none. More features
            separate tasks that are more alike; the sums take about (features + key_bits)² numbers.
        dtype: torch.float32 or torch.float64.
        device: where Ψ lives.
        fingerprint: what the masks belong to, such as a digest of a network's weights. It is kept
            in the file and compared by the code that uses the masks; hopmask ignores it.

    Attributes:
        couplings: Ψ, μ and the count of patterns.
        code: how a task's number and masks become one joint vector.
        address: the content address; None without one.
        numbered: how many task numbers were given out; more than `count` once one was forgotten.

    Raises:
        ConfigError: sizes, bits, rule or seed that nothing can be built from.

    Example:
        >>> memory = MaskMemory({"hidden": 256}, seed=0)
        >>> mask = torch.rand(256, generator=torch.Generator().manual_seed(1)) < 0.5
        >>> memory.store({"hidden": mask})
        0
        >>> bool((memory.recall(0).masks["hidden"] == mask).all())
        True

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5 (HopSupSup); keys and content address
        are hopmask's own.
    """

    @in_full_precision
    def store(
        self, masks: Mapping[str, Tensor], *, signature: Samples | None = None, check: bool = True
    ) -> int:
        """Store one task's masks; they are not kept. Where this raises, nothing is changed.

        Args:
            masks: name -> bool or {0, 1} of the layer's size; every layer, no other.
            signature: what the task's data look like, for the content address: one real vector
                (n,), or, better, many samples of it (s, n), such as the task's images, or an
                iterable of such parts (s_i, n), of which one is held at a time: from their spread
                the address learns what to ignore. Without one, `recall(signature=...)` cannot find
                the task. All signatures of a memory have one length n.
            check: recall the newest task and a few others afterwards, to warn in time. It takes
                most of the time of a store.

        Returns:
            The task's number: 0, 1, 2 ...

        Raises:
            MaskError: a wrong name, size, type or value.
            CueError: a signature that is not finite or all zero, that differs in length from the
                memory's others, or that has no address here.
            DuplicateError: the same masks are stored already.
            NumericalError: Ψ is not finite, or takes nothing from the masks.

        Warns:
            OverloadWarning: the memory is too full to hold the masks exactly, or the next ones.
        """
        body, described = self._body_of(masks), self._described(signature)
        refuse_duplicate(self.couplings, self.code, self.numbered, body)
        self._write(self.numbered, body, described, check)
        return self.numbered - 1

    @in_full_precision
    def replace(
        self,
        task: int,
        masks: Mapping[str, Tensor],
        *,
        signature: Samples | None = None,
        check: bool = True,
    ) -> None:
        """Store a task anew under its number: what it was is forgotten first.

        Args:
            task: number of a stored task.
            masks: as in `store`.
            signature: as in `store`.
            check: as in `store`.

        Raises:
            NotForgettableError: the rule has no exact inverse; nothing was changed.
            UnknownTaskError, MaskError, CueError, DuplicateError: as in `forget` and `store`;
                nothing was changed.

        Example:
            >>> memory = MaskMemory({"hidden": 256}, rule="hebbian")
            >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
            0
            >>> memory.replace(0, {"hidden": torch.arange(256) % 5 == 0})
            >>> int(memory.recall(0).masks["hidden"].sum())
            52
        """
        described, body = self._described(signature), self._body_of(masks)
        number = task_number(task, self.numbered)
        refuse_duplicate(self.couplings, self.code, self.numbered, body, but=number)
        self.forget(number)
        self._write(number, body, described, check)

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

        Give a task's number, a damaged mask, both, or data through `signature` and `penalty`, with
        or without a damaged mask. With a signature or a penalty the answer is the memory of lowest
        penalty − w · agreement with the cue (see `Search`): the content address points, the
        gradient of the penalty at μ points, and both decide.

        Args:
            task: number of the task, or numbers (b,), recalled in one batch.
            cue: name -> values in [0, 1], (size,) or (batch, size): 0.5 where a bit is unknown;
                layers may be missing.
            signature: (n,), or (batch, n) for so many recalls, or (batch, s, n): s samples of the
                data of each. Of the length given to `store`. Zeros alone point nowhere: that row is
                recalled by the rest of the question, and never `recognized`.
            penalty: differentiable; takes name -> masks in [0, 1], with the batch dimension of cue
                or signature if these have one, and returns a scalar, or (batch,). One with a method
                `of_rows` (`RowPenalty`) is not evaluated for rows that are done.
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
        guess, strange = (None, None) if signature is None else self._guessed(signature)
        tasks, one = (None, True) if task is None else task_numbers(task, self.numbered)
        query = self._query(
            tasks=tasks, one=one, cue=cue, guess=guess, penalty=penalty, batch=batch, search=search
        )
        found = query.answer()
        recognized = query.recognized(found)
        if strange is not None:
            recognized = recognized & (strange.to(recognized.device) < STRANGE)
        masks = self.code.layout.split(found.state > 0)
        flat = query.flat
        return Hit(
            masks={name: mask[0] for name, mask in masks.items()} if flat else masks,
            task=_plain(query.tasks_of(found.state), flat),
            residual=_plain(self.couplings.residual(found.state), flat),
            energy=_plain(self.couplings.energy(found.state), flat),
            steps=_plain(found.steps, flat),
            verified=_plain(found.verified, flat),
            margin=_plain(found.margin, flat),
            recognized=_plain(recognized, flat),
            unstable=_plain(self.couplings.unstable(found.state), flat),
            trace=found.trace,
        )

    @in_full_precision
    def forget(self, task: int) -> None:
        """Take one task out again, exactly, where the rule allows it. Its number is not reused.

        Raises:
            NotForgettableError: the rule has no exact inverse, or the content address holds more
                tasks than key bits.
            EmptyMemoryError: nothing is stored.
            UnknownTaskError: no task of that number, or it can no longer be recalled.

        Example:
            >>> memory = MaskMemory({"hidden": 256}, rule="hebbian")
            >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
            0
            >>> memory.forget(task=0)
            >>> memory.count
            0
        """
        self._require_tasks()
        number = task_number(task, self.numbered)
        found = self._query(tasks=torch.tensor([number], device="cpu")).answer()
        if self.address is not None and not self.address.can_forget():
            raise NotForgettableError(
                f"the content address holds {self.address.count} tasks, more than its "
                f"{self.key_bits} key bits, and can no longer separate the share of one: "
                "nothing was forgotten. Use more key_bits"
            )
        if not bool(found.verified[0]):
            raise UnknownTaskError(
                f"task {task} cannot be recalled exactly, so it cannot be forgotten exactly: "
                "it was forgotten before, or the memory is too full"
            )
        self.couplings.remove(found.state[0])
        if self.address is not None:
            self.address.forget(number)

    def _query(self, **question: Any) -> Query:
        search = question.pop("search", None) or Search()
        return Query(self.couplings, self.code, self.numbered, options=search, **question)

    def _write(self, task: int, body: Tensor, described: Description | None, check: bool) -> None:
        """Store a task under a number: all of it, or nothing where this raises."""
        pattern = self.code.pattern(task, body, like=self.couplings.mean)
        if described is None or self.address is None:
            self.couplings.write(pattern[0])
        else:
            with self.address.learning(task, described):
                self.couplings.write(pattern[0])
        self.numbered = max(self.numbered, task + 1)
        if not check:
            return
        trouble = health.overload(
            self.couplings, self.code, task=task, pattern=pattern, numbered=self.numbered
        )
        if trouble:
            warnings.warn(trouble, OverloadWarning, stacklevel=4)

    def _described(self, signature: Samples | None) -> Description | None:
        """What the content address will need of a signature."""
        return None if signature is None else self._addressed().describe(signature)

    def _guessed(self, signature: Tensor) -> tuple[Tensor, Tensor]:
        """Key bits that the address guesses, (key bits,) or (batch, key bits), and strangeness."""
        address = self._addressed()
        real = isinstance(signature, Tensor) and 1 <= signature.ndim <= 3
        if not real or signature.numel() == 0:
            raise CueError("a signature must be a tensor (n,), (batch, n) or (batch, samples, n)")
        sets = signature if signature.ndim == 3 else signature.reshape(-1, 1, signature.shape[-1])
        guess, strange = address.guess(sets)
        return (guess[0], strange) if signature.ndim == 1 else (guess, strange)

    def _addressed(self) -> ContentAddress:
        if self.address is None:
            raise CueError(
                "this memory has no content address: build it with signature_features=1024"
            )
        return self.address


def _plain(value: Tensor, flat: bool) -> Any:
    return value[0].item() if flat else value
