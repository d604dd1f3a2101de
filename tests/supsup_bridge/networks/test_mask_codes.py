"""Weight, signed and unit codes: what a bit of a mask does. Hashed ones have their own file."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.networks.mask_codes import SignedCode, UnitCode, WeightCode, parameter


@pytest.fixture(scope="module")
def layers(generator: Callable[[int], torch.Generator]) -> dict[str, nn.Module]:
    made = {
        "conv": nn.Conv2d(4, 6, (3, 2), groups=2),
        "bare": nn.Linear(5, 3, bias=False),
        "out": nn.Linear(3, 2),
    }
    with torch.no_grad():
        for seed, layer in enumerate(made.values()):
            for value in layer.parameters():
                value.copy_(torch.randn(value.shape, generator=generator(seed)))
    return made


def levels(code: WeightCode | UnitCode, *batch: int, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    sizes = {n: (s,) if isinstance(s, int) else s for n, s in code.sizes.items()}
    return {name: torch.rand(*batch, *size, generator=g) for name, size in sizes.items()}


def test_names_of_parameters_start_with_their_layer() -> None:
    assert parameter("stages.0.conv1", "weight") == "stages.0.conv1.weight"
    assert parameter("fc", "bias") == "fc.bias"


def test_the_module_itself_has_no_name() -> None:
    assert parameter("", "weight") == "weight"


# --- one bit a weight


def test_weight_masks_have_the_shape_of_the_weights(layers) -> None:
    assert WeightCode(layers).sizes == {"conv": (6, 2, 3, 2), "bare": (3, 5), "out": (2, 3)}


def test_scores_of_weight_masks_start_kaiming_uniform(layers) -> None:
    bounds = WeightCode(layers).bounds
    assert list(bounds) == list(layers)
    for name, layer in layers.items():
        drawn = torch.empty(4000, *layer.weight.shape[1:])
        nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=torch.Generator().manual_seed(0))
        assert float(drawn.abs().max()) == pytest.approx(bounds[name], rel=0.01)


def test_weight_masks_multiply_every_weight(layers) -> None:
    code = WeightCode(layers)
    masks = levels(code)
    values = code.masked(layers, masks)
    assert list(values) == ["conv.weight", "bare.weight", "out.weight"]
    for name, layer in layers.items():
        value = values[f"{name}.weight"]
        weight = layer.weight.detach()
        for index in [(0,) * value.ndim, tuple(side - 1 for side in value.shape)]:
            expected = float(weight[index]) * float(masks[name][index])
            assert value[index].item() == pytest.approx(expected)
        assert torch.equal(value, weight * masks[name])


def test_a_batch_of_weight_masks_gives_a_batch_of_weights(layers) -> None:
    code = WeightCode(layers)
    masks = levels(code, 3)
    values = code.masked(layers, masks)
    for name in layers:
        assert values[f"{name}.weight"].shape == (3, *code.sizes[name])
        for row in range(3):
            alone = code.masked(layers, {n: m[row] for n, m in masks.items()})
            assert torch.equal(values[f"{name}.weight"][row], alone[f"{name}.weight"])


def test_one_layer_is_enough_for_weight_masks() -> None:
    assert WeightCode({"": nn.Linear(3, 2)}).sizes == {"": (2, 3)}


# --- one bit a weight, which flips it


def test_signed_masks_keep_or_flip_every_weight(layers) -> None:
    code = SignedCode(layers)
    masks = {name: level > 0.5 for name, level in levels(code).items()}
    values = code.masked(layers, masks)
    assert list(values) == ["conv.weight", "bare.weight", "out.weight"]
    for name, layer in layers.items():
        kept, flipped = masks[name], ~masks[name]
        value, weight = values[f"{name}.weight"], layer.weight.detach()
        assert torch.equal(value[kept], weight[kept])
        assert torch.equal(value[flipped], -weight[flipped])
        assert bool(kept.any())
        assert bool(flipped.any())


def test_levels_of_signed_masks_lie_between_both_signs(layers) -> None:
    code = SignedCode(layers)
    masks = levels(code)
    for name, value in code.masked(layers, masks).items():
        layer = layers[name.removesuffix(".weight")]
        torch.testing.assert_close(
            value, layer.weight * (2 * masks[name.removesuffix(".weight")] - 1)
        )
    half = {name: torch.full_like(level, 0.5) for name, level in masks.items()}
    assert not any(bool(value.any()) for value in code.masked(layers, half).values())


def test_a_batch_of_signed_masks_gives_a_batch_of_weights(layers) -> None:
    code = SignedCode(layers)
    masks = levels(code, 3)
    values = code.masked(layers, masks)
    for name in layers:
        for row in range(3):
            alone = code.masked(layers, {n: m[row] for n, m in masks.items()})
            assert torch.equal(values[f"{name}.weight"][row], alone[f"{name}.weight"])


def test_signed_masks_have_the_sizes_and_bounds_of_weight_masks(layers) -> None:
    signed, weight = SignedCode(layers), WeightCode(layers)
    assert (signed.sizes, signed.bounds) == (weight.sizes, weight.bounds)


# --- one bit a unit


def test_unit_masks_have_one_bit_a_unit_or_channel_of_each_layer_but_the_last(layers) -> None:
    assert UnitCode(layers).sizes == {"conv": 6, "bare": 3}


def test_scores_of_unit_masks_start_within_a_tenth(layers) -> None:
    assert UnitCode(layers).bounds == {"conv": 0.1, "bare": 0.1}


def test_unit_masks_multiply_rows_and_their_biases(layers) -> None:
    code = UnitCode(layers)
    masks = levels(code)
    values = code.masked(layers, masks)
    assert list(values) == ["conv.weight", "conv.bias", "bare.weight"]
    for name in ("conv", "bare"):
        for unit, level in enumerate(masks[name]):
            row = values[f"{name}.weight"][unit]
            assert torch.equal(row, layers[name].weight[unit] * level)
    for unit, level in enumerate(masks["conv"]):
        assert torch.equal(values["conv.bias"][unit], layers["conv"].bias[unit] * level)


def test_a_batch_of_unit_masks_gives_a_batch_of_weights_and_biases(layers) -> None:
    code = UnitCode(layers)
    masks = levels(code, 4)
    values = code.masked(layers, masks)
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        "conv.weight": (4, 6, 2, 3, 2),
        "conv.bias": (4, 6),
        "bare.weight": (4, 3, 5),
    }
    for row in range(4):
        alone = code.masked(layers, {n: m[row] for n, m in masks.items()})
        assert all(torch.equal(values[name][row], alone[name]) for name in values)


def test_as_many_units_as_masks_at_once_are_not_mixed_up() -> None:
    """Batch, units and inputs all 3: a wrong dimension would broadcast without an error."""
    layers = {"h": nn.Linear(3, 3), "out": nn.Linear(3, 2)}
    code = UnitCode(layers)
    masks = levels(code, 3)
    values = code.masked(layers, masks)
    for row in range(3):
        expected = layers["h"].weight * masks["h"][row][:, None]
        assert torch.equal(values["h.weight"][row], expected)
        assert torch.equal(values["h.bias"][row], layers["h"].bias * masks["h"][row])


def test_one_layer_alone_has_no_unit_masks() -> None:
    with pytest.raises(ConfigError, match=r"need a hidden layer.*use weight masks"):
        UnitCode({"fc": nn.Linear(3, 2)})


# --- both


@pytest.mark.parametrize("kind", [WeightCode, SignedCode, UnitCode])
def test_bool_masks_mean_the_same_as_levels(kind, layers) -> None:
    code = kind(layers)
    masks = {name: level > 0.5 for name, level in levels(code).items()}
    floats = code.masked(layers, {name: mask.float() for name, mask in masks.items()})
    values = code.masked(layers, masks)
    assert all(torch.equal(values[name], floats[name]) for name in floats)


@pytest.mark.parametrize("kind", [WeightCode, SignedCode, UnitCode])
def test_a_code_does_not_change_the_layers(kind, layers) -> None:
    before = {n: [p.clone() for p in layer.parameters()] for n, layer in layers.items()}
    code = kind(layers)
    code.masked(layers, {name: level * 0 for name, level in levels(code).items()})
    for name, layer in layers.items():
        assert all(torch.equal(a, b) for a, b in zip(before[name], layer.parameters(), strict=True))


@pytest.mark.parametrize("kind", [WeightCode, UnitCode])
def test_a_code_has_nothing_to_save(kind, layers) -> None:
    assert kind(layers).state_dict() == {}


@pytest.mark.parametrize("kind", [WeightCode, SignedCode, UnitCode])
def test_weights_keep_their_precision(kind, layers) -> None:
    double = {name: nn.Linear(3, 3).double() for name in ("a", "b")}
    code = kind(double)
    masks = {name: level.double() for name, level in levels(code).items()}
    assert {v.dtype for v in code.masked(double, masks).values()} == {torch.float64}
