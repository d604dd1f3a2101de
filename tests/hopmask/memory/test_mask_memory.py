"""Named masks of many tasks, recalled by number, by damage and by data."""

import gc
import warnings
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import (
    ConfigError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    Hit,
    MaskError,
    MaskMemory,
    NotForgettableError,
    NumericalError,
    OverloadWarning,
    PenaltyError,
    Search,
    UnknownTaskError,
    paper_schedule,
)
from hopmask.couplings.rules import Hebbian
from hopmask.patterns.check_bits import MENDED
from hopmask.recall.dynamics import (
    SignPolish,
)

SIZES = {"h1": 96, "h2": (8, 12)}
TASKS = 5


def build(**options):
    return MaskMemory(SIZES, **{"key_bits": 64, "signature_features": 128, "seed": 3} | options)


@pytest.fixture(scope="module")
def tasks(random_mask):
    """Masks of each task."""
    return [
        {"h1": random_mask(96, seed=10 + task), "h2": random_mask((8, 12), seed=50 + task)}
        for task in range(TASKS + 5)
    ]


@pytest.fixture(scope="module")
def signatures():
    return torch.randn(TASKS, 40, generator=torch.Generator().manual_seed(9))


def filled(tasks, signatures=None, count=TASKS, **options):
    memory = build(**options)
    for task in range(count):
        memory.store(tasks[task], signature=None if signatures is None else signatures[task])
    return memory


@pytest.fixture
def memory(tasks, signatures):
    return filled(tasks, signatures)


def same(found, masks):
    return set(found) == set(masks) and all(torch.equal(found[n], masks[n]) for n in masks)


def damaged(masks, share=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (mask ^ (torch.rand(mask.shape, generator=generator) < share)).float()
        for name, mask in masks.items()
    }


def distance(masks, target, dims=0):
    """Mean squared distance of masks in [0, 1] to a target, per leading dimension."""
    return sum(
        (masks[name] - target[name].float()).square().flatten(dims).mean(-1) for name in target
    )


def through(memory, door, masks, signature):
    """Hand a signature in where it is stored, or where it asks."""
    if door == "store":
        memory.store(masks, signature=signature)
    else:
        memory.recall(signature=signature)


# Storing


def test_tasks_are_numbered_from_0_in_order(tasks):
    memory = build()
    assert [memory.store(masks) for masks in tasks[:4]] == [0, 1, 2, 3]
    assert memory.count == 4


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_masks_of_any_type_of_0_and_1_are_the_same_masks(tasks, dtype):
    as_bool, as_numbers = build(), build()
    as_bool.store(tasks[0])
    as_numbers.store({name: mask.to(dtype) for name, mask in tasks[0].items()})
    assert torch.equal(as_bool.couplings.psi, as_numbers.couplings.psi)


def test_stored_masks_are_neither_changed_nor_kept(tasks):
    memory = build()
    masks = {name: mask.clone() for name, mask in tasks[0].items()}
    memory.store(masks)
    assert same(masks, tasks[0])
    for mask in masks.values():
        mask.fill_(True)
    assert same(memory.recall(task=0).masks, tasks[0])


def test_the_stored_vector_depends_only_on_seed_task_masks_and_signature(tasks, signatures):
    a, b = (filled(tasks, signatures) for _ in range(2))
    assert torch.equal(a.couplings.psi, b.couplings.psi)


def test_another_seed_gives_other_keys(tasks):
    a, b = filled(tasks, seed=0), filled(tasks, seed=1)
    assert not torch.equal(a.couplings.psi, b.couplings.psi)


def test_shapes_are_those_the_memory_was_built_with():
    assert build().shapes == {"h1": (96,), "h2": (8, 12)}


def test_the_mean_of_the_masks_is_the_share_of_tasks_that_have_a_bit_set(rule, tasks):
    memory = filled(tasks, rule=rule)
    assert set(memory.mean) == set(SIZES)
    for name, share in memory.mean.items():
        stored = torch.stack([masks[name] for masks in tasks[:TASKS]]).float()
        torch.testing.assert_close(share, stored.mean(0))


def test_the_mean_of_no_masks_is_a_half_everywhere():
    mean = build().mean
    assert {name: tuple(share.shape) for name, share in mean.items()} == build().shapes
    assert all(torch.equal(share, torch.full_like(share, 0.5)) for share in mean.values())


def test_bytes_do_not_depend_on_the_number_of_tasks(tasks):
    memory = build()
    before = memory.nbytes
    sizes = []
    for masks in tasks[:5]:
        memory.store(masks)
        sizes.append(memory.nbytes)
    assert set(sizes) == {before}


def bytes_alive(root):
    """Bytes of all tensors, arrays, strings and containers reachable from an object's fields."""
    total, seen, todo = 0, set(), [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type) or callable(thing):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            total += thing.untyped_storage().nbytes()
        elif isinstance(thing, np.ndarray):
            total += thing.nbytes
        elif isinstance(thing, dict):
            total += 64 * len(thing)
            todo += [*thing.keys(), *thing.values()]
        elif isinstance(thing, (list, tuple, set, frozenset)):
            total += 64 * len(thing)
            todo += thing
        elif isinstance(thing, (str, bytes)):
            total += len(thing)
        elif type(thing).__module__.startswith("hopmask"):
            todo += gc.get_referents(thing)
    return total


@pytest.mark.parametrize("signed", [False, True], ids=["no signature", "signature"])
def test_nothing_that_is_kept_grows_with_the_number_of_tasks(tasks, signed):
    memory = build()
    vectors = torch.randn(10, 40, generator=torch.Generator().manual_seed(0))
    alive = []
    for task in range(10):
        memory.store(tasks[task], signature=vectors[task] if signed else None)
        memory.recall(task=task)
        memory.recall(cue=tasks[task])
        alive.append(bytes_alive(memory))
    assert alive[0] > memory.nbytes - 8
    assert set(alive) == {alive[0]}


def test_no_mask_of_a_stored_task_stays_alive():
    memory = build()
    references = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        masks = {"h1": torch.rand(96, generator=generator) < 0.5}
        masks["h2"] = torch.rand(8, 12, generator=generator) < 0.5
        references += [weakref.ref(mask) for mask in masks.values()]
        memory.store(masks)
        del masks
    gc.collect()
    assert [reference() for reference in references] == [None] * 6


# Recall by task


def test_a_task_is_recalled_by_its_number(rule, tasks):
    memory = filled(tasks, rule=rule)
    for task in range(TASKS):
        hit = memory.recall(task=task)
        assert same(hit.masks, tasks[task])
        assert hit.task == task
        assert hit.verified is True


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_task_is_recalled_in_single_and_double_precision(tasks, dtype):
    memory = filled(tasks, dtype=dtype)
    assert all(same(memory.recall(task=t).masks, tasks[t]) for t in range(TASKS))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 6))
