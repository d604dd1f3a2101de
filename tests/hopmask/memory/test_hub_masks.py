"""Hub memories: store, replace, forget, grow, merge; what is refused changes nothing."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask import MaskMemory, load
from hopmask.errors import (
    ConfigError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    MaskError,
    MemoryFullError,
    NumericalError,
    ReadOnlyMemoryError,
    SaturationError,
    UnknownTaskError,
)


def same_masks(hit, masks):
    return all(torch.equal(hit.masks[name], mask) for name, mask in masks.items())


def holds(memory, tasks):
    """Whether a memory holds these tasks, number -> what was stored, and no others."""
    assert memory.tasks == tuple(sorted(tasks))
    assert memory.count == len(memory) == len(tasks)
    for number, task in tasks.items():
        hit = memory.recall(number)
        assert same_masks(hit, task["masks"])
        assert (hit.task, hit.verified, hit.recognized) == (number, True, True)
        assert (hit.residual, hit.unstable) == (0, 0)
        for name, value in task["extras"].items():
            assert torch.equal(hit.extras[name], value.half().float())
    return True


# Growth that fails


def test_a_growth_that_is_taken_back_takes_its_task_with_it(
    hub_memory, hub_task, hub_state, tmp_path
):
    memory = hub_memory(2, hubs=4)
    before = hub_state(memory)

    def grow_and_store():
        with memory.growing(16):
            memory.store(task=12, **hub_task(5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grow_and_store()
    assert hub_state(memory) == before
    memory.save(tmp_path / "memory.h5")
    assert load(tmp_path / "memory.h5").tasks == (0, 1)
    with pytest.raises(ConfigError, match="at most"), memory.growing(1 << 20):
        pass
    assert memory.capacity == 4


# Store


def test_numbers_go_upwards_then_to_the_lowest_that_is_free(hub_memory, hub_task):
    memory, tasks = hub_memory(0), {}
    for number in range(6):
        tasks[number] = hub_task(number)
        assert memory.store(**tasks[number]) == number
    for gone in (4, 1):
        memory.forget(gone)
        del tasks[gone]
    for number, seed in ((6, 10), (7, 11), (1, 12), (4, 13)):
        tasks[number] = hub_task(seed)
        assert memory.store(**tasks[number]) == number
    assert holds(memory, tasks)


def test_a_chosen_number_moves_the_next_one(hub_memory, hub_task):
    memory = hub_memory(0)
    assert memory.store(task=5, **hub_task(0)) == 5
    assert memory.store(task=2, **hub_task(1)) == 2
    assert memory.store(**hub_task(2)) == 6
    assert memory.numbered == 7
    assert holds(memory, {5: hub_task(0), 2: hub_task(1), 6: hub_task(2)})


@pytest.mark.parametrize("number", [np.int64(3), torch.tensor(3), np.uint8(3)])
def test_numbers_may_be_integers_of_numpy_and_torch(number, hub_memory, hub_task):
    memory = hub_memory(0)
    assert memory.store(task=number, **hub_task(0)) == 3
    assert same_masks(memory.recall(number), hub_task(0)["masks"])
    memory.replace(number, **hub_task(1))
    memory.forget(number)
    assert memory.tasks == ()


def test_equal_masks_may_stand_under_two_numbers(hub_memory, hub_task):
    memory, task = hub_memory(0), hub_task(0)
    for _ in range(3):
        memory.store(**task)
    assert holds(memory, {0: task, 1: task, 2: task})
    memory.forget(1)
    assert holds(memory, {0: task, 2: task})


def test_a_full_memory_refuses_and_names_grow(hub_memory, hub_task, unchanged):
    memory = hub_memory(8)
    with unchanged(memory), pytest.raises(MemoryFullError, match=r"grow\(\)"):
        memory.store(**hub_task(8))
    with unchanged(memory), pytest.raises(MemoryFullError, match=r"grow\(\)"):
        memory.store(task=8, **hub_task(8))
    memory.grow()
    assert memory.store(**hub_task(8)) == 8
    assert holds(memory, {number: hub_task(number) for number in range(9)})


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (2, DuplicateError),
        (8, MemoryFullError),
        (10**30, MemoryFullError),
        (-1, ConfigError),
        (1.5, ConfigError),
        (True, ConfigError),
        ("3", ConfigError),
        ([3], ConfigError),
    ],
)
def test_numbers_that_are_taken_or_none_are_refused(number, error, hub_memory, hub_task, unchanged):
    memory = hub_memory(3)
    with unchanged(memory), pytest.raises(error):
        memory.store(task=number, **hub_task(9))


def test_masks_extras_and_signatures_that_do_not_fit_change_nothing(
    hub_memory, hub_task, unchanged
):
    memory, task = hub_memory(3), hub_task(9)
    a, b = task["masks"]["a"], task["masks"]["b"]
    for masks in ({"a": a}, {"a": a, "b": b.flatten()}, {"a": a, "b": b.float() * 2}, [a, b], {}):
        for change in (memory.store, lambda masks, **rest: memory.replace(1, masks, **rest)):
            with unchanged(memory), pytest.raises(MaskError):
                change(masks, extras=task["extras"], signature=task["signature"])
    x, y = task["extras"]["x"], task["extras"]["y"]
    for extras in (None, {"x": x}, {"x": x, "z": y}, {"x": x, "y": y * torch.inf}, [x, y]):
        for change in (memory.store, lambda masks, **rest: memory.replace(1, masks, **rest)):
            with unchanged(memory), pytest.raises(MaskError):
                change(task["masks"], extras=extras, signature=task["signature"])
    sample = task["signature"]
    for signature in (sample[:, :4], sample * torch.nan, sample * 0, sample[None], [], 5, "x"):
        for change in (memory.store, lambda masks, **rest: memory.replace(1, masks, **rest)):
            with unchanged(memory), pytest.raises(CueError):
                change(task["masks"], extras=task["extras"], signature=signature)
    assert holds(memory, {number: hub_task(number) for number in range(3)})


@pytest.mark.parametrize("groups", [1, 2])
def test_groups_that_do_not_fit_change_nothing(groups, hub_memory, hub_task, unchanged):
    memory, task = hub_memory(3, signature_groups=groups), hub_task(9)
    labels = torch.zeros(30, dtype=torch.long)
    parts = [labels[:20], labels[20:29]]
    odd = (labels[:29], labels + groups, labels - 1, labels.float(), labels[None], parts, [0], 5)
    for change in (memory.store, lambda **rest: memory.replace(1, **rest)):
        for wrong in odd:
            with unchanged(memory), pytest.raises(CueError):
                change(**task, groups=wrong)
        with unchanged(memory), pytest.raises(CueError):
            change(**{name: task[name] for name in ("masks", "extras")}, groups=labels)
    assert memory.store(**task, groups=labels) == 3


def test_groups_are_those_of_the_samples_in_their_order(hub_memory, hub_task, hub_state):
    one, other = (hub_memory(2, signature_groups=3) for _ in range(2))
    task = hub_task(2, 3)
    one.store(**task)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = {name: task[name][order] for name in ("signature", "groups")}
    other.store(**task | shuffled)
    apart = (one.address.sums["link"] - other.address.sums["link"]).abs().max()
    assert float(apart) * 2.0**-44 < 1e-4
    other.replace(2, **task | {"signature": iter(torch.split(task["signature"], 30))})
    assert torch.equal(one.address.sums["link"], other.address.sums["link"])


def test_signatures_without_an_address_are_refused(hub_memory, hub_task, unchanged):
    memory = hub_memory(2, signature_features=0)
    with unchanged(memory), pytest.raises(CueError):
        memory.store(**hub_task(2))
    with pytest.raises(CueError):
        memory.recall(signature=torch.ones(5))


def test_a_store_that_would_saturate_changes_nothing(hub_state, unchanged):
    memory = MaskMemory({"a": 40}, couplings="hub", hubs=256, extras={"x": 1}, precision="int8")
    memory.couplings.narrow[:, 1:] = 127
    memory.couplings.restore(
        memory.couplings.narrow, memory.couplings.wide, memory.couplings.live, None
    )
    task = {"masks": {"a": torch.ones(40)}, "extras": {"x": torch.ones(1)}}
    with unchanged(memory), pytest.raises(SaturationError):
        memory.store(**task, signature=torch.randn(9, 3))
    assert memory.numbered == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8, torch.int64])
def test_masks_may_be_numbers_of_any_type(dtype, hub_memory, hub_task, hub_state):
    memory, task = hub_memory(2), hub_task(2)
    memory.store(**task | {"masks": {name: m.to(dtype) for name, m in task["masks"].items()}})
    assert hub_state(memory) == hub_state(hub_memory(3))


def test_what_was_given_is_not_kept_nor_changed(hub_memory, hub_task, hub_state):
    memory, task = hub_memory(0), hub_task(0)
    memory.store(**task)
    before = hub_state(memory)
    for part in (*task["masks"].values(), *task["extras"].values(), task["signature"]):
        part.zero_()
    assert hub_state(memory) == before
    again, same = hub_memory(0), hub_task(0)
    again.store(**same)
    assert all(torch.equal(same["masks"][n], m) for n, m in hub_task(0)["masks"].items())
    assert torch.equal(same["signature"], hub_task(0)["signature"])


def test_a_memory_is_pickled_whole(hub_memory, hub_state):
    memory = hub_memory(3)
    assert hub_state(pickle.loads(pickle.dumps(memory))) == hub_state(memory)


def test_answers_are_not_views_of_the_memory(hub_memory, hub_state):
    memory = hub_memory(3)
    before = hub_state(memory)
    for hit in (memory.recall(0), memory.recall([0, 1]), memory.recall(cue={"a": torch.ones(96)})):
        for value in (*hit.masks.values(), *hit.extras.values()):
            value.zero_()
    memory.mean_extras["x"].fill_(7)
    memory.mean["a"].fill_(7)
    assert hub_state(memory) == before


# Replace


def test_replacing_puts_all_of_a_task_in_its_place(hub_memory, hub_task):
    memory = hub_memory(4)
    memory.replace(2, **hub_task(20))
    assert holds(memory, {0: hub_task(0), 1: hub_task(1), 2: hub_task(20), 3: hub_task(3)})
    mean = torch.stack([hub_task(n)["extras"]["x"].half() for n in (0, 1, 20, 3)]).double().mean(0)
    torch.testing.assert_close(memory.mean_extras["x"].double(), mean, rtol=0, atol=1e-6)


def test_replacing_without_a_signature_keeps_the_old_one(hub_memory, hub_task):
    memory = hub_memory(4)
    before = {name: value.clone() for name, value in memory.address.sums.items()}
    new = hub_task(20)
    memory.replace(2, new["masks"], extras=new["extras"])
    assert all(torch.equal(memory.address.sums[name], value) for name, value in before.items())
    hit = memory.recall(signature=hub_task(2)["signature"][None])
    assert hit.task.tolist() == [2]
    assert torch.equal(hit.masks["a"][0], new["masks"]["a"])


def test_replacing_with_a_signature_forgets_the_old_mean(hub_memory, hub_task):
    memory = hub_memory(4)
    memory.replace(2, **hub_task(20))
    assert memory.recall(signature=hub_task(20)["signature"][None]).task.tolist() == [2]
    assert not bool(memory.recall(signature=hub_task(2)["signature"][None]).recognized)


def test_a_thousand_replacements_leave_a_memory_that_stored_once(hub_memory, hub_task):
    memory = hub_memory(4, signature_features=0)
    for seed in range(300):
        task = hub_task(seed)
        memory.replace(seed % 4, task["masks"], extras=task["extras"])
    assert holds(memory, {seed % 4: hub_task(seed) for seed in range(296, 300)})


@pytest.mark.parametrize("number", [3, 8, -1, 1.0, "0", True, None])
def test_tasks_that_are_not_there_are_neither_replaced_nor_forgotten(
    number, hub_memory, hub_task, unchanged
):
    memory = hub_memory(3)
    with unchanged(memory), pytest.raises(UnknownTaskError):
        memory.replace(number, **hub_task(9))
    with unchanged(memory), pytest.raises(UnknownTaskError):
        memory.forget(number)


# Forget


def test_what_is_forgotten_leaves_no_trace_but_in_the_average_covariance(hub_memory, hub_task):
    memory, fresh = hub_memory(5), hub_memory(0)
    memory.forget(3)
    memory.forget(0)
    for number in (4, 1, 2):
        fresh.store(task=number, **hub_task(number))
    for name, array in fresh.document().arrays.items():
        if name not in ("within", "scalars"):
            assert np.array_equal(memory.document().arrays[name], array), name
    assert holds(memory, {number: hub_task(number) for number in (1, 2, 4)})


def test_a_memory_that_forgot_all_is_empty(hub_memory, hub_task):
    memory = hub_memory(3)
    for number in (1, 0, 2):
        memory.forget(number)
    assert memory.count == 0
    assert not memory.couplings.narrow.any()
    assert not memory.couplings.wide.any()
    assert not memory.address.sums["link"].any()
    assert memory.mean_extras["x"].tolist() == [0, 0, 0]
    assert memory.mean["a"].tolist() == [0.5] * 96
    for call in (
        lambda: memory.recall(0),
        lambda: memory.recall(cue={"a": torch.ones(96)}),
        lambda: memory.recall(signature=torch.ones(5)),
        lambda: memory.recall(penalty=lambda masks: masks["a"].mean()),
        lambda: memory.forget(0),
        lambda: memory.report(),
    ):
        with pytest.raises(EmptyMemoryError):
            call()
    assert memory.store(**hub_task(7)) == 3
    assert holds(memory, {3: hub_task(7)})


def test_a_forgotten_number_may_be_used_again(hub_memory, hub_task):
    memory = hub_memory(3)
    memory.forget(1)
    with pytest.raises(UnknownTaskError):
        memory.recall(1)
    with pytest.raises(UnknownTaskError):
        memory.recall([0, 1])
    memory.store(task=1, **hub_task(11))
    assert holds(memory, {0: hub_task(0), 1: hub_task(11), 2: hub_task(2)})


def test_damaged_tasks_are_not_changed(hub_memory, hub_task, unchanged):
    memory = hub_memory(3)
    memory.couplings.narrow[:20] = 0
    wrong = next(number for number in range(3) if not memory.recall(number).verified)
    with unchanged(memory), pytest.raises(NumericalError):
        memory.forget(wrong)
    with unchanged(memory), pytest.raises(NumericalError):
        memory.replace(wrong, **hub_task(9))


# Grow


@given(count=st.integers(0, 4), times=st.integers(1, 3), more=st.integers(0, 8))
def test_a_grown_memory_is_one_that_was_larger_from_the_start(
    count, times, more, hub_memory, hub_task
):
    more = min(more, 4 * 2**times - count)
    memory = hub_memory(count, hubs=4)
    for _ in range(times):
        memory.grow()
    assert memory.capacity == 4 * 2**times
    assert memory.couplings.keys.born == 4
    for number in range(count, count + more):
        assert memory.store(**hub_task(number)) == number
    assert holds(memory, {number: hub_task(number) for number in range(count + more)})
    other = hub_memory(0, hubs=4)
    for _ in range(times):
        other.grow()
    for number in reversed(range(count + more)):
        other.store(task=number, **hub_task(number))
    ours, theirs = memory.document().arrays, other.document().arrays
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_growth_without_room_changes_nothing(hub_memory, hub_task, unchanged, monkeypatch):
    memory = hub_memory(3)
    with monkeypatch.context() as patched:
        patched.setattr("hopmask._room.available", lambda device: 500)
        with unchanged(memory), pytest.raises(ConfigError, match="GB"):
            memory.grow()
        patched.setattr("hopmask._room.available", lambda device: 6000)  # not for the address
        with unchanged(memory), pytest.raises(ConfigError, match="GB"):
            memory.grow()
        with pytest.raises(ConfigError, match="GB"):
            hub_memory(0, hubs=4096)
    assert memory.capacity == memory.address.hubs == 8


def test_signatures_too_large_for_the_sums_of_more_hubs_stop_growth(
    hub_memory, hub_task, unchanged
):
    memory, data = hub_memory(0), 2e3 * hub_task(0)["signature"][0].abs()
    for number, signature in enumerate((data, data.flip(0))):
        memory.store(**hub_task(number) | {"signature": signature})
    for _ in range(2):
        memory.grow()
    with unchanged(memory), pytest.raises(SaturationError):
        memory.grow()
    assert memory.recall(signature=torch.stack([data, data.flip(0)])).task.tolist() == [0, 1]


# Merge


@given(order=st.permutations(range(4)), parts=st.lists(st.integers(0, 3), min_size=8, max_size=8))
@pytest.mark.parametrize("groups", [1, 2])
def test_four_memories_in_any_order_are_one_that_stored_all(
    groups, order, parts, hub_memory, hub_task
):
    shards = [hub_memory(0, signature_groups=groups) for _ in range(4)]
    for number, part in enumerate(parts):
        shards[part].store(task=number, **hub_task(number, groups))
    first, *rest = (shards[place] for place in order)
    for other in rest:
        first.merge(other)
    whole = hub_memory(8, signature_groups=groups)
    ours, theirs = first.document(), whole.document()
    assert ours.about == theirs.about
    assert all(np.array_equal(ours.arrays[name], theirs.arrays[name]) for name in theirs.arrays)
    assert holds(first, {number: hub_task(number) for number in range(8)})
    for number in range(8):
        set_of = hub_task(number)["signature"][None]
        one, other = first.recall(signature=set_of), whole.recall(signature=set_of)
        assert one.task.tolist() == other.task.tolist()
        assert one.margin.tolist() == other.margin.tolist()


def test_the_other_memory_is_not_changed_and_stays_apart(hub_memory, hub_task, unchanged):
    one, other = hub_memory(2), hub_memory(0)
    other.store(task=5, **hub_task(5))
    with unchanged(other):
        one.merge(other)
        one.forget(5)
        one.store(task=5, **hub_task(15))
    assert holds(other, {5: hub_task(5)})


def test_grown_memories_merge_with_grown_ones(hub_memory, hub_task):
    one, other = hub_memory(3, hubs=4), hub_memory(0, hubs=4)
    one.grow()
    other.grow()
    other.store(task=6, **hub_task(6))
    one.merge(other)
    assert holds(one, {n: hub_task(n) for n in (0, 1, 2, 6)})
    with pytest.raises(ConfigError):
        one.merge(hub_memory(0, hubs=8))  # born with other hubs
    with pytest.raises(ConfigError):
        one.merge(hub_memory(0, hubs=4))  # not grown


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"hubs": 16},
        {"precision": "int16"},
        {"precision": "int8"},  # not as "auto" once they grow
        {"signature_features": 16},
        {"signature_features": 0},
        {"signature_groups": 2},
        {"extras": {"x": 3, "y": 2}},
        {"extras": {"x": 3, "z": (1, 2)}},
        {"extras": {"y": (1, 2), "x": 3}},
        {"fingerprint": "another network"},
    ],
)
def test_memories_of_another_form_are_not_merged(options, hub_memory, unchanged):
    one, other = hub_memory(3), hub_memory(0, **options)
    with unchanged(one, other), pytest.raises(ConfigError):
        one.merge(other)


@pytest.mark.parametrize("sizes", [{"a": 96}, {"a": 96, "b": 32}, {"b": (4, 8), "a": 96}])
def test_memories_of_other_layers_are_not_merged(sizes, hub_memory, unchanged):
    one = hub_memory(1)
    other = MaskMemory(
        sizes, couplings="hub", hubs=8, extras={"x": 3, "y": (1, 2)}, signature_features=32
    )
    with unchanged(one), pytest.raises(ConfigError):
        one.merge(other)


def test_memories_of_the_same_task_are_not_merged_and_it_is_said_which(hub_memory, unchanged):
    one, other = hub_memory(5), hub_memory(0)
    for number in (7, 3, 6):
        other.store(task=number, **_task_of(other, number))
    with unchanged(one, other), pytest.raises(DuplicateError, match="task 3"):
        one.merge(other)
    with unchanged(one), pytest.raises(DuplicateError):
        one.merge(one)


def _task_of(memory, number):
    g = torch.Generator().manual_seed(number)
    return {
        "masks": {n: torch.rand(s, generator=g) < 0.5 for n, s in memory.shapes.items()},
        "extras": {"x": torch.zeros(3), "y": torch.zeros(1, 2)},
    }


def test_signatures_of_another_length_are_not_merged(hub_memory, unchanged):
    one, other = hub_memory(2), hub_memory(0)
    other.store(task=5, **_task_of(other, 5), signature=torch.randn(9, 4))
    with unchanged(one, other), pytest.raises(ConfigError):
        one.merge(other)


@pytest.mark.parametrize("other", [None, {}, "memory.h5"])
def test_what_is_no_memory_is_not_merged(other, hub_memory, unchanged):
    one = hub_memory(2)
    with unchanged(one), pytest.raises(ConfigError):
        one.merge(other)


def test_dense_memories_neither_grow_nor_merge_nor_take_numbers_and_extras(hub_memory):
    dense, hub = MaskMemory({"a": 96}), hub_memory(1)
    for call in (
        dense.grow,
        lambda: dense.merge(dense),
        lambda: dense.merge(hub),
        lambda: hub.merge(dense),
        lambda: dense.store({"a": torch.ones(96)}, task=1),
        lambda: dense.store({"a": torch.ones(96)}, extras={"x": torch.ones(1)}),
        lambda: dense.store(
            {"a": torch.ones(96)}, signature=torch.ones(5), groups=torch.zeros(1).long()
        ),
    ):
        with pytest.raises(ConfigError):
            call()
    assert dense.capacity is None
    assert dense.count == 0


# Build


@pytest.mark.parametrize(
    "options",
    [
        {"hubs": 6},
        {"hubs": 1},
        {"hubs": 2**17},
        {"hubs": 8.0},
        {"precision": "int4"},
        {"precision": ["int8"]},
        {"extras": 3},
        {"extras": {"x": 0}},
        {"extras": {"": 3}},
        {"signature_features": -1},
        {"signature_features": 20_000},
        {"signature_groups": 0},
        {"signature_groups": 1.0},
        {"signature_groups": 5000},
        {"signature_groups": 2, "signature_features": 0},
        {"device": "nonsense"},
        {"seed": -1},
        {"seed": 2**64},
        {"rule": "storkey"},
        {"key_bits": 64},
        {"dtype": torch.float32},
    ],
)
def test_options_that_nothing_can_be_built_from_are_refused(options):
    with pytest.raises(ConfigError):
        MaskMemory({"a": 8}, couplings="hub", **options)


@pytest.mark.parametrize(
    "options", [{"hubs": 8}, {"precision": "int8"}, {"extras": {"x": 1}}, {"signature_groups": 2}]
)
def test_options_of_hubs_are_refused_by_dense_memories(options):
    with pytest.raises(ConfigError):
        MaskMemory({"a": 8}, **options)


def test_memories_too_large_are_refused_before_anything_is_allocated():
    with pytest.raises(ConfigError, match="GB"):
        MaskMemory({"a": 10**9}, couplings="hub", hubs=65536)


def test_a_copy_goes_its_own_way(hub_memory, hub_task):
    memory = hub_memory(3)
    copied = copy.deepcopy(memory)
    copied.forget(1)
    assert holds(memory, {number: hub_task(number) for number in range(3)})
    assert holds(copied, {number: hub_task(number) for number in (0, 2)})


# Rounded memories


@pytest.mark.parametrize("bits", [1, 4])
def test_rounded_memories_are_read_alone(bits, hub_memory, hub_task, unchanged, tmp_path):
    memory = hub_memory(3)
    memory.save(tmp_path / "memory.h5", bits=bits)
    rounded, other = load(tmp_path / "memory.h5"), hub_memory(0)
    other.store(task=5, **hub_task(5))
    for change in (
        lambda: rounded.store(**hub_task(9)),
        lambda: rounded.store(task=7, **hub_task(9)),
        lambda: rounded.replace(1, **hub_task(9)),
        lambda: rounded.forget(1),
        lambda: rounded.grow(),
        lambda: rounded.merge(other),
        lambda: other.merge(rounded),
    ):
        with unchanged(rounded, other), pytest.raises(ReadOnlyMemoryError):
            change()
    assert memory.store(**hub_task(9)) == 3  # the one that was saved is as it was


def test_growth_is_undone_where_the_change_that_needs_it_fails():
    memory = MaskMemory({"h": 96}, couplings="hub", hubs=4, signature_features=16)
    for task in range(3):
        data = torch.randn(20, 5, generator=torch.Generator().manual_seed(task))
        memory.store({"h": torch.arange(96) % (task + 2) == 0}, signature=data)
    couplings, address = memory.couplings, memory.address
    before = couplings.narrow.clone(), couplings.wide.clone(), address.sums["link"].clone()
    with pytest.raises(MaskError), memory.growing(16):
        memory.store({"h": torch.ones(5)}, task=12)
    assert (memory.capacity, memory.tasks) == (4, (0, 1, 2))
    after = couplings.narrow, couplings.wide, address.sums["link"]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    with memory.growing(16):
        memory.store({"h": torch.ones(96)}, task=12)
    assert (memory.capacity, memory.tasks) == (16, (0, 1, 2, 12))
    assert bool((memory.recall([0, 12]).masks["h"].sum(-1) == torch.tensor([48, 96])).all())


# Evidence


def test_evidence_of_samples_points_where_a_recall_by_signature_goes(hub_memory, hub_task) -> None:
    memory = hub_memory(5, signature_groups=2)
    samples = torch.cat([hub_task(number)["signature"][:6] for number in range(5)])
    found = memory.evidence(samples)
    assert found.shape == (30, 8, 2)
    named = memory.recall(signature=samples).task
    assert torch.equal(found.logsumexp(-1).argmax(-1), named)


def test_evidence_is_of_samples_of_a_memory_with_an_address(hub_memory, hub_task) -> None:
    sample = hub_task(0)["signature"]
    with pytest.raises(EmptyMemoryError):
        hub_memory(0).evidence(sample)
    with pytest.raises(CueError, match="no content address"):
        hub_memory(2, signature_features=0).evidence(sample)
    for wrong in (sample[0], sample[None]):
        with pytest.raises(CueError):
            hub_memory(2).evidence(wrong)
    dense = MaskMemory({"hidden": 64})
    dense.store({"hidden": torch.arange(64) % 3 == 0})
    with pytest.raises(ConfigError):
        dense.evidence(sample)
