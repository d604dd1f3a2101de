"""Any module seen through masks: what comes out, and that the module stays as it is."""

from collections.abc import Callable, Mapping
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopmask import ConfigError, MaskError
from supsup_bridge import MaskBank, MaskedNetwork, TrainingSettings, fix_weights, mlp, train_mask
from supsup_bridge.continual.export import plain_module
from supsup_bridge.inference.objectives import entropy
from supsup_bridge.networks.fixed import REFERENCE
from supsup_bridge.networks.mask_codes import HashedCode, SignedCode

KINDS = ["weight", "signed", "unit", "hashed"]
MODES = ["train", "eval"]
HASHED_BITS = 50


class BasicBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


class ResNet18(nn.Module):
    """He et al. 2016 (arXiv 1512.03385) for small images, with 4 to 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        stages = ((4, 4, 1), (4, 8, 2), (8, 8, 2), (8, 16, 2))
        self.stages = nn.ModuleList(
            nn.Sequential(BasicBlock(before, after, stride), BasicBlock(after, after, 1))
            for before, after, stride in stages
        )
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x)).relu()
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with weights, biases and statistics that all differ from their defaults."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=g) * 0.5)
                if "running_var" in name:
                    value.abs_().add_(0.5)
    return module


@pytest.fixture(scope="module")
def resnet() -> Callable[[str], nn.Module]:
    """Mode -> a ResNet-18 of one's own, always the same."""
    kept = drawn(ResNet18())
    return lambda mode: deepcopy(kept).train(mode == "train")


@pytest.fixture(scope="module")
def images(generator: Callable[[int], torch.Generator]) -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=generator(1))


@pytest.fixture(scope="module")
def reference(generator: Callable[[int], torch.Generator]) -> Tensor:
    return 1.5 * torch.randn(12, 3, 8, 8, generator=generator(2)) + 0.3


def build(module: nn.Module, kind: str, bits: int = HASHED_BITS) -> MaskedNetwork:
    options = {}
    if kind == "hashed":
        options = {"bits": bits, "spread": torch.Generator().manual_seed(9)}
    return MaskedNetwork(module, masks=kind, **options)


