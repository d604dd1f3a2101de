"""Ensembles: masks of the statistics they promise, and a user's own as they are.

Bounds of means: bits of different places are independent, whatever the masks have in common. By
Hoeffding's inequality the mean over d places of values in an interval of length l is further than
l √(ln(2/p) / 2d) from its expectation with probability p at most; `reach` takes p = 1e-6.
"""

from math import log, sqrt

import pytest
import torch

from hopmask import ConfigError, GivenMasks, HopmaskError, MaskError, RandomMasks
from hopmask.capacity.mask_sources import BiasedMasks, generator_of

D = 40_000
K = 20


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reach(places, length=1.0, chance=1e-6):
    """Hoeffding's bound on the error of a mean over so many independent places."""
    return length * sqrt(log(2 / chance) / (2 * places))


def overlap_of(patterns):
    """Mean of (1/d) Σ z z' over all pairs of ±1 patterns (k, d), in float64."""
    count = len(patterns)
    together = patterns.double() @ patterns.double().T / patterns.shape[1]
    return float((together.sum() - together.trace()) / (count * (count - 1)))


def pairs_reach(places, count):
    """The mean over all pairs lies, at each place, in [−1/(k − 1), 1]."""
    return reach(places, 1 + 1 / (count - 1))


STATISTICS = [  # density, overlap, expected overlap
    (0.5, None, 0.0),
    (0.5, 0.0, 0.0),
    (0.5, 0.36, 0.36),
    (0.5, 0.95, 0.95),
    (0.1, None, 0.64),
    (0.1, 0.8, 0.8),
    (0.9, 0.7, 0.7),
    (0.3, None, 0.16),
    (0.02, 0.97, 0.97),
]


@pytest.mark.parametrize(("density", "overlap", "expected"), STATISTICS)
def test_random_masks_overlap_as_stated(density, overlap, expected):
    patterns = RandomMasks(size=D, density=density, overlap=overlap).draw(K, generator())
    assert abs(overlap_of(patterns) - expected) < pairs_reach(D, K)


@pytest.mark.parametrize(("density", "overlap", "expected"), STATISTICS)
def test_random_masks_are_as_dense_as_stated(density, overlap, expected):
    patterns = RandomMasks(size=D, density=density, overlap=overlap).draw(K, generator(1))
    assert abs(float((patterns > 0).double().mean()) - density) < reach(D)


@pytest.mark.parametrize("overlap", [0.1, 0.5])
def test_the_overlap_is_that_of_the_formula_for_each_bit_copied_with_probability_c(overlap):
    """q = c² + (1 − c²)(2ρ − 1)²: masks made literally so have the same overlap."""
    rho, q = 0.35, overlap
    c = sqrt((q - (2 * rho - 1) ** 2) / (1 - (2 * rho - 1) ** 2))
    draws = generator(2)
    parent = torch.rand(1, D, generator=draws) < rho
    copied = torch.rand(K, D, generator=draws) < c
    coin = torch.rand(K, D, generator=draws) < rho
    literal = torch.where(copied, parent, coin).float() * 2 - 1
    drawn = RandomMasks(size=D, density=rho, overlap=q).draw(K, draws)
    assert abs(overlap_of(literal) - overlap_of(drawn)) < 2 * pairs_reach(D, K)


def test_correlated_masks_have_one_parent_within_a_draw_and_another_in_the_next():
    """Two masks of two draws are independent: they overlap by (2ρ − 1)² alone, here by 0."""
    masks, draws = RandomMasks(size=D, overlap=0.8), generator(3)
    first, second = masks.draw(2, draws), masks.draw(2, draws)
    across = first.double() @ second.double().T / D
    assert across.abs().max() < reach(D, 2, 1e-7)
    for both in (first, second):
        assert abs(overlap_of(both) - 0.8) < reach(D, 2)


def test_masks_without_an_overlap_are_independent_of_each_other():
    """Every pair, not only their mean: 190 overlaps, each a mean of ±1 over d places."""
    patterns = RandomMasks(size=D).draw(K, generator(4)).double()
    together = patterns @ patterns.T / D - torch.eye(K).double()
    assert together.abs().max() < reach(D, 2, 1e-6 / 190)


def test_the_overlap_by_default_is_the_least_there_is():
    default = RandomMasks(size=50, density=0.25).draw(4, generator())
    least = RandomMasks(size=50, density=0.25, overlap=0.25).draw(4, generator())
    assert torch.equal(default, least)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [1, 7])
def test_random_masks_are_rows_of_plus_and_minus_one_in_float32(size, count):
    patterns = RandomMasks(size=size, overlap=0.5).draw(count, generator())
    assert patterns.shape == (count, size)
    assert patterns.dtype == torch.float32
    assert (patterns.abs() == 1).all()


def test_random_masks_come_from_the_generator_alone():
    masks = RandomMasks(size=64, density=0.3, overlap=0.4)
    assert torch.equal(masks.draw(5, generator(1)), masks.draw(5, generator(1)))
    assert not torch.equal(masks.draw(5, generator(1)), masks.draw(5, generator(2)))


