"""From scores to masks: thresholds, largest shares, the budget of layers, and where to start."""

from collections.abc import Callable
from math import prod

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge import MaskedNetwork, UnitNetwork, mlp
from supsup_bridge.training.scores import Threshold, TopK, binariser, erdos_renyi, starting_scores

LENET = {"a": (300, 784), "b": (100, 300), "c": (10, 100)}


def gem_resnet18(classes: int, width: int = 20) -> dict[str, tuple[int, ...]]:
    """Shapes of its weights: a stem, four stages of two blocks, shortcuts 1x1, a linear layer."""
    sizes: dict[str, tuple[int, ...]] = {"stem": (width, 3, 3, 3)}
    before = width
    for stage in range(4):
        wide = width * 2**stage
        for block in range(2):
            sizes[f"{stage}.{block}.conv1"] = (wide, before, 3, 3)
            sizes[f"{stage}.{block}.conv2"] = (wide, wide, 3, 3)
            if before != wide:
                sizes[f"{stage}.{block}.shortcut"] = (wide, before, 1, 1)
            before = wide
    return {**sizes, "linear": (classes, before)}


RESNET = gem_resnet18(5)
WEIGHTS = sum(prod(shape) for shape in RESNET.values())  # 1.09 M


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- thresholds


def test_scores_of_zero_and_more_are_on() -> None:
    scores = torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-30, 3.0])
    assert Threshold()({"h": scores})["h"].tolist() == [0, 0, 1, 1, 1, 1]


def test_a_threshold_keeps_names_shapes_and_types() -> None:
    scores = {"h": normal(3, 4), "conv": normal(2, 3, 2, 2).double()}
    masks = Threshold()(scores)
    assert list(masks) == ["h", "conv"]
    for name, mask in masks.items():
        assert (mask.shape, mask.dtype) == (scores[name].shape, scores[name].dtype)


def test_the_gradient_passes_a_threshold_as_it_is() -> None:
    scores, cotangent = normal(50).requires_grad_(), normal(50, seed=1)
    Threshold()({"h": scores})["h"].backward(cotangent)
    assert torch.equal(scores.grad, cotangent)


def test_a_threshold_does_not_change_the_scores() -> None:
    scores = normal(20)
    before = scores.clone()
    Threshold()({"h": scores})
    assert torch.equal(scores, before)


def test_a_mean_stands_for_scores_around_zero() -> None:
    assert Threshold().centred(torch.tensor([0.0, 0.25, 0.5, 1.0])).tolist() == [
        -0.5,
        -0.25,
        0,
        0.5,
    ]


def test_a_threshold_of_a_unanimous_mean_is_that_mask() -> None:
    mask = torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert torch.equal(Threshold()({"h": Threshold().centred(mask)})["h"], mask)


def test_a_blank_threshold_mask_is_half_on() -> None:
    assert Threshold().blank("any") == 0.5


# --- the largest share


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 999),
)
def test_exactly_the_largest_in_size_are_kept(shape: tuple[int, ...], share: float, seed) -> None:
    scores = normal(*shape, seed=seed)
    mask = TopK({"h": share})({"h": scores})["h"]
    count = max(1, round(share * prod(shape)))
    order = sorted(range(prod(shape)), key=lambda i: -abs(float(scores.flatten()[i])))
    assert set(mask.flatten().nonzero()[:, 0].tolist()) == set(order[:count])
    assert set(mask.unique().tolist()) <= {0, 1}
    assert (mask.shape, mask.dtype) == (scores.shape, scores.dtype)


@pytest.mark.parametrize(
    ("size", "share", "kept"),
    [(10, 0.24, 2), (10, 0.26, 3), (10, 0.5, 5), (7, 0.5, 4), (1000, 0.001, 1), (10, 0.001, 1)],
)
def test_a_share_is_rounded_to_whole_entries_but_never_to_none(size, share, kept) -> None:
    assert int(TopK({"h": share})({"h": normal(size)})["h"].sum()) == kept


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_ties_keep_as_many_as_the_share_says(value: float) -> None:
    mask = TopK({"h": 0.3})({"h": torch.full((4, 5), value)})["h"]
    assert int(mask.sum()) == 6


def test_a_tie_at_the_edge_never_displaces_a_larger_score() -> None:
    scores = torch.tensor([1.0, -1.0, 1.0, 1.0, -5.0, 0.5, 1.0, 0.0])
    mask = TopK({"h": 0.375})({"h": scores})["h"]
    assert int(mask.sum()) == 3
    assert mask[4] == 1
    assert mask[5] == mask[7] == 0


def test_each_layer_has_its_own_share() -> None:
    masks = TopK({"a": 0.5, "b": 0.1})({"b": normal(10, 10), "a": normal(6)})
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"a": 3, "b": 10}


