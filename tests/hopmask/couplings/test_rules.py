"""Learning rules against slow float64 references."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from hopmask import (
    ConfigError,
    LearningRule,
    MaskMemory,
    NotForgettableError,
    NumericalError,
    Reservoir,
)
from hopmask.couplings.rules import (
    Hebbian,
    Projection,
    Storkey,
    StorkeyMatrix,
    rule_named,
)

D, K = 24, 6


def storkey_by_definition(patterns: Tensor) -> Tensor:
    """Storkey 1997: h_ij = Σ_{k ≠ i, j} W_ik z_k, all sums written out, O(d³) a pattern."""
    d = patterns.shape[1]
    weights = torch.zeros(d, d, dtype=torch.float64)
    others = torch.ones(d, d, d, dtype=torch.float64)  # others[i, j, k] = [k ≠ i and k ≠ j]
    for i in range(d):
        others[i, :, i] = 0
        others[:, i, i] = 0
    for z in patterns.double():
        h = torch.einsum("ik,ijk,k->ij", weights, others, z)
        change = torch.zeros_like(weights)
        for i in range(d):
            for j in range(d):
                if i != j:
                    change[i, j] = (z[i] * z[j] - z[i] * h[j, i] - h[i, j] * z[j]) / d
        weights = weights + change
    return weights


def storkey_matrix_by_definition(patterns: Tensor) -> Tensor:
    d = patterns.shape[1]
    psi = torch.zeros(d, d, dtype=torch.float64)
    for z in patterns.double():
        h = psi @ z
        psi = psi + (z.outer(z) - z.outer(h) - h.outer(z) - torch.eye(d)) / d
    return psi


def hebbian_by_definition(patterns: Tensor) -> Tensor:
    z = patterns.double()
    return z.T @ z - len(z) * torch.eye(z.shape[1], dtype=torch.float64)


def projection_by_definition(patterns: Tensor) -> Tensor:
    z = patterns.double()
    return torch.linalg.pinv(z) @ z


REFERENCES = {
    "storkey": storkey_by_definition,
    "storkey-matrix": storkey_matrix_by_definition,
    "hebbian": hebbian_by_definition,
    "projection": projection_by_definition,
}


def learned(rule: str, patterns: Tensor) -> Tensor:
    d = patterns.shape[1]
    psi = torch.zeros(d, d, dtype=patterns.dtype)
    for pattern in patterns:
        rule_named(rule).update(psi, pattern)
    return psi


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_couplings_are_those_of_the_definition(rule, dtype, random_spins):
    patterns = random_spins(K, D, seed=3, dtype=dtype)
    exact = REFERENCES[rule](patterns)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(learned(rule, patterns).double(), exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_couplings_are_symmetric_to_the_bit(rule, dtype, random_spins):
    psi = learned(rule, random_spins(20, 61, seed=1, dtype=dtype))
    assert int((psi != psi.T).sum()) == 0


@pytest.mark.parametrize("name", ["storkey", "hebbian"])
def test_the_diagonal_stays_zero(name, random_spins):
    assert not learned(name, random_spins(K, D)).diagonal().any()


def test_couplings_are_updated_in_place(rule, random_spins):
    psi = torch.zeros(D, D)
    where = psi.data_ptr()
    for pattern in random_spins(3, D):
        rule_named(rule).update(psi, pattern)
    assert psi.data_ptr() == where
    assert psi.any()


def test_an_update_leaves_the_pattern_alone(rule, random_spins):
    pattern = random_spins(1, D)[0]
    before = pattern.clone()
    rule_named(rule).update(torch.zeros(D, D), pattern)
    assert torch.equal(pattern, before)


def test_the_field_is_that_of_the_couplings(rule, random_spins):
    patterns = random_spins(K, D, dtype=torch.float64)
    psi = learned(rule, patterns)
    states = random_spins(3, D, seed=9, dtype=torch.float64)
    reference = states @ psi.T
    if rule == "hebbian":
        reference = reference / D
    if rule == "projection":
        reference = reference - states * psi.diagonal()
    torch.testing.assert_close(rule_named(rule).field(psi, states), reference)


def test_the_first_pattern_is_a_fixed_point(rule, random_spins):
    pattern = random_spins(1, D)[0]
    psi = learned(rule, pattern[None])
    assert torch.equal(rule_named(rule).field(psi, pattern).sign(), pattern)


def test_residual_is_the_squared_sine_of_the_angle_to_the_answer(rule, random_spins):
    patterns = random_spins(K, D, dtype=torch.float64)
    psi = learned(rule, patterns)
    for z in torch.cat([patterns, random_spins(3, D, seed=5, dtype=torch.float64)]):
        answer = psi @ z / (D if rule == "hebbian" else 1)
        cosine = torch.nn.functional.cosine_similarity(z, answer, dim=0)
        expected = 1 - cosine.square() if cosine > 0 else torch.ones_like(cosine)
        torch.testing.assert_close(rule_named(rule).residual(psi, z), expected)


def test_residual_of_an_empty_memory_is_1(rule, random_spins):
    residual = rule_named(rule).residual(torch.zeros(D, D), random_spins(4, D))
    assert torch.equal(residual, torch.ones(4))


def test_storing_is_free_of_order_under_hebbian(random_spins):
    patterns = random_spins(K, D)
    assert torch.equal(learned("hebbian", patterns), learned("hebbian", patterns.flip(0)))


def test_projection_stays_a_projector_after_many_patterns_in_float32(random_spins):
    patterns = random_spins(150, 200, seed=2)
    p = learned("projection", patterns)
    torch.testing.assert_close(p @ p, p, rtol=0, atol=2e-5)
    torch.testing.assert_close(p.trace(), torch.tensor(150.0), rtol=0, atol=1e-2)
    torch.testing.assert_close(patterns @ p, patterns, rtol=0, atol=1e-3)


def test_projection_keeps_strongly_correlated_patterns(random_spins, flipped):
    patterns = flipped(random_spins(1, 200).expand(20, 200), 0.1, seed=4)
    torch.testing.assert_close(
        learned("projection", patterns).double(),
        projection_by_definition(patterns),
        rtol=0,
        atol=1e-4,
    )


def test_projection_refuses_what_lies_in_the_span_and_changes_nothing(random_spins):
    patterns = random_spins(4, D, seed=1)
    psi = learned("projection", patterns)
    before = psi.clone()
    with pytest.raises(NumericalError):
        Projection().update(psi, patterns[2])
    assert torch.equal(psi, before)


def test_hebbian_removal_restores_the_couplings_to_the_bit(random_spins):
    patterns = random_spins(40, 64, seed=6)
    psi = learned("hebbian", patterns[:20])
    before = psi.clone()
    for pattern in patterns[20:]:
        Hebbian().update(psi, pattern)
    for pattern in patterns[20:]:  # not the reverse order
        Hebbian().remove(psi, pattern)
    assert torch.equal(psi, before)


@pytest.mark.parametrize("forgetless", [Storkey(), StorkeyMatrix(), Projection()])
def test_a_rule_without_an_exact_inverse_does_not_remove(forgetless, random_spins):
    psi = torch.ones(D, D)
    with pytest.raises(NotForgettableError, match=forgetless.name):
        forgetless.remove(psi, random_spins(1, D)[0])
    assert torch.equal(psi, torch.ones(D, D))


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("storky", "storkey"),
        ("hebian", "hebbian"),
        ("Hebb", "hebbian"),
        ("storkey_matrix", "storkey-matrix"),
        ("projector", "projection"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(wrong, meant):
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        rule_named(wrong)


@pytest.mark.parametrize("thing", [None, 3, Hebbian, ["hebbian"]])
def test_what_is_no_rule_is_refused(thing):
    with pytest.raises(ConfigError):
        rule_named(thing)


def test_every_rule_is_found_by_its_own_name():
    for kind in (Storkey, StorkeyMatrix, Hebbian, Projection):
        assert isinstance(rule_named(kind.name), kind)


def test_a_rule_object_passes_through():
    mine = Hebbian()
    assert rule_named(mine) is mine


class Halved(LearningRule):
    """A rule as a user would write it: half of Hebb's, scaled, and nothing else."""

    name: ClassVar[str] = "halved"

    def update(self, psi: Tensor, pattern: Tensor) -> None:
        psi.addr_(pattern, pattern, alpha=0.5 / pattern.numel()).fill_diagonal_(0)


