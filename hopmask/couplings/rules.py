"""Learning rules: how one pattern of ±1 spins enters the couplings Ψ, and how Ψ answers.

A rule is stateless; Ψ belongs to the reservoir. Writing one takes a `name` and an `update`.
"""

from abc import ABC, abstractmethod
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from hopmask.errors import ConfigError, NotForgettableError, NumericalError, unknown_name

_SOLVED, _TOLERATED = 1e-10, 1e-4  # squared rest of conjugate gradients, relative to d
_LEVERAGE = 0.01  # how far z·x of a stored pattern may be from 1
_NEGLIGIBLE = 1e-5  # share of a pattern's squared norm below which float32 carries no signal


class LearningRule(ABC):
    """One way of writing patterns into a symmetric coupling matrix Ψ of shape (d, d).

    Subclasses give `name` and `update`; the rest has defaults that hold for any rule whose field
    is h = Ψz.

    Example:
        >>> import torch
        >>> class Twice(LearningRule):
        ...     name = "twice"
        ...     def update(self, psi, pattern):
        ...         psi.addr_(pattern, pattern, alpha=2 / pattern.numel()).fill_diagonal_(0)
        >>> from hopmask import Reservoir
        >>> reservoir = Reservoir(4, rule=Twice())
        >>> reservoir.store(torch.tensor([1.0, -1.0, 1.0, 1.0]))
        >>> reservoir.count
        1

    Source:
        Storkey, Valabregue 1999, "The basins of attraction of a new Hopfield learning rule", for
        what makes a rule local and incremental.
    """

    name: ClassVar[str]

    @abstractmethod
    def update(self, psi: Tensor, pattern: Tensor) -> None:
        """Write one pattern (d,) of ±1 into psi (d, d), in place, in O(d²)."""

    def remove(self, psi: Tensor, pattern: Tensor) -> None:
        """Take one stored pattern (d,) out of psi again, in place, exactly.

        Raises:
            NotForgettableError: the rule has no exact inverse (the default).
        """
        raise NotForgettableError(
            f"rule '{self.name}' cannot forget: what a pattern added depends on those stored "
            "before it. Use rule 'hebbian', or build the memory anew without the pattern"
        )

    def signed_share(self, psi: Tensor, mean: Tensor, count: int, pattern: Tensor) -> float | None:
        """How far a pattern (d,) is one of those stored: +1 if it is, −1 if its negative is.

        Ψ does not change where a pattern is turned into its negative, so only μ distinguishes them.

        Returns:
            A number near ±1 for a stored pattern and its negative, another one for all others;
            None where the rule cannot decide it (the default).
        """
        return None

    def field(self, psi: Tensor, state: Tensor) -> Tensor:
        """Local field h = Ψz of states (..., d); returns (..., d)."""
        return state @ psi

    def residual(self, psi: Tensor, state: Tensor) -> Tensor:
        """Sine squared of the angle between z and Ψz, for states (..., d); returns (...).

        ρ = 1 − (zᵀΨz)² / (‖z‖² ‖Ψz‖²): 0 for an eigenvector, thus for a well stored pattern;
        1/4 for a 3-mixture; about 1 for noise. For a projector it equals ‖z − Pz‖² / d.
        """
        answer = self.field(psi, state)
        along = (state * answer).sum(-1)
        return _unit(1 - along * along.abs() / _square(state).mul(_square(answer)).clamp_min(1e-30))


class Hebbian(LearningRule):
    """The sum of outer products, zero diagonal.

    C ← C + z zᵀ − I and h = C z / d. C is kept in whole numbers, so storing is exact, free of
    order, and undone exactly by `remove`. Capacity 0.138 d with a few errors, d / (2 ln d) without.

    Example:
        >>> import torch
        >>> from hopmask import Reservoir
        >>> reservoir = Reservoir(16, rule="hebbian")
        >>> reservoir.store(torch.ones(16))
        >>> bool(reservoir.recall(torch.ones(16)).verified)
        True

    Source:
        Hopfield 1982, eq. 2; capacity: Amit, Gutfreund, Sompolinsky 1985; McEliece et al. 1987.
    """

    name = "hebbian"

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        """C ← C + z zᵀ − I."""
        psi.addr_(pattern, pattern).fill_diagonal_(0)

    def remove(self, psi: Tensor, pattern: Tensor) -> None:
        """C ← C − z zᵀ + I, exact."""
        psi.addr_(pattern, pattern, alpha=-1).fill_diagonal_(0)

    def signed_share(self, psi: Tensor, mean: Tensor, count: int, pattern: Tensor) -> float | None:
        """k μ·x with (C + k I) x = z: the coefficient of z in k μ = Σ s_i z_i.

        C + k I = Σ z_i z_iᵀ, so z·x = 1 and k μ·x = ±1 for a stored z, as long as the patterns are
        linearly independent. x is found by conjugate gradients, in at most as many steps as there
        are patterns. 0 for a pattern that is none of them.
        """
        state = torch.zeros_like(pattern)
        rest, direction = pattern.clone(), pattern.clone()
        square = float(rest @ rest)
        for _ in range(count + 4):  # rounding takes a few steps more
            image = psi @ direction + count * direction
            step = square / max(float(direction @ image), 1e-30)
            state = state + step * direction
            rest = rest - step * image
            before, square = square, float(rest @ rest)
            if square <= _SOLVED * pattern.numel():
                break
            direction = rest + (square / before) * direction
        solved = square <= _TOLERATED * pattern.numel()
        if not solved or abs(float(pattern @ state) - 1) > _LEVERAGE:
            return 0.0
        return count * float(mean @ state)

    def field(self, psi: Tensor, state: Tensor) -> Tensor:
        """h = C z / d of states (..., d)."""
        return (state @ psi) / psi.shape[-1]


