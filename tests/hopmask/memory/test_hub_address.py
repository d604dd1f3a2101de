"""The content address of hub memories against a plain Gaussian discriminant in float64."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask import MaskMemory
from hopmask.errors import ConfigError, CueError, NumericalError, SaturationError
from hopmask.memory.features import RandomFeatures
from hopmask.memory.hub_address import HubAddress
from hopmask.patterns.hadamard import OrthogonalKeys

F, LENGTH = 24, 6


def address_of(*, hubs=8, seed=0, born=None, features=F, groups=1):
    keys = OrthogonalKeys(seed=seed, born=born or hubs)
    return HubAddress(keys, hubs=hubs, features=features, groups=groups)


def data_of(task, samples=40):
    g = torch.Generator().manual_seed(task)
    return 2 * torch.randn(1, LENGTH, generator=g) + torch.randn(samples, LENGTH, generator=g)


def described(address, task):
    """What an address is given of a task; where it has groups, those of `groups_of`."""
    groups = groups_of(task, address.groups) if address.groups > 1 else None
    return address.describe(data_of(task), groups)


def groups_of(task, groups, samples=40):
    """Groups of a task's samples: one to all of them, of sizes that differ."""
    g = torch.Generator().manual_seed(100 + task)
    return torch.randint(0, 1 + task % groups, (samples,), generator=g)


def filled(tasks, **options):
    address = address_of(**options)
    for task in tasks:
        address.put(task, described(address, task))
    return address


def state_of(address):
    sums = {name: value.tolist() for name, value in address.sums.items()}
    return sums | {"addressed": address.addressed.tolist(), "length": address.length}


def grouped_reference(tasks, sets, groups):
    """Evidence of sets (b, s, n) for tasks of many groups, by the formula in `HubAddress`."""
    phi, means, scatter, inverse = RandomFeatures(seed=0, count=F), [], [], []
    for task in tasks:
        features, of = phi.of(data_of(task), 1.0).double(), groups_of(task, groups)
        own = [features[of == group] for group in of.unique()]
        means.append(torch.stack([one.mean(0) for one in own]))
        rest = torch.cat([one - one.mean(0) for one in own])
        scatter.append(rest.T @ rest / (len(rest) - len(own)))
        inverse.append(sum(1 / len(one) for one in own) / len(own))
    r, s = sum(inverse) / len(tasks), sets.shape[1]
    noise = torch.stack(scatter).mean(0) * (1 + r)
    noise += 0.01 * noise.diagonal().mean() * torch.eye(F, dtype=torch.float64)
    found = phi.of(sets, 1.0).double()
    evidence = []
    for own in means:
        apart = found[:, :, None] - own
        each = -0.5 * ((apart @ torch.linalg.inv(noise)) * apart).sum(-1)
        evidence.append(each.exp().mean(-1).log().sum(-1))
    return (1 + r) / (1 + s * r) * torch.stack(evidence, -1)


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


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("groups", [2, 3])
def test_evidence_of_groups_is_that_of_their_mixture(samples, groups):
    tasks = [0, 1, 2, 3, 5]
    address = filled(tasks, groups=groups)
    sets = torch.stack([data_of(task, 60)[40 : 40 + samples] for task in tasks])
    evidence, strange = address.evidence(sets)
    expected = grouped_reference(tasks, sets, groups)
    found = evidence[:, tasks].double()
    apart = (found - found[:, :1]) - (expected - expected[:, :1])
    assert float(apart.abs().max()) < 1e-2 * float(expected.std())
    assert evidence[:, [4, 6, 7]].isinf().all()
    assert bool((strange < 4).all())


