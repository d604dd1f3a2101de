"""Statistics of batch norms: measured for a mask, given with it, of no other image and task."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hopmask import ConfigError, MaskError, NumericalError
from supsup_bridge import MaskedNetwork, SupSup, TrainingSettings
from supsup_bridge.networks.registry import build
from supsup_bridge.networks.statistics import rounded

SHAPES = {
    "lenet-5": (1, 16, 16),
    "alexnet-small": (3, 20, 19),
    "gem-resnet18": (3, 8, 8),
    "resnet18": (3, 32, 32),
    "resnet50": (3, 32, 32),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=seeded(seed)) * 1.5 + 0.3


def masks_of(network: MaskedNetwork, seed: int, *batch: int) -> dict[str, Tensor]:
    g, sizes = seeded(seed), network.mask_sizes
    shapes = {n: s if isinstance(s, tuple) else (s,) for n, s in sizes.items()}
    return {n: torch.rand(*batch, *s, generator=g) < 0.6 for n, s in shapes.items()}


def network_of(name: str) -> MaskedNetwork:
    found = build(
        name,
        masks="weight",
        inputs=SHAPES[name],
        outputs=4,
        bits=0,
        weights=seeded(0),
        spread=seeded(1),
    )
    assert isinstance(found, MaskedNetwork)
    return found


def masked_by_hand(module: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the module with its weights multiplied by masks."""
    copy = deepcopy(module)
    with torch.no_grad():
        for name, mask in masks.items():
            copy.get_parameter(f"{name}.weight").mul_(mask)
    return copy


def norms_of(module: nn.Module) -> dict[str, Any]:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    return {name: part for name, part in module.named_modules() if isinstance(part, kinds)}


def averaged(module: nn.Module, batches: list[Tensor]) -> nn.Module:
    """The module in evaluation mode with torch's cumulative averages of batches of one size."""
    for norm in norms_of(module).values():
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for batch in batches:
            module(batch)
    return module.eval()


