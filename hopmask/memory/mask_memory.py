"""MaskMemory: named masks of many tasks in one reservoir of constant size, recalled as one."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopmask import storage
from hopmask.couplings.rules import LearningRule
from hopmask.errors import (
    ConfigError,
    CueError,
    DuplicateError,
    NotForgettableError,
    OverloadWarning,
    UnknownTaskError,
)
from hopmask.memory import health
from hopmask.memory.address import STRANGE, ContentAddress, Description
from hopmask.memory.health import LoadReport
from hopmask.memory.reservoir import Reservoir
from hopmask.patterns.check_bits import MENDED
from hopmask.patterns.joint_code import Code
from hopmask.patterns.layout import Masks, Size
from hopmask.recall.descent import descend
from hopmask.recall.dynamics import SETTLE, Dynamics
from hopmask.recall.landscape import check_penalty
from hopmask.recall.result import Hit
from hopmask.recall.search import CLEAR, Found
from hopmask.storage import Document, Stamp

MaskPenalty = Callable[[Masks], Tensor]
_BEYOND_CHANCE = 5.0  # agreement with a damaged mask, in standard deviations of chance
_NEAR = 0.8  # overlap with a key from which on it is that key, but for a few spins


class MaskMemory:
    """Supermasks of many tasks in constant space, recalled by number, by damage, or by data.

    Key bits and the masks of all layers form one ±1 vector in one reservoir, so layers can never
    disagree about the task. What is kept is Ψ, μ, the sums of the content address (from a task's
    data to its key) and counters, however many tasks there are.

    Args:
        sizes: name of each layer -> number of bits, or shape, of its mask. Fixed for life.
        rule: learning rule, by name or as an object.
        seed: makes the keys and the features of the content address.
        key_bits: bits that stand for a task's number. The content address is exact for as many
            tasks, and goes on approximately beyond.
        signature_features: random features of the content address; 0 for none. More tell tasks
            apart that are more alike; their sums take about (features + key_bits)² numbers.
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
        key_bits: int = 256,
        signature_features: int = 1024,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise ConfigError(f"seed must be an integer from 0 to 2^64 - 1, got {seed!r:.40}")
        self.seed, self.key_bits, self.signature_features = seed, key_bits, signature_features
        self._code = Code(sizes, seed=seed, key_bits=key_bits)
        self._next = 0  # number of the next task; ahead of `count` once one was forgotten
        self.reservoir = Reservoir(self._code.size, rule=rule, dtype=dtype, device=device)
        self._address: ContentAddress | None = None
        if signature_features != 0:
            self._address = ContentAddress(
                self._code.keys, features=signature_features, dtype=dtype, device=device
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each layer -> shape of its mask."""
        return dict(self._code.layout.shapes)

    @property
    def count(self) -> int:
        """Number of tasks stored."""
        return self.reservoir.count

    @property
    def mean(self) -> Masks:
        """Mean of the masks stored, name -> levels in [0, 1]: (1 + μ)/2, ½ while there are none."""
        return self._code.layout.split((1 + self.reservoir.mean) / 2)

    @property
    def nbytes(self) -> int:
        """Bytes of the state: Ψ, μ, the address's sums and counters; independent of `count`.

        Not in it, because they follow from the seed and the state: the address's random map,
        (length of a signature) × features, and its read-out, features × key bits.
        """
        return self.reservoir.nbytes + (self._address.nbytes if self._address else 0)

    def store(self, masks: Mapping[str, Tensor], *, signature: Tensor | None = None) -> int:
        """Store one task's masks; they are not kept.

        Args:
            masks: name -> bool or {0, 1} of the layer's size; every layer, no other.
            signature: what the task's data look like, for the content address: one real vector
                (n,), or, better, many samples of it (s, n), such as the task's images: from their
                spread the address learns what to ignore. Without one, `recall(signature=...)`
                cannot find the task. All signatures of a memory have one length n.

        Returns:
            The task's number: 0, 1, 2 ...

        Raises:
            MaskError: a wrong name, size, type or value.
            CueError: a signature that is not finite or all zero, that differs in length from the
                memory's others, or that has no address here.
            DuplicateError: the same masks are stored already.

        Warns:
            OverloadWarning: the memory is too full to hold the masks exactly, or the next ones.
        """
        body, described = self._body_of(masks), self._described(signature)
        self._refuse_duplicate(body)
        self._write(self._next, body, described)
        return self._next - 1

    def replace(
        self, task: int, masks: Mapping[str, Tensor], *, signature: Tensor | None = None
    ) -> None:
        """Store a task anew under its number: what it was is forgotten first.

        Args:
            task: number of a stored task.
            masks: as in `store`.
            signature: as in `store`.

        Raises:
            NotForgettableError: the rule has no exact inverse; nothing was changed.
            UnknownTaskError, MaskError, CueError, DuplicateError: as in `forget` and `store`;
                nothing was changed.

        Example:
            >>> memory = MaskMemory({"hidden": 256}, rule="hebbian")
            >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
            0
            >>> memory.replace(0, {"hidden": torch.arange(256) % 5 == 0})
            >>> int(memory.recall(task=0).masks["hidden"].sum())
            52
        """
        described, body = self._described(signature), self._body_of(masks)
        self._refuse_duplicate(body, but=self._known_task(task))
        self.forget(task)
        self._write(task, body, described)

    def _described(self, signature: Tensor | None) -> Description | None:
        """What the content address will need of a signature (n,) or (s, n)."""
        if signature is None:
            return None
        address = self._require_address()
        one = isinstance(signature, Tensor) and signature.ndim == 1
        return address.describe(signature[None] if one else signature)

    def _write(self, task: int, body: Tensor, described: Description | None) -> None:
        pattern = self._code.pattern(task, body, like=self.reservoir.mean)
        self.reservoir._write(pattern[0])
        self._next = max(self._next, task + 1)
        if described is not None and self._address is not None:
            self._address.learn(task, described)
        trouble = health.overload(
            self.reservoir, self._code, task=task, pattern=pattern, known=self._next
        )
        if trouble:
            warnings.warn(trouble, OverloadWarning, stacklevel=3)

    def recall(
        self,
        *,
        task: int | None = None,
        cue: Mapping[str, Tensor] | None = None,
        signature: Tensor | None = None,
        penalty: MaskPenalty | None = None,
        dynamics: Sequence[Dynamics] = SETTLE,
        max_basins: int = 8,
        min_margin: float = torch.inf,
        batch: int | None = None,
        trace: bool = False,
    ) -> Hit:
        """Recall one task's masks, all layers together.

        Give a task's number, a damaged mask, both, or data through `signature` and `penalty`, with
        or without a damaged mask. With a signature or a penalty the answer is the memory of lowest
        penalty − w · agreement with the cue (see `search.py`) among at most `max_basins` basins:
        the content address points, the gradient of the penalty at μ points, and both decide.

        Args:
            task: number of the task.
            cue: name -> values in [0, 1], (size,) or (batch, size): 0.5 where a bit is unknown;
                layers may be missing.
            signature: (n,), or (batch, n) for so many recalls, or (batch, s, n): s samples of the
                data of each. Of the length given to `store`.
            penalty: differentiable; takes name -> masks in [0, 1], with the batch dimension of cue
                or signature if these have one, and returns a scalar, or (batch,).
            dynamics: parts of each descent.
            max_basins: how many basins to visit at most.
            min_margin: visit no more basins once the best is ahead of the next by this margin, in
                the penalty's units; default: visit all `max_basins`.
            batch: rows to recall at once where the penalty alone is given: it then takes masks
                (batch, size) and returns (batch,).
            trace: record energy, penalty, overlap and state at every step.

        Returns:
            Hit. An answer that is no memory is a result (`verified`), not an error.

        Raises:
            EmptyMemoryError: nothing is stored.
            UnknownTaskError: no task of that number.
            CueError: nothing to recall by, or a cue or signature of wrong shape or value.
            PenaltyError: the penalty is not a finite, differentiable scalar.

        Source:
            Wortsman et al. 2020 (arXiv 2006.14769), section 3.5.
        """
        self.reservoir._require_patterns()
        if task is not None and not (signature is None and penalty is None):
            raise CueError(
                "task= names the memory: leave it out to recall by signature= or penalty=, or "
                "leave these out"
            )
        guess, strange = (None, None) if signature is None else self._guessed(signature)
        found, flat = self._seek(
            task=task,
            cue=cue,
            guess=guess,
            penalty=penalty,
            dynamics=dynamics,
            max_basins=max_basins,
            min_margin=min_margin,
            batch=batch,
            trace=trace,
        )
        tasks, _ = self._code.keys.nearest(found.state, self._all_keys())
        masks = {n: m > 0.5 for n, m in self._code.layout.split((1 + found.state) / 2).items()}
        recognized = found.verified
        if penalty is not None or signature is not None:
            recognized = recognized & (found.margin >= CLEAR)
        elif cue is not None:
            recognized = recognized & (found.agreement >= _BEYOND_CHANCE)
        if strange is not None:
            recognized = recognized & (strange.to(recognized.device) < STRANGE)
        return Hit(
            masks={n: m[0] for n, m in masks.items()} if flat else masks,
            task=_plain(tasks, flat),
            residual=_plain(self.reservoir.residual(found.state), flat),
            energy=_plain(self.reservoir.energy(found.state), flat),
            steps=_plain(found.steps, flat),
            verified=_plain(found.verified, flat),
            margin=_plain(found.margin, flat),
            recognized=_plain(recognized, flat),
            unstable=_plain(self.reservoir.unstable(found.state), flat),
            trace=found.trace,
        )

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
        found, _ = self._seek(task=task)
        if self._address is not None and not self._address.can_forget():
            raise NotForgettableError(
                f"the content address holds {self._address.count} tasks, more than its "
                f"{self.key_bits} key bits, and can no longer tell one's share from the others': "
                "nothing was forgotten. Use more key_bits"
            )
        if not bool(found.verified[0]):
            raise UnknownTaskError(
                f"task {task} cannot be recalled exactly, so it cannot be forgotten exactly: "
                "it was forgotten before, or the memory is too full"
            )
        self.reservoir._remove(found.state[0])
        if self._address is not None:
            self._address.forget(task)

    def report(self, *, sample: int = 32) -> LoadReport:
        """Recall some tasks by their number and measure how safely the memory holds them.

        Args:
            sample: how many, spread evenly over the numbers given so far.

        Raises:
            EmptyMemoryError: nothing is stored.
            ConfigError: a sample below 1.

        Example:
            >>> memory = MaskMemory({"hidden": 256})
            >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
            0
            >>> memory.report().tasks
            1
        """
        if isinstance(sample, bool) or not isinstance(sample, int) or sample < 1:
            raise ConfigError(f"a report needs a sample of at least 1 task, got {sample!r}")
        self.reservoir._require_patterns()
        return health.report_of(
            self.reservoir, self._code, sample=sample, known=self._next, nbytes=self.nbytes
        )

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
        if not isinstance(states, Tensor) or states.ndim == 0 or not states.is_floating_point():
            raise CueError(
                "states must be a real floating tensor (..., d), such as hit.trace.states"
            )
        if states.shape[-1] != self.reservoir.size:
            raise CueError(f"states have {states.shape[-1]} spins, not {self.reservoir.size}")
        return (states[..., self._code.layout.body].to(body) @ body) / body.numel()

    def save(self, path: str | Path) -> Stamp:
        """Commit the memory to an HDF5 file, durably; its size never depends on `count`.

        A file that stood there and is whole stays beside it, as NAME.prev; any other is replaced.
        Where several processes store into one memory, use `hopmask.open_memory`: `save` puts this
        memory in the place of theirs. No other thread may store meanwhile.

        Returns:
            The file's generation and SHA-256.

        Raises:
            CommitFailedError, StoreLockedError: the file cannot be written now; it is as it was.
            StoreFileError: the path names no file, or the memory is larger than any file.
            NumericalError: it holds NaN or infinity; nothing was written.
        """
        return storage.write(path, self._document())

    def _document(self) -> Document:
        about = {
            "layers": [[name, list(shape)] for name, shape in self.shapes.items()],
            "seed": self.seed,
            "key_bits": self.key_bits,
            "signature_features": self.signature_features,
        }
        length = self._address.length if self._address else 0
        sums = self._address.sums if self._address else {}
        return self.reservoir._document("masks", about, (self._next, length), sums)

    @classmethod
    def _restored(
        cls,
        meta: Mapping[str, Any],
        reservoir: Reservoir,
        next_task: int,
        signature_length: int,
        sums: dict[str, Tensor],
    ) -> "MaskMemory":
        """A memory around a reservoir read from a file; `hopmask.load` is the public door."""
        memory = cls(
            {name: tuple(shape) for name, shape in meta["layers"]},
            rule=reservoir.rule,
            seed=meta["seed"],
            key_bits=meta["key_bits"],
            signature_features=meta["signature_features"],
            dtype=reservoir.dtype,
            device="meta",
        )
        if memory.reservoir.size != reservoir.size:
            raise ConfigError(
                f"its layers need {memory.reservoir.size} spins, its matrix has {reservoir.size}"
            )
        if next_task < reservoir.count:
            raise ConfigError(f"it holds {reservoir.count} tasks, and gave out {next_task} numbers")
        memory.reservoir = reservoir
        memory._next = next_task
        empty = memory._address.sums if memory._address else {}
        if {n: (v.shape, v.dtype) for n, v in empty.items()} != {
            n: (v.shape, v.dtype) for n, v in sums.items()
        }:
            raise ConfigError("the sums of its content address do not fit its numbers of bits")
        if memory._address is not None:
            memory._address.sums, memory._address.length = sums, signature_length
        return memory

    def _seek(
        self,
        *,
        task: int | None = None,
        cue: Mapping[str, Tensor] | None = None,
        guess: Tensor | None = None,
        penalty: MaskPenalty | None = None,
        dynamics: Sequence[Dynamics] = SETTLE,
        max_basins: int = 8,
        min_margin: float = torch.inf,
        batch: int | None = None,
        trace: bool = False,
    ) -> tuple[Found, bool]:
        """The joint states found, and whether the caller asked for one answer, not a batch."""
        self.reservoir._require_patterns()
        task = None if task is None else self._known_task(task)
        joined, batched = self._cue(task, cue, guess)
        if joined is None and penalty is None:
            raise CueError("recall needs task=, cue=, signature= or penalty=, got none of them")
        check_penalty(penalty)
        whole = isinstance(batch, int) and not isinstance(batch, bool)
        if batch is not None and (joined is not None or not whole or batch < 1):
            raise CueError(f"batch= ({batch!r}) goes with penalty= alone and must be positive")
        flat = not batched and batch is None
        rows = len(joined) if joined is not None else batch or 1

        def on_masks(state: Tensor) -> Tensor:
            masks = self._code.layout.split((1 + state) / 2)
            if not flat:
                return penalty(masks)  # type: ignore[misc]
            value = penalty({name: mask[0] for name, mask in masks.items()})  # type: ignore[misc]
            return value[None] if isinstance(value, Tensor) and value.ndim == 0 else value

        keys = self._all_keys()
        tried = torch.zeros(rows, self._next, dtype=torch.bool, device=keys.device)

        def check(state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            tasks, agreement = self._code.keys.nearest(state, keys)
            near = agreement.abs() > _NEAR
            toward = self.reservoir.mean if joined is None else joined[rows]
            wrong = torch.where(near, agreement < 0, (state * toward).sum(-1) < 0)
            state, verified = self._read(torch.where(wrong[:, None], -state, state), keys)
            tasks, _ = self._code.keys.nearest(state, keys)  # mending may have turned key bits too
            tried[rows[verified], tasks[verified]] = True
            return state, verified if task is None else verified & (tasks == task)

        def propose(start: Tensor, rows: Tensor) -> Tensor:
            """The key, of those not tried, that the start points at most."""
            pointed = (start[:, self._code.keys.where] @ keys.T).masked_fill(
                tried[rows], -torch.inf
            )
            chosen = pointed.argmax(-1)
            tried[rows, chosen] = True
            cue = torch.zeros_like(start)
            cue[:, self._code.keys.where] = keys[chosen]
            return cue

        held = None
        if task is not None:
            held = self._code.by_key(torch.tensor([task] * rows), like=self.reservoir.mean)
        choose = penalty is not None or guess is not None
        found = self.reservoir._seek(
            cue=joined,
            penalty=on_masks if penalty is not None else None,
            check=check,
            held=held,
            propose=propose if choose else None,
            dynamics=dynamics,
            max_basins=max_basins if choose or task is not None else 1,
            compare=choose,
            min_margin=min_margin,
            trace=trace,
            batch=rows,
        )
        return found, flat

    def _cue(
        self, task: int | None, cue: Mapping[str, Tensor] | None, guess: Tensor | None
    ) -> tuple[Tensor | None, bool]:
        """The joint cue (batch, d), 0 where nothing is known, and whether it came as a batch."""
        parts: list[tuple[slice, Tensor]] = []
        if task is not None:
            parts.append((self._code.keys.where, self._code.keys.of(torch.tensor([task]))[0]))
        if guess is not None:
            parts.append((self._code.keys.where, guess))
        if cue is not None:
            parts.extend(self._code.layout.levels(cue))
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

    def _guessed(self, signature: Tensor) -> tuple[Tensor, Tensor]:
        """Key bits that the address guesses, (key bits,) or (batch, key bits), and strangeness."""
        address = self._require_address()
        real = isinstance(signature, Tensor) and 1 <= signature.ndim <= 3
        if not real or signature.numel() == 0:
            raise CueError("a signature must be a tensor (n,), (batch, n) or (batch, samples, n)")
        sets = signature if signature.ndim == 3 else signature.reshape(-1, 1, signature.shape[-1])
        guess, strange = address.guess(sets)
        return (guess[0], strange) if signature.ndim == 1 else (guess, strange)

    def _require_address(self) -> ContentAddress:
        if self._address is None:
            raise CueError(
                "this memory has no content address: build it with signature_features=1024"
            )
        return self._address

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

    def _refuse_duplicate(self, body: Tensor, *, but: int | None = None) -> None:
        """Raise DuplicateError if these very masks are stored, whatever their key."""
        if self.count == 0:
            return
        probe = self._blank(1)
        probe[:, self._code.layout.body] = body
        answer = self.reservoir.rule.field(self.reservoir.psi, probe)[:, self._code.layout.body]
        if int((answer * body <= 0).sum()) > MENDED:
            return
        keys = self._all_keys()
        landscape = self.reservoir._landscape(None, 1)
        state, _ = self._read(descend(landscape, probe, SETTLE).state, keys)
        tasks, agreement = self._code.keys.nearest(state, keys)
        task = int(tasks[0])
        same = bool((state[0, self._code.layout.body] == body).all())
        if agreement[0] > 0 and same and task != but:
            raise DuplicateError(
                f"these masks are stored already, as task {task}: a second copy would distort "
                f"both. Nothing was stored; use recall(task={task})"
            )

    def _read(self, state: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """States (b, d) mended, and which are memories, bit for bit."""
        firm = state * self.reservoir.rule.field(self.reservoir.psi, state)
        return self._code.read(state, firm, keys)

    def _all_keys(self) -> Tensor:
        """Keys of all numbers given so far, (k, key bits): made for one call, never kept."""
        return self._code.keys_of(self._next, like=self.reservoir.mean)

    def _body_of(self, masks: Mapping[str, Tensor]) -> Tensor:
        return self._code.layout.join(masks).to(self.reservoir.mean)

    def _blank(self, rows: int) -> Tensor:
        return self._code.blank(rows, like=self.reservoir.mean)


def _plain(value: Tensor, flat: bool) -> Any:
    return value[0].item() if flat else value
