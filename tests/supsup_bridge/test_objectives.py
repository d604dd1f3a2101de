"""Entropy of a network's outputs."""

from math import log

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from supsup_bridge import entropy


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