def test_a_task_that_is_told_is_always_exact_at_low_load(seed, count):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, 128, generator=generator) < 0.5
    memory = MaskMemory({"h": 128}, seed=seed, key_bits=64, signature_features=64)
    for mask in masks:
        memory.store({"h": mask})
    for task in range(count):
        hit = memory.recall(task=task)
        assert torch.equal(hit.masks["h"], masks[task])
        assert hit.task == task
        assert hit.verified


def test_a_hit_holds_plain_numbers_and_bool_masks(memory):
    hit = memory.recall(task=2)
    assert isinstance(hit, Hit)
    assert type(hit.task) is int
    assert type(hit.residual) is float
    assert type(hit.energy) is float
    assert type(hit.steps) is int
    assert type(hit.verified) is bool
    assert {name: (m.dtype, tuple(m.shape)) for name, m in hit.masks.items()} == {
        "h1": (torch.bool, (96,)),
        "h2": (torch.bool, (8, 12)),
    }


def test_a_recalled_memory_has_a_small_residual_and_low_energy(memory):
    hit = memory.recall(task=0)
    assert 0 <= hit.residual < 0.1
    assert hit.energy < -0.4 * memory.couplings.size


@pytest.mark.parametrize("task", [-1, TASKS, True, 2.0, "0"], ids=repr)
def test_a_task_that_was_never_stored_is_unknown(memory, task):
    with pytest.raises(UnknownTaskError):
        memory.recall(task=task)


# Recall by cue


def test_a_damaged_mask_recalls_its_task(rule, tasks):
    memory = filled(tasks, rule=rule)
    for task in range(TASKS):
        hit = memory.recall(cue=damaged(tasks[task], seed=task))
        assert same(hit.masks, tasks[task])
        assert hit.task == task
        assert hit.verified


@pytest.mark.parametrize("layer", ["h1", "h2"])
def test_one_layer_recalls_all(rule, tasks, layer):
    memory = filled(tasks, rule=rule)
    for task in range(TASKS):
        hit = memory.recall(cue={layer: tasks[task][layer]})
        assert same(hit.masks, tasks[task])
        assert hit.task == task


def test_bits_that_are_unknown_are_filled_in(memory, tasks):
    cue = {name: mask.float() for name, mask in tasks[3].items()}
    cue["h1"][::2] = 0.5
    cue["h2"][::2] = 0.5
    hit = memory.recall(cue=cue)
    assert same(hit.masks, tasks[3])
    assert hit.task == 3


def test_cue_and_task_may_be_given_together(memory, tasks):
    hit = memory.recall(task=2, cue={"h1": damaged(tasks[2])["h1"]})
    assert same(hit.masks, tasks[2])


def test_a_recall_never_mixes_the_layers_of_two_tasks(memory, tasks):
    """One layer of task 0 and the other of task 1: the answer is a whole task or no memory."""
    hit = memory.recall(cue={"h1": tasks[0]["h1"], "h2": tasks[1]["h2"]})
    if hit.verified:
        assert hit.task in (0, 1)
        assert same(hit.masks, tasks[hit.task])
    assert not same(hit.masks, {"h1": tasks[0]["h1"], "h2": tasks[1]["h2"]})


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_a_converged_answer_is_one_tasks_masks_and_no_other(tasks, seed):
    memory = filled(tasks)
    noise = torch.rand(96, generator=torch.Generator().manual_seed(seed))
    hit = memory.recall(cue={"h1": noise})
    if hit.verified:
        assert same(hit.masks, tasks[hit.task])


def test_a_batch_of_cues_is_recalled_as_its_rows_one_by_one(memory, tasks):
    rows = [damaged(tasks[task], share=0.15, seed=task) for task in range(TASKS)]
    batch = {name: torch.stack([row[name] for row in rows]) for name in SIZES}
    together = memory.recall(cue=batch)
    assert together.masks["h2"].shape == (TASKS, 8, 12)
    assert together.task.dtype == torch.long
    assert together.task.tolist() == list(range(TASKS))
    for row, cue in enumerate(rows):
        alone = memory.recall(cue=cue)
        assert same({name: m[row] for name, m in together.masks.items()}, alone.masks)
        assert bool(together.verified[row]) == alone.verified
        assert int(together.steps[row]) == alone.steps


def test_a_batch_of_one_stays_a_batch(memory, tasks):
    hit = memory.recall(cue={"h1": tasks[0]["h1"][None]})
    assert hit.masks["h1"].shape == (1, 96)
    assert hit.masks["h2"].shape == (1, 8, 12)
    for answer in (hit.task, hit.residual, hit.energy, hit.steps, hit.verified):
        assert answer.shape == (1,)


def test_a_task_with_a_batch_of_cues_answers_for_each_row(memory, tasks):
    cues = torch.stack([damaged(tasks[2], seed=seed)["h1"] for seed in range(3)])
    hit = memory.recall(task=2, cue={"h1": cues})
    assert hit.task.tolist() == [2, 2, 2]
    assert all(torch.equal(mask, tasks[2]["h1"]) for mask in hit.masks["h1"])


def test_recalling_an_answer_gives_it_again(memory, tasks):
    hit = memory.recall(cue=damaged(tasks[1], 0.2))
    assert same(memory.recall(cue=hit.masks).masks, hit.masks)


def test_a_cue_is_not_changed(memory, tasks):
    cue = damaged(tasks[0])
    before = {name: level.clone() for name, level in cue.items()}
    memory.recall(cue=cue)
    assert same(cue, before)


def test_an_overfull_memory_says_that_it_does_not_trust_its_answers():
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(22, 64, generator=generator) < 0.5
    memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=32, signature_features=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for mask in masks:
            memory.store({"h": mask})
    hit = memory.recall(cue={"h": masks.float()})
    exact = (hit.masks["h"] == masks).all(-1)
    assert hit.masks["h"].shape == (22, 64)  # it answers all the same
    assert not bool((hit.verified & ~exact).any())
    assert 0 < int(hit.verified.sum()) < 22


# Recall by signature


def test_a_signature_recalls_the_task_it_was_stored_with(rule, tasks, signatures):
    memory = filled(tasks, signatures, rule=rule)
    noise = torch.randn(signatures.shape, generator=torch.Generator().manual_seed(4))
    for task in range(TASKS):
        hit = memory.recall(signature=signatures[task] + 0.3 * noise[task])
        assert hit.task == task
        assert same(hit.masks, tasks[task])
        assert hit.verified


