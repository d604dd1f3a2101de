"""Networks by name, and a user's own."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from hopmask import ConfigError
from supsup_bridge import FixedNetwork, MaskedNetwork, UnitNetwork
from supsup_bridge.networks.registry import NETWORKS, build

KINDS = ["weight", "unit", "hashed"]
LEAST = {  # name of a network with convolutions -> the least side of an image
    "lenet-5": 16,
    "alexnet-small": 19,
    "gem-resnet18": 8,
    "resnet18": 32,
    "resnet50": 32,
}
Make = Callable[..., FixedNetwork]


@pytest.fixture
def make(generator: Callable[[int], torch.Generator]) -> Make:
    """Name and masks -> a small network; seeds of weights and map can be given."""

    def network(name: str, masks: str = "weight", **changes: Any) -> FixedNetwork:
        seeds = {key: changes.pop(key, default) for key, default in (("weights", 0), ("spread", 1))}
        options = {"inputs": 12, "outputs": 7, "bits": 40, **changes}
        return build(name, masks=masks, **options, **{k: generator(s) for k, s in seeds.items()})

    return network


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """A function, or anything else -> the name under which it can be imported."""

    def offer(thing: Any) -> str:
        module = ModuleType("nets_of_a_test")
        module.make = thing
        monkeypatch.setitem(sys.modules, "nets_of_a_test", module)
        return "nets_of_a_test:make"

    return offer


def convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, inputs // 4, 4)),
        nn.Conv2d(1, 5, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * (inputs // 4 - 1) * 3, outputs),
    )


# --- by name


def test_the_known_names() -> None:
    flat = ("lenet-300-100", "fc-1024-1024", "fc-100-100", "layer-norm", "paper")
    assert (*flat, *LEAST) == NETWORKS


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("lenet-300-100", (300, 100)),
        ("fc-1024-1024", (1024, 1024)),
        ("fc-100-100", (100, 100)),
    ],
)
def test_fully_connected_networks_have_the_layers_of_their_name(name, hidden, make) -> None:
    sizes = list(make(name).mask_sizes.values())
    assert sizes == [(hidden[0], 12), (hidden[1], hidden[0]), (7, hidden[1])]
    assert list(make(name, "unit").mask_sizes.values()) == list(hidden)
    assert make(name, "hashed").mask_sizes == {"bits": 40}


@pytest.mark.parametrize("masks", KINDS)
def test_fully_connected_networks_have_signed_constant_weights_without_bias(masks, make) -> None:
    network = make("lenet-300-100", masks)
    assert isinstance(network, MaskedNetwork)
    layers = [part for part in network.module.modules() if isinstance(part, nn.Linear)]
    for layer in layers:
        expected = torch.full_like(layer.weight, (2 / layer.weight.shape[1]) ** 0.5)
        torch.testing.assert_close(layer.weight.abs(), expected)
        assert layer.bias is None


@pytest.mark.parametrize(("name", "normalisation"), [("layer-norm", "layer"), ("paper", "batch")])
def test_normalised_networks_have_two_hidden_layers_of_bits_units(name, normalisation, make):
    network = make(name, "unit")
    assert isinstance(network, UnitNetwork)
    assert network.normalisation == normalisation
    assert network.mask_sizes == {"hidden1": 40, "hidden2": 40}


@pytest.mark.parametrize(
    ("name", "masks"),
    [*(("lenet-300-100", kind) for kind in KINDS), ("layer-norm", "unit"), ("paper", "unit")],
)
def test_a_network_takes_the_inputs_and_gives_the_outputs(name, masks, make, generator) -> None:
    network = make(name, masks)
    ones = {name: torch.ones(size) for name, size in network.mask_sizes.items()}
    assert network.outputs == 7
    assert network(torch.randn(5, 12, generator=generator(2)), ones).shape == (5, 7)


@pytest.mark.parametrize("name", ["layer-norm", "paper"])
@pytest.mark.parametrize("masks", ["weight", "hashed"])
def test_normalised_networks_have_unit_masks_alone(name: str, masks: str, make) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' has unit masks, got masks='{masks}'"):
        make(name, masks)


# --- with convolutions


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("more", [0, 5])
def test_a_network_with_convolutions_takes_images_of_shape(name, more, make, generator) -> None:
    shape = (2, LEAST[name] + more, LEAST[name] + 1)
    network = make(name, inputs=list(shape))
    ones = {name: torch.ones(size) for name, size in network.mask_sizes.items()}
    assert network.outputs == 7
    assert network(torch.randn(2, *shape, generator=generator(2)), ones).shape == (2, 7)


@pytest.mark.parametrize("name", LEAST)
def test_its_weights_are_signed_constants_and_nothing_else_can_be_learned(name, make) -> None:
    network = make(name, inputs=(3, 32, 32))
    weights = dict(network.module.named_parameters())
    assert {f"{name}.weight" for name in network.mask_sizes} == set(weights)
    for weight in weights.values():
        expected = torch.full_like(weight, (2 / weight[0].numel()) ** 0.5)
        torch.testing.assert_close(weight.abs(), expected)


@pytest.mark.parametrize(
    ("name", "parameters", "norms", "features"),
    # what torchvision has, with biases, affine norms and 1000 outputs
    [("resnet18", 11_689_512, 4_800, 512), ("resnet50", 25_557_032, 26_560, 2048)],
)
def test_resnets_have_the_weights_of_those_known(name, parameters, norms, features, make) -> None:
    network = make(name, inputs=(3, 64, 64))
    weights = sum(weight.numel() for weight in network.module.parameters())
    assert weights == parameters - 2 * norms - 1000 + (7 - 1000) * features


def test_the_last_maps_of_gem_resnet18_are_4x4(make, generator) -> None:
    module = make("gem-resnet18", inputs=(3, 32, 32)).module
    seen: list[tuple[int, ...]] = []
    module.layer4.register_forward_hook(lambda part, given, maps: seen.append(tuple(maps.shape)))
    module(torch.randn(2, 3, 32, 32, generator=generator(0)))
    assert seen == [(2, 160, 4, 4)]


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("inputs", [3072, (3072,), (32, 32), (1, 3, 32, 32)])
def test_flat_images_are_no_images_for_convolutions(name: str, inputs: Any, make) -> None:
    with pytest.raises(ConfigError, match=r"takes images \(channels, height, width\)"):
        make(name, inputs=inputs)


@pytest.mark.parametrize("name", LEAST)
def test_images_that_are_too_small_are_refused(name: str, make) -> None:
    least = LEAST[name]
    with pytest.raises(ConfigError, match=f"needs images of {least}x{least} pixels or more"):
        make(name, inputs=(3, 64, least - 1))


@pytest.mark.parametrize(("name", "masks"), [("lenet-300-100", "weight"), ("paper", "unit")])
def test_images_of_shape_are_no_flat_images(name: str, masks: str, make) -> None:
    with pytest.raises(ConfigError, match=r"takes flat images.*inputs=3072"):
        make(name, masks, inputs=(3, 32, 32))


@pytest.mark.parametrize("name", ["lenet-300-100", "gem-resnet18"])
@pytest.mark.parametrize("inputs", [0, -3, 2.5, True, (), (3, 0, 32), "64", None])
def test_what_is_no_size_of_images_is_refused(name: str, inputs: Any, make) -> None:
    with pytest.raises(ConfigError, match="inputs must be the number of pixels"):
        make(name, inputs=inputs)


# --- what the generators decide


@pytest.mark.parametrize(("name", "masks"), [("lenet-300-100", "weight"), ("layer-norm", "unit")])
def test_weights_are_those_of_their_generator(name: str, masks: str, make) -> None:
    a, b, c = (make(name, masks, weights=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not any(torch.equal(a[key], c[key]) for key in a)


def test_the_map_is_that_of_its_generator_and_the_weights_are_not(make) -> None:
    a, b, c = (make("lenet-300-100", "hashed", spread=seed) for seed in (1, 1, 2))
    assert torch.equal(a.code.bit_of, b.code.bit_of)
    assert not torch.equal(a.code.bit_of, c.code.bit_of)
    assert torch.equal(a.module[0].weight, c.module[0].weight)


def test_all_kinds_of_mask_see_the_same_weights(make) -> None:
    a, b, c = (make("lenet-300-100", kind).module.state_dict() for kind in KINDS)
    assert all(torch.equal(a[key], b[key]) and torch.equal(a[key], c[key]) for key in a)


@pytest.mark.parametrize("name", ["lenet-300-100", "layer-norm", "gem-resnet18", "own"])
def test_building_leaves_the_global_generator_alone(name: str, make, own) -> None:
    name, inputs = own(convolution) if name == "own" else name, 12
    before = torch.get_rng_state()
    make(name, "unit", inputs=(3, 8, 8) if name in LEAST else inputs)
    assert torch.equal(torch.get_rng_state(), before)


# --- a user's own


@pytest.mark.parametrize("masks", KINDS)
def test_a_function_is_called_with_inputs_and_outputs(masks: str, make, own, generator) -> None:
    calls: list[tuple[int, int]] = []
    name = own(lambda i, o: calls.append((i, o)) or convolution(i, o))
    network = make(name, masks)
    assert calls == [(12, 7)]
    ones = {name: torch.ones(size) for name, size in network.mask_sizes.items()}
    assert network(torch.randn(3, 12, generator=generator(0)), ones).shape == (3, 7)


def test_weights_of_a_module_are_drawn_anew_and_its_biases_are_zero(make, own) -> None:
    module = make(own(convolution)).module
    for layer, fan_in in ((module[1], 4), (module[4], 30)):
        expected = torch.full_like(layer.weight, (2 / fan_in) ** 0.5)
        torch.testing.assert_close(layer.weight.abs(), expected)
        assert not layer.bias.any()


def test_a_hashed_mask_of_a_module_has_the_bits_that_were_told(make, own) -> None:
    assert make(own(convolution), "hashed", bits=33).mask_sizes == {"bits": 33}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda i, o: 3, "returned int"),
        (lambda i, o: None, "returned NoneType"),
        (lambda i, o: nn.ReLU(), "nothing to mask"),
        (lambda i, o: nn.Linear(i, o + 1), "has 8 outputs, the run needs 7"),
        (lambda i: nn.Linear(i, 7), "nets_of_a_test:make"),
        (lambda i, o: 1 / 0, "division by zero"),
        (3, "nets_of_a_test:make"),
        (lambda i, o: nn.LazyLinear(o), "lazy"),
        (lambda i, o: nn.Sequential(nn.Linear(i, 9), nn.LazyLinear(o)), "lazy"),
    ],
    ids=["int", "none", "relu", "outputs", "arguments", "raises", "thing", "lazy", "lazy-last"],
)
def test_what_makes_no_network_is_refused(function: Any, message: str, make, own) -> None:
    with pytest.raises(ConfigError, match=message):
        make(own(function))


@pytest.mark.parametrize(
    "name",
    ["nets_of_a_test:missing", "nets_of_a_test:", "no_such_package:make", ":make", ":", "..:make"],
)
def test_what_cannot_be_imported_is_refused(name: str, make, own) -> None:
    own(convolution)
    with pytest.raises(ConfigError, match=r"give package\.module:function"):
        make(name)


@pytest.mark.parametrize("bits", [0, 10**6])
def test_hashed_bits_that_the_weights_cannot_share_are_refused(bits: int, make) -> None:
    with pytest.raises(ConfigError, match="bits must lie between"):
        make("lenet-300-100", "hashed", bits=bits)


def test_an_unknown_kind_of_mask_is_refused(make) -> None:
    with pytest.raises(ConfigError, match="got 'units'"):
        make("lenet-300-100", "units")


def test_a_name_much_like_a_network_s_gets_the_network_s(make: Make) -> None:
    with pytest.raises(ConfigError, match="did you mean 'lenet-300-100'"):
        make("lenet300-100")
