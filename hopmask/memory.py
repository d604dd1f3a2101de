"""MaskMemory: named masks of many tasks in one reservoir of constant size, recalled as one."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopmask import storage
from hopmask.address import Addresses
from hopmask.errors import (
    ConfigError,
    CueError,
    DuplicateError,
    OverloadWarning,
    UnknownTaskError,
)
from hopmask.hit import Hit
from hopmask.layout import Layout, Masks, Size
from hopmask.recall import SETTLE, Dynamics, descend
from hopmask.reservoir import Reservoir
from hopmask.rules import LearningRule
from hopmask.search import CLEAR, Found

MaskPenalty = Callable[[Masks], Tensor]


class MaskMemory:
    """Supermasks of many tasks in constant space, recalled by number, by damage, or by data.

    Key bits, address bits and the masks of all layers form one ±1 vector in one reservoir, so
    layers can never disagree about the task. What is kept is Ψ, μ and a counter, however many
    tasks there are.

    Args:
        sizes: name of each layer -> number of bits, or shape, of its mask. Fixed for life.
        rule: learning rule, by name or as an object.
        seed: makes the keys and the map of the content address.
        key_bits: bits that stand for a task's number.
        signature_bits: bits of the content address; 0 for none.
        dtype: torch.float32 or torch.float64.
        device: where Ψ lives.

    Raises:
        ConfigError: sizes, bits, rule or seed that nothing can be built from.

    Example:
        >>> memory = MaskMemory({"hidden": 256}, seed=0)
        >>> mask = torch.rand(256, generator=torch.Generator().manual_seed(1)) < 0.5
        >>> memory.store({"hidden": mask})
        0
        >>> bool((memory.recall(task=0).masks["hidden"] == mask).all())
        True

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5 (HopSupSup); keys and content address
        are hopmask's own.
    """

    def __init__(
        self,
        sizes: Mapping[str, Size],
        *,
        rule: str | LearningRule = "storkey",
        seed: int = 0,
        key_bits: int = 128,
        signature_bits: int = 512,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"seed must be an integer >= 0, got {seed!r}")
        self.seed, self.key_bits, self.signature_bits = seed, key_bits, signature_bits
        self._addresses = Addresses(seed=seed, key_bits=key_bits, signature_bits=signature_bits)
        self._layout = Layout(sizes, head=self._addresses.width)
        self._next = 0  # number of the next task; ahead of `count` once one was forgotten
        self.reservoir = Reservoir(self._layout.size, rule=rule, dtype=dtype, device=device)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each layer -> shape of its mask."""
        return dict(self._layout.shapes)

    @property
    def count(self) -> int:
        """Number of tasks stored."""
        return self.reservoir.count

    @property
    def mean(self) -> Masks:
        """Mean of the masks stored, name -> levels in [0, 1]: (1 + μ)/2, ½ while there are none."""
        return self._layout.split((1 + self.reservoir.mean) / 2)

    @property
    def nbytes(self) -> int:
        """Bytes of the state, Ψ, μ and counters; independent of `count`.

        Not in it, because it follows from the seed: the content address's map, (signature length) ×
        signature_bits float32, made when a signature is first given and dropped with the object.
        """
        return self.reservoir.nbytes

    def store(self, masks: Mapping[str, Tensor], *, signature: Tensor | None = None) -> int:
        """Store one task's masks; they are not kept.

        Args:
            masks: name -> bool or {0, 1} of the layer's size; every layer, no other.
            signature: content address: any real vector (n,) that later data of the same task
                resembles, for example its mean input. Without one, `recall(signature=...)` cannot
                find the task. All signatures of a memory have one length.

        Returns:
            The task's number: 0, 1, 2 ...

        Raises:
            MaskError: a wrong name, size, type or value.
            CueError: a signature that is not a finite, varying vector, that differs in length from
                the memory's others, or that has no bits here.
            DuplicateError: the same masks are stored already.

        Warns:
            OverloadWarning: the memory is too full to hold the masks exactly.
        """
        body = self._body_of(masks)
        task = self._next
        pattern = self._blank(1)[0]
        pattern[: self._addresses.width] = self._addresses.head(task, signature)
        pattern[self._layout.body] = body
        self._refuse_duplicate(body)
        held = self.count
        try:
            self.reservoir.store(pattern)
        finally:  # a warning turned into an error comes after the pattern was stored
            if self.count > held:
                self._next = task + 1
                if signature is not None:
                    self._addresses.signature_length = signature.shape[-1]
        self._warn_if_full(task)
        return task

    def recall(
        self,
        *,
        task: int | None = None,
        cue: Mapping[str, Tensor] | None = None,
        signature: Tensor | None = None,
        penalty: MaskPenalty | None = None,
        dynamics: Sequence[Dynamics] = SETTLE,
        attempts: int = 8,
        clear: float = torch.inf,
        batch: int | None = None,
        trace: bool = False,
    ) -> Hit:
        """Recall one task's masks, all layers together.

        Give a task's number, a damaged mask, data through `signature` and `penalty`, or any of them
        together. With a signature or a penalty the answer is the memory of lowest
        penalty − ½ · agreement among at most `attempts` basins: the content address points, the
        gradient of the penalty at μ points, and the penalty decides.

        Args:
            task: number of the task.
            cue: name -> values in [0, 1], (size,) or (batch, size): 0.5 where a bit is unknown;
                layers may be missing.
            signature: (n,) or (batch, n), as given to `store`.
            penalty: differentiable; takes name -> masks in [0, 1], with the batch dimension of cue
                or signature if these have one, and returns a scalar, or (batch,).
            dynamics: parts of each descent.
            attempts: how many basins to visit at most.
            clear: visit no more basins once the best is ahead of the next by this margin, in the
                penalty's units; default: visit all `attempts`.
            batch: rows to recall at once where the penalty alone is given: it then takes masks
                (batch, size) and returns (batch,).
            trace: record energy, penalty, overlap and state at every step.

        Returns:
            Hit. An answer that is no memory is a result (`converged`), not an error.

        Raises:
            EmptyMemoryError: nothing is stored.
            UnknownTaskError: no task of that number.
            CueError: nothing to recall by, or a cue or signature of wrong shape or value.
            PenaltyError: the penalty is not a finite, differentiable scalar.

        Source:
            Wortsman et al. 2020 (arXiv 2006.14769), section 3.5.
        """
        found, flat = self._seek(
            task=task,
            cue=cue,
            signature=signature,
            penalty=penalty,
            dynamics=dynamics,
            attempts=attempts,
            clear=clear,
            batch=batch,
            trace=trace,
        )
        tasks, _ = self._addresses.nearest(found.state, self._next)
        masks = {n: m > 0.5 for n, m in self._layout.split((1 + found.state) / 2).items()}
        return Hit(
            masks={n: m[0] for n, m in masks.items()} if flat else masks,
            task=_plain(tasks, flat),
            residual=_plain(self.reservoir.residual(found.state), flat),
            energy=_plain(self.reservoir.energy(found.state), flat),
            steps=_plain(found.steps, flat),
            converged=_plain(found.verified, flat),
            margin=_plain(found.margin, flat),
            known=_plain(found.verified & ~(found.margin < CLEAR), flat),
            trace=found.trace,
        )

    def forget(self, task: int) -> None:
        """Take one task out again, exactly, where the rule allows it. Its number is not reused.

        Raises:
            NotForgettableError: the rule has no exact inverse.
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
        found, _ = self._seek(task=task)
        if not bool(found.verified[0]):
            raise UnknownTaskError(
                f"task {task} cannot be recalled exactly, so it cannot be forgotten exactly: "
                "the memory is too full"
            )
        self.reservoir.forget(found.state[0])

    def overlap(self, states: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Overlap (1/n) Σ z z' of the mask bits of joint states with given masks.

        Args:
            states: ±1, (..., d), for example `hit.trace.states`.
            masks: name -> bool or {0, 1}, every layer.

        Returns:
            In [-1, 1], shape (...).

        Raises:
            MaskError: masks of a wrong name, size, type or value.
            CueError: states that are not this memory's.
        """
        body = self._body_of(masks)
        if not isinstance(states, Tensor) or states.ndim == 0:
            raise CueError("states must be a tensor (..., d), such as hit.trace.states")
        if states.shape[-1] != self.reservoir.size:
            raise CueError(f"states have {states.shape[-1]} spins, not {self.reservoir.size}")
        return (states[..., self._layout.body].to(body) @ body) / body.numel()

    def save(self, path: str | Path) -> None:
        """Write the memory to an HDF5 file, whole or not at all; the size never depends on `count`.

        Raises:
            StoreFileError: the file cannot be written.
        """
        meta = {
            "kind": "masks",
            "layers": [[name, list(shape)] for name, shape in self.shapes.items()],
            "seed": self.seed,
            "key_bits": self.key_bits,
            "signature_bits": self.signature_bits,
        }
        storage.write(path, meta, self.reservoir, (self._next, self._addresses.signature_length))

    @classmethod
    def _restored(
        cls, meta: dict[str, Any], reservoir: Reservoir, next_task: int, signature_length: int
    ) -> "MaskMemory":
        """A memory around a reservoir read from a file; `hopmask.load` is the public door."""
        memory = cls(
            {name: tuple(shape) for name, shape in meta["layers"]},
            rule=reservoir.rule,
            seed=meta["seed"],
            key_bits=meta["key_bits"],
            signature_bits=meta["signature_bits"],
            device="meta",
        )
        if memory.reservoir.size != reservoir.size or not next_task >= reservoir.count:
            raise ConfigError(
                f"its layers need {memory.reservoir.size} spins, its matrix has {reservoir.size}"
            )
        memory.reservoir = reservoir
        memory._next = next_task
        memory._addresses.signature_length = signature_length
        return memory

    def _seek(
        self,
        *,
        task: int | None = None,
        cue: Mapping[str, Tensor] | None = None,
        signature: Tensor | None = None,
        penalty: MaskPenalty | None = None,
        dynamics: Sequence[Dynamics] = SETTLE,
        attempts: int = 8,
        clear: float = torch.inf,
        batch: int | None = None,
        trace: bool = False,
    ) -> tuple[Found, bool]:
        """The joint states found, and whether the caller asked for one answer, not a batch."""
        self.reservoir._require_patterns()
        task = None if task is None else self._known_task(task)
        joined, batched = self._cue(task, cue, signature)
        if joined is None and penalty is None:
            raise CueError("recall needs task=, cue=, signature= or penalty=, got none of them")
        if batch is not None and (joined is not None or not isinstance(batch, int) or batch < 1):
            raise CueError(f"batch= ({batch!r}) goes with penalty= alone and must be positive")
        flat = not batched and batch is None
        rows = len(joined) if joined is not None else batch or 1

        def on_masks(state: Tensor) -> Tensor:
            masks = self._layout.split((1 + state) / 2)
            if not flat:
                return penalty(masks)  # type: ignore[misc]
            value = penalty({name: mask[0] for name, mask in masks.items()})  # type: ignore[misc]
            return value[None] if isinstance(value, Tensor) and value.ndim == 0 else value

        def check(state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            tasks, agreement = self._addresses.nearest(state, self._next)
            exact = agreement.abs() == 1
            toward = self.reservoir.mean if joined is None else joined[rows]
            wrong = torch.where(exact, agreement < 0, (state * toward).sum(-1) < 0)
            state = torch.where(wrong[:, None], -state, state)
            verified = self.reservoir.is_memory(state) & exact
            return state, verified if task is None else verified & (tasks == task)

        def resolve(state: Tensor) -> Tensor:
            """The key of the strongest memory in a mixture, as a cue."""
            start = torch.zeros_like(state)
            tasks, _ = self._addresses.nearest(state, self._next)
            start[:, self._addresses.key] = self._addresses.keys(tasks).to(state)
            return start

        choose = penalty is not None or signature is not None
        found = self.reservoir._seek(
            cue=joined,
            penalty=on_masks if penalty is not None else None,
            check=check,
            resolve=resolve if choose else None,
            dynamics=dynamics,
            attempts=attempts if choose or task is not None else 1,
            compare=choose,
            clear=clear,
            trace=trace,
            batch=rows,
        )
        return found, flat

    def _cue(
        self, task: int | None, cue: Mapping[str, Tensor] | None, signature: Tensor | None
    ) -> tuple[Tensor | None, bool]:
        """The joint cue (batch, d), 0 where nothing is known, and whether it came as a batch."""
        parts: list[tuple[slice, Tensor]] = []
        if task is not None:
            parts.append((self._addresses.key, self._addresses.keys(torch.tensor([task]))[0]))
        if signature is not None:
            graded = self._addresses.cue(signature, self.reservoir.mean, self.count)
            parts.append((self._addresses.content, graded))
        if cue is not None:
            parts.extend(self._layout.levels(cue))
        if not parts:
            return None, False
        rows = {len(part) for _, part in parts if part.ndim == 2}
        if len(rows) > 1 or any(part.ndim > 2 for _, part in parts):
            raise CueError(f"cue and signature must have one batch size, got {sorted(rows)}")
        joined = self._blank(rows.pop() if rows else 1)
        batched = any(part.ndim == 2 for _, part in parts)
        for where, part in parts:
            joined[:, where] = part.to(joined)
        return joined, batched

    def _known_task(self, task: int) -> int:
        try:
            number = -1 if isinstance(task, bool) else index(task)
        except TypeError:
            number = -1
        if not 0 <= number < self._next:
            raise UnknownTaskError(
                f"unknown task {task!r}: the memory holds tasks 0 to {self._next - 1}"
            )
        return number

    def _warn_if_full(self, task: int) -> None:
        """Recall one earlier task, another one at each store; warn if it cannot be."""
        if task == 0:
            return
        earlier = task * 40503 % 65521 % task
        found, _ = self._seek(task=earlier, attempts=1)
        if not bool(found.verified[0]) and self._next == self.count:
            warnings.warn(
                f"task {earlier} of {task + 1} is no longer recalled exactly (rule "
                f"'{self.reservoir.rule.name}', {self.reservoir.size} spins, load "
                f"{self.reservoir.load:.3f}): the memory is too full. Use a larger one",
                OverloadWarning,
                stacklevel=3,
            )

    def _refuse_duplicate(self, body: Tensor) -> None:
        """Raise DuplicateError if these very masks are stored, whatever their key."""
        if self.count == 0:
            return
        probe = self._blank(1)
        probe[:, self._layout.body] = body
        answer = self.reservoir.rule.field(self.reservoir.psi, probe)[:, self._layout.body]
        if bool((answer * body <= 0).any()):
            return
        state = descend(self.reservoir._landscape(None, 1), probe, SETTLE).state
        tasks, agreement = self._addresses.nearest(state, self._next)
        if agreement[0] > 0 and bool((state[0, self._layout.body] == body).all()):
            task = int(tasks[0])
            raise DuplicateError(
                f"these masks are stored already, as task {task}: a second copy would distort "
                f"both. Nothing was stored; use recall(task={task})"
            )

    def _body_of(self, masks: Mapping[str, Tensor]) -> Tensor:
        return self._layout.join(masks).to(self.reservoir.mean)

    def _blank(self, rows: int) -> Tensor:
        return self.reservoir.mean.new_zeros(rows, self.reservoir.size)


def _plain(value: Tensor, flat: bool) -> Any:
    return value[0].item() if flat else value