def test_a_batch_of_signatures_recalls_a_batch_of_tasks(memory, tasks, signatures):
    order = torch.tensor([3, 0, 4, 3])
    hit = memory.recall(signature=signatures[order])
    assert hit.task.tolist() == order.tolist()
    assert all(
        same({n: m[row] for n, m in hit.masks.items()}, tasks[t]) for row, t in enumerate(order)
    )


def test_a_signature_s_answer_does_not_depend_on_what_is_asked_beside_it(memory, signatures):
    noise = torch.randn(signatures.shape, generator=torch.Generator().manual_seed(4))
    noisy = signatures + noise
    together = memory.recall(signature=noisy)
    alone = [memory.recall(signature=vector).task for vector in noisy]
    assert together.task.tolist() == alone


def test_signatures_that_share_most_of_their_direction_still_tell_tasks_apart(tasks):
    common = 3 * torch.randn(40, generator=torch.Generator().manual_seed(0))
    own = torch.randn(TASKS, 40, generator=torch.Generator().manual_seed(1))
    memory = filled(tasks, common + own, rule="projection", signature_features=512)
    assert memory.recall(signature=common + own).task.tolist() == list(range(TASKS))


def test_a_task_without_a_signature_is_still_recalled_by_number(tasks, signatures):
    memory = build()
    memory.store(tasks[0], signature=signatures[0])
    memory.store(tasks[1])
    assert same(memory.recall(task=1).masks, tasks[1])
    assert memory.recall(signature=signatures[0]).task == 0


@pytest.mark.parametrize("door", ["store", "recall"])
def test_a_signature_of_another_length_is_refused(memory, tasks, door):
    with pytest.raises(CueError):
        through(memory, door, tasks[6], torch.arange(7.0))
    assert memory.count == TASKS


def test_a_signature_asks_nothing_of_a_memory_stored_without(tasks, signatures):
    with pytest.raises(CueError):
        filled(tasks).recall(signature=signatures[0])


def test_a_refused_task_does_not_fix_the_length_of_signatures(tasks, signatures):
    memory = filled(tasks, count=1)
    with pytest.raises(DuplicateError):
        memory.store(tasks[0], signature=torch.arange(7.0))
    assert memory.store(tasks[1], signature=signatures[1]) == 1


@pytest.mark.parametrize("door", ["store", "recall"])
@pytest.mark.parametrize(
    "signature",
    [
        torch.full((40,), float("nan")),
        torch.arange(40),
        torch.tensor(1.0),
        [0.0, 1.0],
        "cats",
    ],
    ids=["NaN", "whole numbers", "no dimension", "list", "text"],
)
def test_what_is_no_signature_is_refused(memory, tasks, door, signature):
    with pytest.raises(CueError):
        through(memory, door, tasks[6], signature)
    assert memory.count == TASKS


def test_samples_tell_what_to_ignore(tasks):
    """One sample a task hides what tells tasks apart under what varies within them."""
    samples = torch.randn(TASKS, 300, 40, generator=torch.Generator().manual_seed(5))
    samples[:, :, :8] = 0.1 * samples[:, :, :8] + 0.5 * torch.eye(TASKS, 8)[:, None]
    many = filled(tasks, samples[:, :200])
    assert many.recall(signature=samples[:, 200:]).task.tolist() == list(range(TASKS))
    assert many.recall(signature=samples[:, 200:]).recognized.all()
    single = many.recall(signature=samples[:, 200:210].flatten(0, 1)).task
    right = single == torch.arange(TASKS).repeat_interleave(10)
    one = filled(tasks, samples[:, 0]).recall(signature=samples[:, 200:210].flatten(0, 1)).task
    blind = one == torch.arange(TASKS).repeat_interleave(10)
    assert float(right.double().mean()) > float(blind.double().mean()) + 0.2


def test_task_and_signature_are_not_given_together(memory, signatures):
    with pytest.raises(CueError):
        memory.recall(task=0, signature=signatures[0])


@pytest.mark.parametrize("door", ["store", "recall"])
def test_a_memory_without_signature_features_takes_no_signature(tasks, signatures, door):
    memory = filled(tasks, signature_features=0)
    with pytest.raises(CueError):
        through(memory, door, tasks[6], signatures[0])


def test_batches_of_different_sizes_are_refused(memory, tasks, signatures):
    with pytest.raises(CueError):
        memory.recall(signature=signatures[:2], cue={"h1": torch.ones(3, 96)})


@pytest.mark.parametrize("shape", [(1, 2, 3, 40), (), (0,), (2, 0)])
def test_a_signature_of_other_dimensions_is_refused(memory, shape):
    with pytest.raises(CueError):
        memory.recall(signature=torch.ones(shape))


# Recall by penalty


@pytest.mark.parametrize("target", range(TASKS))
def test_the_penalty_chooses_the_task(memory, tasks, target):
    hit = memory.recall(penalty=lambda masks: distance(masks, tasks[target]))
    assert hit.task == target
    assert same(hit.masks, tasks[target])
    assert hit.verified


def test_a_penalty_on_one_layer_is_enough(memory, tasks):
    target = {"h1": tasks[4]["h1"]}
    hit = memory.recall(penalty=lambda masks: distance(masks, target))
    assert same(hit.masks, tasks[4])


def test_the_papers_schedule_recalls_by_penalty(memory, tasks):
    hit = memory.recall(
        penalty=lambda masks: distance(masks, tasks[2]),
        search=Search(dynamics=paper_schedule(steps=30)),
    )
    assert same(hit.masks, tasks[2])


def test_a_penalty_sees_named_masks_of_the_layers_shapes_between_0_and_1(memory):
    seen = []

    def penalty(masks):
        seen.append({name: tuple(mask.shape) for name, mask in masks.items()})
        assert all(bool(((m >= 0) & (m <= 1)).all()) for m in masks.values())
        return masks["h1"].mean()

    memory.recall(penalty=penalty)
    assert all(shapes == {"h1": (96,), "h2": (8, 12)} for shapes in seen)


def test_rows_of_a_batch_have_their_own_penalty(memory, tasks):
    wanted = [4, 1, 1]
    targets = {name: torch.stack([tasks[t][name] for t in wanted]) for name in SIZES}
    seen = set()

    def penalty(masks):
        seen.add(tuple(masks["h2"].shape))
        return distance(masks, targets, dims=1)

    hit = memory.recall(penalty=penalty, batch=3)
    assert hit.task.tolist() == wanted
    assert seen == {(3, 8, 12)}


def test_signature_and_penalty_work_together(memory, tasks, signatures):
    targets = {name: torch.stack([t[name] for t in tasks[:TASKS]]) for name in SIZES}
    hit = memory.recall(
        signature=signatures, penalty=lambda masks: 9 * distance(masks, targets, dims=1)
    )
    assert hit.task.tolist() == list(range(TASKS))


