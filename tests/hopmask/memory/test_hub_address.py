"""The content address of hub memories against a plain Gaussian discriminant in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask.errors import ConfigError, CueError, SaturationError
from hopmask.memory.features import RandomFeatures
from hopmask.memory.hub_address import HubAddress
from hopmask.patterns.hadamard import OrthogonalKeys

F, LENGTH = 24, 6


def address_of(*, hubs=8, seed=0, born=None, features=F):
    keys = OrthogonalKeys(seed=seed, born=born or hubs)
    return HubAddress(keys, hubs=hubs, features=features)


def data_of(task, samples=40):
    g = torch.Generator().manual_seed(task)
    return 2 * torch.randn(1, LENGTH, generator=g) + torch.randn(samples, LENGTH, generator=g)


def filled(tasks, **options):
    address = address_of(**options)
    for task in tasks:
        address.put(task, address.describe(data_of(task)))
    return address


def state_of(address):
    sums = {name: value.tolist() for name, value in address.sums.items()}
    return sums | {"addressed": address.addressed.tolist(), "length": address.length}


def reference(tasks, sets, seed=0):
    """Evidence of sets (b, s, n) for tasks, up to a constant, with explicit means."""
    phi = RandomFeatures(seed=seed, count=F)
    features = [phi.of(data_of(task), 1.0).double() for task in tasks]
    means = torch.stack([one.mean(0) for one in features])
    pooled = torch.stack([one.T.cov() for one in features]).mean(0)
    noise = pooled * (1 / sets.shape[1] + sum(1 / len(one) for one in features) / len(features))
    noise += 0.01 * noise.diagonal().mean() * torch.eye(F, dtype=torch.float64)
    found = phi.of(sets, 1.0).double().mean(1)
    apart = found[:, None] - means
    return -0.5 * (apart @ torch.linalg.inv(noise) * apart).sum(-1)


@pytest.mark.parametrize("samples", [1, 5])
def test_evidence_is_that_of_a_gaussian_discriminant(samples):
    tasks = [0, 1, 3, 6]
    address = filled(tasks)
    sets = torch.stack([data_of(task, 60)[40 : 40 + samples] for task in tasks])
    evidence, strange = address.evidence(sets)
    expected = reference(tasks, sets)
    found = evidence[:, tasks].double()
    apart = (found - found[:, :1]) - (expected - expected[:, :1])
    assert float(apart.abs().max()) < 1e-2 * float(expected.std())
    assert evidence[:, [2, 4, 5, 7]].isinf().all()
    assert found.argmax(-1).tolist() == expected.argmax(-1).tolist()
    assert bool((strange < 4).all())


def test_means_come_back_to_the_last_unit():
    address = filled([0, 2, 5])
    phi = RandomFeatures(seed=0, count=F)
    keys = address.keys.of(torch.arange(8), hubs=8, dtype=torch.int64)
    for task in (0, 2, 5):
        whole = (address.sums["link"] * keys[task]).sum(-1)
        assert bool((whole % 8 == 0).all())
        mean = phi.of(data_of(task), 1.0).mean(0).double()
        torch.testing.assert_close(whole.double() / 8 * 2.0**-44, mean, rtol=0, atol=1e-6)


@given(order=st.permutations(range(6)), parts=st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_parts_add_up_to_the_whole_in_any_order(order, parts):
    shards = [address_of() for _ in range(3)]
    for task in order:
        shards[parts[task]].put(task, shards[parts[task]].describe(data_of(task)))
    first, *rest = shards
    for other in rest:
        first.add(other)
    assert state_of(first) == state_of(filled(range(6)))


@given(order=st.permutations(range(4)))
def test_a_grown_address_is_one_that_was_larger(order):
    address = filled(order, hubs=4)
    address.grow()
    other = filled(range(4), hubs=8, born=4)
    assert state_of(address) == state_of(other)
    address.put(6, address.describe(data_of(6)))
    sets = data_of(6)[None, :9]
    assert int(address.evidence(sets)[0].argmax()) == 6


def test_dropping_takes_the_mean_out_and_leaves_the_covariance():
    address, fresh = filled([0, 1, 2]), filled([0, 2])
    address.drop(1)
    address.drop(1)  # no more to drop
    address.drop(7)
    assert state_of(address)["link"] == state_of(fresh)["link"]
    assert address.addressed.tolist() == fresh.addressed.tolist()
    assert state_of(address)["within"] != state_of(fresh)["within"]
    assert int(address.sums["scalars"][0] >> 44) == 3


def test_learning_a_task_anew_replaces_its_mean():
    address, fresh = filled([0, 1, 2]), filled([0, 2])
    address.put(1, address.describe(data_of(9)))
    fresh.put(1, fresh.describe(data_of(9)))
    assert state_of(address)["link"] == state_of(fresh)["link"]


def test_parts_of_samples_are_taken_one_at_a_time():
    whole, parts = filled([0]), address_of()
    parts.put(0, parts.describe(iter(torch.split(data_of(0), 7))))
    for name in ("within", "link"):
        apart = (whole.sums[name] - parts.sums[name]).abs().max()
        assert float(apart) * 2.0**-44 < 1e-5
    assert torch.equal(whole.sums["scalars"], parts.sums["scalars"])


def test_tasks_of_one_sample_each_are_told_apart():
    address = address_of()
    for task in range(8):
        address.put(task, address.describe(data_of(task)[0]))
    evidence, _ = address.evidence(torch.stack([data_of(task)[:1] for task in range(8)]))
    assert evidence.argmax(-1).tolist() == list(range(8))
    assert not address.sums["scalars"].any()


def test_one_task_alone_has_evidence_too():
    for samples in (1, 40):
        address = address_of()
        address.put(3, address.describe(data_of(3, samples)))
        evidence, strange = address.evidence(data_of(3)[None])
        assert evidence.argmax(-1).tolist() == [3]
        assert bool(torch.isfinite(strange).all())


def test_the_answer_does_not_depend_on_what_was_asked_before():
    tasks, sets = range(4), data_of(2)[None]
    fresh, used = filled(tasks), filled(tasks)
    for samples in (1, 2, 3, 4, 5, 6, 7):
        used.evidence(sets[:, :samples])
    assert torch.equal(used.evidence(sets)[0], fresh.evidence(sets)[0])
    assert torch.equal(used.evidence(sets[:, :1])[0], fresh.evidence(sets[:, :1])[0])


def test_evidence_follows_every_change():
    address, sets = filled([0, 1]), data_of(4)[None]
    address.evidence(sets)
    address.put(4, address.describe(data_of(4)))
    assert int(address.evidence(sets)[0].argmax()) == 4
    other = filled([5])
    address.add(other)
    assert int(address.evidence(data_of(5)[None])[0].argmax()) == 5
    address.drop(4)
    assert address.evidence(sets)[0][0, 4].isinf()
    address.grow()
    assert address.evidence(sets)[0].shape == (1, 16)


# Refused


def test_signatures_too_large_or_too_small_for_the_sums_are_refused():
    address = filled([0])
    before = state_of(address)
    for scale in (1e5, 1e30, 1e-20):
        with pytest.raises(CueError):
            address.describe(data_of(1) * scale)
    assert state_of(address) == before


@pytest.mark.parametrize(("name", "share"), [("within", 1.0), ("scalars", 1.0)])
def test_sums_that_are_full_take_no_more(name, share):
    address, other = filled([0]), filled([1])
    address.sums[name][:] = int(share * 2**62) - 1
    before = state_of(address)
    with pytest.raises(SaturationError):
        address.describe(data_of(2))
    with pytest.raises(SaturationError):
        address.check_addition(other)
    with pytest.raises(SaturationError):
        other.add(address)
    assert state_of(address) == before


def test_addresses_of_other_features_or_lengths_are_not_added():
    address, other = filled([0]), address_of()
    with pytest.raises(ConfigError):
        address.add(filled([1], features=F + 1))
    other.put(1, other.describe(torch.randn(9, LENGTH + 1)))
    with pytest.raises(ConfigError):
        address.add(other)


def test_growth_needs_room(monkeypatch):
    address = filled([0])
    monkeypatch.setattr("hopmask._room.available", lambda device: 100)
    with pytest.raises(ConfigError, match="GB"):
        address.check_growth()


@given(born=st.sampled_from([2, 4, 8]), seed=st.integers(0, 2**64 - 1))
def test_any_seed_and_birth_make_the_same_evidence(born, seed):
    address = filled([0, 1, 2], seed=seed, born=born)
    sets = torch.stack([data_of(task)[:20] for task in (2, 0, 1)])
    assert address.evidence(sets)[0].argmax(-1).tolist() == [2, 0, 1]