def some_masks(network: MaskedNetwork, seed: int, *batch: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    sizes = network.mask_sizes.items()
    shapes = {name: (size,) if isinstance(size, int) else size for name, size in sizes}
    return {n: (torch.rand(*batch, *s, generator=g) < 0.6).float() for n, s in shapes.items()}


def hand_masked(
    module: nn.Module, network: MaskedNetwork, masks: Mapping[str, Tensor]
) -> nn.Module:
    """A copy of the module whose weights and biases are multiplied by what the masks say."""
    copy = deepcopy(module)
    kinds = (nn.Linear, nn.Conv2d)
    layers = {name: layer for name, layer in copy.named_modules() if isinstance(layer, kinds)}
    code, start = network.code, 0
    with torch.no_grad():
        for name, layer in layers.items():
            if isinstance(code, HashedCode):
                end = start + layer.weight.numel()
                signs = (code.swing * code.offset).sign()[start:end]
                bits = (2 * masks["bits"] - 1)[code.bit_of[start:end]]
                layer.weight.mul_(((1 + signs * bits) / 2).reshape(layer.weight.shape))
                start = end
            elif name in masks and masks[name].ndim == 1:
                for unit, level in enumerate(masks[name]):
                    layer.weight[unit] *= level
                    if layer.bias is not None:
                        layer.bias[unit] *= level
            elif name in masks and isinstance(code, SignedCode):
                layer.weight.copy_(torch.where(masks[name] > 0.5, layer.weight, -layer.weight))
            elif name in masks:
                layer.weight.mul_(masks[name])
    return copy


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_state(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- a ResNet-18


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_forward_equals_a_hand_masked_copy(kind: str, mode: str, resnet, images) -> None:
    module = resnet(mode)
    network = build(module, kind)
    for seed in range(2):
        masks = some_masks(network, seed)
        expected = hand_masked(module, network, masks)(images)
        torch.testing.assert_close(network(images, masks), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["weight", "unit"])
def test_masks_of_ones_change_nothing(kind: str, mode: str, resnet, images) -> None:
    network = build(resnet(mode), kind)
    ones = {name: torch.ones_like(mask) for name, mask in some_masks(network, 0).items()}
    torch.testing.assert_close(network(images, ones), resnet(mode)(images))


def test_weight_masks_are_of_every_convolution_and_linear_layer(resnet) -> None:
    module = resnet("eval")
    sizes = build(module, "weight").mask_sizes
    weights = {n: tuple(p.shape) for n, p in module.named_parameters() if n.endswith("weight")}
    expected = {n.removesuffix(".weight"): s for n, s in weights.items() if len(s) > 1}
    assert len(sizes) == 21  # 17 convolutions, 3 shortcuts, 1 linear layer
    assert sizes == expected


def test_unit_masks_are_of_every_layer_but_the_last(resnet) -> None:
    weight, unit = (build(resnet("eval"), kind).mask_sizes for kind in ("weight", "unit"))
    assert list(unit) == list(weight)[:-1]
    assert all(unit[name] == weight[name][0] for name in unit)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_the_last_layer(kind: str, resnet) -> None:
    assert build(resnet("eval"), kind).outputs == 5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_module_stays_as_it_is_bit_for_bit(
    kind: str, mode: str, resnet, images, reference, generator
) -> None:
    module = resnet(mode)
    module.stem.weight.requires_grad_(False)  # a setting to be kept too
    module.stages[1].eval()
    before, modes = snapshot(module), [part.training for part in module.modules()]
    needs = [value.requires_grad for value in module.parameters()]
    momenta = [p.momentum for p in module.modules() if isinstance(p, nn.BatchNorm2d)]
    network = build(module, kind)
    masks = {name: mask.requires_grad_() for name, mask in some_masks(network, 0).items()}
    network(images, masks).square().sum().backward()
    network(images.expand(2, *images.shape), some_masks(network, 1, 2))
    settings = TrainingSettings(epochs=1, batch=6, max_batches=2)
    labels = torch.arange(len(reference)) % 5
    mask = train_mask(network, reference, labels, settings, generator=generator(0))
    network.predictor(mask, reference)(images)
    assert same_state(snapshot(module), before)
    assert [part.training for part in module.modules()] == modes
    assert [value.requires_grad for value in module.parameters()] == needs
    assert momenta == [p.momentum for p in module.modules() if isinstance(p, nn.BatchNorm2d)]
    assert all(value.grad is None for value in module.parameters())
    twin = resnet(mode)
    twin.stages[1].eval()
    assert torch.equal(module(images), twin(images))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_buffers_and_weights_of_the_copy_never_change(
    kind: str, mode: str, resnet, images, reference
) -> None:
    network = build(resnet(mode), kind)
    before = snapshot(network)
    network(images, some_masks(network, 0))
    network(images.expand(2, *images.shape), some_masks(network, 1, 2))
    network.predictor(some_masks(network, 2), reference)(images)
    assert same_state(snapshot(network), before)


def test_a_mask_is_learned_without_gradients_of_the_weights(resnet, images) -> None:
    network = build(resnet("train"), "weight")
    masks = {name: mask.requires_grad_() for name, mask in some_masks(network, 0).items()}
    network(images, masks).square().sum().backward()
    assert all(bool(mask.grad.any()) for mask in masks.values())
    assert all(weight.grad is None for weight in network.parameters())


def test_a_change_of_the_module_does_not_reach_the_network(resnet, images) -> None:
    module = resnet("eval")
    network = build(module, "weight")
    masks = some_masks(network, 0)
    before = network(images, masks)
    with torch.no_grad():
        module.fc.weight.zero_()
        module.bn.running_mean.add_(3)
    module.train()
    assert torch.equal(network(images, masks), before)


# --- many masks at once


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_many_masks_at_once_equal_one_by_one(kind: str, mode: str, resnet, generator) -> None:
    network = build(resnet(mode), kind)
    masks = some_masks(network, 3, 3)
    images = torch.randn(3, 5, 3, 8, 8, generator=generator(4)) * torch.tensor(
        [1.0, 3.0, 0.2]
    ).reshape(3, 1, 1, 1, 1)
    together = network(images, masks)
    assert together.shape == (3, 5, 5)
    for row in range(3):
        alone = network(images[row], {name: mask[row] for name, mask in masks.items()})
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_many_masks_equal_those_of_each(mode: str, resnet, images) -> None:
    network = build(resnet(mode), "unit").double()
    levels = {n: (m / 2 + 0.25).double() for n, m in some_masks(network, 3, 2).items()}
    together = {name: level.clone().requires_grad_() for name, level in levels.items()}
    many = images.double().expand(2, *images.shape)
    network(many, together).square().sum().backward()
    for row in range(2):
        alone = {name: level[row].clone().requires_grad_() for name, level in levels.items()}
        network(images.double(), alone).square().sum().backward()
        for name, level in alone.items():
            torch.testing.assert_close(together[name].grad[row], level.grad)


def test_a_batch_of_one_mask_keeps_its_dimension(resnet, images) -> None:
    network = build(resnet("train"), "unit")
    masks = some_masks(network, 0, 1)
    alone = network(images, {name: mask[0] for name, mask in masks.items()})
    together = network(images[None], masks)
    assert together.shape == (1, 6, 5)
    torch.testing.assert_close(together[0], alone, rtol=1e-4, atol=1e-5)


# --- predictions


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_does_not_depend_on_its_batch_mates(
    kind: str, mode: str, resnet, images, reference
) -> None:
    network = build(resnet(mode), kind)
    predict = network.predictor(some_masks(network, 0), reference)
    alone = predict(images[:1])[0]
    for mates in (images[1:], images[1:] * 1e6, images[1:] * float("nan")):
        together = predict(torch.cat([images[:1], mates]))[0]
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_a_prediction_in_training_mode_are_those_of_the_reference(
    kind: str, resnet, images, reference
) -> None:
    module = resnet("train")
    network = build(module, kind)
    masks = some_masks(network, 0)
    copy = hand_masked(module, network, masks)
    for part in copy.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    copy(reference)
    predicted = network.predictor(masks, reference)(images)
    torch.testing.assert_close(predicted, copy.eval()(images), rtol=1e-4, atol=1e-4)


def test_other_reference_images_give_another_prediction(resnet, images, reference) -> None:
    network = build(resnet("train"), "weight")
    masks = some_masks(network, 0)
    one, two = (network.predictor(masks, r)(images) for r in (reference, reference * 2 + 1))
    assert not torch.allclose(one, two, atol=1e-2)


def test_a_prediction_in_evaluation_mode_does_not_look_at_the_reference(resnet, images) -> None:
    network = build(resnet("eval"), "weight")
    masks = some_masks(network, 0)
    predict = network.predictor(masks, torch.full((2, 3, 8, 8), float("nan")))
    torch.testing.assert_close(predict(images), network(images, masks))


def test_two_predictors_do_not_share_their_statistics(resnet, images, reference) -> None:
    network = build(resnet("train"), "weight")
    a, b = some_masks(network, 0), some_masks(network, 1)
    first = network.predictor(a, reference)
    before = first(images)
    second = network.predictor(b, images)
    second(reference)
    network(images, b)
    assert torch.equal(first(images), before)


def test_a_mask_does_not_see_the_statistics_of_the_one_before(resnet, images, reference) -> None:
    used, fresh = (build(resnet("train"), "weight") for _ in range(2))
    used(reference, some_masks(used, 0))
    used.predictor(some_masks(used, 0), reference)(reference)
    masks = some_masks(used, 1)
    assert torch.equal(used(images, masks), fresh(images, masks))
    predicted = [net.predictor(masks, images)(reference) for net in (used, fresh)]
    assert torch.equal(*predicted)


def test_a_prediction_puts_every_mode_back(resnet, images, reference) -> None:
    network = build(resnet("train"), "weight")
    network.module.stages[2].eval()
    modes = [part.training for part in network.modules()]
    network.predictor(some_masks(network, 0), reference)(images)
    assert [part.training for part in network.modules()] == modes


def test_a_prediction_that_fails_puts_every_mode_back(resnet, images, reference) -> None:
    network = build(resnet("train"), "weight")
    modes = [part.training for part in network.modules()]
    predict = network.predictor(some_masks(network, 0), reference)
    with pytest.raises(ConfigError):
        predict(images[:, :2])
    assert [part.training for part in network.modules()] == modes


class FunctionalDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 50), nn.Linear(50, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.dropout(self.first(x), 0.5, self.training))


class Attending(nn.Module):
    """Attention of torch's own, alone and in a layer of a transformer, over two halves of x."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.alone = nn.MultiheadAttention(8, 2, dropout=dropout, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.layer(self.first(x.unflatten(1, (2, 3))))
        return self.last(self.alone(seen, seen, seen)[0].mean(1))


DROPPING: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.5), nn.Linear(50, 3)),
    "function": FunctionalDropout,
    "attention": Attending,
}


@pytest.mark.parametrize("kind", DROPPING)
def test_dropout_takes_no_part_in_a_prediction(kind: str, generator) -> None:
    module = drawn(DROPPING[kind]())
    network = MaskedNetwork(module)
    masks, images = some_masks(network, 0), torch.randn(4, 6, generator=generator(0))
    predict = network.predictor(masks, images)
    plain = hand_masked(module, network, masks).eval()
    torch.testing.assert_close(predict(images), plain(images))


@pytest.mark.parametrize("kind", ["layer", "attention"])
@pytest.mark.parametrize("trained", [False, True], ids=["as-built", "train"])
def test_dropout_takes_no_part_in_training(trained: bool, kind: str, generator) -> None:
    module = drawn(DROPPING[kind]())
    network = MaskedNetwork(module)
    if trained:
        network.train()
    masks, images = some_masks(network, 0), torch.randn(4, 6, generator=generator(0))
    plain = hand_masked(module, network, masks).eval()
    torch.testing.assert_close(network(images, masks), plain(images))
    together = network(images.expand(2, 4, 6), {n: m.expand(2, *m.shape) for n, m in masks.items()})
    torch.testing.assert_close(together, plain(images).expand(2, 4, 3))


def test_attention_has_a_gradient_by_the_masks(generator) -> None:
    """Torch has a path without derivatives for attention in evaluation mode."""
    module = drawn(Attending(dropout=0.0)).eval()
    network = MaskedNetwork(module)
    images = torch.randn(5, 1, 6, generator=generator(0))
    levels = {
        name: mask.float().mul(0.5).expand(5, *mask.shape).clone().requires_grad_()
        for name, mask in some_masks(network, 0).items()
    }
    found = torch.autograd.grad(entropy(network(images, levels)).sum(), [*levels.values()])
    for row in range(5):
        own = {name: level.detach()[row].requires_grad_() for name, level in levels.items()}
        plain = entropy(network(images[row], own)).sum()
        for one, other in zip(torch.autograd.grad(plain, [*own.values()]), found, strict=True):
            torch.testing.assert_close(one, other[row])
            assert bool(one.any())


# --- modes


def test_a_network_takes_the_mode_of_its_module(resnet) -> None:
    assert build(resnet("train"), "weight").training
    assert not build(resnet("eval"), "weight").training


def test_a_network_follows_a_later_change_of_mode(resnet, images) -> None:
    module = resnet("train")
    network = build(module, "weight")
    masks = some_masks(network, 0)
    network.eval()
    expected = hand_masked(module, network, masks).eval()(images)
    torch.testing.assert_close(network(images, masks), expected, rtol=1e-4, atol=1e-5)


def test_images_depend_on_each_other_in_training_mode_with_batch_norm_alone(resnet) -> None:
    assert not build(resnet("train"), "weight").pointwise
    assert build(resnet("eval"), "weight").pointwise
    assert build(mlp([4, 3, 2]).train(), "weight").pointwise


def test_frozen_batch_norms_make_no_image_depend_on_another() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3).eval(), nn.Linear(3, 2))
    assert module.training
    assert MaskedNetwork(module).pointwise
    module[1].train()
    assert not MaskedNetwork(module).pointwise


# --- batch norms without running statistics


def untracked() -> nn.Module:
    layers = nn.Linear(4, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3)
    return drawn(nn.Sequential(*layers))


def test_a_norm_without_running_statistics_uses_those_of_the_images(generator) -> None:
    module, images = untracked(), torch.randn(7, 4, generator=generator(0))
    network = MaskedNetwork(module)
    masks = some_masks(network, 0)
    expected = hand_masked(module, network, masks)(images)
    torch.testing.assert_close(network(images, masks), expected)
    assert module[1].running_mean is None


def test_a_norm_without_running_statistics_predicts_with_those_of_the_reference(
    generator,
) -> None:
    reference, images = (torch.randn(n, 4, generator=generator(n)) for n in (20, 5))
    network = MaskedNetwork(untracked())
    predict = network.predictor(some_masks(network, 0), reference)
    together = predict(torch.cat([images, 1e4 * images]))[:5]
    torch.testing.assert_close(together, predict(images), rtol=1e-4, atol=1e-5)
    twice = network.predictor(some_masks(network, 0), 2 * reference)(images)
    assert not torch.allclose(twice, together, atol=1e-2)


def test_a_norm_without_running_statistics_in_evaluation_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="track_running_stats=True"):
        MaskedNetwork(untracked().eval())


def test_a_norm_without_running_statistics_keeps_the_modules_precision(generator) -> None:
    module = untracked().double()
    network = MaskedNetwork(module)
    masks, images = some_masks(network, 0), torch.randn(7, 4, generator=generator(0)).double()
    expected = hand_masked(module, network, masks)(images)
    torch.testing.assert_close(network(images, masks), expected)


# --- gradients


def small(mode: str) -> nn.Module:
    module = nn.Sequential(
        nn.Conv2d(2, 3, 2, bias=True), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)
    )
    return drawn(module).double().train(mode == "train")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind: str, mode: str, generator) -> None:
    network = build(small(mode), kind, bits=7)
    images = torch.randn(4, 2, 3, 3, generator=generator(5)).double()
    masks = {n: (m / 2 + 0.2).double().requires_grad_() for n, m in some_masks(network, 1).items()}

    def forward(*levels: Tensor) -> Tensor:
        return network(images, dict(zip(masks, levels, strict=True)))

    assert torch.autograd.gradcheck(forward, tuple(masks.values()))


def test_gradients_of_images_equal_finite_differences(generator) -> None:
    network = build(small("train"), "weight")
    images = torch.randn(3, 2, 3, 3, generator=generator(5)).double().requires_grad_()
    masks = some_masks(network, 1)
    assert torch.autograd.gradcheck(lambda x: network(x, masks), (images,))


# --- layers


def test_a_linear_layer_alone_is_masked_and_its_mask_can_be_stored(generator) -> None:
    module, images = drawn(nn.Linear(4, 3)), torch.randn(5, 4, generator=generator(0))
    network = MaskedNetwork(module)
    masks = some_masks(network, 0)
    ((name, size),) = network.mask_sizes.items()
    assert size == (3, 4)
    expected = images @ (module.weight * masks[name]).T + module.bias
    torch.testing.assert_close(network(images, masks), expected)
    bank = MaskBank(network.mask_sizes)
    bank.store(masks)
    assert torch.equal(bank.recall(task=0).masks[name], masks[name].bool())


def test_a_linear_layer_alone_has_hashed_masks_but_no_unit_masks(generator) -> None:
    module = drawn(nn.Linear(4, 3))
    network = build(module, "hashed", bits=5)
    masks, images = some_masks(network, 0), torch.randn(5, 4, generator=generator(0))
    torch.testing.assert_close(network(images, masks), hand_masked(module, network, masks)(images))
    with pytest.raises(ConfigError, match="use weight masks"):
        build(module, "unit")


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 2},
        {"stride": 2},
        {"dilation": 2},
        {"padding": "same", "padding_mode": "circular"},
        {"groups": 2, "stride": (2, 1), "dilation": (1, 2), "padding": 1, "bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_any_convolution_is_masked(kind: str, options, generator) -> None:
    layers = nn.Conv2d(4, 8, 3, **options), nn.ReLU(), nn.Conv2d(8, 2, 1), nn.Flatten()
    module = drawn(nn.Sequential(*layers))
    network = build(module, kind, bits=20)
    images = torch.randn(2, 3, 4, 7, 7, generator=generator(0))
    masks = some_masks(network, 0, 2)
    together = network(images, masks)
    for row in range(2):
        alone = {name: mask[row] for name, mask in masks.items()}
        expected = hand_masked(module, network, alone)(images[row])
        torch.testing.assert_close(network(images[row], alone), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[row], expected, rtol=1e-4, atol=1e-5)


def biased() -> nn.Module:
    return drawn(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))


def test_biases_stay_under_weight_masks(generator) -> None:
    module, images = biased(), torch.randn(5, 4, generator=generator(0))
    network = MaskedNetwork(module)
    zeros = {name: torch.zeros(size) for name, size in network.mask_sizes.items()}
    assert torch.equal(network(images, zeros), module[2].bias.expand(5, 3))


def test_biases_of_masked_units_go_with_them(generator) -> None:
    module, images = biased(), torch.randn(5, 4, generator=generator(0))
    network = MaskedNetwork(module, masks="unit")
    mask = torch.tensor([1.0, 0, 0, 1, 0, 0])
    kept = (images @ module[0].weight[mask > 0].T + module[0].bias[mask > 0]).relu()
    expected = kept @ module[2].weight[:, mask > 0].T + module[2].bias
    torch.testing.assert_close(network(images, {"0": mask}), expected)


def test_bool_masks_mean_the_same_as_levels(generator) -> None:
    images = torch.randn(5, 4, generator=generator(0))
    for kind in KINDS:
        network = build(biased(), kind, bits=5)
        masks = some_masks(network, 0)
        binary = {name: mask.bool() for name, mask in masks.items()}
        torch.testing.assert_close(network(images, binary), network(images, masks))


class Twice(nn.Module):
    """One layer, under two names and used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.again(self.first(x).tanh()).tanh())


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_is_used_twice_has_one_mask_for_both_uses(kind: str, generator) -> None:
    module = drawn(Twice())
    network = build(module, kind, bits=9)
    assert "again" not in network.mask_sizes
    masks, images = some_masks(network, 0), torch.randn(5, 4, generator=generator(0))
    torch.testing.assert_close(network(images, masks), hand_masked(module, network, masks)(images))


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh())