def test_work_is_bounded_by_the_attempts(memory, tasks):
    calls = []

    def penalty(masks):
        calls.append(1)
        return distance(masks, tasks[0])

    memory.recall(penalty=penalty, search=Search(max_basins=2))
    assert len(calls) <= 4


@pytest.mark.parametrize(
    "penalty",
    [
        lambda masks: masks["h1"],
        lambda masks: masks["h1"].detach().mean(),
        lambda masks: masks["h1"].mean() * float("nan"),
        lambda masks: 0.5,
        lambda masks: None,
    ],
    ids=["no scalar", "detached", "NaN", "a number", "nothing"],
)
def test_what_is_no_penalty_is_refused(memory, penalty):
    with pytest.raises(PenaltyError):
        memory.recall(penalty=penalty)


@pytest.mark.parametrize("thing", [3, "entropy", torch.ones(96)], ids=repr)
def test_a_penalty_that_cannot_be_called_is_refused(memory, thing):
    with pytest.raises(PenaltyError):
        memory.recall(penalty=thing)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_batched_penalty_must_answer_for_each_row(memory, batch):
    with pytest.raises(PenaltyError):
        memory.recall(penalty=lambda masks: masks["h1"].mean().reshape(1, 1), batch=batch)


@pytest.mark.parametrize("batch", [0, -1, True, 1.0, "2"], ids=repr)
def test_a_batch_without_rows_is_refused(memory, batch):
    with pytest.raises(CueError):
        memory.recall(penalty=lambda masks: masks["h1"].mean(-1), batch=batch)


def test_a_batch_goes_with_a_penalty_alone(memory):
    with pytest.raises(CueError):
        memory.recall(task=0, batch=2)


# What it refuses


@pytest.mark.parametrize(
    "by",
    [{"task": 0}, {"cue": {"h1": torch.ones(96)}}, {"penalty": lambda masks: masks["h1"].mean()}],
    ids=["task", "cue", "penalty"],
)
def test_an_empty_memory_recalls_nothing(by):
    with pytest.raises(EmptyMemoryError):
        build().recall(**by)


def test_recall_by_nothing_is_refused(memory):
    with pytest.raises(CueError):
        memory.recall()


@pytest.mark.parametrize(
    ("cue", "says"),
    [
        ({}, "no layer"),
        ({"h1": torch.zeros(96)}, "all zeros"),
        ({"h1": torch.full((96,), 0.5)}, "0.5 everywhere"),
        ({"h1": torch.full((96,), float("nan"))}, "0.5 = unknown"),
        ({"h1": torch.full((96,), 2.0)}, "0.5 = unknown"),
        ({"h1": torch.ones(95)}, "shape"),
        ({"h2": torch.ones(96)}, "shape"),
        ({"h3": torch.ones(96)}, "unknown layer .h3."),
    ],
)
def test_a_cue_that_cannot_name_a_task_is_refused(memory, cue, says):
    with pytest.raises(CueError, match=says):
        memory.recall(cue=cue)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"h1": None}, "mask 'h1' must be a dense torch.Tensor"),
        ({"h3": torch.ones(96)}, "unknown layer .h3."),
        ({"h1": torch.ones(95)}, r"shape \(95,\).*\{'h1': \(95,\)\}"),
        ({"h2": torch.ones(96)}, r"mask 'h2' has shape \(96,\)"),
        ({"h1": torch.full((96,), 0.5)}, "0.5"),
        ({"h1": torch.full((96,), float("nan"))}, "nan"),
        ({"h1": torch.full((96,), 2)}, "2"),
        ({"h1": torch.full((96,), -1)}, "-1"),
        ({"h1": torch.ones(96, dtype=torch.complex64)}, "complex"),
    ],
)
def test_what_is_no_mask_is_not_stored(memory, tasks, change, says):
    psi = memory.couplings.psi.clone()
    with pytest.raises(MaskError, match=says):
        memory.store({**tasks[6], **change})
    assert torch.equal(memory.couplings.psi, psi)
    assert memory.count == TASKS


def test_a_missing_layer_is_named(memory, tasks):
    with pytest.raises(MaskError, match="'h2'"):
        memory.store({"h1": tasks[6]["h1"]})


@pytest.mark.parametrize("thing", [None, torch.ones(96), [torch.ones(96)]])
def test_masks_without_names_are_refused(memory, thing):
    with pytest.raises(MaskError):
        memory.store(thing)


@pytest.mark.parametrize("sizes", [{}, None, {"h": 0}, {"h": 2.5}, {"h": (2, -1)}], ids=repr)
def test_sizes_that_nothing_can_be_built_from_are_refused(sizes):
    with pytest.raises(ConfigError):
        MaskMemory(sizes)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"seed": True},
        {"key_bits": 16},
        {"key_bits": 64.5},
        {"signature_features": -1},
        {"rule": "hopfield"},
        {"dtype": torch.float16},
        {"device": "nowhere"},
    ],
    ids=repr,
)
def test_options_that_nothing_can_be_built_from_are_refused(options):
    with pytest.raises(ConfigError):
        build(**options)


def test_overlap_is_the_agreement_of_the_mask_bits(memory, tasks):
    states = memory.recall(task=1, search=Search(trace=True)).trace.states
    overlap = memory.overlap(states, tasks[1])
    body = torch.cat([tasks[1]["h1"], tasks[1]["h2"].flatten()]).float() * 2 - 1
    torch.testing.assert_close(overlap, (states[..., -192:] * body).mean(-1))
    assert overlap[-1].item() == 1


@pytest.mark.parametrize(
    "states",
    [
        *(None, [1.0, -1.0], torch.tensor(1.0), torch.ones(192), torch.ones(2, 0)),
    ],
    ids=["none", "a list", "a scalar", "masks alone", "no spins"],
)
def test_overlap_of_states_that_are_not_the_memorys_is_refused(memory, tasks, states):
    with pytest.raises(CueError):
        memory.overlap(states, tasks[0])


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.complex64])
def test_overlap_of_states_that_are_not_real_is_refused(memory, tasks, dtype):
    states = torch.ones(2, memory.couplings.size).to(dtype)
    with pytest.raises(CueError):
        memory.overlap(states, tasks[0])


# Duplicates


def test_the_same_masks_are_refused_and_their_task_is_named(rule, tasks):
    memory = filled(tasks, rule=rule)
    psi, mean = memory.couplings.psi.clone(), memory.couplings.mean.clone()
    for task in range(TASKS):
        with pytest.raises(DuplicateError, match=f"as task {task}:"):
            memory.store(tasks[task])
    assert torch.equal(memory.couplings.psi, psi)
    assert torch.equal(memory.couplings.mean, mean)
    assert memory.store(tasks[TASKS]) == TASKS


