"""A reservoir: bare spin vectors in dense couplings, stored, looked at and recalled."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from hopmask import storage
from hopmask._checks import is_tensor, kind_of
from hopmask._precision import in_full_precision
from hopmask.couplings.dense import DenseCouplings
from hopmask.couplings.rules import LearningRule
from hopmask.errors import ConfigError, CueError, EmptyMemoryError, OverloadWarning
from hopmask.memory.dense_document import of_couplings
from hopmask.memory.held import Held
from hopmask.patterns.spins import check_spins, to_spins
from hopmask.recall.options import BASINS, OF_DATA, Search
from hopmask.recall.penalty import Penalty, check_penalty
from hopmask.recall.result import SpinHit
from hopmask.recall.search import search as search_basins
from hopmask.storage import Document, Stamp


class Reservoir(Held):
    """Associative memory of spin vectors in constant space.

    Ψ (d, d) and μ (d,) are all it keeps: E(z) = −½ zᵀΨz, h(z) = Ψz, μ ← ((k−1) μ + z)/k.

    Args:
        size: d, number of spins.
        rule: learning rule, by name or as an object.
        dtype: torch.float32 or torch.float64.
        device: where Ψ lives.

    Attributes:
        couplings: Ψ, μ and the count.

    Raises:
        ConfigError: size, rule, dtype or device that nothing can be built from.

    Example:
        >>> reservoir = Reservoir(64)
        >>> pattern = torch.ones(64); pattern[::2] = -1
        >>> reservoir.store(pattern)
        >>> cue = pattern.clone(); cue[:6] *= -1
        >>> bool((reservoir.recall(cue).spins == pattern).all())
        True

    Source:
        Hopfield 1982; Storkey 1997; Wortsman et al. 2020 (arXiv 2006.14769), section 3.5.
    """

    couplings: DenseCouplings

    def __init__(
        self,
        size: int,
        *,
        rule: str | LearningRule = "storkey",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.couplings = DenseCouplings(size, rule=rule, dtype=dtype, device=device)

    @classmethod
    def of(cls, couplings: DenseCouplings) -> Self:
        """A reservoir around couplings; they are kept, not copied."""
        found = cls(couplings.size, rule=couplings.rule, dtype=couplings.dtype, device="meta")
        found.couplings = couplings
        return found

    @property
    def size(self) -> int:
        """d, number of spins."""
        return self.couplings.size

    @property
    def psi(self) -> Tensor:
        """Ψ, (d, d)."""
        return self.couplings.psi

    @property
    def mean(self) -> Tensor:
        """μ, (d,)."""
        return self.couplings.mean

    @property
    def rule(self) -> LearningRule:
        """The learning rule."""
        return self.couplings.rule

    @property
    def nbytes(self) -> int:
        """Bytes of the state, Ψ, μ and the counter; independent of `count`."""
        return self.couplings.nbytes

    @property
    def load(self) -> float:
        """α = stored patterns / spins."""
        return self.couplings.load

    def __repr__(self) -> str:
        return (
            f"Reservoir({self.size} spins, {self.count} patterns, rule '{self.rule.name}', "
            f"{self.nbytes / 1e6:.1f} MB on {self.device})"
        )

    def to(self, device: str | torch.device) -> "Reservoir":
        """Move the reservoir to a device, in place; returns it.

        Raises:
            ConfigError: there is no such device, or no room on it.
        """
        self.couplings.to(device)
        return self

    @in_full_precision
    def store(self, spins: Tensor) -> None:
        """Store one pattern, or several in order. The input is neither changed nor kept.

        Args:
            spins: ±1, or bool, (d,) or (k, d).

        Raises:
            MaskError: wrong shape or values.
            DuplicateError: a pattern, or its negative, that is stored already. Patterns before it
                in the same call are stored, it and those after it are not.
            NumericalError: Ψ is not finite, or the rule finds nothing new in the pattern.

        Warns:
            OverloadWarning: the pattern just stored is no fixed point: the memory is too full.
        """
        for pattern in self._spins(spins, "spins").reshape(-1, self.size):
            self.couplings.write(pattern)
            if wrong := int(self.couplings.unstable(pattern)):
                warnings.warn(
                    f"pattern {self.count - 1} is stored but not stable: {wrong} of {self.size} "
                    f"spins would flip (rule '{self.rule.name}', load {self.load:.3f}). Recalls "
                    "will be inexact: use a larger reservoir or rule 'projection'",
                    OverloadWarning,
                    stacklevel=3,
                )

    @in_full_precision
    def forget(self, spins: Tensor) -> None:
        """Take one stored pattern out again, exactly.

        Args:
            spins: the pattern, ±1 or bool, (d,).

        Raises:
            NotForgettableError: the rule has no exact inverse.
            EmptyMemoryError: nothing is stored.
            MaskError: wrong shape or values.
            CueError: it is not recognised as a stored pattern; its negative is not it.
        """
        pattern = self._spins(spins, "spins").reshape(-1, self.size)
        if len(pattern) != 1:
            raise CueError(f"forget takes one pattern, got {len(pattern)}")
        self._require_patterns()
        if not self.couplings.holds(pattern[0]):
            raise CueError(
                "the pattern is not recognised as a stored one (its negative is not it): nothing "
                "was forgotten"
            )
        self.couplings.remove(pattern[0])

    @in_full_precision
    def energy(self, spins: Tensor) -> Tensor:
        """E(z) = −½ zᵀΨz (paper, section 3.5); spins (..., d) in [-1, 1] or bool; returns (...)."""
        return self.couplings.energy(self._state(spins))

    @in_full_precision
    def field(self, spins: Tensor) -> Tensor:
        """h = Ψz, as the rule defines it; spins (..., d) in [-1, 1] or bool; returns (..., d)."""
        return self.couplings.field(self._state(spins))

    @in_full_precision
    def residual(self, spins: Tensor) -> Tensor:
        """ρ in [0, 1]: 0 for a memory, about 1 for noise; spins (..., d); returns (...).

        See `LearningRule.residual` for the formula.
        """
        return self.couplings.residual(self._state(spins))

    @in_full_precision
    def unstable(self, spins: Tensor) -> Tensor:
        """How many spins of ±1 states (..., d) the energy would flip, z_i h_i <= 0; (...)."""
        return self.couplings.unstable(self._state(spins))

    @in_full_precision
    def is_memory(self, spins: Tensor) -> Tensor:
        """Whether ±1 states (..., d) are fixed points with the residual of a memory; (...)."""
        return self.couplings.is_memory(self._state(spins))

    @in_full_precision
    def recall(
        self,
        cue: Tensor | None = None,
        *,
        penalty: Callable[[Tensor], Tensor] | None = None,
        search: Search | None = None,
    ) -> SpinHit:
        """Recall stored patterns from damaged ones, from a penalty, or from both.

        z and −z have one energy: the answer is the one that agrees with the cue, or, without a cue,
        with μ.

        Args:
            cue: (d,) or (batch, d) in [-1, 1], or bool; 0 where a spin is unknown.
            penalty: differentiable; takes spins in [-1, 1] of the cue's shape ((d,) without a cue)
                and returns a scalar, or (batch,) for a batch. The answer is the memory that
                minimises penalty − w · agreement with the cue (see `Search`) among the basins
                visited.
            search: options; see `Search`.

        Returns:
            SpinHit. Not finding a memory is a result (`verified`), not an error.

        Raises:
            EmptyMemoryError: nothing is stored.
            CueError: neither cue nor penalty, or a cue of wrong shape, value, or all zeros.
            ConfigError: options that such a recall would ignore.
            PenaltyError: the penalty is not a finite, differentiable scalar.
        """
        self._require_patterns()
        self.couplings.check_finite()
        options = search or Search()
        question = _Question(
            self.couplings, None if cue is None else self._state(cue), penalty, options
        )
        found = search_basins(self.couplings, question, options)
        shape = question.shape
        return SpinHit(
            spins=found.state.reshape(shape),
            residual=self.couplings.residual(found.state).reshape(shape[:-1]),
            energy=self.couplings.energy(found.state).reshape(shape[:-1]),
            steps=found.steps.reshape(shape[:-1]),
            verified=found.verified.reshape(shape[:-1]),
            trace=found.trace,
        )

    def save(self, path: str | Path) -> Stamp:
        """Commit the reservoir to an HDF5 file, durably; `hopmask.load` reads it.

        A file that stood there and is whole stays beside it, as NAME.prev; any other is replaced.
        No other thread may store meanwhile.

        Returns:
            The file's generation and SHA-256.

        Raises:
            CommitFailedError, StoreLockedError: the file cannot be written now; it is as it was.
            StoreFileError: the path names no file, or the reservoir is larger than any file.
            NumericalError: it holds NaN or infinity; nothing was written.
        """
        return storage.write(path, self.document())

    def document(self) -> Document:
        """The reservoir as a document of `hopmask.storage`."""
        return of_couplings(self.couplings, kind="reservoir", about={})

    def _require_patterns(self) -> None:
        """Raise EmptyMemoryError if nothing is stored."""
        if self.count == 0:
            raise EmptyMemoryError("nothing is stored yet: call store(...) before recall")

    def _spins(self, spins: Tensor, name: str) -> Tensor:
        if is_tensor(spins) and spins.dtype == torch.bool:
            spins = to_spins(spins, name=name).reshape(spins.shape) if spins.numel() else spins
        check_spins(spins, size=self.size, name=name)
        return spins.detach().to(self.psi)

    def _state(self, spins: Tensor) -> Tensor:
        real = is_tensor(spins) and not spins.is_complex()
        if not real or spins.ndim == 0 or spins.shape[-1] != self.size:
            came = tuple(spins.shape) if real else kind_of(spins)
            raise CueError(f"spins must be a real tensor of shape (..., {self.size}), got {came}")
        if spins.dtype == torch.bool:
            return self._spins(spins, "spins")
        real_spins = spins.detach().to(self.psi)
        if not bool((real_spins.abs() <= 1).all()):
            raise CueError("spins must lie in [-1, 1], got values outside it or NaN")
        return real_spins


class _Question:
    """What `Reservoir.recall` searches for: a `hopmask.recall.search.Question`."""

    held: Tensor | None = None
    proposes = False
    spare = 0

    def __init__(
        self,
        couplings: DenseCouplings,
        cue: Tensor | None,
        penalty: Callable[[Tensor], Tensor] | None,
        options: Search,
    ) -> None:
        if cue is None and penalty is None:
            raise CueError("recall needs a cue or a penalty, got neither")
        check_penalty(penalty)
        weighs = () if penalty is None else ("agreement_weight",)
        if unread := options.given(*(name for name in OF_DATA if name not in weighs)):
            raise ConfigError(f"{unread} is of a MaskMemory's recall by data: leave it out")
        self._couplings, self.compare = couplings, penalty is not None
        self.shape = torch.Size((couplings.size,)) if cue is None else cue.shape
        self.cue = None if cue is None else cue.reshape(-1, couplings.size)
        if self.cue is not None and bool((self.cue == 0).all(-1).any()):
            raise CueError(
                "the cue is all zeros: it says nothing about any spin. Give at least one ±1"
            )
        self.rows = 1 if self.cue is None else len(self.cue)
        self.basins = options.max_basins or (BASINS if self.compare else 1)
        self.penalty: Penalty | None = None
        if penalty is not None:
            self.penalty = _InShape(penalty, self.shape)

    def check(self, state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """States that agree with the cue, or else with μ; which are memories (r,)."""
        toward = self._couplings.mean if self.cue is None else self.cue[rows]
        wrong = (state * toward).sum(-1, keepdim=True) < 0
        state = torch.where(wrong, -state, state)
        return state, self._couplings.is_memory(state)

    def propose(self, start: Tensor, rows: Tensor) -> Tensor:
        """Bare patterns have no keys to propose."""
        return start


class _InShape:
    """A penalty that sees states in the shape of the caller's cue."""

    def __init__(self, penalty: Callable[[Tensor], Tensor], shape: torch.Size) -> None:
        self.penalty, self.shape = penalty, shape

    def __call__(self, state: Tensor) -> Tensor:
        value = self.penalty(state.reshape(self.shape).clone())
        scalar = isinstance(value, Tensor) and value.ndim == 0 and len(self.shape) == 1
        return value[None] if scalar else value