def test_two_layers_that_share_a_weight_have_a_mask_each() -> None:
    tied = Tied()
    network = MaskedNetwork(tied)
    names = list(network.mask_sizes)
    assert len(names) == 2
    images = torch.randn(4, tied.first.in_features)
    ones = {name: torch.ones(size) for name, size in network.mask_sizes.items()}
    torch.testing.assert_close(network(images, ones), tied(images))
    for name in names:
        masked = {**ones, name: torch.zeros(network.mask_sizes[name])}
        assert not torch.allclose(network(images, masked), tied(images))


@pytest.mark.parametrize("kind", [*KINDS, "signed"])
def test_two_layers_that_share_a_weight_are_exported_with_a_mask_each(kind: str) -> None:
    options = {"bits": 8, "spread": torch.Generator()} if kind == "hashed" else {}
    network = MaskedNetwork(Tied(), masks=kind, **options)
    generator = torch.Generator().manual_seed(1)
    masks = {
        name: torch.rand(size, generator=generator) < 0.5
        for name, size in network.mask_sizes.items()
    }
    images = torch.randn(4, 4, generator=generator)
    plain = plain_module(network, masks)
    wanted = network.predictor(masks, images)(images)
    torch.testing.assert_close(plain(images), wanted)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.sub_(1.0)).relu())


