"""Fixed networks seen through masks."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge import FixedNetwork, HashedNetwork, TrainingSettings, UnitNetwork, train_mask
from supsup_bridge.networks import signed_constant

SIZES = [6, 20, 10, 4]
KINDS = ["hashed", "layer", "batch"]


@pytest.fixture(scope="module")
def build(generator: Callable[[int], torch.Generator]) -> Callable[..., FixedNetwork]:
    def make(kind: str, seed: int = 0, sizes: list[int] = SIZES, bits: int = 37) -> FixedNetwork:
        if kind == "hashed":
            return HashedNetwork(
                sizes, bits=bits, network=generator(seed), spread=generator(seed + 1000)
            )
        return UnitNetwork(sizes, network=generator(seed), normalisation=kind)

    return make


@pytest.fixture
def images(generator: Callable[[int], torch.Generator]) -> Tensor:
    return torch.randn(9, 6, generator=generator(5))


def some_masks(network: FixedNetwork, seed: int, *batch: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {n: (torch.rand(*batch, s, generator=g) < 0.5).float() for n, s in _sizes(network)}


def some_levels(network: FixedNetwork, seed: int, *batch: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {n: torch.rand(*batch, s, generator=g).double() for n, s in _sizes(network)}


def _sizes(network: FixedNetwork) -> list[tuple[str, int]]:
    return list(network.mask_sizes.items())


def weight_by_weight(network: HashedNetwork, images: Tensor, mask: Tensor) -> Tensor:
    """f(x, W ⊙ M) with M_ij = (1 + s_ij z_h(ij)) / 2 written out for each weight."""
    weights = 2 * network.offset
    signs = (network.swing * network.offset).sign()
    hidden, k = images, 0
    layers = list(pairwise(SIZES))
    for number, (before, after) in enumerate(layers):
        masked = torch.zeros(after, before, dtype=images.dtype)
        for i in range(after):
            for j in range(before):
                z = 2 * mask[network.bit_of[k]] - 1
                masked[i, j] = weights[k] * (1 + signs[k] * z) / 2
                k += 1
        hidden = hidden @ masked.T
        if number < len(layers) - 1:
            hidden = hidden.clamp_min(0)
    return hidden


def plain_indexing(network: HashedNetwork, images: Tensor, mask: Tensor) -> Tensor:
    """The same function by torch's own indexing, differentiable by torch itself."""
    flat = network.offset + network.swing * (2 * mask - 1)[network.bit_of]
    hidden, start = images, 0
    for number, (before, after) in enumerate(pairwise(SIZES)):
        weight = flat[start : start + after * before].reshape(after, before)
        start += after * before
        hidden = (hidden.relu() if number else hidden) @ weight.T
    return hidden


# --- weights


def test_weights_are_the_signed_kaiming_constant(generator) -> None:
    weights = signed_constant(30, 50, generator(0))
    assert weights.shape == (30, 50)
    torch.testing.assert_close(weights.abs(), torch.full((30, 50), (2 / 50) ** 0.5))


def test_both_signs_of_a_weight_are_as_likely(generator) -> None:
    weights = signed_constant(100, 100, generator(0))
    assert abs(float(weights.sign().mean())) < 0.05


@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_unit_network_has_kaiming_weights_in_every_layer(kind: str, build) -> None:
    network = build(kind)
    for i, (before, after) in enumerate(pairwise(SIZES)):
        weight = network.get_buffer(f"weight{i}")
        assert weight.shape == (after, before)
        torch.testing.assert_close(weight.abs(), torch.full_like(weight, (2 / before) ** 0.5))


