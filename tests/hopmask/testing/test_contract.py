"""Every rule that hopmask brings keeps the contract of learning rules, and no broken one does."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from torch import Tensor

from hopmask import (
    ConfigError,
    LearningRule,
    NotForgettableError,
)
from hopmask.couplings.rules import (
    Hebbian,
    Projection,
    Storkey,
    StorkeyMatrix,
)
from hopmask.testing import LearningRuleContract


class TestHebbian(LearningRuleContract):
    make_rule = Hebbian
    order_free = forgets = True

    def definition(self, patterns: Tensor) -> Tensor:
        """C = Σ z zᵀ − k I."""
        return patterns.T @ patterns - len(patterns) * torch.eye(patterns.shape[1]).double()


class TestStorkey(LearningRuleContract):
    make_rule = Storkey

    def definition(self, patterns: Tensor) -> Tensor:
        """W_ij += (z_i z_j − z_i h_ji − h_ij z_j)/d, h_ij = Σ_{k ≠ i, j} W_ik z_k."""
        d = patterns.shape[1]
        weights = torch.zeros(d, d, dtype=torch.float64)
        for z in patterns:
            change = torch.zeros_like(weights)
            for i in range(d):
                for j in range(d):
                    if i != j:
                        others = [k for k in range(d) if k not in (i, j)]
                        h_ij, h_ji = weights[i, others] @ z[others], weights[j, others] @ z[others]
                        change[i, j] = (z[i] * z[j] - z[i] * h_ji - h_ij * z[j]) / d
            weights = weights + change
        return weights


class TestStorkeyMatrix(LearningRuleContract):
    make_rule = StorkeyMatrix
    zero_diagonal = False

    def definition(self, patterns: Tensor) -> Tensor:
        """Ψ += (z zᵀ − z (Ψz)ᵀ − (Ψz) zᵀ − I)/d."""
        d = patterns.shape[1]
        psi = torch.zeros(d, d, dtype=torch.float64)
        for z in patterns:
            h = psi @ z
            psi = psi + (z.outer(z) - z.outer(h) - h.outer(z) - torch.eye(d)) / d
        return psi


class TestProjection(LearningRuleContract):
    make_rule = Projection
    order_free = True

    def definition(self, patterns: Tensor) -> Tensor:
        """P = Z⁺Z."""
        return torch.linalg.pinv(patterns) @ patterns


# The contract fails for rules that break it: each promise by the test that states it


class Sound(LearningRule):
    """Hebb's sum, keeping every promise but to forget; those below break one promise each."""

    name = "sound"

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        psi.addr_(pattern, pattern, alpha=1 / len(pattern)).fill_diagonal_(0)


class Lopsided(Sound):
    def update(self, psi: Tensor, pattern: Tensor) -> None:
        psi.addr_(pattern, 1.001 * pattern, alpha=1 / len(pattern)).triu_(1)
        psi.add_(0.999 * psi.T)


class Spoiling(Sound):
    def update(self, psi: Tensor, pattern: Tensor) -> None:
        super().update(psi, pattern)
        pattern.neg_()


class Elsewhere(Sound):
    def update(self, psi: Tensor, pattern: Tensor) -> None:
        super().update(psi.clone(), pattern)


class Moving(Sound):
    def update(self, psi: Tensor, pattern: Tensor) -> None:
        other = psi.clone()
        super().update(other, pattern)
        psi.set_(other)


class Counting(Sound):
    """A mean over all patterns, whose number the rule keeps to itself."""

    def __init__(self) -> None:
        self.count = 0

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        self.count += 1
        psi.mul_((self.count - 1) / self.count)
        psi.addr_(pattern, pattern, alpha=1 / len(pattern) / self.count).fill_diagonal_(0)


class Tiny(Sound):
    """Couplings that vanish beside 1; a field not linear, nor of the others alone."""

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        psi.addr_(pattern, pattern, alpha=1e-14)

    def field(self, psi: Tensor, state: Tensor) -> Tensor:
        return (state @ psi) * (1 + (state @ psi).abs() * 1e11)


class Selfish(Sound):
    def update(self, psi: Tensor, pattern: Tensor) -> None:
        psi.addr_(pattern, pattern, alpha=1 / len(pattern))


class Preferring(Sound):
    """The first spin counts twice."""

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        weighed = pattern.clone()
        weighed[0] *= 2
        super().update(psi, weighed)