def test_a_module_that_changes_its_images_is_refused() -> None:
    network = MaskedNetwork(InPlace())
    ones = {name: torch.ones(size) for name, size in network.mask_sizes.items()}
    with pytest.raises(ConfigError, match="changes its images in place"):
        network(torch.ones(3, 4), ones)


@pytest.mark.parametrize("kind", KINDS)
def test_a_computed_weight_is_refused(kind: str) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    with pytest.raises(ConfigError, match="remove the parametrisation"):
        MaskedNetwork(module, masks=kind)


# --- hashed masks


def test_a_hashed_mask_has_one_bit_for_32_weights_unless_told_otherwise() -> None:
    assert MaskedNetwork(mlp([8, 8, 8]), masks="hashed").mask_sizes == {"bits": 4}
    assert MaskedNetwork(mlp([8, 8, 9]), masks="hashed").mask_sizes == {"bits": 5}


def test_the_hashed_map_is_that_of_seed_0_unless_told_otherwise(generator) -> None:
    module = mlp([8, 8, 8])
    plain = MaskedNetwork(module, masks="hashed")
    given = MaskedNetwork(module, masks="hashed", spread=generator(0))
    other = MaskedNetwork(module, masks="hashed", spread=generator(1))
    assert torch.equal(plain.code.bit_of, given.code.bit_of)
    assert torch.equal(plain.code.swing, given.code.swing)
    assert not torch.equal(plain.code.bit_of, other.code.bit_of)