def test_the_gradient_passes_to_kept_and_dropped_scores_by_their_sign() -> None:
    scores = torch.tensor([-3.0, 2.0, 0.1, -0.2, 0.0]).requires_grad_()
    cotangent = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    TopK({"h": 0.4})({"h": scores})["h"].backward(cotangent)
    assert scores.grad.tolist() == [-1, 2, 3, -4, 0]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), share=st.floats(0.05, 0.5))
def test_the_gradient_of_the_largest_is_that_of_the_absolute_value(seed, share) -> None:
    scores, cotangent = normal(4, 6, seed=seed), normal(4, 6, seed=seed + 1)
    ours, plain = (scores.clone().requires_grad_() for _ in range(2))
    TopK({"h": share})({"h": ours})["h"].backward(cotangent)
    plain.abs().backward(cotangent)
    assert torch.equal(ours.grad, plain.grad)


def test_a_mean_stands_for_scores_between_0_and_1() -> None:
    mean = torch.tensor([0.0, 0.25, 1.0])
    assert torch.equal(TopK({"h": 0.3}).centred(mean), mean)


def test_the_largest_of_a_unanimous_mean_are_that_mask() -> None:
    mask = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    keep = TopK({"h": 0.4})
    assert torch.equal(keep({"h": keep.centred(mask)})["h"], mask)


def test_a_blank_sparse_mask_lies_at_its_share() -> None:
    keep = TopK({"a": 0.3, "b": 0.05})
    assert (keep.blank("a"), keep.blank("b")) == (0.3, 0.05)


# --- the Erdős–Rényi budget

SHAPES = st.tuples(st.integers(3, 60), st.integers(3, 60)) | st.tuples(
    st.integers(3, 30), st.integers(1, 30), st.integers(1, 5), st.integers(1, 5)
)


@settings(max_examples=100, deadline=None)
@given(shapes=st.lists(SHAPES, min_size=1, max_size=6), sparsity=st.floats(0.02, 0.5))
def test_the_budget_is_spent_in_proportion_and_no_layer_exceeds_half(shapes, sparsity) -> None:
    sizes = {f"layer{i}": shape for i, shape in enumerate(shapes)}
    try:
        shares = erdos_renyi(sizes, sparsity)
    except ConfigError:
        assume(False)
    counts = {name: prod(shape) for name, shape in sizes.items()}
    kept = sum(shares[name] * counts[name] for name in sizes)
    assert kept == pytest.approx(sparsity * sum(counts.values()))
    assert all(0 < share <= 0.5 for share in shares.values())
    raw = {name: (shape[0] + shape[1]) / counts[name] for name, shape in sizes.items()}
    factors = {name: shares[name] / raw[name] for name in sizes}
    free = [factors[name] for name in sizes if shares[name] < 0.5]
    capped = [factors[name] for name in sizes if shares[name] == 0.5]
    assert all(factor == pytest.approx(free[0]) for factor in free)
    if free and capped:  # a capped layer would have had more than half with the others' factor
        assert max(capped) <= free[0] * (1 + 1e-9)


def test_uncapped_layers_have_the_shares_of_the_formula() -> None:
    edges = {name: sum(shape) for name, shape in LENET.items()}
    total = sum(prod(shape) for shape in LENET.values())
    factor = 0.002 * total / sum(edges.values())
    for name, share in erdos_renyi(LENET, 0.002).items():
        assert share == pytest.approx(factor * edges[name] / prod(LENET[name]))


def test_a_small_layer_is_capped_and_the_others_take_over_the_rest() -> None:
    shares = erdos_renyi(LENET, 0.05)
    assert shares["c"] == 0.5
    left = 0.05 * (235_200 + 30_000 + 1000) - 500
    assert shares["a"] == pytest.approx(left * 1084 / (1084 + 400) / 235_200)
    assert shares["b"] == pytest.approx(left * 400 / (1084 + 400) / 30_000)


def test_layers_are_capped_one_after_the_other() -> None:
    """The middle one passes ½ only once the smallest was capped."""
    sizes = {"large": (100, 100), "middle": (20, 20), "small": (4, 4)}
    shares = erdos_renyi(sizes, 0.09)
    factor = 0.09 * 10_416 / 248
    assert 40 / 400 * factor < 0.5 < 8 / 16 * factor
    assert shares["small"] == 0.5
    after = erdos_renyi(sizes, 0.1168)
    assert 0.1168 * 10_416 / 248 * 40 / 400 < 0.5
    assert after["middle"] == after["small"] == 0.5
    assert after["large"] == pytest.approx((0.1168 * 10_416 - 208) / 10_000)


def test_half_of_all_weights_is_half_of_each_layer() -> None:
    assert erdos_renyi(LENET, 0.5) == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.5})


