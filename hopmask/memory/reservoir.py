"""A reservoir: one coupling matrix Ψ, the running mean μ of what it holds, and their count."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hopmask import storage
from hopmask.couplings.rules import LearningRule, rule_named
from hopmask.errors import (
    ConfigError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    NumericalError,
    OverloadWarning,
    StoreTooLargeError,
)
from hopmask.memory import schema
from hopmask.patterns.spins import check_spins, to_spins
from hopmask.recall.dynamics import SETTLE, Dynamics
from hopmask.recall.landscape import Landscape, Penalty, check_penalty
from hopmask.recall.result import SpinHit
from hopmask.recall.search import RESIDUAL_TOLERANCE, Check, Found, Propose, search
from hopmask.storage import Document, Stamp

_DUPLICATE_RESIDUAL = 0.2  # a fixed point this close to the stored span is a stored pattern


class Reservoir:
    """Associative memory of spin vectors in constant space.

    Ψ (d, d) and μ (d,) are all it keeps: E(z) = −½ zᵀΨz, h(z) = Ψz, μ ← ((k−1) μ + z)/k.

    Args:
        size: d, number of spins.
        rule: learning rule, by name or as an object.
        dtype: torch.float32 or torch.float64.
        device: where Ψ lives.

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

    def __init__(
        self,
        size: int,
        *,
        rule: str | LearningRule = "storkey",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"size must be a positive number of spins, got {size!r}")
        if dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.size = size
        self.rule = rule_named(rule)
        try:
            self.psi = torch.zeros(size, size, dtype=dtype, device=device)
        except (RuntimeError, AssertionError, TypeError) as error:  # torch without CUDA asserts
            raise ConfigError(
                f"no room or device for a {size} x {size} matrix on '{device}': {error}"
            ) from error
        self.mean = torch.zeros(size, dtype=dtype, device=device)
        self.count = 0

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of Ψ."""
        return self.psi.dtype

    @property
    def device(self) -> torch.device:
        """Where Ψ lives."""
        return self.psi.device

    @property
    def nbytes(self) -> int:
        """Bytes of the state, Ψ, μ and the counter; independent of `count`."""
        return (self.psi.numel() + self.mean.numel()) * self.psi.element_size() + 8

    @property
    def load(self) -> float:
        """α = stored patterns / spins."""
        return self.count / self.size

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
        patterns = self._spins(spins, "spins")
        for pattern in patterns.reshape(-1, self.size):
            self._store_one(pattern)

    def _store_one(self, pattern: Tensor) -> None:
        self._write(pattern)
        wrong = int(self.unstable(pattern))
        if wrong:
            warnings.warn(
                f"pattern {self.count - 1} is stored but not stable: {wrong} of {self.size} spins "
                f"would flip (rule '{self.rule.name}', load {self.load:.3f}). Recalls will be "
                "inexact: use a larger reservoir or rule 'projection'",
                OverloadWarning,
                stacklevel=3,
            )

    def _write(self, pattern: Tensor) -> None:
        """Store one pattern (d,) that is valid; refuse duplicates and a Ψ that is not finite."""
        field = self.rule.field(self.psi, pattern)
        if not bool(torch.isfinite(field).all()):
            raise NumericalError("Ψ holds NaN or infinity: nothing was stored. Load a saved memory")
        stable = self.count > 0 and bool((field * pattern > 0).all())
        if stable and bool(self.rule.residual(self.psi, pattern) < _DUPLICATE_RESIDUAL):
            raise DuplicateError(
                f"the pattern, or its negative, is stored already (one of {self.count}), or made "
                "up of stored ones: a second copy would distort the memory. Skip it"
            )
        self.rule.update(self.psi, pattern)
        self.count += 1
        self.mean += (pattern - self.mean) / self.count

    def unstable(self, state: Tensor) -> Tensor:
        """How many spins of ±1 states (..., d) the energy would flip, z_i h_i <= 0; (...)."""
        return (self.rule.field(self.psi, state) * state <= 0).sum(-1)

    def forget(self, spins: Tensor) -> None:
        """Take one stored pattern out again, exactly.

        Args:
            spins: the pattern, ±1 or bool, (d,).

        Raises:
            NotForgettableError: the rule has no exact inverse.
            EmptyMemoryError: nothing is stored.
            MaskError: wrong shape or values.
        """
        pattern = self._spins(spins, "spins").reshape(-1, self.size)
        if len(pattern) != 1:
            raise CueError(f"forget takes one pattern, got {len(pattern)}")
        self._require_patterns()
        if not bool(self.is_memory(pattern)) or not bool(pattern[0] @ self.mean > 0):
            raise CueError(
                "the pattern is not recognised as a stored one (its negative is not it): nothing "
                "was forgotten"
            )
        self._remove(pattern[0])

    def _remove(self, pattern: Tensor) -> None:
        """Take out a pattern (d,) that is known to be stored."""
        self.rule.remove(self.psi, pattern)
        self.count -= 1
        if self.count:
            self.mean += (self.mean - pattern) / self.count
        else:
            self.mean.zero_()

    def energy(self, spins: Tensor) -> Tensor:
        """E(z) = −½ zᵀΨz (paper, section 3.5); spins (..., d) in [-1, 1] or bool; returns (...)."""
        state = self._state(spins)
        return -0.5 * (state * self.rule.field(self.psi, state)).sum(-1)

    def field(self, spins: Tensor) -> Tensor:
        """h = Ψz, as the rule defines it; spins (..., d) in [-1, 1] or bool; returns (..., d)."""
        return self.rule.field(self.psi, self._state(spins))

    def residual(self, spins: Tensor) -> Tensor:
        """ρ in [0, 1]: 0 for a memory, about 1 for noise; spins (..., d); returns (...).

        See `LearningRule.residual` for the formula.
        """
        return self.rule.residual(self.psi, self._state(spins))

    def recall(
        self,
        cue: Tensor | None = None,
        *,
        penalty: Callable[[Tensor], Tensor] | None = None,
        dynamics: Sequence[Dynamics] = SETTLE,
        max_basins: int = 8,
        trace: bool = False,
    ) -> SpinHit:
        """Recall stored patterns from damaged ones, from a penalty, or from both.

        z and −z have one energy: the answer is the one that agrees with the cue, or, without a cue,
        with μ.

        Args:
            cue: (d,) or (batch, d) in [-1, 1], or bool; 0 where a spin is unknown.
            penalty: differentiable; takes spins in [-1, 1] of the cue's shape ((d,) without a cue)
                and returns a scalar, or (batch,) for a batch. The answer is the memory that
                minimises penalty − w · agreement with the cue (see `search.py`) among the basins
                visited.
            dynamics: parts of each descent, run in order.
            max_basins: with a penalty, how many basins to visit at most.
            trace: record energy, penalty, overlap and state at every step.

        Returns:
            SpinHit. Not finding a memory is a result (`verified`), not an error.

        Raises:
            EmptyMemoryError: nothing is stored.
            CueError: neither cue nor penalty, or a cue of wrong shape, value, or all zeros.
            PenaltyError: the penalty is not a finite, differentiable scalar.
        """
        self._require_patterns()
        if cue is None and penalty is None:
            raise CueError("recall needs a cue or a penalty, got neither")
        check_penalty(penalty)
        shape = torch.Size((self.size,))
        if cue is not None:
            cue = self._state(cue)
            shape = cue.shape
            cue = cue.reshape(-1, self.size)
            if bool((cue == 0).all(-1).any()):
                raise CueError(
                    "the cue is all zeros: it says nothing about any spin. Give at least one ±1"
                )
        batch = 1 if cue is None else len(cue)

        def flat(state: Tensor) -> Tensor:  # the user's penalty sees the user's shapes
            value = penalty(state.reshape(shape).clone())  # type: ignore[misc]
            scalar = isinstance(value, Tensor) and value.ndim == 0 and len(shape) == 1
            return value[None] if scalar else value

        def check(state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            toward = self.mean if cue is None else cue[rows]
            wrong = (state * toward).sum(-1, keepdim=True) < 0
            state = torch.where(wrong, -state, state)
            return state, self.is_memory(state)

        found = self._seek(
            cue=cue,
            penalty=flat if penalty is not None else None,
            check=check,
            held=None,
            propose=None,
            dynamics=dynamics,
            max_basins=max_basins if penalty is not None else 1,
            compare=penalty is not None,
            min_margin=torch.inf,
            trace=trace,
            batch=batch,
        )
        return SpinHit(
            spins=found.state.reshape(shape),
            residual=self.residual(found.state).reshape(shape[:-1]),
            energy=self.energy(found.state).reshape(shape[:-1]),
            steps=found.steps.reshape(shape[:-1]),
            verified=found.verified.reshape(shape[:-1]),
            trace=found.trace,
        )

    def _seek(
        self,
        *,
        cue: Tensor | None,
        penalty: Penalty | None,
        check: Check,
        held: Tensor | None,
        propose: Propose | None,
        dynamics: Sequence[Dynamics],
        max_basins: int,
        compare: bool,
        min_margin: float,
        trace: bool,
        batch: int,
    ) -> Found:
        """Search with input already validated; `MaskMemory` and `recall` both end here."""
        parts = isinstance(dynamics, Sequence) and len(dynamics) > 0
        if not parts or not all(hasattr(part, "from_mean") for part in dynamics):
            raise ConfigError(
                f"dynamics must hold at least one part, such as (MeanField(), SignPolish()), "
                f"got {dynamics!r}"
            )
        if isinstance(max_basins, bool) or not isinstance(max_basins, int) or max_basins < 1:
            raise ConfigError(
                f"recall needs at least one attempt, a whole number, got {max_basins!r}"
            )
        if (
            isinstance(min_margin, bool)
            or not isinstance(min_margin, int | float)
            or not min_margin > 0
        ):
            raise ConfigError(f"min_margin must be positive, got {min_margin!r}")
        if not bool(torch.isfinite(self.mean).all() and torch.isfinite(self.psi.sum())):
            raise NumericalError("Ψ holds NaN or infinity: load a saved memory")
        return search(
            self._landscape(penalty, batch),
            cue=cue,
            check=check,
            held=held,
            propose=None if dynamics[0].from_mean else propose,
            count=self.count,
            dynamics=dynamics,
            max_basins=max_basins,
            compare=compare,
            min_margin=min_margin,
            trace=trace,
            batch=batch,
        )

    def _landscape(self, penalty: Penalty | None, batch: int) -> Landscape:
        """What a descent of so many rows runs on."""
        return Landscape(self.rule, self.psi, self.mean, penalty, batch)

    def is_memory(self, state: Tensor) -> Tensor:
        """Whether ±1 states (b, d) are fixed points with the residual of a memory; (b,)."""
        near = self.rule.residual(self.psi, state) <= RESIDUAL_TOLERANCE
        return (self.unstable(state) == 0) & near

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
        return storage.write(path, self._document("reservoir", {}, (0, 0), {}))

    def _document(
        self,
        kind: str,
        about: Mapping[str, Any],
        counters: tuple[int, int],
        sums: Mapping[str, Tensor],
    ) -> Document:
        """The document of a memory around this reservoir; see `schema.py` for its form."""
        about = {
            "rule": self.rule.name,
            "dtype": str(self.dtype).removeprefix("torch."),
            **about,
        }
        if large := schema.too_large(about, self.size, counters[0]):
            raise StoreTooLargeError(
                f"the memory has {large}, which no file may hold: nothing was written. Use several "
                "smaller memories"
            )
        arrays = {
            "psi": self.psi.cpu().numpy(),
            "mean": self.mean.cpu().numpy(),
            "counters": np.array([self.count, *counters], np.int64),
            **{name: value.cpu().numpy() for name, value in sums.items()},
        }
        document = Document(kind=kind, about=about, arrays=arrays)
        if wrong := schema.not_finite(document):
            raise NumericalError(f"{wrong}: nothing was written. Load a saved memory")
        return document

    def _require_patterns(self) -> None:
        """Raise EmptyMemoryError if nothing is stored."""
        if self.count == 0:
            raise EmptyMemoryError("nothing is stored yet: call store(...) before recall")

    def _spins(self, spins: Tensor, name: str) -> Tensor:
        if isinstance(spins, Tensor) and spins.dtype == torch.bool:
            spins = to_spins(spins, name=name).reshape(spins.shape) if spins.numel() else spins
        check_spins(spins, size=self.size, name=name)
        return spins.detach().to(self.psi)

    def _state(self, spins: Tensor) -> Tensor:
        real = isinstance(spins, Tensor) and not spins.is_complex()
        if not real or spins.ndim == 0 or spins.shape[-1] != self.size:
            came = tuple(spins.shape) if real else type(spins).__name__
            raise CueError(f"spins must be a real tensor of shape (..., {self.size}), got {came}")
        if spins.dtype == torch.bool:
            return self._spins(spins, "spins")
        if not bool((spins.abs() <= 1).all()):
            raise CueError("spins must lie in [-1, 1], got values outside it or NaN")
        return spins.detach().to(self.psi)