# --- unit masks and normalisation


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(6), nn.InstanceNorm1d(6)], ids=["batch", "instance"]
)
def test_unit_masks_in_front_of_a_norm_that_divides_them_out_warn(norm, caplog) -> None:
    module = nn.Sequential(nn.Linear(4, 6), norm, nn.Linear(6, 3))
    with caplog.at_level("WARNING", logger="supsup_bridge"):
        MaskedNetwork(module, masks="unit")
    (record,) = caplog.records
    assert "use weight or hashed masks" in record.getMessage()


@pytest.mark.parametrize("kind", KINDS)
def test_other_modules_and_masks_warn_of_nothing(kind: str, caplog) -> None:
    normed = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    layered = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))
    with caplog.at_level("WARNING", logger="supsup_bridge"):
        build(layered, kind, bits=5)
        if kind != "unit":
            build(normed, kind, bits=5)
    assert not caplog.records


# --- what nothing can be made of


@pytest.mark.parametrize("masks", ["weights", "", None, "Unit"])
def test_an_unknown_kind_of_mask_is_refused(masks) -> None:
    with pytest.raises(ConfigError, match="masks must be one of weight, signed, unit, hashed"):
        MaskedNetwork(mlp([4, 3, 2]), masks=masks)


@pytest.mark.parametrize("kind", ["weight", "unit"])
@pytest.mark.parametrize("option", ["bits", "spread"])
def test_options_of_hashed_masks_are_refused_for_others(kind: str, option: str, generator) -> None:
    value = {"bits": 4, "spread": generator(0)}[option]
    with pytest.raises(ConfigError, match=f"of hashed masks, not of {kind} masks"):
        MaskedNetwork(mlp([4, 3, 2]), masks=kind, **{option: value})