def test_the_same_masks_under_another_signature_are_refused(memory, tasks, signatures):
    with pytest.raises(DuplicateError):
        memory.store(tasks[2], signature=-signatures[0])


def test_masks_that_differ_in_one_layer_alone_are_no_duplicates(memory, tasks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        assert memory.store({"h1": tasks[0]["h1"], "h2": tasks[6]["h2"]}) == TASKS


@pytest.mark.parametrize("rule", ["storkey", "projection"])
def test_masks_that_are_the_complement_of_others_are_no_duplicates(tasks, rule):
    memory = filled(tasks, rule=rule, key_bits=192)
    inverted = {name: ~mask for name, mask in tasks[1].items()}
    assert memory.store(inverted) == TASKS
    assert same(memory.recall(task=TASKS).masks, inverted)
    assert same(memory.recall(task=1).masks, tasks[1])


def test_masks_without_a_set_bit_are_stored_and_recalled_by_number(tasks):
    memory = filled(tasks)
    zeros = {name: torch.zeros_like(mask) for name, mask in tasks[0].items()}
    assert memory.store(zeros) == TASKS
    assert same(memory.recall(task=TASKS).masks, zeros)


def test_masks_without_a_set_bit_are_stored_beside_masks_of_set_bits_alone(tasks):
    memory = build()
    ones = {name: torch.ones_like(mask) for name, mask in tasks[0].items()}
    zeros = {name: torch.zeros_like(mask) for name, mask in tasks[0].items()}
    assert memory.store(ones) == 0
    assert memory.store(zeros) == 1


def test_masks_without_a_set_bit_are_duplicates_the_second_time(tasks):
    memory = build()
    zeros = {name: torch.zeros_like(mask) for name, mask in tasks[0].items()}
    memory.store(zeros)
    with pytest.raises(DuplicateError):
        memory.store(zeros)


# Overload


def test_a_memory_too_full_warns_at_the_callers_line(random_mask):
    memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=32, signature_features=0)

    def fill():
        for seed in range(40):
            memory.store({"h": random_mask(64, seed=seed)})

    with pytest.warns(OverloadWarning, match="the memory is (too )?full") as caught:
        fill()
    assert caught[0].filename == __file__


def test_a_warning_turned_into_an_error_does_not_give_one_number_to_two_tasks(random_mask):
    memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=32, signature_features=0)
    numbers = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverloadWarning)
        for seed in range(40):
            try:
                numbers.append(memory.store({"h": random_mask(64, seed=seed)}))
            except OverloadWarning:
                break
        else:
            pytest.fail("the memory never warned")
    held = memory.count
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        assert memory.store({"h": random_mask(64, seed=99)}) == held


# Forgetting


def test_a_forgotten_task_is_not_recalled_and_the_others_are(tasks):
    memory = filled(tasks, rule="hebbian")
    memory.forget(task=2)
    assert memory.count == TASKS - 1
    assert not memory.recall(task=2).verified
    for task in (0, 1, 3, 4):
        assert same(memory.recall(task=task).masks, tasks[task])


def test_a_forgotten_task_leaves_no_trace_in_the_couplings(tasks):
    memory = filled(tasks, rule="hebbian", count=4)
    before = memory.couplings.psi.clone()
    memory.store(tasks[4])
    memory.forget(task=4)
    assert torch.equal(memory.couplings.psi, before)


def test_a_forgotten_number_is_not_used_again(tasks):
    memory = filled(tasks, rule="hebbian")
    memory.forget(task=TASKS - 1)
    assert memory.store(tasks[6]) == TASKS
    assert same(memory.recall(task=TASKS).masks, tasks[6])


def test_a_forgotten_task_s_data_no_longer_point_at_it(tasks, signatures):
    memory = filled(tasks, signatures, rule="hebbian")
    memory.forget(task=2)
    assert memory.recall(signature=signatures[3]).task == 3
    assert memory.recall(signature=signatures[2]).task != 2
    assert memory.address.count == TASKS - 1


def test_forgetting_a_task_without_signature_leaves_the_address_alone(tasks, signatures):
    memory = filled(tasks, signatures, count=3, rule="hebbian")
    memory.store(tasks[3])
    link = memory.address.sums["link"].clone()
    memory.forget(task=3)
    assert memory.address.count == 3
    assert torch.equal(memory.address.sums["link"], link)


def test_a_task_that_only_the_check_bits_hold_is_forgotten_too(tasks):
    memory = filled(tasks, rule="hebbian")
    memory.couplings.psi[200] *= -0.01
    memory.couplings.psi[:, 200] *= -0.01
    assert memory.recall(task=2).unstable == 1
    memory.forget(task=2)
    assert memory.count == TASKS - 1


@pytest.mark.filterwarnings("ignore::hopmask.OverloadWarning")  # 16 bits of a key are few
def test_more_signed_tasks_than_key_bits_cannot_be_forgotten(random_mask):
    memory = MaskMemory({"h": 1024}, rule="hebbian", key_bits=32, signature_features=16)
    signatures = torch.randn(33, 40, generator=torch.Generator().manual_seed(0))
    for seed in range(33):
        memory.store({"h": random_mask(1024, seed=seed)}, signature=signatures[seed])
    psi = memory.couplings.psi.clone()
    with pytest.raises(NotForgettableError):
        memory.forget(task=3)
    assert torch.equal(memory.couplings.psi, psi)
    assert memory.count == memory.address.count == 33


def test_masks_held_only_by_the_check_bits_are_duplicates_too(memory, tasks):
    turn(memory, [200])
    with pytest.raises(DuplicateError):
        memory.store(tasks[2])


def test_a_report_after_forgetting_is_of_what_is_left(tasks):
    memory = filled(tasks, rule="hebbian")
    memory.forget(task=1)
    report = memory.report()
    assert (report.tasks, report.recalled, report.recalled_by_half) == (TASKS - 1, 1.0, 1.0)


def test_forgetting_what_was_just_stored_brings_every_bit_back(tasks, signatures):
    memory = filled(tasks, signatures, count=3, rule="hebbian")
    psi, mean = memory.couplings.psi.clone(), memory.couplings.mean.clone()
    memory.store(tasks[3], signature=signatures[3])
    memory.forget(task=3)
    assert torch.equal(memory.couplings.psi, psi)
    torch.testing.assert_close(memory.couplings.mean, mean, rtol=0, atol=1e-6)


# Replacing


def test_a_replaced_task_has_its_new_masks_under_its_number(tasks, signatures):
    memory = filled(tasks, signatures, rule="hebbian")
    memory.replace(2, tasks[7], signature=-signatures[2])
    assert memory.count == TASKS
    assert same(memory.recall(task=2).masks, tasks[7])
    assert memory.recall(cue=tasks[7]).task == 2
    assert memory.recall(signature=-signatures[2]).task == 2
    assert memory.address.count == TASKS
    for task in (0, 1, 3, 4):
        assert same(memory.recall(task=task).masks, tasks[task])
    assert memory.store(tasks[8]) == TASKS


