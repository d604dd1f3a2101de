"""Fixed random networks: their weights, unit masks, and what both kinds of network share."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge import (
    FixedNetwork,
    TrainingSettings,
    UnitNetwork,
    fix_weights,
    mlp,
    train_mask,
)
from supsup_bridge.networks.fixed import signed_constant

SIZES = [6, 20, 10, 4]
KINDS = ["hashed", "layer", "batch"]


@pytest.fixture(scope="module")
def build(
    generator: Callable[[int], torch.Generator], hashed: Callable[..., FixedNetwork]
) -> Callable[..., FixedNetwork]:
    def make(kind: str, seed: int = 0) -> FixedNetwork:
        if kind == "hashed":
            return hashed(SIZES, bits=37, network=generator(seed), spread=generator(seed + 1000))
        return UnitNetwork(SIZES, network=generator(seed), normalisation=kind)

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


# --- weights


def test_weights_are_the_signed_kaiming_constant(generator) -> None:
    weights = signed_constant((30, 50), generator(0))
    assert weights.shape == (30, 50)
    torch.testing.assert_close(weights.abs(), torch.full((30, 50), (2 / 50) ** 0.5))


def test_both_signs_of_a_weight_are_as_likely(generator) -> None:
    weights = signed_constant((100, 100), generator(0))
    assert abs(float(weights.sign().mean())) < 0.05


@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_unit_network_has_kaiming_weights_in_every_layer(kind: str, build) -> None:
    network = build(kind)
    for i, (before, after) in enumerate(pairwise(SIZES)):
        weight = network.get_buffer(f"weight{i}")
        assert weight.shape == (after, before)
        torch.testing.assert_close(weight.abs(), torch.full_like(weight, (2 / before) ** 0.5))


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
    assert not any(weight.requires_grad for weight in build(kind).parameters())


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
        generator=generator(0),
    )
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_equals_finite_differences(kind: str, build, images) -> None:
    network = build(kind).double()
    names = list(network.mask_sizes)

    def forward(*levels: Tensor) -> Tensor:
        return network(images.double(), dict(zip(names, levels, strict=True)))

    levels = [level.requires_grad_() for level in some_levels(network, 4).values()]
    assert torch.autograd.gradcheck(forward, levels)


# --- modules


def test_fan_in_of_a_convolution_counts_every_input_of_an_output(generator) -> None:
    weights = signed_constant((8, 3, 5, 5), generator(0))
    torch.testing.assert_close(weights.abs(), torch.full((8, 3, 5, 5), (2 / 75) ** 0.5))


def test_fixed_weights_are_signed_constants_and_biases_zero(generator) -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    assert fix_weights(module, generator(0)) is module
    for layer, fan_in in ((module[0], 18), (module[3], 16)):
        expected = torch.full_like(layer.weight, (2 / fan_in) ** 0.5)
        torch.testing.assert_close(layer.weight.abs(), expected)
        assert not layer.bias.any()


def test_fixed_weights_leave_other_layers_as_they_were(generator) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=True), nn.PReLU(init=0.3))
    fix_weights(module, generator(0))
    assert bool((module[1].weight == 1).all())
    assert module[2].weight.tolist() == pytest.approx([0.3])


def test_fixed_weights_are_those_of_their_generator(generator) -> None:
    a, b, c = (fix_weights(mlp(SIZES), generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a[i].weight, b[i].weight) for i in (0, 2, 4))
    assert not torch.equal(a[0].weight, c[0].weight)


def test_layers_of_fully_connected_modules_draw_what_unit_networks_draw(generator) -> None:
    module = fix_weights(mlp(SIZES), generator(3))
    network = UnitNetwork(SIZES, network=generator(3))
    for i, layer in enumerate((module[0], module[2], module[4])):
        assert torch.equal(layer.weight, network.get_buffer(f"weight{i}"))


def test_fully_connected_layers_have_relu_between_them_and_no_bias(images) -> None:
    module = mlp(SIZES)
    hidden = images
    for i in (0, 2, 4):
        assert module[i].bias is None
        hidden = (hidden.clamp_min(0) if i else hidden) @ module[i].weight.T
    torch.testing.assert_close(module(images), hidden)


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


def test_unit_networks_share_images_among_many_masks(build, images) -> None:
    network = build("layer")
    masks = some_masks(network, 6, 5)
    shared, each = network(images, masks), network(images.expand(5, 9, 6), masks)
    torch.testing.assert_close(shared, each)


@pytest.mark.parametrize("kind", KINDS)
def test_many_masks_at_once_equal_one_by_one(kind: str, build, images) -> None:
    network = build(kind)
    masks = some_masks(network, 6, 5)
    together = network(images.expand(5, 9, 6), masks)
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
        mlp(sizes)


def test_unknown_normalisation_is_refused(generator) -> None:
    with pytest.raises(ConfigError, match="'group'"):
        UnitNetwork([4, 6, 2], network=generator(0), normalisation="group")
