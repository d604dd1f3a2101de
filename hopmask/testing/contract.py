"""What every learning rule promises, as a test suite that a rule of yours inherits."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hopmask.capacity.damage import Damage
from hopmask.couplings.rules import LearningRule
from hopmask.errors import ConfigError, NotForgettableError
from hopmask.memory.loading import load
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.reservoir import Reservoir
from hopmask.testing.strategies import mask_sets

_SIZE = 48
_RANDOM = mask_sets(_SIZE, count=st.integers(1, 5), density=0.5)  # (k, d) bool
_ANY = mask_sets(st.integers(2, 12), count=st.integers(1, 2))
_FEW = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


class LearningRuleContract:
    """Tests that a learning rule should pass; inherit them by naming the rule's class.

    They are for rules of symmetric couplings that prefer no spin and no sign, with linear fields:
    rules for sparse patterns, and rules of local couplings, set `gauge` or `renaming` False. What a
    rule does not promise is skipped.

    Attributes:
        make_rule: makes the rule: its class, or a function without arguments (wrapped in
            `staticmethod`).
        zero_diagonal: the field of a spin leaves out the spin itself, so that the energy changes by
            2 z_i h_i where spin i is turned. Set it False for a rule that keeps its diagonal.
        order_free: the couplings do not depend on the order of the patterns.
        forgets: `remove` undoes `update`, to the bit; None: it does, but for rounding.
        gauge: turning a spin in every pattern turns its couplings, and no more.
        renaming: renaming the spins renames the couplings, and no more.
        held: random patterns of 256 spins that come back from a tenth of flips; 4 by default.
        tolerance: of couplings, relative to those of one pattern, in float64.

    A rule that has a definition to compare with overrides `definition`.

    Example:
        >>> from hopmask.couplings.rules import Hebbian
        >>> class TestMyRule(LearningRuleContract):
        ...     make_rule = Hebbian
        ...     order_free = forgets = True
        >>> TestMyRule().test_the_couplings_are_symmetric_to_the_bit()

    Source:
        The way of linear_operator's test cases: a new operator inherits the tests of all.
    """

    make_rule: ClassVar[Callable[[], LearningRule]]
    zero_diagonal: ClassVar[bool] = True
    order_free: ClassVar[bool] = False
    forgets: ClassVar[bool | None] = False
    gauge: ClassVar[bool] = True
    renaming: ClassVar[bool] = True
    held: ClassVar[int] = 4
    tolerance: ClassVar[float] = 1e-9

    def definition(self, patterns: Tensor) -> Tensor | None:
        """Ψ (d, d) of ±1 float64 patterns (k, d), slow and obvious; None if there is none."""
        return None

    # The couplings

    @_FEW
    @given(masks=_ANY)
    def test_the_couplings_are_those_of_the_definition(self, masks: Tensor) -> None:
        """Ψ is what `definition` says, whatever is stored."""
        expected = self.definition(_spins(masks))
        _promised(expected is not None)
        assert expected is not None
        self._close(self._learned(_spins(masks)), expected, scale=self._unit(masks))

    @_FEW
    @given(masks=_RANDOM)
    def test_the_couplings_are_symmetric_to_the_bit(self, masks: Tensor) -> None:
        """Ψ = Ψᵀ, in float32, without which there is no energy."""
        psi = self._learned(_spins(masks).float())
        assert torch.equal(psi, psi.T), f"{int((psi != psi.T).sum())} couplings differ"

    @_FEW
    @given(masks=_RANDOM)
    def test_a_spin_does_not_feel_itself(self, masks: Tensor) -> None:
        """∂h_i/∂z_i = 0 where `zero_diagonal` is promised."""
        _promised(self.zero_diagonal)
        psi, one = self._learned(_spins(masks)), torch.eye(_SIZE, dtype=torch.float64)
        own = self._rule().field(psi, one).diagonal()
        felt = float(own.abs().max() / psi.abs().max())
        assert felt <= self.tolerance, (
            f"a spin feels itself, {felt:.1e} of the largest coupling: set the diagonal of Ψ to "
            "0, or zero_diagonal = False"
        )

    @_FEW
    @given(masks=_RANDOM)
    def test_an_update_is_in_place_and_leaves_the_pattern_alone(self, masks: Tensor) -> None:
        """Ψ's memory is reused; the pattern is read only."""
        patterns = _spins(masks)
        before, psi = patterns.clone(), torch.zeros(_SIZE, _SIZE, dtype=torch.float64)
        where = psi.data_ptr()
        for pattern in patterns:
            self._rule().update(psi, pattern)
        assert psi.data_ptr() == where
        assert bool(psi.any()), "nothing was written: what update returns is not looked at"
        assert torch.equal(patterns, before), "the pattern was changed"

    @_FEW
    @given(masks=_RANDOM, order=st.permutations(range(_SIZE)))
    def test_renaming_the_spins_renames_the_couplings(
        self, masks: Tensor, order: list[int]
    ) -> None:
        """Ψ(Pz) = P Ψ(z) Pᵀ for every permutation P: no spin is special."""
        _promised(self.renaming)
        expected = self._learned(_spins(masks))[order][:, order]
        self._close(self._learned(_spins(masks)[:, order]), expected, scale=self._unit(masks))

    @_FEW
    @given(masks=_RANDOM, gauge=mask_sets(_SIZE, count=1))
    def test_turning_a_spin_everywhere_turns_its_couplings(
        self, masks: Tensor, gauge: Tensor
    ) -> None:
        """Ψ(g ⊙ z) = g gᵀ ⊙ Ψ(z) for every g of ±1: up and down are names alone."""
        _promised(self.gauge)
        g = _spins(gauge)[0]
        expected = self._learned(_spins(masks)) * g.outer(g)
        self._close(self._learned(_spins(masks) * g), expected, scale=self._unit(masks))

    @_FEW
    @given(masks=_RANDOM)
    def test_single_precision_agrees_with_double(self, masks: Tensor) -> None:
        """Ψ in float32 is Ψ in float64 to 1e-4 of its largest entry."""
        double = self._learned(_spins(masks))
        error = (self._learned(_spins(masks).float()).double() - double).abs().max()
        assert error <= 1e-4 * double.abs().max()

    @_FEW
    @given(masks=_RANDOM)
    def test_the_order_of_the_patterns(self, masks: Tensor) -> None:
        """Ψ is the same in any order where `order_free` is promised."""
        _promised(self.order_free)
        expected = self._learned(_spins(masks))
        self._close(self._learned(_spins(masks).flip(0)), expected, scale=self._unit(masks))

    @_FEW
    @given(masks=_RANDOM)
    def test_a_rule_keeps_nothing_of_its_own(self, masks: Tensor) -> None:
        """All state is in Ψ: one rule object for all patterns does what a new one for each does."""
        psi, rule = torch.zeros(_SIZE, _SIZE, dtype=torch.float64), self._rule()
        for pattern in _spins(masks):
            rule.update(psi, pattern)
        assert torch.equal(psi, self._learned(_spins(masks))), "the rule itself remembers"

    @_FEW
    @given(masks=_RANDOM)
    def test_removing_undoes_an_update_or_is_refused(self, masks: Tensor) -> None:
        """remove(update(Ψ)) = Ψ to the bit where `forgets`; else a typed error, Ψ untouched."""
        patterns, rule = _spins(masks).float(), self._rule()
        psi = self._learned(patterns[:-1])
        before = psi.clone()
        if self.forgets is not False:
            rule.update(psi, patterns[-1])
            scale = psi.abs().max()
            rule.remove(psi, patterns[-1])
            lost = float((psi - before).abs().max() / scale)
            assert lost <= (0 if self.forgets else 1e-5), "removing does not undo the update"
            return
        try:
            rule.remove(psi, patterns[-1])
        except NotForgettableError:
            assert torch.equal(psi, before), "a refusal changed the couplings"
        else:
            raise AssertionError(
                "remove must raise NotForgettableError; or set forgets = True, or None"
            )

    # Field, energy and residual

    @_FEW
    @given(masks=_RANDOM, states=mask_sets(_SIZE, count=3))
    def test_the_field_is_linear_and_of_the_states_shape(
        self, masks: Tensor, states: Tensor
    ) -> None:
        """h(a z + b z') = a h(z) + b h(z'); a batch is its rows one by one."""
        psi, rule, (x, y, z) = self._learned(_spins(masks)), self._rule(), _spins(states)
        scale = psi.abs().sum(-1).max()
        expected = 0.5 * rule.field(psi, x) - 2 * rule.field(psi, y)
        self._close(rule.field(psi, 0.5 * x - 2 * y), expected, scale=scale)
        batch = rule.field(psi, torch.stack([x, y, z])[None])
        assert batch.shape == (1, 3, _SIZE)
        self._close(batch[0, 2], rule.field(psi, z), scale=scale)

    @_FEW
    @given(masks=_RANDOM, states=mask_sets(_SIZE, count=1), spin=st.integers(0, _SIZE - 1))
    def test_the_field_is_minus_the_slope_of_the_energy(
        self, masks: Tensor, states: Tensor, spin: int
    ) -> None:
        """E = −½ zᵀh(z) is even; turning spin i changes it by 2 z_i h_i − 2 ∂h_i/∂z_i."""
        psi, rule, z = self._learned(_spins(masks)), self._rule(), _spins(states)[0]
        other, one = z.clone(), torch.zeros_like(z)
        other[spin] *= -1
        one[spin] = 1
        own = rule.field(psi, one)[spin]
        change = 2 * z[spin] * rule.field(psi, z)[spin] - 2 * own
        scale = psi.abs().sum()
        self._close(_energy(rule, psi, other) - _energy(rule, psi, z), change, scale=scale)
        self._close(_energy(rule, psi, -z), _energy(rule, psi, z), scale=scale)
        if self.zero_diagonal:
            self._close(own, torch.zeros_like(own), scale=psi.abs().max())

    @_FEW
    @given(masks=_RANDOM, states=mask_sets(_SIZE, count=1))
    def test_turning_spins_one_by_one_lowers_the_energy_to_a_fixed_point(
        self, masks: Tensor, states: Tensor
    ) -> None:
        """Asynchronous descent: every turn lowers E strictly, so it ends."""
        _promised(self.zero_diagonal)
        psi, rule, z = self._learned(_spins(masks)), self._rule(), _spins(states)[0].clone()
        scale = float(rule.field(psi, z).abs().max()) * 1e-9
        energy, turns = _energy(rule, psi, z), 0
        while True:
            against = z * rule.field(psi, z)
            spin = int(against.argmin())
            if against[spin] >= -scale:
                break
            z[spin] *= -1
            lower = _energy(rule, psi, z)
            assert lower < energy, f"energy rose from {energy} to {lower}"
            energy, turns = lower, turns + 1
            assert turns < 2**12, "the descent does not end"

    @_FEW
    @given(masks=_RANDOM, states=mask_sets(_SIZE, count=2))
    def test_the_residual_is_a_share_and_even(self, masks: Tensor, states: Tensor) -> None:
        """0 <= ρ <= 1, ρ(−z) = ρ(z), and 1 in an empty memory."""
        psi, rule, z = self._learned(_spins(masks)), self._rule(), _spins(states)
        residual = rule.residual(psi, z)
        assert residual.shape == (2,)
        assert bool(((residual >= 0) & (residual <= 1)).all()), residual
        self._close(rule.residual(psi, -z), residual)
        assert bool((rule.residual(torch.zeros_like(psi), z) == 1).all())

    # What a reservoir makes of it

    def test_a_light_load_is_recalled_from_a_tenth_of_flips(self) -> None:
        """`held` random patterns of 256 spins come back bit for bit; noise is no memory."""
        generator = torch.Generator().manual_seed(1)
        patterns = _spins(torch.rand(self.held, 256, generator=generator) < 0.5).float()
        reservoir = Reservoir(256, rule=self._rule())
        reservoir.store(patterns)
        hit = reservoir.recall(Damage(share=0.1).of(patterns, generator))
        lost = int((hit.spins != patterns).any(-1).sum())
        assert lost == 0, f"{lost} of {self.held} patterns are not recalled; see `held`"
        assert bool(hit.verified.all()), "an answer has the residual of no memory"
        noise = _spins(torch.rand(20, 256, generator=generator) < 0.5).float()
        assert reservoir.residual(patterns).max() < 0.1 < 0.5 < reservoir.residual(noise).min()

    def test_a_mask_memory_keeps_tasks_under_it(self) -> None:
        """By number and by half of the mask, all layers."""
        masks = torch.rand(self.held, 256, generator=torch.Generator().manual_seed(2)) < 0.5
        memory = MaskMemory({"h": 256}, rule=self._rule(), key_bits=64, signature_features=0)
        for mask in masks:
            memory.store({"h": mask})
        for task, mask in enumerate(masks):
            found = memory.recall(task=task).masks["h"]
            assert torch.equal(found, mask), f"task {task} is not recalled by number; see `held`"
        half = torch.where(torch.arange(256) % 2 == 0, masks.float(), 0.5)
        found = memory.recall(cue={"h": half}).masks["h"]
        assert torch.equal(found, masks), "a mask is not recalled by half of it; see `held`"

    def test_a_file_keeps_it_bit_for_bit(self) -> None:
        """`load(path, rule=...)` gives Ψ and μ back."""
        reservoir = Reservoir(_SIZE, rule=self._rule())
        reservoir.store(torch.arange(_SIZE) % 3 == 0)
        with tempfile.TemporaryDirectory() as folder:
            reservoir.save(Path(folder) / "memory.h5")
            again = load(Path(folder) / "memory.h5", rule=self._rule())
        assert isinstance(again, Reservoir)
        assert torch.equal(again.psi, reservoir.psi)
        assert torch.equal(again.mean, reservoir.mean)
        assert again.rule.name == reservoir.rule.name

    def _rule(self) -> LearningRule:
        make = getattr(type(self), "make_rule", None)
        if not callable(make):
            raise ConfigError(
                f"{type(self).__name__}: set make_rule to the rule's class, or to a function that "
                f"makes one, got {make!r}"
            )
        rule = make()
        assert isinstance(rule, LearningRule), f"make_rule made {rule!r}, which is no LearningRule"
        return rule

    def _learned(self, patterns: Tensor) -> Tensor:
        """Ψ of ±1 patterns (k, d)."""
        psi = torch.zeros(patterns.shape[1], patterns.shape[1], dtype=patterns.dtype)
        for pattern in patterns:
            self._rule().update(psi, pattern)
        return psi

    def _unit(self, masks: Tensor) -> Tensor:
        """How large the couplings of one pattern are."""
        return self._learned(_spins(masks)[:1]).abs().max()

    def _close(self, found: Tensor, expected: Tensor, *, scale: Tensor | None = None) -> None:
        """Within `tolerance` of a scale, by default the largest that is expected."""
        unit = float(expected.abs().max() if scale is None else scale)
        error = float((found - expected).abs().max())
        assert error <= self.tolerance * unit, f"differs by {error:.2e}, of {unit:.2e}"


def _promised(promise: bool) -> None:
    """Skip a test of what the rule does not promise."""
    if not promise:
        raise SkipTest("the rule does not promise it")


def _spins(masks: Tensor) -> Tensor:
    return masks.double() * 2 - 1


def _energy(rule: LearningRule, psi: Tensor, state: Tensor) -> Tensor:
    return -0.5 * (state @ rule.field(psi, state))