def test_a_task_may_be_replaced_by_itself(tasks, signatures):
    memory = filled(tasks, signatures, rule="hebbian")
    psi = memory.couplings.psi.clone()
    memory.replace(2, tasks[2], signature=signatures[2])
    assert torch.equal(memory.couplings.psi, psi)


@pytest.mark.parametrize(
    ("task", "masks", "error"),
    [(9, 7, UnknownTaskError), (2, 3, DuplicateError), (2, None, MaskError)],
)
def test_what_cannot_replace_a_task_changes_nothing(tasks, task, masks, error):
    memory = filled(tasks, rule="hebbian")
    psi = memory.couplings.psi.clone()
    with pytest.raises(error):
        memory.replace(task, {} if masks is None else tasks[masks])
    assert torch.equal(memory.couplings.psi, psi)
    assert memory.count == TASKS


def test_a_replacement_that_the_rule_refuses_leaves_the_task(tasks, signatures):
    class Full(Hebbian):
        name, left = "full", TASKS

        def update(self, psi, pattern):
            self.left -= 1
            if self.left == -1:
                raise NumericalError("nothing new in the pattern")
            super().update(psi, pattern)

    memory = filled(tasks, signatures, rule=Full())
    psi, mean = memory.couplings.psi.clone(), memory.couplings.mean.clone()
    sums = {name: value.clone() for name, value in memory.address.sums.items()}
    with pytest.raises(NumericalError):
        memory.replace(1, tasks[7], signature=signatures[2])
    assert torch.equal(memory.couplings.psi, psi)
    assert torch.equal(memory.couplings.mean, mean)
    assert all(torch.equal(value, sums[name]) for name, value in memory.address.sums.items())
    assert memory.recall(1).verified


def test_masks_too_long_for_dense_couplings_are_refused_before_room_is_taken():
    with pytest.raises(ConfigError, match="couplings='hub'"):
        MaskMemory({"h": 10**12})


@pytest.mark.parametrize("couplings", ["dense", "hub"])
@pytest.mark.parametrize("features", [False, True, 0.0, -1])
def test_a_number_of_features_is_a_whole_number(couplings, features):
    with pytest.raises(ConfigError, match="signature_features"):
        MaskMemory({"h": 64}, couplings=couplings, signature_features=features)


@pytest.mark.parametrize("rule", ["storkey", "storkey-matrix", "projection"])
def test_a_rule_without_an_inverse_does_not_replace(tasks, rule):
    memory = filled(tasks, rule=rule)
    psi = memory.couplings.psi.clone()
    with pytest.raises(NotForgettableError):
        memory.replace(1, tasks[7])
    assert torch.equal(memory.couplings.psi, psi)


# Forgetting, once more


def test_forgotten_masks_may_be_stored_again_under_a_new_number(tasks):
    memory = filled(tasks, rule="hebbian")
    memory.forget(task=0)
    assert memory.store(tasks[0]) == TASKS
    assert memory.recall(cue=tasks[0]).task == TASKS


def test_a_task_is_not_forgotten_twice(tasks):
    memory = filled(tasks, rule="hebbian")
    memory.forget(task=1)
    psi = memory.couplings.psi.clone()
    with pytest.raises(UnknownTaskError):
        memory.forget(task=1)
    assert torch.equal(memory.couplings.psi, psi)


def test_a_memory_that_forgot_everything_is_empty(tasks):
    memory = filled(tasks, rule="hebbian", count=2)
    memory.forget(task=0)
    memory.forget(task=1)
    assert memory.count == 0
    assert not memory.couplings.psi.any()
    with pytest.raises(EmptyMemoryError):
        memory.recall(task=0)
    assert memory.store(tasks[0]) == 2


@pytest.mark.parametrize("task", [-1, TASKS, True, "0"])
def test_a_task_that_was_never_stored_is_not_forgotten(tasks, task):
    memory = filled(tasks, rule="hebbian")
    with pytest.raises(UnknownTaskError):
        memory.forget(task=task)
    assert memory.count == TASKS


@pytest.mark.parametrize("rule", ["storkey", "storkey-matrix", "projection"])
def test_a_rule_without_an_inverse_does_not_forget(tasks, rule):
    memory = filled(tasks, rule=rule)
    psi = memory.couplings.psi.clone()
    with pytest.raises(NotForgettableError, match=rule):
        memory.forget(task=0)
    assert torch.equal(memory.couplings.psi, psi)
    assert memory.count == TASKS


def test_an_empty_memory_forgets_nothing():
    with pytest.raises(EmptyMemoryError):
        build(rule="hebbian").forget(task=0)


def test_the_global_random_numbers_are_left_alone(tasks, signatures):
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    memory = filled(tasks, signatures)
    memory.recall(task=0)
    memory.recall(signature=signatures[1])
    memory.recall(penalty=lambda masks: masks["h1"].mean())
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_a_mixture_is_resolved_into_a_memory(random_mask):
    """A penalty that points at three memories alike ends in a memory, not between them."""
    memory = MaskMemory({"h": 512})
    masks = [random_mask(512, seed=seed) for seed in range(6)]
    for mask in masks:
        memory.store({"h": mask})
    for first, second, third in ((0, 1, 2), (2, 5, 3), (4, 3, 1)):
        between = (masks[first].float() + masks[second].float() + masks[third].float()) / 3
        hit = memory.recall(
            penalty=lambda m, target=between: (m["h"] - target).square().mean(),
            search=Search(dynamics=(SignPolish(),), max_basins=2),
        )
        assert hit.verified
        assert same(hit.masks, {"h": masks[hit.task]})


# --- known or none of mine


def test_an_answer_far_ahead_of_all_others_is_known(memory, tasks, signatures):
    hit = memory.recall(signature=signatures[2])
    assert hit.recognized is True
    assert hit.margin > 2.0


def test_data_of_no_task_is_answered_but_not_known(tasks, signatures):
    memory = filled(tasks, signatures)
    strangers = torch.randn(40, 40, generator=torch.Generator().manual_seed(99))
    hit = memory.recall(signature=strangers)
    assert hit.verified.all()
    assert int(hit.recognized.sum()) <= 2


