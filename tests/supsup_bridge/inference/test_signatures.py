"""Signatures: what of its images a task is recognised by."""

import pytest
import torch

from hopmask import ConfigError
from supsup_bridge import UnitNetwork, entropy
from supsup_bridge.inference.signatures import SIGNATURES, signature_named


@pytest.fixture(scope="module")
def network() -> UnitNetwork:
    return UnitNetwork([6, 9, 7, 4], network=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "length"), [("input", 6), ("outputs", 4), ("gradient", 16)])
def test_an_image_has_a_vector_of_its_own(name, length, network, images) -> None:
    signature = signature_named(name, network)
    together = signature(images)
    assert together.shape == (3, 5, length)
    assert not together.requires_grad
    torch.testing.assert_close(signature(images[1]), together[1])
    torch.testing.assert_close(signature(images[1, 2:3])[0], together[1, 2])


def test_the_input_is_the_image_itself(network, images) -> None:
    assert torch.equal(signature_named("input", network)(images), images)


def test_outputs_are_those_of_the_network_at_half_mask(network, images) -> None:
    half = {"hidden1": torch.full((9,), 0.5), "hidden2": torch.full((7,), 0.5)}
    expected = network(images[0], half)
    torch.testing.assert_close(signature_named("outputs", network)(images[0]), expected)


def test_the_gradient_is_that_of_each_images_entropy_at_half_mask(network, images) -> None:
    half = torch.full((16,), 0.5, requires_grad=True)
    masks = {"hidden1": half[:9], "hidden2": half[9:]}
    (expected,) = torch.autograd.grad(entropy(network(images[0, :1], masks)).sum(), half)
    found = signature_named("gradient", network)(images[0, :1])[0]
    torch.testing.assert_close(found, expected)


def test_more_images_than_fit_at_once_have_their_gradients(network) -> None:
    many = torch.randn(130, 6, generator=torch.Generator().manual_seed(2))
    signature = signature_named("gradient", network)
    torch.testing.assert_close(signature(many)[-1:], signature(many[-1:]))


def test_a_function_of_ones_own_is_found_by_name(network, images) -> None:
    assert torch.equal(signature_named("torch:sin", network)(images), images.sin())


@pytest.mark.parametrize("name", ["nothing:here", "torch:no_such_thing", "mean"])
def test_a_signature_that_is_not_there_is_named(name, network) -> None:
    with pytest.raises(ConfigError, match="cannot be imported"):
        signature_named(name, network)


@pytest.mark.parametrize("name", ["outputs", "gradient"])
def test_a_network_whose_images_see_each_other_makes_no_signature(name) -> None:
    g = torch.Generator().manual_seed(0)
    network = UnitNetwork([6, 9, 4], network=g, normalisation="batch")
    with pytest.raises(ConfigError, match="batch norm"):
        signature_named(name, network)
    assert signature_named("input", network) is not None


def test_every_name_is_known(network) -> None:
    assert all(callable(signature_named(name, network)) for name in SIGNATURES)