@pytest.mark.parametrize(
    "make",
    [
        nn.ReLU,
        nn.Sequential,
        lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)),
        lambda: nn.Conv1d(2, 3, 1),
    ],
    ids=["relu", "empty", "norm", "conv1d"],
)
def test_a_module_with_nothing_to_mask_is_refused(make) -> None:
    for kind in KINDS:
        with pytest.raises(ConfigError):
            MaskedNetwork(make(), masks=kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [0, 1], ids=["alone", "after-another"])
def test_a_lazy_layer_that_was_never_run_is_refused(kind: str, before: int) -> None:
    module = nn.Sequential(*[nn.Linear(4, 4) for _ in range(before)], nn.LazyLinear(2))
    with pytest.raises(ConfigError, match="lazy"):
        MaskedNetwork(module, masks=kind)


def test_a_lazy_layer_that_was_run_once_is_masked(generator) -> None:
    module = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(2))
    images = torch.randn(5, 4, generator=generator(0))
    module(images)
    network = MaskedNetwork(module)
    masks = some_masks(network, 0)
    assert network.mask_sizes == {"0": (6, 4), "2": (2, 6)}
    torch.testing.assert_close(network(images, masks), hand_masked(module, network, masks)(images))


# --- masks that do not fit


def use(network: MaskedNetwork, how: str, masks: Mapping[str, Tensor]) -> None:
    images = torch.zeros(2, 4)
    if how == "forward":
        network(images, masks)
    else:
        network.predictor(masks, images)