@pytest.mark.parametrize(("samples", "fooled"), [(1, 6), (30, 0)])
def test_one_task_alone_is_told_from_strangers(tasks, samples, fooled):
    """Nothing to compare with but the data's own spread, or, of one sample, their size."""
    g = torch.Generator().manual_seed(98)
    centres = torch.randn(21, 1, 40, generator=g)
    data = centres + 0.3 * torch.randn(21, 2 * samples, 40, generator=g)
    memory = filled(tasks, data[:1, :samples], count=1)
    known = memory.recall(signature=data[:, samples:]).recognized
    assert known[0]
    assert int(known[1:].sum()) <= fooled


def test_the_margin_is_the_distance_to_the_next_lowest_value(memory, tasks):
    """Penalties that take one value on each task: margin = difference of the two lowest."""
    steps = torch.tensor([4.0, 1.0, 9.0, 3.5, 8.0])

    def penalty(masks):
        near = torch.stack([distance(masks, tasks[task]) for task in range(TASKS)])
        return (torch.softmax(-200 * near, 0) * steps).sum() + 50 * near.min()

    hit = memory.recall(penalty=penalty)
    assert hit.task == 1
    assert hit.margin == pytest.approx(2.5, abs=0.05)


@pytest.mark.parametrize("by", ["task", "cue"])
def test_recall_by_number_or_damaged_mask_has_no_margin(memory, tasks, by):
    hit = memory.recall(**({"task": 1} if by == "task" else {"cue": damaged(tasks[1])}))
    assert hit.recognized is True
    assert np.isnan(hit.margin)


def test_rows_that_are_clear_leave_and_the_others_search_on(memory, signatures):
    noise = torch.randn(signatures.shape, generator=torch.Generator().manual_seed(4))
    mixed = torch.cat([signatures, noise])
    together = memory.recall(signature=mixed, search=Search(min_margin=2.0))
    for row, vector in enumerate(mixed):
        alone = memory.recall(signature=vector, search=Search(min_margin=2.0))
        assert (alone.task, alone.steps) == (int(together.task[row]), int(together.steps[row]))
        assert alone.margin == pytest.approx(float(together.margin[row]), abs=1e-3)
    assert together.steps[:TASKS].float().mean() < together.steps[TASKS:].float().mean()


def test_the_penalty_of_a_row_goes_on_belonging_to_that_row(memory, tasks):
    """Row r asks for task r mod 5, easy rows between hard ones."""
    wanted = [0, 3, 1, 4, 2, 0]
    size = {n: torch.stack([tasks[t][n].float() for t in wanted]) for n in tasks[0]}
    scale = torch.tensor([9.0, 0.5, 9.0, 0.5, 9.0, 0.5])

    def penalty(masks):
        return scale * sum((masks[n] - size[n]).square().flatten(1).mean(-1) for n in size)

    hit = memory.recall(penalty=penalty, batch=6, search=Search(min_margin=1.5))
    assert hit.task.tolist() == wanted


@pytest.mark.parametrize("min_margin", [0, -1.0, float("nan"), "3", True])
def test_a_margin_that_is_none_is_refused(memory, signatures, min_margin):
    with pytest.raises(ConfigError):
        memory.recall(signature=signatures[0], search=Search(min_margin=min_margin))


def valued(tasks, values):
    """A penalty that takes on task t, in row r, the value values[r, t]."""

    def penalty(masks):
        near = [
            sum((masks[n] - tasks[t][n].float()).square().flatten(1).mean(1) for n in SIZES)
            for t in range(TASKS)
        ]
        shares = torch.softmax(-100 * torch.stack(near, -1), -1)
        return (shares * values).sum(-1)

    return penalty


def hard_and_easy_rows():
    """Rows 0, 2, 4 ... have one low value; in the others all lie within one nat."""
    g = torch.Generator().manual_seed(11)
    order = torch.stack([torch.randperm(TASKS, generator=g) for _ in range(10)]).float()
    values = order * 0.2
    values[::2] = torch.where(order[::2] == 0, 0.0, 12.0)
    return values, order.argmin(-1)


@pytest.mark.parametrize("trace", [False, True])
def test_rows_that_search_longer_find_their_own_lowest_value(memory, tasks, trace):
    """Easy rows leave; the hard ones between them must go on with their own penalty and state."""
    values, lowest = hard_and_easy_rows()
    hit = memory.recall(
        penalty=valued(tasks, values), batch=10, search=Search(min_margin=2.0, trace=trace)
    )
    assert hit.verified.all()
    assert hit.task[1::2].tolist() == lowest[1::2].tolist()
    for row in range(10):
        alone = memory.recall(
            penalty=valued(tasks, values[row : row + 1]), batch=1, search=Search(min_margin=2.0)
        )
        assert int(alone.task[0]) == int(hit.task[row])
        assert int(alone.steps[0]) == int(hit.steps[row])
        assert float(alone.margin[0]) == pytest.approx(float(hit.margin[row]), abs=1e-3)


def test_a_search_that_ends_early_visited_two_basins_at_least(memory, tasks):
    """One alone has nothing to be ahead of."""
    values, _ = hard_and_easy_rows()
    hit = memory.recall(
        penalty=valued(tasks, values), batch=10, search=Search(min_margin=1e-6, trace=True)
    )
    assert int(hit.trace.basin.max()) == 1


def test_basins_after_the_first_begin_at_a_key_not_tried_before(memory, tasks):
    values, _ = hard_and_easy_rows()
    hit = memory.recall(penalty=valued(tasks, values[1:2]), batch=1, search=Search(trace=True))
    begun = hit.trace.basin.diff(prepend=torch.tensor([-1])) == 1
    starts = hit.trace.states[begun, 0]
    keys = starts[1:, :64]
    assert torch.equal(keys.abs(), torch.ones_like(keys))
    assert not bool(starts[1:, 64:].any())
    assert len(torch.unique(keys, dim=0)) == len(keys) == TASKS - 1


@pytest.mark.parametrize("by", ["signature", "penalty"])
def test_one_attempt_cannot_tell_known_from_unknown(memory, tasks, signatures, by):
    asked = {"signature": signatures[1]} if by == "signature" else {}
    if by == "penalty":
        asked = {"penalty": lambda masks: 50 * distance(masks, tasks[1])}
    hit = memory.recall(**asked, search=Search(max_basins=1))
    assert hit.task == 1
    assert np.isnan(hit.margin)
    assert hit.recognized is False


def test_a_mask_like_none_that_is_stored_is_not_known(memory, tasks):
    noise = torch.randint(0, 2, (30, 96), generator=torch.Generator().manual_seed(1)).bool()
    hit = memory.recall(cue={"h1": noise})
    assert int(hit.recognized.sum()) == 0


@pytest.mark.parametrize("data", ["signature", "penalty"])
def test_a_number_is_not_given_beside_data(memory, signatures, data):
    value = signatures[0] if data == "signature" else (lambda masks: masks["h1"].mean())
    with pytest.raises(CueError):
        memory.recall(task=0, **{data: value})