class Storkey(LearningRule):
    """Storkey's local, incremental rule, exact, zero diagonal.

    The definition: W_ij ← W_ij + (z_i z_j − z_i h_ji − h_ij z_j) / d, W_ii = 0, where
    h_ij = Σ_{k ≠ i, j} W_ik z_k. With W_ii = 0 it is, off the diagonal, one scaled rank-2 update:
    W ← (1 + 2/d) W + ((z − h)(z − h)ᵀ − h hᵀ) / d with h = W z: O(d²) and in place.
    Capacity d / √(2 ln d).

    Example:
        >>> import torch
        >>> from hopmask import Reservoir
        >>> reservoir = Reservoir(16, rule="storkey")
        >>> reservoir.store(torch.ones(16))
        >>> bool(reservoir.recall(torch.ones(16)).verified)
        True

    Source:
        Storkey 1997, "Increasing the capacity of a Hopfield network without sacrificing
        functionality", eq. 2 and 3.
    """

    name = "storkey"

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        d = pattern.numel()
        _rank_two(psi, pattern, scale=1 + 2 / d)
        psi.fill_diagonal_(0)


class StorkeyMatrix(LearningRule):
    """The simplified matrix form of Storkey's rule that the SupSup paper writes down.

    Ψ ← Ψ + (z zᵀ − z (Ψz)ᵀ − (Ψz) zᵀ − I) / d. It leaves the diagonal in and holds fewer
    patterns than `storkey`; it is here to reproduce the paper.

    Example:
        >>> import torch
        >>> from hopmask import Reservoir
        >>> reservoir = Reservoir(16, rule="storkey-matrix")
        >>> reservoir.store(torch.ones(16))
        >>> bool(reservoir.recall(torch.ones(16)).verified)
        True

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), appendix on HopSupSup.
    """

    name = "storkey-matrix"

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        _rank_two(psi, pattern, scale=1.0)
        psi.diagonal().sub_(1 / pattern.numel())


class Projection(LearningRule):
    """The pseudo-inverse rule, written recursively: Ψ is the projector on the stored span.

    r = z − Pz, re-orthogonalised once (r ← r − Pr) against rounding; P ← P + r rᵀ / (r·r).
    The field leaves out the diagonal, h = Pz − diag(P) z, without which basins vanish at d/2
    patterns; the residual keeps it: ρ = ‖z − Pz‖² / d. Holds up to d independent patterns.

    Example:
        >>> import torch
        >>> from hopmask import Reservoir
        >>> reservoir = Reservoir(16, rule="projection")
        >>> reservoir.store(torch.ones(16))
        >>> bool(reservoir.recall(torch.ones(16)).verified)
        True

    Source:
        Personnaz, Guyon, Dreyfus 1986; Kanter, Sompolinsky 1987 (diagonal left out).
        Storkey's rule is its first-order truncation.
    """

    name = "projection"

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        rest = pattern - pattern @ psi
        rest = rest - rest @ psi
        norm = rest.dot(rest)
        if norm <= _NEGLIGIBLE * pattern.numel():
            raise NumericalError(
                f"rule 'projection': the pattern lies in the span of those stored (squared "
                f"distance {norm.item():.1e} of {pattern.numel()}) and adds nothing. "
                "Nothing was stored: use a larger reservoir or drop the pattern"
            )
        _add_square(psi, rest / norm.sqrt(), 1)

    def field(self, psi: Tensor, state: Tensor) -> Tensor:
        return state @ psi - state * psi.diagonal()

    def residual(self, psi: Tensor, state: Tensor) -> Tensor:
        return _unit(_square(state - state @ psi) / _square(state))


_RULES: dict[str, type[LearningRule]] = {
    rule.name: rule for rule in (Storkey, StorkeyMatrix, Hebbian, Projection)
}


def rule_named(rule: str | LearningRule) -> LearningRule:
    """Look a rule up by its name; a rule object passes through.

    Args:
        rule: "storkey", "storkey-matrix", "hebbian", "projection", or a LearningRule.

    Raises:
        ConfigError: no such rule.

    Example:
        >>> rule_named("storkey").name
        'storkey'
    """
    if isinstance(rule, LearningRule):
        return rule
    if not isinstance(rule, str) or rule not in _RULES:
        raise ConfigError(
            f"{unknown_name('learning rule', rule, _RULES)}, or pass a LearningRule object"
        )
    return _RULES[rule]()


def _rank_two(psi: Tensor, pattern: Tensor, *, scale: float) -> None:
    """psi ← scale·psi + (z zᵀ − z hᵀ − h zᵀ)/d, as (z−h)(z−h)ᵀ − h hᵀ."""
    h = pattern @ psi
    u = pattern - h
    psi.mul_(scale)
    _add_square(psi, u / sqrt(pattern.numel()), 1)
    _add_square(psi, h / sqrt(pattern.numel()), -1)


def _add_square(psi: Tensor, vector: Tensor, sign: int) -> None:
    """psi ← psi ± v vᵀ, in place and symmetric to the bit."""
    psi.addcmul_(vector[:, None], vector[None, :], value=sign)


def _square(state: Tensor) -> Tensor:
    return state.mul(state).sum(-1)


def _unit(share: Tensor) -> Tensor:
    return share.clamp(0, 1)