@pytest.fixture
def named() -> MaskedNetwork:
    module = nn.Sequential()
    module.add_module("hidden", nn.Linear(4, 6))
    module.add_module("output", nn.Linear(6, 3))
    return MaskedNetwork(module)


@pytest.mark.parametrize("how", ["forward", "predictor"])
@pytest.mark.parametrize(
    ("misspelt", "meant"), [("hiden", "hidden"), ("out", "output"), ("Output", "output")]
)
def test_a_misspelt_mask_names_the_nearest(how: str, misspelt: str, meant: str, named) -> None:
    masks = {**some_masks(named, 0), misspelt: torch.ones(6, 4)}
    with pytest.raises(MaskError, match=f"unknown mask '{misspelt}': did you mean '{meant}'"):
        use(named, how, masks)


def test_a_name_that_is_no_text_is_a_mask_error(named) -> None:
    with pytest.raises(MaskError, match="unknown mask 0"):
        named(torch.zeros(2, 4), {**some_masks(named, 0), 0: torch.ones(6, 4)})


@pytest.mark.parametrize("how", ["forward", "predictor"])
@pytest.mark.parametrize("missing", ["hidden", "output"])
def test_a_missing_mask_is_named(how: str, missing: str, named) -> None:
    masks = some_masks(named, 0)
    del masks[missing]
    with pytest.raises(MaskError, match=f"mask '{missing}' is missing"):
        use(named, how, masks)


