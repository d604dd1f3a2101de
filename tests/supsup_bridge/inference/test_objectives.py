"""Objectives of a network's outputs: entropy, and the superfluous outputs."""

from math import log

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import ConfigError
from supsup_bridge import entropy, entropy_and_logit, superfluous
from supsup_bridge.inference.objectives import OBJECTIVES, objective_named


def test_entropy_equals_scipys(generator) -> None:
    logits = torch.randn(7, 5, 9, generator=generator(0), dtype=torch.float64) * 3
    expected = scipy.stats.entropy(scipy.special.softmax(logits.numpy(), axis=-1), axis=-1)
    np.testing.assert_allclose(entropy(logits).numpy(), expected, rtol=1e-12)


def test_equal_logits_have_the_greatest_entropy() -> None:
    assert float(entropy(torch.full((11,), 3.0))) == pytest.approx(log(11), rel=1e-6)


def test_a_certain_output_has_entropy_zero() -> None:
    assert float(entropy(torch.tensor([200.0, 0.0, 0.0]))) == pytest.approx(0, abs=1e-6)


def test_entropy_lies_between_its_bounds(generator) -> None:
    values = entropy(torch.randn(1000, 6, generator=generator(1)) * 10)
    assert bool((values >= 0).all())
    assert bool((values <= log(6) + 1e-6).all())


def test_one_output_has_no_entropy() -> None:
    assert float(entropy(torch.tensor([5.0]))) == 0


def test_entropy_is_differentiable(generator) -> None:
    logits = torch.randn(4, 5, generator=generator(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(entropy, logits)


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_huge_logits_give_finite_values_and_gradients(scale: float) -> None:
    logits = (torch.tensor([1.0, -1.0, 0.5]) * scale).requires_grad_()
    value = entropy(logits)
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(logits.grad).all())


def test_adding_a_constant_to_the_logits_changes_nothing(generator) -> None:
    logits = torch.randn(3, 4, generator=generator(3), dtype=torch.float64)
    torch.testing.assert_close(entropy(logits + 17), entropy(logits))


# --- entropy and the largest logit


def test_the_largest_real_logit_comes_off_the_entropy(generator) -> None:
    logits = torch.randn(7, 5, generator=generator(0)) * 3
    for labels in (1, 3, 5):
        expected = entropy(logits) - logits[:, :labels].max(-1).values
        assert torch.equal(entropy_and_logit(logits, labels=labels), expected)


def test_of_two_sure_outputs_the_larger_logit_is_the_lower(generator) -> None:
    sure, surer = torch.tensor([[30.0, -30.0, 0.0], [40.0, -40.0, 0.0]])
    assert float(entropy(sure)) == pytest.approx(float(entropy(surer)), abs=1e-9)
    assert float(entropy_and_logit(surer, labels=2)) < float(entropy_and_logit(sure, labels=2))


# --- superfluous outputs


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), outputs=st.integers(2, 9), data=st.data())
def test_superfluous_equals_the_log_of_the_sum(seed: int, outputs: int, data) -> None:
    labels = data.draw(st.integers(1, outputs - 1))
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, outputs, generator=g, dtype=torch.float64) * 5
    expected = scipy.special.logsumexp(logits.numpy(), axis=-1)
    np.testing.assert_allclose(superfluous(logits, labels=labels).numpy(), expected, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), outputs=st.integers(2, 9), data=st.data())
def test_only_superfluous_outputs_have_a_gradient_and_it_is_their_softmax(
    seed: int, outputs: int, data
) -> None:
    labels = data.draw(st.integers(1, outputs - 1))
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, outputs, generator=g, dtype=torch.float64) * 5
    logits.requires_grad_()
    superfluous(logits, labels=labels).sum().backward()
    expected = scipy.special.softmax(logits.detach().numpy(), axis=-1)
    assert bool((logits.grad[..., :labels] == 0).all())
    np.testing.assert_allclose(logits.grad[..., labels:].numpy(), expected[..., labels:], rtol=1e-9)


def test_the_gradient_does_not_pass_the_real_outputs_into_what_made_them(generator) -> None:
    weight = torch.randn(5, 3, generator=generator(0)).requires_grad_()
    superfluous(torch.ones(2, 3) @ weight.T, labels=2).sum().backward()
    assert bool((weight.grad[:2] == 0).all())
    assert bool((weight.grad[2:] > 0).all())


def test_superfluous_does_not_change_the_logits(generator) -> None:
    logits = torch.randn(4, 5, generator=generator(4))
    before = logits.clone()
    superfluous(logits, labels=2)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_huge_logits_give_a_finite_superfluous_value_and_gradient(scale: float) -> None:
    logits = (torch.tensor([1.0, -1.0, 0.5]) * scale).requires_grad_()
    value = superfluous(logits, labels=1)
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("labels", [5, 6, 0, -1])
def test_without_superfluous_outputs_there_is_no_objective_g(labels: int) -> None:
    with pytest.raises(ConfigError, match=f"5 outputs serve {labels} labels.*objective H"):
        superfluous(torch.zeros(2, 5), labels=labels)


# --- by name


def test_objectives_have_their_names(generator) -> None:
    logits = torch.randn(6, 5, generator=generator(5))
    named = {name: objective_named(name, labels=2, outputs=5) for name in OBJECTIVES}
    assert list(named) == ["H", "G"]
    assert torch.equal(named["H"](logits), entropy(logits))
    assert torch.equal(named["G"](logits), superfluous(logits, labels=2))


@pytest.mark.parametrize("labels", [4, 5])
def test_objective_g_without_superfluous_outputs_is_refused_when_it_is_named(labels) -> None:
    with pytest.raises(ConfigError, match="superfluous"):
        objective_named("G", labels=labels, outputs=4)


@pytest.mark.parametrize("labels", [4, 5])
def test_objective_h_needs_no_superfluous_outputs(labels) -> None:
    assert objective_named("H", labels=labels, outputs=4) is entropy
