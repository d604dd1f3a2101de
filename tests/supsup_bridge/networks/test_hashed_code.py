"""Hashed masks: one mask of `bits` for all weights of a module, which share its bits at random."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge import MaskedNetwork, fix_weights, mlp
from supsup_bridge.networks.mask_codes import HashedCode

SIZES = [6, 20, 10, 4]  # 360 weights


@pytest.fixture(scope="module")
def build(
    generator: Callable[[int], torch.Generator], hashed: Callable[..., MaskedNetwork]
) -> Callable[..., MaskedNetwork]:
    def make(bits: int = 37, sizes: list[int] = SIZES) -> MaskedNetwork:
        return hashed(sizes, bits=bits, network=generator(0), spread=generator(1000))

    return make


@pytest.fixture
def images(generator: Callable[[int], torch.Generator]) -> Tensor:
    return torch.randn(9, 6, generator=generator(5)).double()


def some_bits(seed: int, bits: int = 37) -> Tensor:
    return (torch.rand(bits, generator=torch.Generator().manual_seed(seed)) < 0.5).double()


def some_levels(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double()


def masked(code: HashedCode, mask: Tensor) -> Tensor:
    """W ⊙ M of all weights in a row, by torch's own indexing, differentiable by torch itself."""
    return code.offset + code.swing * (2 * mask - 1)[code.bit_of]


def weight_by_weight(network: MaskedNetwork, images: Tensor, mask: Tensor) -> Tensor:
    """f(x, W ⊙ M) with M_ij = (1 + s_ij z_h(ij)) / 2 written out for each weight."""
    code = network.code
    weights = 2 * code.offset
    signs = (code.swing * code.offset).sign()
    hidden, k = images, 0
    layers = list(pairwise(SIZES))
    for number, (before, after) in enumerate(layers):
        layer = torch.zeros(after, before, dtype=images.dtype)
        for i in range(after):
            for j in range(before):
                z = 2 * mask[code.bit_of[k]] - 1
                layer[i, j] = weights[k] * (1 + signs[k] * z) / 2
                k += 1
        hidden = hidden @ layer.T
        if number < len(layers) - 1:
            hidden = hidden.clamp_min(0)
    return hidden


def plain_indexing(network: MaskedNetwork, images: Tensor, mask: Tensor) -> Tensor:
    flat = masked(network.code, mask)
    hidden, start = images, 0
    for number, (before, after) in enumerate(pairwise(SIZES)):
        weight = flat[start : start + after * before].reshape(after, before)
        start += after * before
        hidden = (hidden.relu() if number else hidden) @ weight.T
    return hidden


# --- forward


def test_forward_equals_the_masked_weights_written_out(build, images) -> None:
    network = build().double()
    for seed in range(3):
        mask = some_bits(seed)
        expected = weight_by_weight(network, images, mask)
        torch.testing.assert_close(network(images, {"bits": mask}), expected)


def test_forward_equals_the_reference_between_the_corners_too(build, images) -> None:
    network, levels = build().double(), some_levels(0, 37)
    expected = weight_by_weight(network, images, levels)
    torch.testing.assert_close(network(images, {"bits": levels}), expected)


def test_half_and_half_levels_give_half_of_every_weight(build, images) -> None:
    network = build().double()
    halved = {name: value / 2 for name, value in network.module.state_dict().items()}
    expected = torch.func.functional_call(network.module, halved, (images,))
    half = torch.full((37,), 0.5).double()
    torch.testing.assert_close(network(images, {"bits": half}), expected)


def test_bool_masks_mean_the_same_as_levels(build, images) -> None:
    network, mask = build().double(), some_bits(0)
    torch.testing.assert_close(
        network(images, {"bits": mask.bool()}), network(images, {"bits": mask})
    )


def test_weights_of_a_convolution_share_the_bits_of_the_linear_layers(generator) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    fix_weights(module, generator(0))
    network = MaskedNetwork(module, masks="hashed", bits=11, spread=generator(1)).double()
    images = torch.randn(5, 2, 4, 4, generator=generator(2)).double()
    mask = some_bits(3, 11)
    flat = masked(network.code, mask)
    hidden = F.conv2d(images, flat[:54].reshape(3, 2, 3, 3)).relu().flatten(1)
    torch.testing.assert_close(network(images, {"bits": mask}), hidden @ flat[54:].reshape(4, 12).T)


# --- backward