def test_no_masks_at_all_are_a_mask_error(named) -> None:
    with pytest.raises(MaskError, match="mask 'hidden' is missing"):
        named(torch.zeros(2, 4), {})


@pytest.mark.parametrize("how", ["forward", "predictor"])
@pytest.mark.parametrize("shape", [(4, 6), (6,), (1, 1, 6, 4), ()], ids=str)
def test_a_mask_of_another_shape_names_what_was_expected(how: str, shape, named) -> None:
    masks = {**some_masks(named, 0), "hidden": torch.ones(shape)}
    with pytest.raises(MaskError, match=r"mask 'hidden' must have shape \(6, 4\)"):
        use(named, how, masks)


@pytest.mark.parametrize(("hidden", "output"), [((2,), (3,)), ((2,), ()), ((), (2,))], ids=str)
def test_masks_of_several_batch_sizes_are_refused(hidden, output, named) -> None:
    masks = {"hidden": torch.ones(*hidden, 6, 4), "output": torch.ones(*output, 3, 6)}
    with pytest.raises(MaskError, match="one batch size"):
        named(torch.zeros(2, 2, 4), masks)


def test_unit_masks_of_another_size_are_refused() -> None:
    network = MaskedNetwork(mlp([4, 6, 3]), masks="unit")
    with pytest.raises(MaskError, match=r"mask '0' must have shape \(6,\)"):
        network(torch.zeros(2, 4), {"0": torch.ones(5)})


def test_a_mask_that_is_refused_changes_nothing(named, generator) -> None:
    images = torch.randn(2, 4, generator=generator(0))
    before = named(images, some_masks(named, 0))
    with pytest.raises(MaskError):
        named(images, {"hidden": torch.ones(6, 4)})
    assert torch.equal(named(images, some_masks(named, 0)), before)


# --- one network, one seed


def test_masking_leaves_the_global_generator_alone(resnet, images, reference) -> None:
    before = torch.get_rng_state()
    for kind in KINDS:
        network = build(resnet("train"), kind)
        network(images.expand(2, *images.shape), some_masks(network, 0, 2))
        network.predictor(some_masks(network, 0), reference)(images)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_drawn_anew_are_masked_as_they_are(generator) -> None:
    module = fix_weights(mlp([4, 6, 3]), generator(0))
    network = MaskedNetwork(module)
    images, masks = torch.randn(5, 4, generator=generator(1)), some_masks(network, 0)
    torch.testing.assert_close(network(images, masks), hand_masked(module, network, masks)(images))


def test_statistics_are_of_a_bounded_number_of_reference_images() -> None:
    passed: list[int] = []

    class Counting(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            passed.append(len(images))
            return super().forward(images)

    network = MaskedNetwork(nn.Sequential(Counting(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))
    many = torch.randn(5000, 4, generator=torch.Generator().manual_seed(0))
    network.predictor(some_masks(network, 0), many)
    assert passed == [REFERENCE]


def test_images_that_a_module_cannot_take_are_a_typed_error() -> None:
    network = MaskedNetwork(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)))
    with pytest.raises(ConfigError):
        network(torch.zeros(3, 64), some_masks(network, 0))