def test_groups_that_no_task_has_change_nothing_but_rounding():
    tasks, sets = [0, 1, 3], torch.stack([data_of(task, 60)[40:47] for task in (3, 0)])
    one, many = filled(tasks), address_of(groups=3)
    for task in tasks:
        many.put(task, many.describe(data_of(task), torch.full((40,), task % 3)))
    for mine, theirs in zip(one.evidence(sets), many.evidence(sets), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def test_a_task_of_two_far_groups_is_named_where_its_mean_is_anothers():
    g = torch.Generator().manual_seed(0)
    far = torch.cat([torch.full((20, LENGTH), 3.0), torch.full((20, LENGTH), -3.0)])
    near = torch.zeros(40, LENGTH)
    noise = 0.5 * torch.randn(3, 40, LENGTH, generator=g)
    address = address_of(groups=2)
    address.put(0, address.describe(far + noise[0], torch.arange(40) // 20))
    address.put(1, address.describe(near + noise[1], torch.zeros(40, dtype=torch.long)))
    evidence, strange = address.evidence((far + noise[2])[:, None])
    assert evidence.argmax(-1).tolist() == [0] * 40
    assert 0.5 < float(strange.mean()) < 2


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("samples", [1, 8])
def test_strangeness_is_about_1_of_data_of_learned_tasks(groups, samples):
    address = address_of(groups=groups)
    g = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(4, groups, LENGTH, generator=g)

    def drawn(task, count):
        group = torch.randint(0, groups, (count,), generator=g)
        return centres[task, group] + torch.randn(count, LENGTH, generator=g), group

    for task in range(4):
        address.put(task, address.describe(*drawn(task, 200)))
    sets = torch.cat([drawn(task, 100 * samples)[0] for task in range(4)])
    _, strange = address.evidence(sets.view(-1, samples, LENGTH))
    assert 0.7 < float(strange.mean()) < 1.3
    _, foreign = address.evidence(20 + sets.view(-1, samples, LENGTH))
    assert bool((foreign > 4).all())


def test_large_sets_are_taken_in_parts(monkeypatch):
    address = filled([0, 1, 2], groups=2)
    sets = torch.stack([data_of(task, 30) for task in (2, 0)])
    whole = address.evidence(sets)
    monkeypatch.setattr("hopmask.memory.readout._CHUNK", 7 * F)
    for mine, theirs in zip(address.evidence(sets), whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_means_come_back_to_the_last_unit():
    address = filled([0, 2, 5])
    phi = RandomFeatures(seed=0, count=F)
    keys = address.keys.of(torch.arange(8), hubs=8, dtype=torch.int64)
    for task in (0, 2, 5):
        whole = (address.sums["link"] * keys[task]).sum(-1)
        assert bool((whole % 8 == 0).all())
        mean = phi.of(data_of(task), 1.0).mean(0).double()
        torch.testing.assert_close(whole.double() / 8 * 2.0**-44, mean, rtol=0, atol=1e-6)


@given(
    order=st.permutations(range(6)),
    parts=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    groups=st.sampled_from([1, 2]),
)
def test_parts_add_up_to_the_whole_in_any_order(order, parts, groups):
    shards = [address_of(groups=groups) for _ in range(3)]
    for task in order:
        shards[parts[task]].put(task, described(shards[parts[task]], task))
    first, *rest = shards
    for other in rest:
        first.add(other)
    assert state_of(first) == state_of(filled(range(6), groups=groups))


@given(order=st.permutations(range(4)), groups=st.sampled_from([1, 2]))
def test_a_grown_address_is_one_that_was_larger(order, groups):
    address = filled(order, hubs=4, groups=groups)
    address.grow()
    other = filled(range(4), hubs=8, born=4, groups=groups)
    assert state_of(address) == state_of(other)
    address.put(6, described(address, 6))
    sets = data_of(6)[None, :9]
    assert int(address.evidence(sets)[0].argmax()) == 6


@pytest.mark.parametrize("groups", [1, 2])
def test_dropping_takes_the_means_out_and_leaves_the_covariance(groups):
    address, fresh = filled([0, 1, 2], groups=groups), filled([0, 2], groups=groups)
    address.drop(1)
    address.drop(1)  # no more to drop
    address.drop(7)
    assert state_of(address)["link"] == state_of(fresh)["link"]
    assert address.addressed.tolist() == fresh.addressed.tolist()
    assert state_of(address)["within"] != state_of(fresh)["within"]
    assert int(address.sums["scalars"][0] >> 44) == 3


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_learning_a_task_anew_replaces_its_means(groups):
    address, fresh = filled([0, 1, 2], groups=groups), filled([0, 2], groups=groups)
    for one in (address, fresh):
        one.put(1, described(one, 8))  # of one group, whatever task 1 had
    assert state_of(address)["link"] == state_of(fresh)["link"]


def test_parts_of_samples_are_taken_one_at_a_time():
    whole, parts = filled([0]), address_of()
    parts.put(0, parts.describe(iter(torch.split(data_of(0), 7))))
    for name in ("within", "link"):
        apart = (whole.sums[name] - parts.sums[name]).abs().max()
        assert float(apart) * 2.0**-44 < 1e-5
    assert torch.equal(whole.sums["scalars"], parts.sums["scalars"])


@given(cuts=st.lists(st.integers(1, 15), max_size=4), groups=st.sampled_from([2, 3]))
def test_parts_of_samples_and_groups_say_what_all_say(cuts, groups):
    task = groups - 1  # which has them all
    whole, parts = filled([task], groups=groups), address_of(groups=groups)
    at = [0, *(min(40, sum(cuts[:n])) for n in range(1, len(cuts) + 1)), 40]  # of 40 samples
    samples = (data_of(task)[a:b] for a, b in pairwise(at) if a < b)
    parts.put(task, parts.describe(samples, groups_of(task, groups)))
    for name in ("within", "link", "scalars"):
        apart = (whole.sums[name] - parts.sums[name]).abs().max()
        assert float(apart) * 2.0**-44 < 1e-5


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


@pytest.mark.parametrize("groups", [1, 2])
def test_the_answer_does_not_depend_on_what_was_asked_before(groups):
    tasks, sets = range(4), data_of(2)[None]
    fresh, used = filled(tasks, groups=groups), filled(tasks, groups=groups)
    for samples in (1, 2, 3, 4, 5, 6, 7):
        used.evidence(sets[:, :samples])
    assert torch.equal(used.evidence(sets)[0], fresh.evidence(sets)[0])
    assert torch.equal(used.evidence(sets[:, :1])[0], fresh.evidence(sets[:, :1])[0])


@pytest.mark.parametrize("groups", [1, 2])
def test_evidence_follows_every_change(groups):
    address, sets = filled([0, 1], groups=groups), data_of(4)[None]
    address.evidence(sets)
    address.put(4, described(address, 4))
    assert int(address.evidence(sets)[0].argmax()) == 4
    other = filled([5], groups=groups)
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


def test_a_group_whose_features_vanish_is_refused():
    address = address_of(groups=2)
    data = data_of(0)
    data[:20] = 0
    for small in (0.0, 1e-20):
        data[:20] = small
        with pytest.raises(CueError):
            address.describe(data, torch.arange(40) // 20)


@pytest.mark.parametrize("groups", [0, -1, 1.5, True, "2", None, 1025])
def test_numbers_of_groups_that_there_are_not_are_refused(groups):
    with pytest.raises(ConfigError):
        address_of(groups=groups)


@pytest.mark.parametrize(
    ("name", "value"), [("link", 0), ("scalars", -(1 << 43)), ("scalars", [1 << 45, 3 << 45])]
)
def test_sums_that_no_tasks_could_leave_make_no_sense(name, value):
    address = filled([0, 1], groups=2)
    address.sums[name][:] = torch.tensor(value)
    with pytest.raises(NumericalError):
        address.evidence(data_of(0)[None, :2])


@pytest.mark.parametrize(("name", "share"), [("within", 1.0), ("scalars", 1.0)])
def test_sums_that_are_full_take_no_more(name, share):
    address, other = filled([0]), filled([1])
    address.sums[name][:] = int(share * 2**62) - 1
    before = state_of(address)
    with pytest.raises(SaturationError):
        address.fitting(data_of(2))
    with pytest.raises(SaturationError):
        address.check_addition(other)
    with pytest.raises(SaturationError):
        other.add(address)
    assert state_of(address) == before


def test_addresses_of_other_features_or_lengths_are_not_added():
    address, other = filled([0]), address_of()
    for options in ({"features": F + 1}, {"groups": 2}):
        with pytest.raises(ConfigError):
            address.add(filled([1], **options))
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


# Groups by themselves


@pytest.mark.parametrize("groups", [1, 3])
def test_evidence_of_each_group_adds_up_to_that_of_the_task(groups):
    address = filled([0, 1, 2, 5], groups=groups)
    samples = torch.cat([data_of(task, 50)[40:] for task in (0, 2, 5)])
    found = address.of_groups(samples)
    assert found.shape == (30, 8, groups)
    whole, _ = address.evidence(samples[:, None])
    torch.testing.assert_close(found.logsumexp(-1), whole, rtol=1e-4, atol=1e-4)


def test_evidence_of_a_group_is_that_of_a_gaussian_around_its_mean():
    address = filled([0, 2], groups=3)
    sample = data_of(2, 50)[40:]
    phi, of = RandomFeatures(seed=0, count=F), groups_of(2, 3)
    features = phi.of(data_of(2), 1.0).double()
    means = torch.stack([features[of == group].mean(0) for group in range(3)])
    every = torch.cat([means, phi.of(data_of(0), 1.0).double().mean(0, keepdim=True)])
    parts = []
    for task in (0, 2):
        features, of = phi.of(data_of(task), 1.0).double(), groups_of(task, 3)
        rest = torch.cat([features[of == g] - features[of == g].mean(0) for g in of.unique()])
        parts.append((rest.T @ rest / (len(rest) - len(of.unique())), of.bincount().double()))
    inverse = sum(float((1 / count[count > 0]).mean()) for _, count in parts) / 2
    noise = (parts[0][0] + parts[1][0]) / 2 * (1 + inverse)
    noise += 0.01 * noise.diagonal().mean() * torch.eye(F, dtype=torch.float64)
    apart = phi.of(sample, 1.0).double()[:, None] - torch.cat([means, every.mean(0)[None]])
    density = -0.5 * ((apart @ torch.linalg.inv(noise)) * apart).sum(-1)
    expected = density[:, :3] - density[:, 3:] - torch.tensor(3.0).log()  # of three groups
    wrong = address.of_groups(sample)[:, 2].double() - expected
    assert float(wrong.abs().max()) < 1e-2 * float(expected.std())


def test_what_the_address_does_not_know_has_no_evidence():
    address = filled([0, 1, 2], groups=3)  # task 0 has one group, task 1 two
    found = address.of_groups(data_of(1))
    assert found.isinf().all(0).sum(-1).tolist() == [2, 1, 0, 3, 3, 3, 3, 3]


def test_zeros_say_nothing_of_tasks_and_of_groups():
    found = filled([0, 1, 2], groups=3).of_groups(torch.zeros(1, LENGTH))[0]
    torch.testing.assert_close(found[:3].logsumexp(-1), torch.zeros(3))
    assert found[2].tolist() == [found[2, 0]] * 3


def test_samples_taken_in_parts_say_the_same(monkeypatch):
    address, samples = filled([0, 1, 2], groups=2), data_of(2)
    whole = address.of_groups(samples)
    monkeypatch.setattr("hopmask.memory.readout._CHUNK", 7 * F)
    torch.testing.assert_close(address.of_groups(samples), whole, rtol=1e-4, atol=1e-4)


def test_evidence_of_groups_follows_every_change():
    address = filled([0, 1], groups=2)
    address.of_groups(data_of(4))
    address.put(4, described(address, 4))
    assert int(address.of_groups(data_of(4)[:1]).logsumexp(-1).argmax()) == 4


@pytest.mark.parametrize("samples", [torch.ones(2, LENGTH + 1), torch.full((2, LENGTH), torch.nan)])
def test_samples_that_cannot_be_compared_have_no_evidence(samples):
    with pytest.raises(CueError):
        filled([0], groups=2).of_groups(samples)
    with pytest.raises(CueError):
        address_of(groups=2).of_groups(data_of(0))


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_task_of_one_sample_over_and_over_leaves_the_address_as_it_is(scale, seed):
    g = torch.Generator().manual_seed(seed)
    samples = scale * torch.randn(6, 20, generator=g)
    memory = MaskMemory({"mask": 64}, couplings="hub", hubs=8)
    for task in range(6):  # the last one three times, so that spread is all rounding
        shown = samples[task] if task < 5 else samples[task].repeat(3, 1)
        memory.store({"mask": torch.rand(64, generator=g) < 0.5}, signature=shown)
    assert [memory.recall(signature=sample).task for sample in samples] == [*range(6)]
    memory.evidence(samples)