@pytest.mark.parametrize("bits", [1, 37, 320, 359, 360])
def test_gradient_equals_autograd_through_plain_indexing(bits: int, build, images) -> None:
    network = build(bits).double()
    cotangent = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).double()
    gradients = []
    for forward in (
        lambda x, m: network(x, {"bits": m}),
        lambda x, m: plain_indexing(network, x, m),
    ):
        levels = some_levels(2, bits).requires_grad_()
        (forward(images, levels) * cotangent).sum().backward()
        gradients.append(levels.grad)
    torch.testing.assert_close(*gradients)


def test_gradient_of_many_masks_equals_that_of_each(build, images) -> None:
    network = build().double()
    together = some_levels(2, 3, 37).requires_grad_()
    network(images.expand(3, 9, 6), {"bits": together}).square().sum().backward()
    for row, grad in zip(together.detach(), together.grad, strict=True):
        alone = row.clone().requires_grad_()
        plain_indexing(network, images, alone).square().sum().backward()
        torch.testing.assert_close(grad, alone.grad)


# --- the map


def test_the_code_holds_the_modules_weights_in_their_order(build) -> None:
    network = build()
    weights = [network.module[i].weight.flatten() for i in (0, 2, 4)]
    torch.testing.assert_close(2 * network.code.offset, torch.cat(weights))


def test_a_weight_and_its_swing_are_of_one_size(build) -> None:
    code = build().code
    torch.testing.assert_close(code.swing.abs(), code.offset.abs())


def test_both_signs_of_a_swing_are_as_likely(build) -> None:
    code = build(500, [60, 100, 40]).code  # 10 000 weights
    assert abs(float((code.swing * code.offset).sign().mean())) < 0.05


def test_every_bit_serves_nearly_equally_many_weights(build) -> None:
    served = torch.bincount(build(97, [30, 50, 20]).code.bit_of, minlength=97)
    assert int(served.sum()) == 2500  # 25.8 a bit
    assert int(served.max()) <= 26
    assert int(served.min()) >= 25


@pytest.mark.parametrize("bits", [200, 1251, 2400, 2499, 2500])
def test_no_bit_is_left_without_a_weight(bits: int, build) -> None:
    code = build(bits, [30, 50, 20]).code
    assert int(torch.bincount(code.bit_of, minlength=bits).min()) >= 1


@pytest.mark.parametrize("mask", ["ones", "zeros", "random"])
def test_half_of_the_weights_are_on_under_any_mask(mask: str, build) -> None:
    bits = {"ones": torch.ones(500), "zeros": torch.zeros(500), "random": some_bits(2, 500)}[mask]
    on = masked(build(500, [60, 100, 40]).code, bits) != 0
    assert float(on.float().mean()) == pytest.approx(0.5, abs=0.03)


def test_a_mask_and_its_complement_share_the_weights_out(build) -> None:
    code, bits = build().double().code, some_bits(0)
    one, two = masked(code, bits), masked(code, 1 - bits)
    torch.testing.assert_close(one + two, 2 * code.offset)
    assert bool((one * two == 0).all())


# --- what the map is drawn from


def test_the_map_is_that_of_its_generator(generator) -> None:
    module = fix_weights(mlp(SIZES), generator(0))
    a, b, c = (
        MaskedNetwork(module, masks="hashed", bits=37, spread=generator(seed)).code
        for seed in (1, 1, 2)
    )
    assert torch.equal(a.bit_of, b.bit_of)
    assert torch.equal(a.swing, b.swing)
    assert not torch.equal(a.bit_of, c.bit_of)
    assert not torch.equal(a.swing, c.swing)


def test_the_map_does_not_depend_on_the_weights(generator) -> None:
    codes = [
        MaskedNetwork(
            fix_weights(mlp(SIZES), generator(seed)), masks="hashed", bits=37, spread=generator(7)
        ).code
        for seed in (0, 1)
    ]
    assert not torch.equal(codes[0].offset, codes[1].offset)
    assert torch.equal(codes[0].bit_of, codes[1].bit_of)
    signs = [(code.swing * code.offset).sign() for code in codes]
    assert torch.equal(*signs)


def test_a_map_draws_a_permutation_and_then_the_signs(generator, build) -> None:
    code, draws = build(37).code, generator(1000)
    bit_of = torch.randperm(360, generator=draws) % 37
    signs = torch.randint(0, 2, (360,), generator=draws) * 2 - 1
    assert torch.equal(code.bit_of, bit_of)
    assert torch.equal((code.swing * code.offset).sign(), signs.float())


@pytest.mark.parametrize("bits", [0, -1, 37])
def test_bits_that_no_weights_can_share_are_refused(bits: int, generator, hashed) -> None:
    with pytest.raises(ConfigError, match="36 weights"):
        hashed([4, 6, 2], bits=bits, network=generator(0), spread=generator(1))
