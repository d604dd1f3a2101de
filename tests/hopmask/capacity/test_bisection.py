"""Bisection finds the threshold where there is one, and leaves its couplings alone."""

import itertools
import random
import warnings

import pytest
import torch

from hopmask import (
    DuplicateError,
    MaskError,
    NumericalError,
    OverloadWarning,
)
from hopmask.capacity.bisection import filled, largest, spread
from hopmask.couplings.dense import DenseCouplings


class Counter:
    """What stands for couplings whose Ψ is the list of what was written, as a bit set."""

    def __init__(self, start=0, psi=None):
        self.count = start
        self.psi = torch.tensor(2**start - 1) if psi is None else psi

    def clone(self):
        return Counter(self.count, self.psi.clone())


def written(fake, number):
    fake.psi += 2**number
    fake.count += 1


@pytest.mark.parametrize("most", [0, 1, 2, 8, 17])
def test_bisection_finds_every_threshold_that_a_scan_would(most):
    for first, start, truth in itertools.product((1, 2, 5, 64), (0, 6), range(most + 3)):
        found = largest(
            Counter(start),
            written,
            lambda fake, limit=start + truth: fake.count <= limit,
            most=most,
            first=first,
        )
        assert found == min(truth, most), (first, start, truth)


def test_every_probe_holds_all_patterns_up_to_its_count_once():
    probes = []

    def holds(fake):
        probes.append((fake.count, int(fake.psi)))
        return fake.count <= 29

    assert largest(Counter(3), written, holds, most=50, first=2) == 26
    assert probes == [(count, 2**count - 1) for count, _ in probes]


def test_probes_double_and_then_halve_the_rest():
    probes = []

    def holds(fake):
        probes.append(fake.count)
        return fake.count <= 21

    assert largest(Counter(), written, holds, most=1000, first=3) == 21
    assert probes == [3, 6, 12, 24, 18, 21, 22]


def test_bisection_writes_on_from_the_last_probe_that_held():
    numbers, good = [], [0]

    def write(fake, number):
        numbers.append((number, good[-1]))
        written(fake, number)

    def holds(fake):
        if fake.count <= 21:
            good.append(fake.count)
        return fake.count <= 21

    largest(Counter(), write, holds, most=1000, first=3)
    assert all(number >= held for number, held in numbers)


def test_bisection_leaves_its_couplings_alone(random_spins):
    couplings = DenseCouplings(32, rule="hebbian")
    patterns = random_spins(20, 32)
    for pattern in patterns[:2]:
        couplings.write(pattern)
    psi, mean = couplings.psi.clone(), couplings.mean.clone()
    more = largest(
        couplings,
        lambda trial, number: trial.write(patterns[number]),
        lambda trial: trial.count <= 4,
        most=18,
        first=1,
    )
    assert (more, couplings.count) == (2, 2)
    assert torch.equal(couplings.psi, psi)
    assert torch.equal(couplings.mean, mean)


@pytest.mark.parametrize("error", [DuplicateError, NumericalError])
@pytest.mark.parametrize("place", [0, 7])
def test_a_refused_pattern_ends_the_search_just_before_it(error, place):
    def write(fake, number):
        if number == place:
            raise error("no")
        written(fake, number)

    assert largest(Counter(), write, lambda fake: True, most=100, first=2) == place


def test_other_errors_are_not_taken_for_a_full_memory():
    def write(fake, number):
        raise MaskError("a fault of the caller's")

    with pytest.raises(MaskError):
        largest(Counter(), write, lambda fake: True, most=8, first=1)


def test_where_recall_is_not_monotone_the_answer_still_holds_and_one_more_does_not():
    generator = random.Random(0)
    for _ in range(200):
        truth = [True, *(generator.random() < 0.6 for _ in range(40)), False]
        found = largest(
            Counter(), written, lambda fake, truth=truth: truth[fake.count], most=41, first=1
        )
        assert truth[found]
        assert not truth[found + 1]


def test_overload_is_silent_while_couplings_are_filled_and_other_warnings_are_not():
    def overloading(fake, number):
        warnings.warn("full", OverloadWarning, stacklevel=1)
        written(fake, number)

    assert filled(Counter(), 3, overloading)

    def strange(fake, number):
        warnings.warn("strange", RuntimeWarning, stacklevel=1)
        written(fake, number)

    with pytest.warns(RuntimeWarning, match="strange"):
        assert filled(Counter(), 1, strange)


@pytest.mark.parametrize(
    ("count", "most"), [(1, 256), (2, 256), (256, 256), (257, 256), (5000, 32)]
)
def test_a_sample_is_spread_evenly_from_the_first_to_the_last(count, most):
    chosen = spread(count, most)
    assert len(chosen) == min(count, most)
    assert (int(chosen[0]), int(chosen[-1])) == (0, count - 1)
    gaps = chosen.diff()
    if len(gaps):
        even = (count - 1) / (len(chosen) - 1)
        assert gaps.min() >= max(1, even - 1)
        assert gaps.max() <= even + 1