# --- check bits


def turn(memory, spins):
    """Make the couplings hold some spins weakly, and the wrong way round."""
    for spin in spins:
        memory.couplings.psi[spin] *= -0.01
        memory.couplings.psi[:, spin] *= -0.01


@pytest.mark.parametrize("spins", [[200], [200, 230], list(range(200, 212))])
def test_spins_that_the_energy_has_wrong_are_mended(memory, tasks, spins):
    turn(memory, spins)
    for task in range(TASKS):
        hit = memory.recall(task=task)
        assert hit.verified
        assert same(hit.masks, tasks[task])
        assert hit.unstable == len(spins)
    assert memory.report().unstable == len(spins)


def test_more_wrong_spins_than_can_be_mended_are_told(memory):
    turn(memory, list(range(200, 201 + MENDED)))
    for task in range(TASKS):
        assert not memory.recall(task=task).verified
    assert memory.report().recalled == 0


# --- reports


def test_a_report_tells_what_the_memory_holds(memory):
    report = memory.report()
    assert (report.rule, report.tasks, report.sampled) == ("storkey", TASKS, TASKS)
    assert report.spins == 64 + 64 + 192
    assert report.load == TASKS / report.spins
    assert report.nbytes == memory.nbytes
    assert report.packed_nbytes == TASKS * 192 // 8
    assert report.recalled == report.recalled_by_half == 1.0
    assert report.unstable == 0
    assert "100% of 5" in str(report)


def test_a_report_of_an_overfull_memory_says_how_much_is_lost(random_mask):
    memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=32, signature_features=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for seed in range(26):
            memory.store({"h": random_mask(64, seed=seed)})
    report = memory.report(sample=26)
    alone = [memory.recall(task=task).verified for task in range(26)]
    assert 0 < report.recalled < 0.5
    assert abs(report.recalled - sum(alone) / 26) <= 0.1


def test_a_report_samples_tasks_over_the_whole_range(memory):
    assert memory.report(sample=2).sampled == 2
    assert memory.report(sample=100).sampled == TASKS


@pytest.mark.parametrize("sample", [0, -1, True, 2.0])
def test_a_sample_that_is_none_is_refused(memory, sample):
    with pytest.raises(ConfigError):
        memory.report(sample=sample)


def test_a_full_memory_warns_before_it_loses_a_task(random_mask):
    """The first warning comes while every task so far is still recalled."""
    memory = MaskMemory({"h": 192}, rule="storkey", key_bits=64, signature_features=0)
    masks = [random_mask(192, seed=seed) for seed in range(400)]

    def fill():
        for mask in masks:
            memory.store({"h": mask})

    with warnings.catch_warnings():
        warnings.simplefilter("error", OverloadWarning)
        with pytest.raises(OverloadWarning):
            fill()
    assert 10 < memory.count < 400
    assert all(memory.recall(task=task).verified for task in range(memory.count))


@pytest.mark.parametrize("seed", range(3))
def test_a_memory_of_masks_that_lean_alike_warns_before_it_loses_its_oldest(seed):
    """Under storkey the first task fades first where masks overlap."""
    g = torch.Generator().manual_seed(seed)
    lean = torch.rand(1024, generator=g)
    lean = torch.where(torch.rand(1024, generator=g) < 0.5, (lean < 0.3) * 0.76 + 0.12, 0.5)
    memory = MaskMemory({"h": 1024}, key_bits=128, signature_features=0)
    warned = lost = None
    for task in range(60):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", OverloadWarning)
            memory.store({"h": torch.rand(1024, generator=g) < lean})
        if caught and warned is None:
            warned = task
            assert "the memory is full" in str(caught[0].message)
            assert "before the next task" in str(caught[0].message)
        if memory.report(sample=task + 1).recalled < 1:
            lost = task
            break
    assert lost is not None
    assert warned is not None
    assert warned < lost


@pytest.mark.parametrize("bits", [32, 48, 64])
def test_a_forgotten_task_is_not_mended_into_another(bits, random_mask):
    """Short keys differ in few enough bits to be mended into one another."""
    for seed in range(8):
        memory = MaskMemory(
            {"h": 256}, rule="hebbian", key_bits=bits, signature_features=0, seed=seed
        )
        for task in range(2):
            memory.store({"h": random_mask(256, seed=10 * seed + task)})
        memory.forget(0)
        assert not memory.recall(task=0).verified
        with pytest.raises(UnknownTaskError):
            memory.forget(0)
        assert memory.recall(task=1).verified


def test_a_memory_that_forgot_a_task_still_warns(random_mask):
    memory = MaskMemory({"h": 256}, rule="hebbian", key_bits=64, signature_features=0)
    for task in range(4):
        memory.store({"h": random_mask(256, seed=task)})
    memory.forget(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OverloadWarning)
        for task in range(4, 60):
            memory.store({"h": random_mask(256, seed=task)})
    assert caught


def test_forgetting_twice_says_that_it_was_forgotten(random_mask):
    memory = MaskMemory({"h": 256}, rule="hebbian", key_bits=64, signature_features=0)
    for task in range(3):
        memory.store({"h": random_mask(256, seed=task)})
    memory.forget(1)
    with pytest.raises(UnknownTaskError):
        memory.forget(1)


# Signatures of zeros


def test_a_signature_of_zeros_is_not_stored(memory, tasks):
    with pytest.raises(CueError):
        memory.store(tasks[6], signature=torch.zeros(3, 40))
    assert memory.count == TASKS


def test_a_recall_by_zeros_alone_is_not_recognized(memory):
    hit = memory.recall(signature=torch.zeros(40))
    assert hit.recognized is False
    assert set(hit.masks) == set(SIZES)


def test_a_signature_of_zeros_changes_no_other_recall(memory, signatures):
    both = memory.recall(signature=torch.cat([signatures, torch.zeros(1, 40)]))
    alone = memory.recall(signature=signatures)
    assert torch.equal(both.task[:TASKS], alone.task)
    assert alone.recognized.all()
    assert torch.equal(both.recognized[:TASKS], alone.recognized)
    assert torch.equal(both.margin[:TASKS], alone.margin)
    assert not both.recognized[TASKS]


def test_beside_a_signature_of_zeros_the_penalty_decides_as_if_alone(memory, tasks):
    def penalty(masks):
        return 40 * distance(masks, tasks[3], 1)

    with_zeros = memory.recall(signature=torch.zeros(1, 40), penalty=penalty)
    alone = memory.recall(penalty=penalty, batch=1)
    assert with_zeros.task.tolist() == alone.task.tolist() == [3]
    assert torch.equal(with_zeros.margin, alone.margin)
    assert alone.recognized
    assert not with_zeros.recognized
