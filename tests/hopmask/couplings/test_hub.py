"""Hub couplings against Storkey's rule on a bipartite graph, written out in float64."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from hopmask.couplings import hub, hub_state, integer_products
from hopmask.couplings.hub import HubCouplings
from hopmask.couplings.levels import Levels, packed, unpack
from hopmask.errors import (
    ConfigError,
    DuplicateError,
    NumericalError,
    ReadOnlyMemoryError,
    SaturationError,
    UnknownTaskError,
)
from hopmask.testing import CouplingsContract

D = 40
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop"]), st.integers(0, 15), st.integers(0, 2**32)),
    max_size=25,
)


def mask_of(seed, size=D, density=0.6):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed)) < density


def masks_of(count, size=D, density=0.6):
    return [mask_of(seed, size, density) for seed in range(count)]


def filled(count, *, hubs=8, size=D, **options):
    couplings = HubCouplings(size, hubs=hubs, seed=0, **options)
    for task, mask in enumerate(masks_of(count, size)):
        couplings.put(task, mask)
    return couplings


def dense_of(couplings):
    """A as one float64 matrix, wide columns in their places."""
    whole = couplings.narrow.double()
    born = couplings.keys.born
    assert not bool(whole[:, ::born].any())
    whole[:, ::born] = couplings.wide.double()
    return whole


def state_of(couplings):
    return {name: array.clone() for name, array in couplings.arrays().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def spins(mask):
    return mask.double() * 2 - 1


class Reference:
    """A <- A + (z − A κ / K) κᵀ, dense and in floats, with keys of scipy's matrix."""

    def __init__(self, couplings):
        hubs = couplings.hubs
        rows = couplings.keys.rows(torch.arange(hubs)).numpy()
        self.keys = torch.from_numpy(hadamard(hubs)[rows]).double()
        self.a = torch.zeros(couplings.neurons, hubs, dtype=torch.float64)
        self.hubs, self.masks = hubs, {}

    def put(self, task, mask):
        key = self.keys[task]
        self.a += (spins(mask) - self.a @ key / self.hubs).outer(key)
        self.masks[task] = mask

    def drop(self, task):
        key = self.keys[task]
        self.a -= (self.a @ key / self.hubs).outer(key)
        del self.masks[task]


class TestContract(CouplingsContract):
    """What all couplings promise."""

    make_couplings = staticmethod(lambda: HubCouplings(512, hubs=16, seed=0))
    forgets = True

    def patterns(self, couplings, count, generator):
        coins = torch.randint(0, 2, (count, couplings.neurons), generator=generator)
        keys = couplings.keys.of(torch.arange(count), hubs=couplings.hubs)
        return torch.cat([2.0 * coins - 1, keys], -1)

    def places(self, couplings):
        return couplings.hubs


@given(steps=STEPS, born=st.sampled_from([2, 4, 16]), precision=st.sampled_from(["int8", "int16"]))
def test_couplings_are_those_of_storkeys_rule_to_the_bit(steps, born, precision):
    couplings = HubCouplings(D, hubs=16, seed=1, born=born, precision=precision)
    reference = Reference(couplings)
    for what, task, seed in steps:
        if what == "put":
            couplings.put(task, mask_of(seed))
            reference.put(task, mask_of(seed))
        elif task in reference.masks:
            couplings.drop(task)
            reference.drop(task)
        assert torch.equal(dense_of(couplings), reference.a)
    assert couplings.live.nonzero()[:, 0].tolist() == sorted(reference.masks)
    held = sorted(reference.masks)
    if held:
        found = couplings.recall(torch.tensor(held))
        assert torch.equal(found.spins, torch.stack([reference.masks[task] for task in held]))
        assert found.absolute.tolist() == [D] * len(held)
        assert found.square.tolist() == [D] * len(held)
        assert found.silent.tolist() == [0] * len(held)
        mean = torch.stack([spins(reference.masks[task]) for task in held]).mean(0)
        torch.testing.assert_close(couplings.mask_mean.double(), mean, rtol=0, atol=1e-6)


