"""Signatures: what of its images a task is recognised by."""

import pytest
import torch
from torch import nn

from hopmask import ConfigError
from supsup_bridge import MaskedNetwork, UnitNetwork, entropy
from supsup_bridge.inference.signatures import (
    SIGNATURES,
    of_sets,
    pixels,
    signature_named,
)


@pytest.fixture(scope="module")
def network() -> UnitNetwork:
    return UnitNetwork([6, 9, 7, 4], network=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "length"), [("input", 6), ("outputs", 4), ("gradient", 16)])
def test_an_image_has_a_vector_of_its_own(name, length, network, images) -> None:
    signature = signature_named(name, network)
    together = signature(images)
    assert together.shape == (5, length)
    assert not together.requires_grad
    torch.testing.assert_close(signature(images[2:3])[0], together[2])


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_takes_images_of_any_shape(name) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4))
    network = MaskedNetwork(module, masks="hashed", bits=20)
    images = torch.randn(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    signature = signature_named(name, network)
    sets = of_sets(signature, images)
    assert sets.shape[:2] == (2, 3)
    torch.testing.assert_close(sets[1], signature(images[1]))


def test_flat_images_are_their_own_signature_in_sets_too() -> None:
    images = torch.randn(2, 3, 6)
    assert torch.equal(of_sets(pixels, images), images)


@pytest.mark.parametrize(
    "signature", [lambda images: images, lambda images: images.flatten(), lambda images: 0]
)
def test_a_signature_that_gives_no_vector_per_image_is_refused(signature) -> None:
    with pytest.raises(ConfigError):
        of_sets(signature, torch.ones(2, 3, 1, 8, 8))


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_does_not_depend_on_autocast(name, network, images) -> None:
    signature = signature_named(name, network)
    images = images[:, None] if name == "patches" else images  # of one row
    plain = signature(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(signature(images), plain)


def test_the_input_is_the_image_itself(network, images) -> None:
    assert torch.equal(signature_named("input", network)(images), images)


def test_outputs_are_those_of_the_network_at_half_mask(network, images) -> None:
    half = {"hidden1": torch.full((9,), 0.5), "hidden2": torch.full((7,), 0.5)}
    expected = network(images, half)
    torch.testing.assert_close(signature_named("outputs", network)(images), expected)


def test_the_gradient_is_that_of_each_images_entropy_at_half_mask(network, images) -> None:
    half = torch.full((16,), 0.5, requires_grad=True)
    masks = {"hidden1": half[:9], "hidden2": half[9:]}
    (expected,) = torch.autograd.grad(entropy(network(images[:1], masks)).sum(), half)
    found = signature_named("gradient", network)(images[:1])[0]
    torch.testing.assert_close(found, expected)


def test_more_images_than_fit_at_once_have_their_gradients(network) -> None:
    many = torch.randn(130, 6, generator=torch.Generator().manual_seed(2))
    signature = signature_named("gradient", network)
    torch.testing.assert_close(signature(many)[-1:], signature(many[-1:]))


def test_a_function_is_found_by_name(network, images) -> None:
    assert torch.equal(signature_named("torch:sin", network)(images), images.sin())


@pytest.mark.parametrize("name", ["nothing:here", "torch:no_such_thing", "mean"])
def test_a_signature_that_is_not_there_is_named(name, network) -> None:
    with pytest.raises(ConfigError):
        signature_named(name, network)


@pytest.mark.parametrize("name", ["outputs", "gradient"])
def test_a_network_whose_images_see_each_other_makes_no_signature(name) -> None:
    g = torch.Generator().manual_seed(0)
    network = UnitNetwork([6, 9, 4], network=g, normalisation="batch")
    with pytest.raises(ConfigError):
        signature_named(name, network)
    assert signature_named("input", network) is not None


def test_every_name_is_known(network) -> None:
    assert all(callable(signature_named(name, network)) for name in SIGNATURES)
