"""What all couplings promise to a memory, as a test suite that each kind of them inherits."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from hopmask.couplings.base import Couplings
from hopmask.errors import NotForgettableError

_COUNT = 4  # patterns that all couplings hold easily


class CouplingsContract:
    """Tests that couplings should pass; inherit them by saying how couplings are made.

    Attributes:
        make_couplings: makes empty couplings: a class or function without arguments (a function
            wrapped in `staticmethod`). They hold 4 random patterns easily, and a fifth.
        forgets: `remove` takes a pattern out exactly.

    Couplings whose patterns are not any ±1 vectors override `patterns`; those whose load is no
    share of the spins override `places`.

    Example:
        >>> from hopmask.couplings.dense import DenseCouplings
        >>> class TestMine(CouplingsContract):
        ...     make_couplings = staticmethod(lambda: DenseCouplings(128))
        >>> TestMine().test_the_energy_is_half_the_field_along_the_state()

    Source:
        As `LearningRuleContract`.
    """

    make_couplings: ClassVar[Callable[[], Couplings]]
    forgets: ClassVar[bool] = False

    def patterns(self, couplings: Any, count: int, generator: torch.Generator) -> Tensor:
        """Random patterns that may be written one after the other, ±1 (count, d)."""
        coins = torch.randint(0, 2, (count, couplings.size), generator=generator)
        return (2 * coins - 1).to(couplings.mean)

    def places(self, couplings: Any) -> int:
        """What the load is a share of."""
        size: int = couplings.size
        return size

    def test_empty_couplings_hold_nothing(self) -> None:
        """count = 0, load = 0, μ = 0."""
        couplings = self._make()
        assert (couplings.count, couplings.load) == (0, 0.0)
        assert couplings.mean.shape == (couplings.size,)
        assert not bool(couplings.mean.any())

    def test_what_is_written_is_counted_and_averaged(self) -> None:
        """μ is the mean of the patterns."""
        couplings, patterns = self._filled()
        assert couplings.count == _COUNT
        assert couplings.load == _COUNT / self.places(couplings)
        torch.testing.assert_close(couplings.mean, patterns.mean(0), rtol=0, atol=1e-6)

    def test_patterns_are_fixed_points_of_low_energy_and_small_residual(self) -> None:
        """z_i h_i > 0 for every spin; noise has more energy and a larger residual."""
        couplings, patterns = self._filled()
        noise = self._noise(couplings, seed=1)
        assert couplings.unstable(patterns).tolist() == [0] * _COUNT
        assert bool((couplings.energy(patterns) < couplings.energy(noise).min()).all())
        assert bool((couplings.residual(patterns) < couplings.residual(noise).min()).all())

    def test_the_energy_is_half_the_field_along_the_state(self) -> None:
        """E(z) = −½ z·h(z), of any leading shape."""
        couplings, _ = self._filled()
        states = self._noise(couplings, seed=2).reshape(2, 2, -1)
        field = couplings.field(states)
        assert field.shape == states.shape
        expected = -0.5 * (states * field).sum(-1)
        torch.testing.assert_close(couplings.energy(states), expected)

    def test_bytes_and_arrays_do_not_depend_on_what_is_held(self) -> None:
        """The state has one size from the first pattern on."""
        empty = self._make()
        filled, _ = self._filled()
        assert filled.nbytes == empty.nbytes
        sizes = {name: array.shape for name, array in filled.arrays().items()}
        assert sizes == {name: array.shape for name, array in empty.arrays().items()}
        assert sum(array.nbytes for array in filled.arrays().values()) <= filled.nbytes

    def test_a_pattern_is_removed_exactly_or_not_at_all(self) -> None:
        """remove(write(z)) leaves no trace where `forgets`; else a typed error, nothing changed."""
        couplings, patterns = self._filled()
        *_, extra = self._drawn(couplings)
        before = {name: array.clone() for name, array in couplings.arrays().items()}
        if not self.forgets:
            try:
                couplings.remove(patterns[0])
            except NotForgettableError:
                after = couplings.arrays()
                assert all(torch.equal(after[name], array) for name, array in before.items())
                return
            raise AssertionError("remove must raise NotForgettableError; or set forgets = True")
        couplings.write(extra)
        couplings.remove(extra)
        assert couplings.count == _COUNT
        for name, array in couplings.arrays().items():
            torch.testing.assert_close(array, before[name], rtol=0, atol=1e-6)

    def _make(self) -> Couplings:
        return type(self).make_couplings()

    def _drawn(self, couplings: Couplings) -> Tensor:
        """The patterns that `_filled` stores, and one more."""
        drawn = self.patterns(couplings, _COUNT + 1, torch.Generator().manual_seed(0))
        assert drawn.shape == (_COUNT + 1, couplings.size)
        return drawn

    def _noise(self, couplings: Couplings, *, seed: int) -> Tensor:
        """Any ±1 states, (4, d)."""
        generator = torch.Generator().manual_seed(seed)
        coins = torch.randint(0, 2, (_COUNT, couplings.size), generator=generator)
        return (2 * coins - 1).to(couplings.mean)

    def _filled(self) -> tuple[Couplings, Tensor]:
        couplings = self._make()
        patterns = self._drawn(couplings)[:_COUNT]
        for pattern in patterns:
            couplings.write(pattern)
        return couplings, patterns