def test_as_many_tasks_as_hubs_are_recalled_however_alike_they_are():
    couplings = HubCouplings(D, hubs=64, seed=0)
    base = mask_of(0)
    for task in range(64):
        mask = base.clone()
        mask[task % D] ^= task >= D  # some of them are equal
        couplings.put(task, mask)
    for task in range(64):
        mask = base.clone()
        mask[task % D] ^= task >= D
        assert torch.equal(couplings.recall(torch.tensor([task])).spins[0], mask)


def test_a_number_that_is_not_held_has_no_field():
    found = filled(3).recall(torch.tensor([5]))
    assert found.absolute.tolist() == [0]
    assert found.silent.tolist() == [D]


def damaged(*, rounded=False):
    """Couplings on 64 hubs, some of which were lost, of more neurons than a tile has."""
    couplings = filled(40, hubs=64, size=10_000, born=32)
    lost = torch.rand(10_000, 64, generator=torch.Generator().manual_seed(0)) < 0.3
    couplings.narrow.masked_fill_(lost, 0)
    if rounded:
        couplings.levels = Levels(bits=4, neurons=9_000, tasks=40, hubs=64)
    return couplings


def test_both_ways_to_multiply_recall_the_same_bits(monkeypatch):
    couplings = damaged()
    found = [couplings.recall(torch.arange(40))]
    monkeypatch.setattr(integer_products, "has_int8_product", lambda device: False)
    found.append(couplings.recall(torch.arange(40)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("has", [True, False])
def test_a_mask_alone_is_that_of_a_recall(rounded, has, monkeypatch):
    whole, lost = filled(40, hubs=64, size=10_000, born=32), damaged(rounded=rounded)
    if not has:
        monkeypatch.setattr(hub, "has_near_product", lambda device: False)
    for couplings in (whole, lost):
        for task in (0, 17, 39, 60):
            number = torch.tensor([task])
            assert torch.equal(couplings.masks(number), couplings.recall(number).spins)


@pytest.mark.parametrize("odd", [1, 3])
def test_a_sign_that_rounding_leaves_open_is_that_of_whole_numbers(odd):
    """1,001 and 1,003 are rounded to 1,000 and 1,004, and a wide coupling takes nearly all away."""
    couplings = HubCouplings(3, hubs=64, seed=0)
    key = couplings.keys.of(torch.tensor([5]), hubs=64)[0]
    steps = torch.zeros(64)
    steps[1:9], steps[9] = 125, odd
    couplings.narrow[:] = (key * steps).to(torch.int8)
    for field in (1, 0, -1):
        couplings.wide[:, 0] = (field - 1000 - odd) * int(key[0])
        assert couplings.masks(torch.tensor([5])).tolist() == [[field > 0] * 3]


@pytest.mark.parametrize("rounded", [True, False])
def test_recalls_do_not_depend_on_what_else_is_in_the_call(rounded):
    couplings = damaged(rounded=rounded)
    together = couplings.recall(torch.arange(40))
    for task in (0, 17, 39):
        alone = couplings.recall(torch.tensor([task]))
        for one, all_of in zip(alone, together, strict=True):
            assert torch.equal(one[0], all_of[task])


def test_what_a_recall_says_of_its_fields_is_right():
    couplings = damaged()
    keys = couplings.keys.of(torch.arange(3), hubs=64).double()
    field = keys @ dense_of(couplings).T / 64
    found = couplings.recall(torch.arange(3))
    assert torch.equal(found.spins, field > 0)
    assert torch.equal(couplings.masks(torch.arange(3)), field > 0)
    assert torch.equal(found.absolute, field.abs().sum(-1))
    assert torch.equal(found.square, field.square().sum(-1))
    assert torch.equal(found.silent, (field == 0).sum(-1))
    assert bool((found.silent > 0).all())


def test_wide_columns_are_sums_of_blocks_and_column_0_is_the_sum_of_all():
    couplings = filled(20, hubs=32, born=8)
    stacked = torch.stack([spins(mask) for mask in masks_of(20)])
    assert torch.equal(couplings.wide[:, 0].double(), stacked.sum(0))
    blocks = [stacked[task : task + 8].sum(0) for task in (0, 8, 16)]
    signs = torch.from_numpy(hadamard(4)).double()
    for column in range(4):
        expected = sum(signs[block, column] * blocks[block] for block in range(3))
        assert torch.equal(couplings.wide[:, column].double(), expected)


def test_replacing_is_forgetting_and_storing():
    one, other = filled(6), filled(6)
    one.put(3, mask_of(99))
    other.drop(3)
    other.put(3, mask_of(99))
    assert same(state_of(one), state_of(other))


def test_replacing_a_mask_by_itself_changes_nothing():
    couplings = filled(6)
    before = state_of(couplings)
    couplings.put(2, mask_of(2))
    assert same(state_of(couplings), before)


def test_dropping_all_leaves_nothing():
    couplings = filled(8)
    for task in (3, 0, 7, 1, 2, 6, 5, 4):
        couplings.drop(task)
    assert not any(bool(array.any()) for array in couplings.arrays().values())
    assert couplings.count == 0


@given(order=st.permutations(range(4)), split=st.lists(st.integers(0, 3), min_size=16, max_size=16))
def test_parts_add_up_to_the_whole_in_any_order(order, split):
    whole = filled(16, hubs=16)
    parts = [HubCouplings(D, hubs=16, seed=0) for _ in range(4)]
    for task, part in enumerate(split):
        parts[part].put(task, mask_of(task))
    first, *rest = (parts[place] for place in order)
    for part in rest:
        before = state_of(part)
        first.add(part)
        assert same(state_of(part), before)
    assert same(state_of(first), state_of(whole))


@given(count=st.integers(0, 4), more=st.integers(0, 12))
def test_growing_keeps_all_tasks_and_takes_new_ones(count, more):
    grown = filled(count, hubs=4)
    grown.grow()
    grown.grow()
    assert same(state_of(grown), state_of(filled(count, hubs=16, born=4)))
    for task in range(count, count + more):
        grown.put(task, mask_of(task))
    assert same(state_of(grown), state_of(filled(count + more, hubs=16, born=4)))
    if count + more:
        found = grown.recall(torch.arange(count + more)).spins
        assert torch.equal(found, torch.stack(masks_of(count + more)))


def test_growing_beyond_256_hubs_widens_the_integers_and_keeps_the_tasks():
    couplings = filled(12, hubs=256, born=4)
    assert couplings.narrow.dtype == torch.int8
    couplings.grow()
    assert couplings.narrow.dtype == torch.int16
    assert torch.equal(couplings.recall(torch.arange(12)).spins, torch.stack(masks_of(12)))
    couplings.put(511, mask_of(511))
    assert torch.equal(couplings.recall(torch.tensor([511])).spins[0], mask_of(511))


def test_a_stated_precision_is_kept_by_growth():
    couplings = filled(2, hubs=256, born=4, precision="int8")
    couplings.grow()
    assert couplings.narrow.dtype == torch.int8


def test_the_smallest_number_of_hubs_is_two():
    couplings = filled(2, hubs=2)
    assert torch.equal(couplings.recall(torch.arange(2)).spins, torch.stack(masks_of(2)))
    couplings.grow()
    assert torch.equal(couplings.recall(torch.arange(2)).spins, torch.stack(masks_of(2)))


# Saturation


def crowded(count):
    """All hubs but the wide ones add up: one mask, keys that agree in one column."""
    couplings = HubCouplings(8, hubs=1024, seed=0, born=4, precision="int8")
    keys = couplings.keys.of(torch.arange(1024), hubs=1024)
    tasks = (keys[:, 1] == 1).nonzero()[:count, 0].tolist()
    mask = torch.ones(8, dtype=torch.bool)
    for task in tasks[:-1]:
        couplings.put(task, mask)
    return couplings, tasks[-1], mask


def test_a_store_that_would_saturate_is_refused_and_changes_nothing():
    couplings, last, mask = crowded(128)
    assert int(couplings.narrow.max()) == 127
    before = state_of(couplings)
    with pytest.raises(SaturationError):
        couplings.put(last, mask)
    assert same(state_of(couplings), before)
    couplings.put(last, ~mask)  # the other way there is room
    assert torch.equal(couplings.recall(torch.tensor([last])).spins[0], ~mask)


def test_a_replacement_that_would_saturate_is_refused_and_changes_nothing():
    couplings, last, mask = crowded(128)
    couplings.put(last, ~mask)  # 126
    before = state_of(couplings)
    with pytest.raises(SaturationError):
        couplings.put(last, mask)  # 128
    assert same(state_of(couplings), before)


def test_a_forgetting_that_would_saturate_is_refused_and_changes_nothing():
    couplings, last, mask = crowded(128)
    couplings.put(last, ~mask)
    keys = couplings.keys.of(torch.arange(1024), hubs=1024)
    others = ((keys[:, 1] == 1) & ~couplings.live).nonzero()[:1, 0].tolist()
    couplings.put(others[0], mask)  # 127
    before = state_of(couplings)
    with pytest.raises(SaturationError):
        couplings.drop(last)  # 128
    assert same(state_of(couplings), before)


def test_a_sum_that_would_saturate_is_refused_and_changes_nothing():
    couplings, last, mask = crowded(128)
    other = HubCouplings(8, hubs=1024, seed=0, born=4, precision="int8")
    other.put(last, mask)
    before = state_of(couplings)
    with pytest.raises(SaturationError):
        couplings.add(other)
    assert same(state_of(couplings), before)
    with pytest.raises(SaturationError):
        other.add(couplings)
    assert other.count == 1


def test_int16_takes_what_int8_refuses():
    couplings = HubCouplings(8, hubs=1024, seed=0, born=4)
    mask = torch.ones(8, dtype=torch.bool)
    keys = couplings.keys.of(torch.arange(1024), hubs=1024)
    for task in (keys[:, 1] == 1).nonzero()[:200, 0].tolist():
        couplings.put(task, mask)
    assert int(couplings.narrow.max()) == 200


def test_a_thousand_replacements_are_no_saturation():
    couplings = filled(4)
    for seed in range(1000):
        couplings.put(seed % 4, mask_of(seed))
    assert torch.equal(
        couplings.recall(torch.arange(4)).spins, torch.stack([mask_of(996 + i) for i in range(4)])
    )


def test_couplings_that_were_restored_are_measured_before_they_are_changed():
    crowd, last, mask = crowded(128)
    couplings = HubCouplings(8, hubs=1024, seed=0, born=4, precision="int8")
    couplings.restore(crowd.narrow, crowd.wide, crowd.live, None)
    with pytest.raises(SaturationError):
        couplings.put(last, mask)
    couplings.put(last, ~mask)


# Toward the hubs


@given(count=st.integers(1, 8), batch=st.integers(1, 3), seed=st.integers(0, 999))
def test_overlaps_are_products_with_all_masks(count, batch, seed):
    couplings = filled(count)
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-99, 100, (batch, D), generator=generator).double()
    expected = vectors @ torch.stack([spins(mask) for mask in masks_of(count)]).T
    assert torch.equal(couplings.overlaps(vectors)[:, :count], expected)
    part = torch.cat([vectors[:, :7], torch.zeros(batch, D - 7)], -1).double()
    assert torch.equal(couplings.overlaps(vectors[:, :7]), couplings.overlaps(part))


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_overlaps_do_not_depend_on_the_batch(kind):
    couplings = filled(8, size=3000, precision=kind)
    vectors = torch.randn(5, 3000, generator=torch.Generator().manual_seed(0))
    whole = couplings.overlaps(vectors)
    alone = torch.cat([couplings.overlaps(row[None]) for row in vectors])
    assert torch.equal(whole, alone)


def test_int8_and_int16_give_the_same_overlaps():
    vectors = torch.randn(5, 3000, generator=torch.Generator().manual_seed(0))
    small, large = (filled(8, size=3000, precision=kind) for kind in ("int8", "int16"))
    assert torch.equal(small.overlaps(vectors), large.overlaps(vectors))


def test_overlaps_with_what_is_not_finite_are_refused():
    with pytest.raises(NumericalError):
        filled(2).overlaps(torch.full((1, D), float("nan")))


def test_more_rows_than_int32_sums_of_products_could_hold():
    size = 140_000
    couplings = HubCouplings(size, hubs=4, seed=0)
    ones = torch.ones(size, dtype=torch.bool)
    for task in range(4):
        couplings.put(task, ones)
    assert couplings.overlaps(torch.full((1, size), 0.75)).tolist() == [[0.75 * size] * 4]


# Joint states


def joint(couplings, task, mask):
    key = couplings.keys.of(torch.tensor([task]), hubs=couplings.hubs)[0]
    return torch.cat([spins(mask).float(), key])


def test_energy_field_and_residual_are_those_of_the_bipartite_matrix():
    couplings = filled(5)
    a = dense_of(couplings)
    psi = torch.zeros(D + 8, D + 8, dtype=torch.float64)
    psi[:D, D:], psi[D:, :D] = a / 8, a.T / 8
    generator = torch.Generator().manual_seed(1)
    states = torch.randint(0, 2, (2, 3, D + 8), generator=generator) * 2.0 - 1
    field = states.double() @ psi
    torch.testing.assert_close(couplings.field(states).double(), field)
    energy = -(states[..., :D].double() @ a * states[..., D:].double()).sum(-1) / 8
    torch.testing.assert_close(couplings.energy(states).double(), energy)
    held = torch.stack([joint(couplings, t, m) for t, m in enumerate(masks_of(5))])
    assert couplings.energy(held).tolist() == [-D] * 5
    assert couplings.residual(held).tolist() == [0] * 5
    assert couplings.unstable(held).tolist() == [0] * 5


def test_the_field_of_rounded_couplings_is_that_of_their_levels():
    couplings = filled(8, size=64)
    levels = Levels(bits=3, neurons=50, tasks=8, hubs=8)
    narrow = couplings.narrow.clone()
    unpack(packed(narrow, couplings.wide, levels), levels, into=narrow, spacing=8)
    rounded = HubCouplings(64, hubs=8, seed=0)
    rounded.restore(narrow, couplings.wide, couplings.live, levels)
    a = narrow.double()
    a[:50] *= levels.steps(couplings.wide[:50]).double()[:, None]
    a[:, 0] = couplings.wide[:, 0].double()
    states = torch.randint(0, 2, (3, 72), generator=torch.Generator().manual_seed(2)) * 2.0 - 1
    expected = torch.cat([states[:, 64:].double() @ a.T, states[:, :64].double() @ a], -1) / 8
    torch.testing.assert_close(rounded.field(states).double(), expected, rtol=1e-5, atol=1e-5)


def test_a_joint_state_is_written_under_the_task_of_its_key():
    couplings = HubCouplings(D, hubs=8, seed=0)
    couplings.write(joint(couplings, 6, mask_of(6)))
    assert couplings.live.nonzero().tolist() == [[6]]
    with pytest.raises(DuplicateError):
        couplings.write(joint(couplings, 6, mask_of(7)))
    broken = joint(couplings, 5, mask_of(5))
    broken[-1] *= -1
    before = state_of(couplings)
    with pytest.raises(UnknownTaskError):
        couplings.write(broken)
    assert same(state_of(couplings), before)
    couplings.remove(joint(couplings, 6, mask_of(6)))
    assert couplings.count == 0


def test_the_mean_of_joint_states_is_that_of_masks_and_keys():
    couplings = filled(5)
    held = torch.stack([joint(couplings, t, m) for t, m in enumerate(masks_of(5))])
    torch.testing.assert_close(couplings.mean, held.mean(0))


# Bad input


@pytest.mark.parametrize("hubs", [0, 1, 3, 6, 100, -8, 2.0, True, "8", None, 2**17])
def test_numbers_of_hubs_that_are_no_power_of_two_are_refused(hubs):
    with pytest.raises(ConfigError):
        HubCouplings(D, hubs=hubs, seed=0)


@pytest.mark.parametrize("born", [0, 3, 16, "8", True])
def test_hubs_at_birth_are_a_power_of_two_and_no_more_than_now(born):
    with pytest.raises(ConfigError):
        HubCouplings(D, hubs=8, seed=0, born=born)


@pytest.mark.parametrize("precision", ["int32", "float", "", 8, None, ["int8"], torch.int8])
def test_unknown_precisions_are_refused(precision):
    with pytest.raises(ConfigError):
        HubCouplings(D, hubs=8, seed=0, precision=precision)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_devices_that_are_not_there_are_refused(device):
    couplings = filled(2)
    with pytest.raises(ConfigError):
        HubCouplings(D, hubs=8, seed=0, device=device)
    with pytest.raises(ConfigError):
        couplings.to(device)
    assert couplings.device.type == "cpu"


def test_too_little_room_is_said_before_anything_is_allocated(monkeypatch):
    couplings = filled(3)
    before = state_of(couplings)
    monkeypatch.setattr("hopmask._room.available", lambda device: 100)
    with pytest.raises(ConfigError, match="GB"):
        couplings.grow()
    with pytest.raises(ConfigError, match="GB"):
        HubCouplings(10**6, hubs=64, seed=0)
    assert same(state_of(couplings), before)


def test_the_most_hubs_do_not_grow(monkeypatch):
    monkeypatch.setattr(hub_state, "MOST_HUBS", 8)
    couplings = filled(3)
    before = state_of(couplings)
    with pytest.raises(ConfigError):
        couplings.grow()
    assert same(state_of(couplings), before)


def test_rounded_couplings_are_not_changed():
    couplings, other = filled(4), HubCouplings(D, hubs=8, seed=0)
    levels = Levels(bits=2, neurons=30, tasks=4, hubs=8)
    couplings.restore(couplings.narrow, couplings.wide, couplings.live, levels)
    before = state_of(couplings)
    for change in (
        lambda: couplings.put(5, mask_of(5)),
        lambda: couplings.put(0, mask_of(5)),
        lambda: couplings.drop(0),
        lambda: couplings.grow(),
        lambda: couplings.add(other),
        lambda: other.add(couplings),
    ):
        with pytest.raises(ReadOnlyMemoryError):
            change()
    assert same(state_of(couplings), before)
    assert other.count == 0


@settings(max_examples=10)
@given(order=st.permutations(range(8)))
def test_tasks_may_come_in_any_order(order):
    couplings = HubCouplings(D, hubs=8, seed=0)
    for task in order:
        couplings.put(task, mask_of(task))
    assert same(state_of(couplings), state_of(filled(8)))


def test_bytes_are_those_of_the_arrays_and_do_not_depend_on_the_tasks():
    empty, full = HubCouplings(D, hubs=8, seed=0), filled(8)
    for couplings in (empty, full):
        assert couplings.nbytes == D * 8 + D * 4 + 8
        assert couplings.nbytes == sum(array.nbytes for array in couplings.arrays().values())
    assert list(itertools.starmap(lambda n, a: (n, a.shape), empty.arrays().items())) == [
        (n, a.shape) for n, a in full.arrays().items()
    ]