class Cheerful(Sound):
    """Spins that are down count for less."""

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        super().update(psi, torch.where(pattern > 0, pattern, 0.9 * pattern))


class Coarse(Sound):
    """Single precision is that of half."""

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        super().update(psi, pattern)
        if psi.dtype == torch.float32:
            psi.copy_(psi.half())


class Fading(Sound):
    def update(self, psi: Tensor, pattern: Tensor) -> None:
        psi.mul_(0.9)
        super().update(psi, pattern)


class Unforgetting(Sound):
    def remove(self, psi: Tensor, pattern: Tensor) -> None:
        """Does nothing, and says nothing."""


class Inexact(Sound):
    def remove(self, psi: Tensor, pattern: Tensor) -> None:
        psi.addr_(pattern, pattern, alpha=-1.0001 / len(pattern)).fill_diagonal_(0)


class Grudging(Sound):
    def remove(self, psi: Tensor, pattern: Tensor) -> None:
        psi.mul_(0.5)
        raise NotForgettableError("no")


class Bent(Sound):
    def field(self, psi: Tensor, state: Tensor) -> Tensor:
        return (state @ psi).tanh()


class Single(Sound):
    """Fields of a batch are those of its first state."""

    def field(self, psi: Tensor, state: Tensor) -> Tensor:
        return (state.reshape(-1, state.shape[-1])[0] @ psi).expand(state.shape)


class OneSided(Sound):
    """A spin feels only those before it."""

    def field(self, psi: Tensor, state: Tensor) -> Tensor:
        return state @ psi.triu()


class Backward(Sound):
    def field(self, psi: Tensor, state: Tensor) -> Tensor:
        return -(state @ psi)


class Distrusting(Sound):
    def residual(self, psi: Tensor, state: Tensor) -> Tensor:
        return 1 + super().residual(psi, state)


class Partial(Sound):
    """Residuals differ for z and −z."""

    def residual(self, psi: Tensor, state: Tensor) -> Tensor:
        return torch.where(state.sum(-1) > 0, super().residual(psi, state), 1.0)


class Trusting(Sound):
    """Everything is a memory, even where none is."""

    def residual(self, psi: Tensor, state: Tensor) -> Tensor:
        return 0 * super().residual(psi, state)


class Newest(Sound):
    """Keeps no pattern but the last."""

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        psi.zero_()
        super().update(psi, pattern)


class Nameless(Sound):
    """Each object has another name."""

    def __init__(self) -> None:
        self.name = f"rule {id(self)}"


BROKEN = [  # rule, promises, what catches it
    (Sound, {"definition": lambda self, z: z.T @ z}, "the_couplings_are_those_of_the_definition"),
    (Lopsided, {}, "the_couplings_are_symmetric_to_the_bit"),
    (Selfish, {}, "a_spin_does_not_feel_itself"),
    (Tiny, {}, "a_spin_does_not_feel_itself"),
    (Tiny, {"zero_diagonal": False}, "the_field_is_linear_and_of_the_states_shape"),
    (Counting, {}, "a_rule_keeps_nothing_of_its_own"),
    (Spoiling, {}, "an_update_is_in_place_and_leaves_the_pattern_alone"),
    (Elsewhere, {}, "an_update_is_in_place_and_leaves_the_pattern_alone"),
    (Moving, {}, "an_update_is_in_place_and_leaves_the_pattern_alone"),
    (Preferring, {}, "renaming_the_spins_renames_the_couplings"),
    (Cheerful, {}, "turning_a_spin_everywhere_turns_its_couplings"),
    (Coarse, {}, "single_precision_agrees_with_double"),
    (Fading, {"order_free": True}, "the_order_of_the_patterns"),
    (Storkey, {"order_free": True}, "the_order_of_the_patterns"),
    (Unforgetting, {"forgets": True}, "removing_undoes_an_update_or_is_refused"),
    (Unforgetting, {}, "removing_undoes_an_update_or_is_refused"),
    (Inexact, {"forgets": True}, "removing_undoes_an_update_or_is_refused"),
    (Grudging, {}, "removing_undoes_an_update_or_is_refused"),
    (Bent, {}, "the_field_is_linear_and_of_the_states_shape"),
    (Single, {}, "the_field_is_linear_and_of_the_states_shape"),
    (OneSided, {}, "the_field_is_minus_the_slope_of_the_energy"),
    (Selfish, {}, "the_field_is_minus_the_slope_of_the_energy"),
    (OneSided, {}, "turning_spins_one_by_one_lowers_the_energy_to_a_fixed_point"),
    (Distrusting, {}, "the_residual_is_a_share_and_even"),
    (Partial, {}, "the_residual_is_a_share_and_even"),
    (Trusting, {}, "the_residual_is_a_share_and_even"),
    (Newest, {}, "a_light_load_is_recalled_from_a_tenth_of_flips"),
    (Backward, {}, "a_light_load_is_recalled_from_a_tenth_of_flips"),
    (Trusting, {}, "a_light_load_is_recalled_from_a_tenth_of_flips"),
    (Newest, {}, "a_mask_memory_keeps_tasks_under_it"),
    (Nameless, {}, "a_file_keeps_it_bit_for_bit"),
]