@pytest.mark.parametrize("sparsity", [0.5, 0.500001, 0.8, 1.0])
@pytest.mark.parametrize("sizes", [LENET, RESNET, {"bits": 64}], ids=["fc", "conv", "vector"])
def test_from_half_on_every_layer_is_at_its_cap(sizes, sparsity: float) -> None:
    assert erdos_renyi(sizes, sparsity) == pytest.approx(dict.fromkeys(sizes, 0.5))


@pytest.mark.parametrize("sparsity", [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32])
def test_a_resnets_shares_are_those_of_a_slow_search_for_the_common_factor(sparsity) -> None:
    def kept(factor: float, shape: tuple[int, ...]) -> float:
        return min(0.5 * prod(shape), factor * (shape[0] + shape[1]))

    below, above = 0.0, 1e6
    for _ in range(100):
        factor = (below + above) / 2
        fewer = sum(kept(factor, s) for s in RESNET.values()) < sparsity * WEIGHTS
        below, above = (factor, above) if fewer else (below, factor)
    shares = erdos_renyi(RESNET, sparsity)
    assert list(shares) == list(RESNET)
    for name, shape in RESNET.items():
        assert shares[name] == pytest.approx(kept(above, shape) / prod(shape))


@pytest.mark.parametrize("factor", [1, 2, 4, 8, 16, 32])
def test_the_factor_of_the_papers_code_is_a_share_of_all_weights(factor: int) -> None:
    """There, each layer keeps min(½, factor (n_in + n_out) / weights)."""
    theirs = {n: min(0.5, factor * (s[0] + s[1]) / prod(s)) for n, s in RESNET.items()}
    share = sum(theirs[name] * prod(shape) for name, shape in RESNET.items()) / WEIGHTS
    assert erdos_renyi(RESNET, share) == pytest.approx(theirs)


@pytest.mark.parametrize("sparsity", [1, 1 / 4, 1 / 32])
def test_a_resnets_masks_keep_exactly_each_layers_share(sparsity: float) -> None:
    shares = erdos_renyi(RESNET, sparsity)
    masks = TopK(shares)({name: normal(*shape) for name, shape in RESNET.items()})
    for name, shape in RESNET.items():
        assert int(masks[name].sum()) == round(shares[name] * prod(shape))


def test_the_sides_of_a_convolution_are_its_channels() -> None:
    shares = erdos_renyi({"conv": (8, 4, 3, 3), "fc": (40, 50)}, 0.05)
    factor = 0.05 * (288 + 2000) / (12 + 90)
    assert shares == pytest.approx({"conv": factor * 12 / 288, "fc": factor * 90 / 2000})


def test_masks_that_are_no_matrices_keep_the_sparsity() -> None:
    shares = erdos_renyi({"bits": 200, **LENET}, 0.05)
    assert shares["bits"] == 0.05
    assert {name: shares[name] for name in LENET} == erdos_renyi(LENET, 0.05)


def test_a_shape_of_one_side_is_no_matrix() -> None:
    assert erdos_renyi({"bits": (200,)}, 0.05) == {"bits": 0.05}


def test_shares_come_in_the_order_of_the_layers() -> None:
    sizes = {"c": (10, 100), "bits": 100, "a": (300, 784)}
    assert list(erdos_renyi(sizes, 0.05)) == list(sizes)


@pytest.mark.parametrize("sparsity", [0, -0.1, 1.000001, 2, float("nan"), float("inf")])
def test_a_sparsity_outside_its_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ConfigError, match=r"sparsity must lie in \(0, 1\]"):
        erdos_renyi(LENET, sparsity)


def test_a_sparsity_that_leaves_a_layer_empty_names_it() -> None:
    with pytest.raises(ConfigError, match="keeps no weight of 'bits': choose a larger one"):
        erdos_renyi({**LENET, "bits": 9}, 0.05)


