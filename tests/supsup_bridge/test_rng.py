"""Random streams: one seed, and unrelated numbers for each purpose and index."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from supsup_bridge import TrainingSettings, UnitNetwork, train_mask
from supsup_bridge.networks.fixed import signed_constant
from supsup_bridge.rng import stream, stream_seed

N = 20_000


def numbers(seed: int, purpose: str, *index: int) -> Tensor:
    return torch.rand(N, generator=stream(seed, purpose, *index))


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.float(), b.float()]))[0, 1])


def test_same_seed_purpose_and_index_give_the_same_numbers() -> None:
    assert torch.equal(numbers(3, "scores", 1, 2), numbers(3, "scores", 1, 2))


@pytest.mark.parametrize(
    "other",
    [(1, "scores", 0), (0, "batches", 0), (0, "scores", 1), (0, "scores"), (0, "scores", 0, 0)],
    ids=["seed", "purpose", "index", "no index", "longer index"],
)
def test_another_seed_purpose_or_index_gives_unrelated_numbers(other: tuple) -> None:
    a, b = numbers(0, "scores", 0), numbers(*other)
    assert not torch.equal(a, b)
    assert abs(correlation(a, b)) < 5 / N**0.5


def test_seeds_fit_torch_and_are_all_different() -> None:
    keys = [(s, p, i) for s in range(5) for p in ("network", "map", "scores") for i in range(20)]
    seeds = [stream_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_swapped_indices_are_another_stream() -> None:
    assert stream_seed(0, "evaluation", 1, 2) != stream_seed(0, "evaluation", 2, 1)


def test_streams_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    numbers(0, "network")
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_and_starting_scores_of_one_seed_are_uncorrelated() -> None:
    weights = signed_constant((100, N // 100), stream(0, "network")).flatten()
    for task in range(5):
        scores = torch.rand(N, generator=stream(0, "scores", task)) * 2 - 1
        assert abs(correlation(weights.sign(), scores.sign())) < 5 / N**0.5


def test_weights_and_map_of_one_seed_are_uncorrelated(hashed) -> None:
    code = hashed(
        [64, 200, 40], bits=500, network=stream(0, "network"), spread=stream(0, "map")
    ).code
    weights, signs = code.offset.sign(), (code.swing * code.offset).sign()
    limit = 5 / len(weights) ** 0.5
    for a, b in combinations([weights, signs, code.bit_of], 2):
        assert abs(correlation(a, b)) < limit


def test_untrained_mask_is_uncorrelated_with_the_weights_it_selects() -> None:
    network = UnitNetwork([50, 2000, 4], network=stream(0, "network"))
    settings = TrainingSettings(epochs=1, rate=1e-9, contrast=0)
    images = torch.randn(4, 50, generator=stream(0, "data"))
    mask = train_mask(
        network,
        images,
        torch.zeros(4, dtype=torch.long),
        settings,
        generator=stream(0, "scores", 0),
    )["hidden1"]
    for weights in (network.get_buffer("weight0")[:, 0], network.get_buffer("weight1")[0]):
        assert abs(correlation(mask, weights.sign())) < 5 / 2000**0.5