def contract_of(rule, promises):
    return type("Contract", (LearningRuleContract,), {"make_rule": rule, **promises})()


def all_of(error):
    """The failures that hypothesis found, where there are several."""
    several = isinstance(error, ExceptionGroup)
    return [one for part in error.exceptions for one in all_of(part)] if several else [error]


@pytest.fixture
def unshrunk(monkeypatch):
    """Tests of the contract by name, which end with the first failure found: that is quicker."""
    once = settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.differing_executors],
    )

    def of(contract, name):
        function = getattr(LearningRuleContract, name)
        monkeypatch.setattr(function, "_hypothesis_internal_use_settings", once, raising=False)
        return getattr(contract, name)

    return of


@pytest.mark.filterwarnings("ignore::hopmask.OverloadWarning")
@pytest.mark.parametrize(
    ("rule", "promises", "test"),
    BROKEN,
    ids=[f"{rule.__name__}-{'-'.join(promises)}-{test}" for rule, promises, test in BROKEN],
)
def test_a_broken_promise_is_caught_by_the_test_that_states_it(rule, promises, test, unshrunk):
    with pytest.raises((AssertionError, ConfigError, ExceptionGroup)) as raised:
        unshrunk(contract_of(rule, promises), f"test_{test}")()
    expected = ConfigError if rule is Nameless else AssertionError
    assert all(isinstance(error, expected) for error in all_of(raised.value))


def names_of_the_tests():
    return {name for name in vars(LearningRuleContract) if name.startswith("test_")}


def test_every_test_of_the_contract_fails_for_some_rule():
    assert {f"test_{test}" for _, _, test in BROKEN} == names_of_the_tests()


class TestSound(LearningRuleContract):
    """The rule that the broken ones are made of keeps all promises."""

    make_rule = Sound


class TestWrapped(LearningRuleContract):
    """A rule may also be made by a function."""

    make_rule = staticmethod(lambda: Sound())
    order_free = True
    tolerance = 1e-12


@pytest.mark.parametrize(
    ("rule", "promises"),
    [(Selfish, {"zero_diagonal": False}), (Storkey, {"order_free": False})],
)
def test_what_is_not_promised_is_not_asked_for(rule, promises):
    contract = contract_of(rule, promises)
    contract.test_a_spin_does_not_feel_itself()
    contract.test_turning_spins_one_by_one_lowers_the_energy_to_a_fixed_point()
    contract.test_the_field_is_minus_the_slope_of_the_energy()
    contract.test_the_order_of_the_patterns()


def test_the_message_says_how_many_couplings_differ(unshrunk):
    test = unshrunk(contract_of(Lopsided, {}), "test_the_couplings_are_symmetric_to_the_bit")
    with pytest.raises(AssertionError, match=r"\d+ couplings differ"):
        test()


def test_a_remove_without_a_promise_is_asked_for_one(unshrunk):
    test = unshrunk(contract_of(Unforgetting, {}), "test_removing_undoes_an_update_or_is_refused")
    with pytest.raises(AssertionError, match="NotForgettableError; or set forgets = True, or None"):
        test()


@pytest.mark.parametrize("maker", [None, Hebbian()], ids=["none", "an instance"])
def test_a_contract_without_a_maker_of_rules_says_what_to_set(maker):
    class Forgot(LearningRuleContract):
        make_rule = maker

    with pytest.raises(ConfigError):
        Forgot().test_a_light_load_is_recalled_from_a_tenth_of_flips()