def test_hashed_network_has_kaiming_weights_in_every_layer(build) -> None:
    weights, start = 2 * build("hashed").offset, 0
    for before, after in pairwise(SIZES):
        part = weights[start : start + before * after]
        start += before * after
        torch.testing.assert_close(part.abs(), torch.full_like(part, (2 / before) ** 0.5))
    assert start == len(weights)


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_makes_one_network(kind: str, build) -> None:
    a, b = build(kind, seed=3).state_dict(), build(kind, seed=3).state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_makes_another_network(kind: str, build, images) -> None:
    a, b = build(kind, seed=3), build(kind, seed=4)
    assert not torch.allclose(a(images, some_masks(a, 0)), b(images, some_masks(a, 0)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_has_no_parameters_to_train(kind: str, build) -> None:
    assert list(build(kind).parameters()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_forward_backward_and_training_leave_the_weights_as_they_were(
    kind: str, build, images, generator
) -> None:
    network = build(kind)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    masks = {name: mask.requires_grad_() for name, mask in some_masks(network, 1).items()}
    network(images, masks).square().sum().backward()
    train_mask(
        network,
        images,
        torch.arange(9) % 4,
        TrainingSettings(epochs=3, batch=4),
        scores=generator(0),
        batches=generator(1),
    )
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# --- hashed masks


def test_hashed_forward_equals_the_masked_weights_written_out(build, images) -> None:
    network = build("hashed").double()
    for seed in range(3):
        mask = some_masks(network, seed)["bits"].double()
        expected = weight_by_weight(network, images.double(), mask)
        torch.testing.assert_close(network(images.double(), {"bits": mask}), expected)


def test_hashed_forward_equals_the_reference_between_the_corners_too(build, images) -> None:
    network = build("hashed").double()
    levels = some_levels(network, 0)["bits"]
    expected = weight_by_weight(network, images.double(), levels)
    torch.testing.assert_close(network(images.double(), {"bits": levels}), expected)


@pytest.mark.parametrize("bits", [1, 37, 320, 359, 360])
def test_hashed_gradient_equals_autograd_through_plain_indexing(bits: int, build, images) -> None:
    network = build("hashed", bits=bits).double()
    cotangent = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).double()
    gradients = []
    for forward in (
        lambda x, m: network(x, {"bits": m}),
        lambda x, m: plain_indexing(network, x, m),
    ):
        levels = some_levels(network, 2)["bits"].requires_grad_()
        (forward(images.double(), levels) * cotangent).sum().backward()
        gradients.append(levels.grad)
    torch.testing.assert_close(*gradients)


def test_hashed_gradient_of_many_masks_equals_that_of_each(build, images) -> None:
    network = build("hashed").double()
    together = some_levels(network, 2, 3)["bits"].requires_grad_()
    network(images.double(), {"bits": together}).square().sum().backward()
    for row, grad in zip(together.detach(), together.grad, strict=True):
        alone = row.clone().requires_grad_()
        plain_indexing(network, images.double(), alone).square().sum().backward()
        torch.testing.assert_close(grad, alone.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_equals_finite_differences(kind: str, build, images) -> None:
    network = build(kind).double()
    names = list(network.mask_sizes)

    def forward(*levels: Tensor) -> Tensor:
        return network(images.double(), dict(zip(names, levels, strict=True)))

    levels = [level.requires_grad_() for level in some_levels(network, 4).values()]
    assert torch.autograd.gradcheck(forward, levels)


def test_every_bit_serves_nearly_equally_many_weights(generator) -> None:
    network = HashedNetwork(
        [30, 50, 20], bits=97, network=generator(0), spread=generator(1)
    )  # 2500 weights, 25.8 a bit
    served = torch.bincount(network.bit_of, minlength=97)
    assert int(served.sum()) == 2500
    assert int(served.max()) <= 26
    assert int(served.min()) >= 22


@pytest.mark.parametrize("bits", [200, 1251, 2400, 2499, 2500])
def test_no_bit_is_left_without_a_weight(bits: int, generator) -> None:
    network = HashedNetwork([30, 50, 20], bits=bits, network=generator(0), spread=generator(1))
    assert int(torch.bincount(network.bit_of, minlength=bits).min()) >= 1


@pytest.mark.parametrize("mask", ["ones", "zeros", "random"])
def test_half_of_the_weights_are_on_under_any_mask(mask: str, generator) -> None:
    network = HashedNetwork([60, 100, 40], bits=500, network=generator(0), spread=generator(1))
    bits = {
        "ones": torch.ones(500),
        "zeros": torch.zeros(500),
        "random": (torch.rand(500, generator=generator(2)) < 0.5).float(),
    }[mask]
    masked = network.offset + network.swing * (2 * bits - 1)[network.bit_of]
    assert float((masked != 0).float().mean()) == pytest.approx(0.5, abs=0.03)


def test_a_mask_and_its_complement_share_the_weights_out(build) -> None:
    network = build("hashed").double()
    bits = some_masks(network, 0)["bits"].double()
    one, two = (
        network.offset + network.swing * (2 * m - 1)[network.bit_of] for m in (bits, 1 - bits)
    )
    torch.testing.assert_close(one + two, 2 * network.offset)
    assert bool((one * two == 0).all())


# --- unit masks


@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_a_masked_unit_contributes_nothing(kind: str, build, images) -> None:
    network = build(kind)
    masks = some_masks(network, 3)
    before = network(images, masks)
    for layer in (1, 2):
        off = masks[f"hidden{layer}"] == 0
        assert bool(off.any())
        network.get_buffer(f"weight{layer}")[:, off] = 1e6
    torch.testing.assert_close(network(images, masks), before)


@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_an_unmasked_unit_contributes(kind: str, build, images) -> None:
    network = build(kind)
    masks = {name: torch.ones(size) for name, size in network.mask_sizes.items()}
    before = network(images, masks)
    masks["hidden1"][7] = 0
    assert not torch.allclose(network(images, masks), before)


@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_unit_forward_equals_the_formula_image_by_image(kind: str, build, images) -> None:
    network, images = build(kind).double(), images.double()
    masks = {name: mask.double() for name, mask in some_masks(network, 3).items()}
    hidden = images
    for i in range(2):
        hidden = hidden @ network.get_buffer(f"weight{i}").T
        axis = 1 if kind == "layer" else 0
        mean, variance = (
            hidden.mean(axis, keepdim=True),
            hidden.var(axis, correction=0, keepdim=True),
        )
        gained = masks[f"hidden{i + 1}"] * (hidden - mean) / (variance + 1e-5).sqrt()
        hidden = gained * torch.sigmoid(gained)
    expected = hidden @ network.get_buffer("weight2").T
    torch.testing.assert_close(network(images, masks), expected)


def test_unit_masks_have_one_bit_a_hidden_unit(build) -> None:
    assert build("layer").mask_sizes == {"hidden1": 20, "hidden2": 10}


# --- batches of masks


@pytest.mark.parametrize("kind", KINDS)
def test_many_masks_at_once_equal_one_by_one(kind: str, build, images) -> None:
    network = build(kind)
    masks = some_masks(network, 6, 5)
    together = network(images, masks)
    assert together.shape == (5, 9, 4)
    for row in range(5):
        alone = network(images, {name: mask[row] for name, mask in masks.items()})
        torch.testing.assert_close(together[row], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_each_mask_can_have_images_of_its_own(kind: str, build, generator) -> None:
    network = build(kind)
    masks = some_masks(network, 6, 5)
    images = torch.randn(5, 8, 6, generator=generator(8))
    together = network(images, masks)
    assert together.shape == (5, 8, 4)
    for row in range(5):
        alone = network(images[row], {name: mask[row] for name, mask in masks.items()})
        torch.testing.assert_close(together[row], alone)


# --- predictions


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_does_not_depend_on_its_batch_mates(kind: str, build, images) -> None:
    network = build(kind)
    masks = {name: mask.bool() for name, mask in some_masks(network, 1).items()}
    predict = network.predictor(
        masks, torch.randn(50, 6, generator=torch.Generator().manual_seed(2))
    )
    together = predict(images)
    for image, logits in zip(images, together, strict=True):
        torch.testing.assert_close(predict(image[None])[0], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("poison", [1e6, float("nan")])
def test_a_wild_batch_mate_does_not_change_a_prediction(
    kind: str, poison: float, build, images
) -> None:
    network = build(kind)
    masks = some_masks(network, 1)
    predict = network.predictor(
        masks, torch.randn(50, 6, generator=torch.Generator().manual_seed(2))
    )
    mates = torch.cat([images, torch.full((3, 6), poison)])
    torch.testing.assert_close(predict(mates)[:9], predict(images), rtol=1e-5, atol=1e-5)


def test_batch_norm_forward_uses_the_statistics_of_its_batch(build, images) -> None:
    network = build("batch")
    masks = some_masks(network, 1)
    mates = torch.cat([images, torch.full((3, 6), 5.0)])
    assert not torch.allclose(network(mates, masks)[:9], network(images, masks), atol=1e-3)


def test_batch_norm_predictor_uses_the_statistics_of_the_reference(build, images) -> None:
    network = build("batch")
    masks = some_masks(network, 1)
    torch.testing.assert_close(network.predictor(masks, images)(images), network(images, masks))
    other = network.predictor(masks, images * 3 + 1)(images)
    assert not torch.allclose(other, network(images, masks), atol=1e-3)


@pytest.mark.parametrize("kind", ["hashed", "layer"])
def test_other_predictors_do_not_look_at_the_reference(kind: str, build, images) -> None:
    network = build(kind)
    masks = some_masks(network, 1)
    predict = network.predictor(masks, torch.full((2, 6), float("nan")))
    torch.testing.assert_close(predict(images), network(images, masks))


# --- what nothing can be built from


@pytest.mark.parametrize("sizes", [[], [4], [4, 3], [4, 0, 3], [4, -1, 3], [4, 2.5, 3]])
def test_sizes_that_make_no_network_are_refused(sizes: list, generator) -> None:
    with pytest.raises(ConfigError, match="hidden layer"):
        UnitNetwork(sizes, network=generator(0))
    with pytest.raises(ConfigError, match="hidden layer"):
        HashedNetwork(sizes, bits=2, network=generator(0), spread=generator(1))


@pytest.mark.parametrize("bits", [0, -1, 37])
def test_bits_that_no_weights_can_share_are_refused(bits: int, generator) -> None:
    with pytest.raises(ConfigError, match="36 weights"):
        HashedNetwork([4, 6, 2], bits=bits, network=generator(0), spread=generator(1))


def test_unknown_normalisation_is_refused(generator) -> None:
    with pytest.raises(ConfigError, match="'group'"):
        UnitNetwork([4, 6, 2], network=generator(0), normalisation="group")