def test_a_rule_without_an_update_cannot_be_made():
    class Nothing(LearningRule):
        name: ClassVar[str] = "nothing"

    with pytest.raises(TypeError, match="update"):
        Nothing()


def test_a_users_rule_works_in_a_reservoir(random_spins, flipped):
    patterns = random_spins(5, 128)
    reservoir = Reservoir(128, rule=Halved())
    reservoir.store(patterns)
    assert torch.equal(reservoir.recall(flipped(patterns, 0.1)).spins, patterns)


def test_a_users_rule_works_in_a_mask_memory(random_mask):
    memory = MaskMemory({"h": 128}, rule=Halved(), key_bits=64, signature_features=0)
    masks = [random_mask(128, seed=seed) for seed in range(4)]
    for mask in masks:
        memory.store({"h": mask})
    for task, mask in enumerate(masks):
        assert torch.equal(memory.recall(task=task).masks["h"], mask)


def test_a_users_rule_cannot_forget_unless_it_says_how(random_spins):
    pattern = random_spins(1, 64)[0]
    reservoir = Reservoir(64, rule=Halved())
    reservoir.store(pattern)
    with pytest.raises(NotForgettableError):
        Halved().remove(reservoir.psi, pattern)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_update_makes_no_second_matrix(rule, dtype, random_spins):
    """No allocation during an update reaches the size of the couplings."""
    d = 256
    psi = torch.zeros(d, d, dtype=dtype)
    patterns = random_spins(2, d, dtype=dtype)
    mine = rule_named(rule)
    mine.update(psi, patterns[0])
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        mine.update(psi, patterns[1])
    largest = max(event.cpu_memory_usage for event in profile.key_averages())
    assert largest < psi.numel() * psi.element_size()


def test_projection_stays_exact_for_patterns_that_hardly_differ(random_spins, flipped):
    """In single precision: what rounding left of the span in a pattern is taken out once more."""
    patterns = torch.unique(flipped(random_spins(1, 200).expand(100, 200), 0.02, seed=4), dim=0)
    assert len(patterns) > 90
    torch.testing.assert_close(
        learned("projection", patterns).double(),
        projection_by_definition(patterns),
        rtol=0,
        atol=1e-5,
    )