@pytest.mark.parametrize("sparsity", [0.01, 0.05, 0.3, 0.5])
def test_a_networks_masks_keep_the_share_that_was_asked_for(sparsity: float) -> None:
    network = MaskedNetwork(mlp([50, 40, 30, 20]))
    keep = binariser(network, sparsity)
    masks = keep({name: normal(*size) for name, size in network.mask_sizes.items()})
    kept = sum(float(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    assert abs(kept - sparsity * total) <= len(masks) / 2  # each layer is rounded for itself


def test_without_a_sparsity_scores_are_thresholded() -> None:
    assert binariser(MaskedNetwork(mlp([4, 3, 2])), None) == Threshold()


# --- where scores start


@pytest.fixture(scope="module")
def networks(generator: Callable[[int], torch.Generator]) -> dict[str, object]:
    return {
        "weight": MaskedNetwork(mlp([100, 80, 60])),
        "hashed": MaskedNetwork(mlp([100, 80, 60]), masks="hashed", bits=2000),
        "unit": UnitNetwork([10, 2000, 5], network=generator(0)),
    }


@pytest.mark.parametrize("kind", ["weight", "hashed", "unit"])
def test_random_scores_are_uniform_within_the_networks_bounds(kind, networks, generator) -> None:
    network = networks[kind]
    scores = starting_scores(network, generator(0), binarise=Threshold())
    assert list(scores) == list(network.mask_sizes)
    for name, score in scores.items():
        size, bound = network.mask_sizes[name], network.score_bounds[name]
        assert tuple(score.shape) == (size if isinstance(size, tuple) else (size,))
        assert float(score.abs().max()) <= bound
        shares = torch.histc(score / bound, 4, -1, 1) / score.numel()
        assert bool((shares - 0.25).abs().max() < 0.05)


def test_equal_generators_give_equal_scores_and_others_do_not(networks, generator) -> None:
    a, b, c = (
        starting_scores(networks["weight"], generator(seed), binarise=Threshold())
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], c[name]) for name in a)


def test_two_layers_of_one_shape_start_from_different_scores(generator) -> None:
    network = MaskedNetwork(mlp([5, 5, 5]))
    a, b = starting_scores(network, generator(0), binarise=Threshold()).values()
    assert not torch.equal(a, b)


def test_starting_scores_leave_the_global_generator_alone(networks, generator) -> None:
    before = torch.get_rng_state()
    starting_scores(networks["weight"], generator(0), binarise=Threshold())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("keep", "levels"),
    [(Threshold(), [-0.5, -0.25, 0.0, 0.5]), (TopK({"0": 0.3, "2": 0.2}), [0.0, 0.25, 0.5, 1.0])],
    ids=["threshold", "top-k"],
)
def test_scores_around_a_mean_are_centred_and_half_as_wide(keep, levels, networks, generator):
    network = networks["weight"]
    values = torch.tensor([0.0, 0.25, 0.5, 1.0])
    centre = torch.tensor(levels)
    places = {n: torch.arange(prod(s)).reshape(s) % 4 for n, s in network.mask_sizes.items()}
    mean = {name: values[place] for name, place in places.items()}
    scores = starting_scores(network, generator(0), binarise=keep, mean=mean)
    for name, score in scores.items():
        rest = score / network.score_bounds[name] - centre[places[name]]
        assert float(rest.abs().max()) <= 0.5 + 1e-6
        assert float(rest.abs().max()) > 0.49
        assert float(rest.mean().abs()) < 0.05


def test_a_unanimous_mean_starts_from_that_mask(networks, generator) -> None:
    network = networks["weight"]
    masks = {name: (normal(*size) > 0).float() for name, size in network.mask_sizes.items()}
    scores = starting_scores(network, generator(0), binarise=Threshold(), mean=masks)
    assert all(torch.equal(m, masks[n]) for n, m in Threshold()(scores).items())


def test_a_mask_to_start_from_leaves_scores_as_near_to_the_threshold_as_random_ones(
    networks, generator
) -> None:
    network = networks["weight"]
    sizes = network.mask_sizes.items()
    masks = {name: (normal(*size, seed=5) > 0).float() for name, size in sizes}
    scores = starting_scores(network, generator(0), binarise=Threshold(), mean=masks)
    for name, score in scores.items():
        shares = torch.histc(score.abs() / network.score_bounds[name], 4, 0, 1) / score.numel()
        assert bool((shares - 0.25).abs().max() < 0.05)


def test_a_sparse_mask_starts_from_the_mask_it_is_given(networks, generator) -> None:
    network = networks["weight"]
    keep = binariser(network, 0.1)
    mask = keep({name: normal(*size) for name, size in network.mask_sizes.items()})
    scores = starting_scores(network, generator(0), binarise=keep, mean=mask)
    assert all(torch.equal(again, mask[name]) for name, again in keep(scores).items())
    for name, score in scores.items():  # what is not kept can join with either sign
        left = score[mask[name] == 0]
        assert float(left.min()) < 0 < float(left.max())


def test_an_undecided_mean_starts_at_random(networks, generator) -> None:
    network = networks["hashed"]
    half = {"bits": torch.full((2000,), 0.5)}
    around = starting_scores(network, generator(0), binarise=Threshold(), mean=half)["bits"]
    random = starting_scores(network, generator(0), binarise=Threshold())["bits"]
    torch.testing.assert_close(around, random / 2)


def test_a_mean_is_not_changed(networks, generator) -> None:
    mean = {"bits": torch.rand(2000, generator=generator(1)).double()}
    before = mean["bits"].clone()
    starting_scores(networks["hashed"], generator(0), binarise=Threshold(), mean=mean)
    assert torch.equal(mean["bits"], before)