def small(**options: Any) -> nn.Module:
    layers = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6, **options), nn.ReLU(), nn.Flatten()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(*layers, nn.Linear(24, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


# --- every network


@pytest.mark.parametrize("name", SHAPES)
def test_forward_with_statistics_equals_a_hand_masked_copy(name: str) -> None:
    network, shape = network_of(name), SHAPES[name]
    masks = masks_of(network, 3)
    batches = [pictures(4, shape, seed) for seed in (5, 6)]
    statistics = network.statistics(masks, batches)
    copy = averaged(masked_by_hand(network.module, masks), batches)
    norms = norms_of(copy)
    assert statistics.keys() == {f"{n}.{what}" for n in norms for what in ("mean", "std")}
    for part, norm in norms.items():  # kept in 16 bits
        mean, spread = statistics[f"{part}.mean"], statistics[f"{part}.std"]
        torch.testing.assert_close(mean, norm.running_mean, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(spread, norm.running_var.sqrt(), rtol=1e-3, atol=1e-3)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(spread**2)
    images = pictures(3, shape, 7)
    with torch.no_grad():
        expected = copy(images)
        found = network(images, {**masks, **statistics})
    assert float(expected.abs().max()) > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_a_prediction_is_independent_of_its_batch_mates(name: str) -> None:
    network, shape = network_of(name).double(), SHAPES[name]
    masks = masks_of(network, 3)
    given = {**masks, **network.statistics(masks, [pictures(4, shape, 5).double()])}
    assert network.pointwise_given(given)
    one = pictures(1, shape, 7).double()
    with torch.no_grad():
        alone = network(one, given)[0]
        for mates in (pictures(2, shape, 8), 1e3 * pictures(2, shape, 9)):
            together = network(torch.cat([one, mates.double()]), given)[0]
            torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


# --- what is measured


def test_each_batch_counts_as_its_images_do() -> None:
    network = MaskedNetwork(small())
    masks, images = masks_of(network, 0), pictures(12, (2, 4, 4))
    found = network.statistics(masks, [images[:3], images[3:]])
    parts = [network.statistics(masks, [images[:3]]), network.statistics(masks, [images[3:]])]
    for name in ("1.mean", "5.mean"):
        expected = (3 * parts[0][name] + 9 * parts[1][name]) / 12
        torch.testing.assert_close(found[name], expected, rtol=2e-3, atol=2e-3)
    for name in ("1.std", "5.std"):
        expected = ((3 * parts[0][name] ** 2 + 9 * parts[1][name] ** 2) / 12).sqrt()
        torch.testing.assert_close(found[name], expected, rtol=2e-3, atol=2e-3)


def test_statistics_are_16_bit_floats_already() -> None:
    network = MaskedNetwork(small())
    found = network.statistics(masks_of(network, 0), [pictures(12, (2, 4, 4))])
    assert all(torch.equal(value, value.half().float()) for value in found.values())
    assert any(bool(value.any()) for value in found.values())


def test_other_masks_have_other_statistics() -> None:
    network, batches = MaskedNetwork(small()), [pictures(12, (2, 4, 4))]
    one, two = (network.statistics(masks_of(network, seed), batches) for seed in (0, 1))
    assert all(not torch.equal(one[name], two[name]) for name in one)


def test_measuring_leaves_nothing_behind() -> None:
    network = MaskedNetwork(small())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    masks = masks_of(network, 0)
    statistics = network.statistics(masks, [pictures(12, (2, 4, 4))])
    network(pictures(3, (2, 4, 4)), {**masks, **statistics})
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    assert all(norm.training for norm in norms_of(network).values())


def test_autocast_changes_no_statistic() -> None:
    network = MaskedNetwork(small())
    masks, batches = masks_of(network, 0), [pictures(12, (2, 4, 4))]
    plain = network.statistics(masks, batches)
    with torch.autocast("cpu", torch.bfloat16):
        cast = network.statistics(masks, batches)
    assert all(torch.equal(plain[name], cast[name]) for name in plain)


def test_norms_in_evaluation_mode_keep_the_modules_statistics() -> None:
    module = small()
    module[1].running_mean.fill_(0.7)
    module[1].eval()
    network = MaskedNetwork(module)
    assert network.statistics_sizes == {"5.mean": 5, "5.std": 5}
    masks = masks_of(network, 0)
    given = {**masks, **network.statistics(masks, [pictures(12, (2, 4, 4))])}
    copy = masked_by_hand(module, masks).eval()
    copy[5].running_mean.copy_(given["5.mean"])
    copy[5].running_var.copy_(given["5.std"] ** 2)
    images = pictures(3, (2, 4, 4), 2)
    torch.testing.assert_close(network(images, given), copy(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("module", [small().eval(), nn.Sequential(nn.Linear(4, 2))])
def test_without_norms_in_training_mode_there_are_no_statistics(module: nn.Module) -> None:
    network = MaskedNetwork(module)
    assert network.statistics_sizes == {}
    assert network.pointwise
    images = iter([torch.ones(2, 2, 4, 4)])
    assert network.statistics(masks_of(network, 0), images) == {}
    assert len([*images]) == 1  # it was not read


def test_a_norm_without_running_statistics_has_those_of_the_task() -> None:
    network = MaskedNetwork(small(track_running_stats=False))
    assert network.statistics_sizes == {"1.mean": 6, "1.std": 6, "5.mean": 5, "5.std": 5}


def test_a_statistic_beyond_16_bits_is_refused() -> None:
    network = MaskedNetwork(small())
    masks = masks_of(network, 0)
    with pytest.raises(NumericalError, match="standardise the images"):
        network.statistics(masks, [1e6 * pictures(12, (2, 4, 4))])
    network.statistics(masks, [2e3 * pictures(12, (2, 4, 4))])  # its variance is beyond them


def test_no_images_have_no_statistics() -> None:
    network = MaskedNetwork(small())
    with pytest.raises(ConfigError, match="got none"):
        network.statistics(masks_of(network, 0), [])


def test_rounding_is_to_the_nearest_half_float() -> None:
    assert rounded({"x": torch.tensor([1 + 2.0**-12, 2.0**-14])})["x"].tolist() == [1, 2.0**-14]


# --- what is given


def test_statistics_are_given_all_or_none() -> None:
    network = MaskedNetwork(small())
    masks, images = masks_of(network, 0), pictures(4, (2, 4, 4))
    given = {**masks, **network.statistics(masks, [images])}
    assert not torch.allclose(network(images[:2], masks), network(images[:2], given), atol=1e-3)
    del given["5.std"]
    with pytest.raises(MaskError, match=r"'5\.std' is missing"):
        network(images, given)
    with pytest.raises(MaskError, match=r"did you mean '5\.std'"):
        network(images, {**given, "5.sdt": torch.ones(5)})
    with pytest.raises(MaskError, match=r"'5\.std' must have shape \(5,\)"):
        network(images, {**given, "5.std": torch.ones(4)})


def test_a_predictor_uses_the_statistics_given_and_not_the_reference() -> None:
    network = MaskedNetwork(small())
    masks, images = masks_of(network, 0), pictures(4, (2, 4, 4))
    given = {**masks, **network.statistics(masks, [images])}
    predict = network.predictor(given, torch.full((2, 2, 4, 4), torch.nan))
    torch.testing.assert_close(predict(images), network(images, given))


@pytest.mark.parametrize("name", ["small", "gem-resnet18", "alexnet-small"])
def test_many_masks_with_statistics_equal_one_by_one(name: str) -> None:
    network = MaskedNetwork(small()) if name == "small" else network_of(name)
    shape = SHAPES.get(name, (2, 4, 4))
    masks = masks_of(network, 3, 3)
    each = [{n: mask[row] for n, mask in masks.items()} for row in range(3)]
    measured = [
        network.statistics(one, [pictures(6, shape, row) * (1 + row)])
        for row, one in enumerate(each)
    ]
    stacked = {n: torch.stack([one[n] for one in measured]) for n in measured[0]}
    images = torch.stack([pictures(5, shape, 10 + row) for row in range(3)])
    with torch.no_grad():
        together = network(images, {**masks, **stacked})
        for row, one in enumerate(each):
            alone = network(images[row], {**one, **measured[row]})
            torch.testing.assert_close(together[row], alone, rtol=1e-3, atol=1e-3)


def test_gradients_of_masks_under_given_statistics_equal_finite_differences() -> None:
    network = MaskedNetwork(small().double())
    levels = {n: m.double() / 2 + 0.2 for n, m in masks_of(network, 0).items()}
    statistics = network.statistics(levels, [pictures(8, (2, 4, 4)).double()])
    images = pictures(2, (2, 4, 4), 3).double()
    levels = {name: level.requires_grad_() for name, level in levels.items()}

    def forward(*given: Tensor) -> Tensor:
        return network(images, {**dict(zip(levels, given, strict=True)), **statistics})

    assert torch.autograd.gradcheck(forward, tuple(levels.values()))


class Twice(nn.Module):
    """One batch norm in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(4, 5), nn.Linear(5, 5), nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.b(self.norm(self.a(x))))


def test_a_norm_in_two_places_is_refused_before_anything_is_trained() -> None:
    images, labels, steps = torch.randn(8, 4), torch.arange(8) % 2, list[int]()
    learner = SupSup(Twice(), hubs=2, training=TrainingSettings(batch=4))
    with pytest.raises(ConfigError, match="'norm' is used in two places"):
        learner.learn((images, labels), progress=lambda step, *rest: steps.append(step))
    assert steps == []
    network = MaskedNetwork(Twice())
    with pytest.raises(ConfigError, match="'norm' is used in two places"):
        network.statistics(masks_of(network, 0), [images])
    learner = SupSup(Twice().eval(), hubs=2, training=TrainingSettings(batch=4))
    assert learner.learn((images, labels)) == 0  # one norm has one set of statistics of its own


def test_a_pass_that_is_over_leaves_no_hook() -> None:
    network = MaskedNetwork(small())
    masks, images = masks_of(network, 0), pictures(4, (2, 4, 4))
    for _ in range(2):
        network(images, masks)
    assert not any(part._forward_pre_hooks for part in network.module.modules())