def test_there_is_no_end_of_random_masks():
    assert RandomMasks(size=8).most is None
    assert RandomMasks(size=8).size == 8


@pytest.mark.parametrize("size", [0, -3, 2.0, True, None, "8"])
def test_random_masks_of_no_size_are_refused(size):
    with pytest.raises(ConfigError):
        RandomMasks(size=size)


@pytest.mark.parametrize("density", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_random_masks_of_no_density_are_refused(density):
    with pytest.raises(ConfigError):
        RandomMasks(size=8, density=density)


@pytest.mark.parametrize("overlap", [1.0, -0.1, 1.2, float("nan")])
def test_an_overlap_that_no_masks_have_is_refused(overlap):
    with pytest.raises(ConfigError):
        RandomMasks(size=8, overlap=overlap)


def test_an_overlap_below_that_of_the_density_is_refused_and_the_least_is_named():
    with pytest.raises(ConfigError):
        RandomMasks(size=8, density=0.1, overlap=0.5)


def test_the_least_overlap_may_be_given_as_it_is_written():
    masks = RandomMasks(size=50, density=0.3, overlap=0.16)
    assert torch.equal(
        masks.draw(3, generator()), RandomMasks(size=50, density=0.3).draw(3, generator())
    )


def test_each_bit_of_leaning_masks_has_the_mean_it_was_given():
    """A bit's share of k draws lies within 5 standard deviations of a binomial's, sure ones 0."""
    mean = torch.tensor([-1.0, -0.9, -0.3, 0.0, 0.2, 0.75, 1.0])
    rows = 20_000
    patterns = BiasedMasks(mean=mean).draw(rows, generator())
    deviation = ((1 - mean**2) / rows).sqrt()
    assert ((patterns.mean(0) - mean).abs() <= 5 * deviation + 1e-6).all()


def test_the_bits_of_leaning_masks_are_independent():
    """Covariances of n rows lie within 5 standard deviations √((1 − m²)(1 − m'²)/n) of 0."""
    mean, rows = torch.tensor([-0.5, 0.0, 0.4, 0.8]).double(), 20_000
    patterns = BiasedMasks(mean=mean).draw(rows, generator(1)).double()
    covariance = (patterns - mean).T @ (patterns - mean) / rows
    variance = 1 - mean**2
    deviation = (variance.outer(variance) / rows).sqrt()
    off = ~torch.eye(4, dtype=torch.bool)
    assert (covariance[off].abs() < 5 * deviation[off]).all()


def test_leaning_masks_overlap_by_the_mean_square():
    mean = torch.linspace(-1, 1, D)
    patterns = BiasedMasks(mean=mean).draw(K, generator())
    assert abs(overlap_of(patterns) - float(mean.double().square().mean())) < pairs_reach(D, K)


def test_leaning_masks_are_float32_rows_whatever_the_means_type():
    mean = torch.tensor([0.5, -0.5, 0.0], dtype=torch.float64)
    masks = BiasedMasks(mean=mean)
    assert masks.size == 3
    assert masks.most is None
    patterns = masks.draw(4, generator())
    assert patterns.dtype == torch.float32
    assert patterns.shape == (4, 3)
    assert torch.equal(patterns, BiasedMasks(mean=mean.float()).draw(4, generator()))


@pytest.mark.parametrize(
    "mean",
    [
        torch.tensor([0.0, 1.5]),
        torch.tensor([0.0, float("nan")]),
        torch.tensor(0.5),
        torch.zeros(2, 3),
        torch.zeros(0),
        [0.5, -0.5],
    ],
    ids=["beyond 1", "not a number", "one number", "a matrix", "nothing", "a list"],
)
def test_what_are_no_means_is_refused(mean):
    with pytest.raises(HopmaskError):
        BiasedMasks(mean=mean)


ROWS = [[1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
SIGNED = torch.tensor(ROWS).float() * 2 - 1
KINDS = {
    "bool": torch.tensor(ROWS, dtype=torch.bool),
    "whole 0 and 1": torch.tensor(ROWS),
    "bytes 0 and 1": torch.tensor(ROWS, dtype=torch.uint8),
    "real 0 and 1": torch.tensor(ROWS).double(),
    "half 0 and 1": torch.tensor(ROWS).half(),
    "whole -1 and 1": SIGNED.int(),
    "real -1 and 1": SIGNED.double(),
    "float32 -1 and 1": SIGNED.clone(),
    "needing a gradient": SIGNED.clone().requires_grad_(),
}


@pytest.mark.parametrize("masks", KINDS.values(), ids=KINDS)
def test_given_masks_may_be_bool_or_0_and_1_or_minus_1_and_1(masks):
    given = GivenMasks(masks)
    assert (given.most, given.size) == (3, 4)
    patterns = given.draw(3, generator())
    assert patterns.dtype == torch.float32
    assert not patterns.requires_grad
    assert sorted(patterns.tolist()) == sorted(SIGNED.tolist())


@pytest.mark.parametrize("masks", KINDS.values(), ids=KINDS)
def test_given_masks_are_not_changed(masks):
    before = masks.detach().clone()
    given = GivenMasks(masks)
    given.draw(2, generator()).zero_()
    assert torch.equal(masks, before)
    assert sorted(given.draw(3, generator()).tolist()) == sorted(SIGNED.tolist())


@pytest.mark.parametrize("kind", ["bool", "real -1 and 1"])
def test_given_masks_are_those_given_whatever_becomes_of_the_tensor(kind):
    masks = KINDS[kind].clone()
    given = GivenMasks(masks)
    masks.zero_()
    assert sorted(given.draw(3, generator()).tolist()) == sorted(SIGNED.tolist())


def test_given_masks_of_float32_are_those_given_whatever_becomes_of_the_tensor():
    masks = SIGNED.clone()
    given = GivenMasks(masks)
    masks.zero_()
    assert sorted(given.draw(3, generator()).tolist()) == sorted(SIGNED.tolist())


@pytest.mark.parametrize("only", [0, 1, -1])
def test_a_single_mask_of_one_value_is_read_right(only):
    patterns = GivenMasks(torch.full((1, 5), only)).draw(1, generator())
    assert torch.equal(patterns, torch.full((1, 5), 1.0 if only == 1 else -1.0))


def test_given_masks_come_in_an_order_drawn_anew():
    masks, one = GivenMasks(torch.eye(12, dtype=torch.bool)), generator()
    orders = [tuple(masks.draw(12, one).argmax(-1).tolist()) for _ in range(20)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len(set(orders)) == 20
    again = tuple(masks.draw(12, generator()).argmax(-1).tolist())
    assert again == orders[0]


def test_every_given_mask_comes_first_equally_often():
    """Counts of n draws are binomial(n, 1/k), here within 5 standard deviations."""
    k, draws = 5, 5000
    masks, one = GivenMasks(torch.eye(k, dtype=torch.bool)), generator(2)
    first = torch.stack([masks.draw(1, one)[0].argmax() for _ in range(draws)])
    deviation = sqrt(draws / k * (1 - 1 / k))
    assert ((torch.bincount(first, minlength=k) - draws / k).abs() < 5 * deviation).all()


def test_some_of_the_given_masks_come_none_twice():
    patterns = GivenMasks(torch.eye(12, dtype=torch.bool)).draw(5, generator())
    assert len(torch.unique(patterns, dim=0)) == 5


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_masks_that_repeat_are_refused_with_their_number(dtype):
    masks = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 0, 1], [1, 0, 1]]).to(dtype)
    with pytest.raises(MaskError):
        GivenMasks(masks)


def test_signed_masks_that_repeat_are_refused():
    with pytest.raises(MaskError):
        GivenMasks(torch.cat([SIGNED, SIGNED[:1]]))


WRONG = {
    "one mask alone": (torch.ones(4, dtype=torch.bool), r"\(masks, bits\), got \(4,\)"),
    "three dimensions": (torch.ones(2, 2, 2, dtype=torch.bool), r"got \(2, 2, 2\)"),
    "a list": (ROWS, "got list"),
    "nothing": (None, "got NoneType"),
    "no masks": (torch.ones(0, 4), "empty"),
    "no bits": (torch.ones(4, 0, dtype=torch.bool), "empty"),
    "grey": (torch.tensor([[0.0, 0.5], [1.0, 0.0]]), "only 0 and 1, got 0.5"),
    "-1, 0 and 1": (torch.tensor([[0, 1], [-1, 1]]), "only 0 and 1, got -1"),
    "not a number": (torch.tensor([[float("nan"), 1.0]]), "only 0 and 1, got nan"),
    "complex": (torch.ones(1, 3, dtype=torch.complex64), "-1 and"),
}


@pytest.mark.parametrize(("masks", "message"), WRONG.values(), ids=WRONG)
def test_what_are_no_masks_is_refused(masks, message):
    with pytest.raises(MaskError, match=message) as raised:
        GivenMasks(masks)
    assert isinstance(raised.value, HopmaskError)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    "masks",
    [
        RandomMasks(size=9, density=0.4, overlap=0.5),
        BiasedMasks(mean=torch.zeros(9)),
        GivenMasks(torch.eye(9, dtype=torch.bool)),
    ],
    ids=lambda masks: type(masks).__name__,
)
def test_torchs_own_generator_is_left_alone(masks):
    before = torch.get_rng_state()
    masks.draw(4, generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_draws_of_a_seed_differ_from_each_other_and_from_those_of_other_seeds():
    seen = {
        tuple(torch.rand(2, generator=generator_of(seed, draw)).tolist())
        for seed in range(20)
        for draw in range(20)
    }
    assert len(seen) == 400
    again = torch.rand(2, generator=generator_of(3, 5))
    assert torch.equal(again, torch.rand(2, generator=generator_of(3, 5)))
