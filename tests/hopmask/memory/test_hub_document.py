"""Hub memories in files: bit for bit, rounded, and every description that cannot be."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from hopmask import MaskMemory, load
from hopmask.errors import (
    ConfigError,
    CorruptStoreError,
    HopmaskError,
    ReadOnlyMemoryError,
    StoreTooLargeError,
)
from hopmask.memory.loading import restored
from hopmask.storage import Document

ODD = [
    *(None, True, False, -1, 0, 1, 2, 3, 7, 9, 1.0, 3.0, -0.5, 2**31, 2**63, 2**64, 10**400),
    *(float("nan"), float("inf"), "", "x", "auto", "int4", [], [1], {}, {"a": 1}, "dense"),
    *([["h", [200]]], [["", [128]]], [["a", []]], [["a", [96]], ["a", [32]]], [["a", [0]]]),
    *([["a", [True]]], [["a", [2**40, 2**40]]], [["a", [2**41]]], [["a"]], [["a", 96]], ["a"]),
    *([[1, [96]]], [["a", [96.0]]], [["a", [1] * 65]]),
]


def changed(document, *, about=None, arrays=None, without=()):
    parts = {**document.about, **(about or {})}
    values = {**document.arrays, **(arrays or {})}
    for name in without:
        parts.pop(name, None)
        values.pop(name, None)
    return Document(kind=document.kind, about=parts, arrays=values)


def refused(document):
    with pytest.raises((CorruptStoreError, StoreTooLargeError)):
        restored(Path("memory.h5"), document)


# Bit for bit


@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "int16"}, {"signature_features": 0}, {"signature_groups": 3}],
)
@pytest.mark.parametrize("grown", [False, True])
def test_a_file_keeps_a_memory_bit_for_bit(
    options, grown, hub_memory, hub_task, hub_state, tmp_path
):
    memory = hub_memory(5, **options)
    memory.forget(3)
    if grown:
        memory.grow()
    stamp = memory.save(tmp_path / "memory.h5")
    again = load(tmp_path / "memory.h5", expect_sha256=stamp.sha256)
    assert isinstance(again, MaskMemory)
    assert hub_state(again) == hub_state(memory)
    assert (again.tasks, again.numbered, again.capacity) == (
        memory.tasks,
        memory.numbered,
        memory.capacity,
    )
    assert again.nbytes == memory.nbytes
    assert again.save(tmp_path / "again.h5").sha256 == stamp.sha256
    rest = {"masks": hub_task(9)["masks"], "extras": hub_task(9)["extras"]}
    for one in (memory, again):
        assert one.store(**rest) == 5
        one.replace(0, **rest)
    assert hub_state(again) == hub_state(memory)


def test_a_memory_without_extras_address_and_tasks_is_kept(tmp_path):
    memory = MaskMemory({"a": 7}, couplings="hub", hubs=2, signature_features=0, seed=2**64 - 1)
    memory.save(tmp_path / "memory.h5")
    again = load(tmp_path / "memory.h5")
    assert (again.count, again.capacity, again.seed) == (0, 2, 2**64 - 1)
    assert again.mean_extras == {}
    again.store({"a": torch.ones(7)})
    assert again.recall(0).verified


def test_memories_loaded_twice_share_nothing(hub_memory, hub_task, hub_state, tmp_path):
    hub_memory(5).save(tmp_path / "memory.h5")
    one, other = load(tmp_path / "memory.h5"), load(tmp_path / "memory.h5")
    before = hub_state(other)
    one.forget(1)
    one.replace(0, **hub_task(7))
    one.store(**hub_task(8))
    assert hub_state(other) == before
    assert hub_state(load(tmp_path / "memory.h5")) == before


def test_arrays_that_may_not_be_written_are_copied(hub_memory, hub_task, hub_state):
    memory = hub_memory(5)
    document = memory.document()
    frozen = {name: array.copy() for name, array in document.arrays.items()}
    for array in frozen.values():
        array.flags.writeable = False
    again = restored(Path("memory.h5"), changed(document, arrays=frozen))
    again.replace(0, **hub_task(7))
    assert hub_state(memory) == hub_state(hub_memory(5))


def test_a_memory_may_be_loaded_on_the_meta_device(hub_memory, tmp_path):
    memory = hub_memory(3)
    memory.save(tmp_path / "memory.h5")
    again = load(tmp_path / "memory.h5", device="meta")
    assert again.device.type == "meta"
    assert again.nbytes == memory.nbytes


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device, hub_memory, tmp_path):
    hub_memory(3).save(tmp_path / "memory.h5")
    with pytest.raises(ConfigError):
        load(tmp_path / "memory.h5", device=device)


def test_hub_couplings_take_no_rule(hub_memory, tmp_path):
    from hopmask.couplings.rules import Hebbian

    hub_memory(3).save(tmp_path / "memory.h5")
    with pytest.raises(ConfigError):
        load(tmp_path / "memory.h5", rule=Hebbian())


def test_an_extra_named_like_a_mask_is_refused(hub_memory):
    document = hub_memory(3).document()
    refused(changed(document, about={"extras": [["x", [3]], ["b", [1, 2]]]}))


# Rounded


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_rounded_memories_recall_by_many_penalties(precision, hub_memory, hub_task, tmp_path):
    memory = hub_memory(2, precision=precision)
    memory.save(tmp_path / "memory.h5", bits=3)
    again = load(tmp_path / "memory.h5")
    order = [0, 1, 1, 0, 1, 0]
    wanted = torch.stack([hub_task(number)["masks"]["a"].float() for number in order])
    for one in (memory, again):
        hit = one.recall(
            penalty=lambda masks: (masks["a"] - wanted).square().sum(-1), batch=len(order)
        )
        assert hit.task.tolist() == order


@pytest.mark.parametrize("bits", [1, 2, 3, 4, np.int64(3)])
def test_rounded_memories_recall_come_back_and_are_saved_again(
    bits, hub_memory, hub_task, hub_state, tmp_path
):
    memory = hub_memory(2)
    whole = memory.save(tmp_path / "whole.h5")
    stamp = memory.save(tmp_path / "memory.h5", bits=bits)
    again = load(tmp_path / "memory.h5")
    assert again.tasks == memory.tasks
    for number in (0, 1):
        hit, task = again.recall(number), hub_task(number)
        assert torch.equal(hit.extras["x"], task["extras"]["x"].half().float())  # exact rows
        wrong = sum(int((hit.masks[n] != mask).sum()) for n, mask in task["masks"].items())
        assert wrong <= (40 if bits == 1 else 12)
        assert hit.verified == (wrong == 0)
        cue = {name: mask.float() for name, mask in task["masks"].items()}
        assert again.recall(cue=cue).task == number
        assert again.recall(signature=task["signature"][None]).task.tolist() == [number]
    assert again.save(tmp_path / "again.h5").sha256 == stamp.sha256
    assert again.save(tmp_path / "again.h5", bits=int(bits)).sha256 == stamp.sha256
    for other in {1, 2, 3, 4} - {int(bits)}:
        with pytest.raises(ReadOnlyMemoryError):
            again.save(tmp_path / "other.h5", bits=other)
    assert not (tmp_path / "other.h5").exists()
    assert memory.save(tmp_path / "whole.h5").sha256 == whole.sha256  # what was saved is unchanged
    assert hub_state(memory) == hub_state(hub_memory(2))


def test_fewer_bits_make_smaller_files(tmp_path):
    memory = MaskMemory({"a": 4000}, couplings="hub", hubs=16, signature_features=0)
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        memory.store({"a": torch.rand(4000, generator=generator) < 0.5})
    memory.grow()
    sizes = []
    for bits in (None, 4, 3, 2, 1):
        memory.save(tmp_path / "memory.h5", bits=bits)
        sizes.append((tmp_path / "memory.h5").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] - sizes[4] == pytest.approx(4000 * 32 / 8, abs=64)
    memory.save(tmp_path / "memory.h5", bits=4)
    again = load(tmp_path / "memory.h5")
    for seed in range(8):
        wrong = int((again.recall(seed).masks["a"] != memory.recall(seed).masks["a"]).sum())
        assert wrong <= 40


def test_merged_grown_and_rounded_memories_recall(hub_memory, hub_task, tmp_path):
    one, other = hub_memory(2), hub_memory(0)
    other.store(task=6, **hub_task(6))
    one.merge(other)
    one.grow()
    one.store(**hub_task(7))
    one.save(tmp_path / "memory.h5", bits=4)
    again = load(tmp_path / "memory.h5")
    assert again.tasks == (0, 1, 6, 7)
    for number in again.tasks:
        mask = hub_task(number)["masks"]["a"]
        assert int((again.recall(number).masks["a"] != mask).sum()) <= 3
        assert again.recall(cue={"a": mask.float()}).task == number


@pytest.mark.parametrize("bits", [0, 5, 8, -1, 3.0, "3", True, [3], torch.tensor([1, 2])])
def test_numbers_of_bits_that_there_are_not_are_refused(bits, hub_memory, tmp_path):
    with pytest.raises(ConfigError):
        hub_memory(2).save(tmp_path / "memory.h5", bits=bits)
    assert list(tmp_path.iterdir()) == []


def test_bits_are_of_hub_couplings(tmp_path):
    with pytest.raises(ConfigError):
        MaskMemory({"a": 64}).save(tmp_path / "memory.h5", bits=4)


# Misfits


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bits", [None, 3])
def test_descriptions_that_cannot_be_are_refused_and_typed(bits, groups, hub_memory):
    document = hub_memory(4, signature_groups=groups).document(bits=bits)
    refused(changed(document, about={"signature_groups": 3 - groups}))
    same = {"seed"}  # any seed may be: what is recalled under another one is not verified
    for name, right in document.about.items():
        for odd in ODD:
            if odd == right and type(odd) is type(right):
                continue
            try:
                found = restored(Path("memory.h5"), changed(document, about={name: odd}))
            except (CorruptStoreError, StoreTooLargeError):
                continue
            assert name in same or odd == "dense", (name, odd)
            assert not bool(found.recall(list(found.tasks)).verified.any())
        if name != "fingerprint":
            refused(changed(document, without=[name]))


def test_couplings_that_were_rounded_by_one_step_for_all_are_refused(hub_memory):
    refused(changed(hub_memory(4).document(bits=3), about={"step": 2.0}))


@pytest.mark.parametrize("bits", [None, 3])
def test_arrays_of_other_shapes_and_types_are_refused(bits, hub_memory):
    document = hub_memory(4).document(bits=bits)
    for name, array in document.arrays.items():
        refused(changed(document, without=[name]))
        kinds = (np.float32, np.float64, np.int64, np.int32, np.int16, np.int8, np.uint8)
        others = [array.astype(kind) for kind in kinds if kind != array.dtype]
        for odd in (*others, array[:-1], array[None], array[:0], np.concatenate([array, array])):
            if odd.ndim < 3:
                refused(changed(document, arrays={name: odd}))
    refused(changed(document, arrays={"masks": np.zeros((4, 16), np.uint8)}))
    refused(changed(document, arrays={"narrow" if bits else "planes": np.zeros((2, 2), np.uint8)}))


def test_couplings_that_do_not_fit_the_tasks_are_refused(hub_memory):
    document = hub_memory(4).document()
    arrays = document.arrays
    flags, counters, wide = arrays["flags"], arrays["counters"], arrays["wide"]
    for odd in (
        {"flags": flags * 0},
        {"flags": flags * 0 + 1},
        {"flags": flags * 0 + 2},
        {"flags": flags * 4},
        {"flags": np.roll(flags, 6)},  # beyond the number of the next task
        {"counters": counters + np.array([1, 0, 0])},
        {"counters": counters * np.array([-1, 1, 1])},
        {"counters": counters * np.array([1, 0, 1])},
        {"counters": counters * np.array([1, 100, 1])},
        {"counters": counters * np.array([1, -1, 1])},
        {"counters": counters * np.array([1, 1, -1])},
        {"counters": counters * np.array([1, 1, 0])},  # signatures of no length
        {"wide": wide + 1},
        {"wide": wide * 0 + 6},
        {"wide": np.full_like(wide, -(2**31))},
        {"wide": np.full_like(wide, 2**31 - 2)},
        {"flags": flags * 0, "counters": counters * 0},  # no tasks, and couplings
    ):
        refused(changed(document, arrays=odd))


@pytest.mark.parametrize("bits", [None, 3])
def test_couplings_of_other_tasks_than_those_named_are_refused(bits, hub_memory):
    memory = hub_memory(5)
    memory.forget(3)
    document = memory.document(bits=bits)
    flags = document.arrays["flags"].copy()
    flags[[2, 3]] = flags[[3, 2]]  # as many tasks, one of them another
    refused(changed(document, arrays={"flags": flags}))
    name = "proof" if bits else "narrow"
    for row, column, value in ((-5, 3, 2), (-70, 0, 1)):  # of a digest; where a wide one stands
        narrow = document.arrays[name].copy()
        narrow[row, column] += value
        refused(changed(document, arrays={name: narrow}))
    for row, value in ((0, 2**31 - 2), (0, -6), (1, 1)):  # too large; or odd, of four tasks
        wide = document.arrays["wide"].copy()
        wide[row, 0] = value
        refused(changed(document, arrays={"wide": wide}))


def test_groups_without_features_are_refused(hub_memory):
    document = hub_memory(4, signature_features=0).document()
    for groups in (1, 2):
        refused(changed(document, about={"signature_groups": groups}))


def test_flags_of_an_address_that_is_not_there_are_refused(hub_memory):
    document = hub_memory(4, signature_features=0).document()
    flags = document.arrays["flags"]
    refused(changed(document, arrays={"flags": flags * 3}))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bits", [None, 3])
def test_any_numbers_in_form_load_or_are_refused_and_recall_with_typed_errors_alone(
    bits, groups, hub_memory
):
    document = hub_memory(4, signature_groups=groups).document(bits=bits)
    for name, array in document.arrays.items():
        info = np.iinfo(array.dtype)
        for value in (info.min, info.max, 0, 1):
            odd = changed(document, arrays={name: np.full_like(array, value)})
            try:
                memory = restored(Path("memory.h5"), odd)
            except (CorruptStoreError, StoreTooLargeError):
                continue
            for recall in (
                lambda memory=memory: memory.recall(list(memory.tasks)),
                lambda memory=memory: memory.recall(cue={"a": torch.ones(96)}),
                lambda memory=memory: memory.recall(signature=torch.ones(5)),
                lambda memory=memory: memory.recall(penalty=lambda masks: masks["a"].mean()),
                lambda memory=memory: memory.forget(0),
                lambda memory=memory: memory.grow(),
            ):
                with suppress(HopmaskError):
                    recall()
