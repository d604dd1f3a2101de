"""`load` and `save`: exact, of constant size, and never loaded when something is wrong."""

import errno
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch

import hopmask
from hopmask import ConfigError, LearningRule, MaskMemory, Reservoir, load, storage
from hopmask.couplings.rules import Hebbian
from hopmask.errors import (
    CommitFailedError,
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
    StoreTooLargeError,
    TruncatedStoreError,
)
from hopmask.storage import document as documents

SIZES = {"h1": 64, "h2": (4, 12)}


def masks_of(task):
    generator = torch.Generator().manual_seed(task)
    return {
        "h1": torch.rand(64, generator=generator) < 0.5,
        "h2": torch.rand(4, 12, generator=generator) < 0.5,
    }


def signature_of(task):
    return torch.randn(20, generator=torch.Generator().manual_seed(100 + task))


def built(tasks=3, **options):
    memory = MaskMemory(SIZES, **{"key_bits": 48, "signature_features": 64, "seed": 7} | options)
    for task in range(tasks):
        memory.store(masks_of(task), signature=signature_of(task))
    return memory


def same(found, masks):
    return set(found) == set(masks) and all(torch.equal(found[n], masks[n]) for n in masks)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.h5"


@pytest.fixture
def saved(path):
    """A file with a memory of three tasks."""
    built().save(path)
    return path


def craft(path, *, about=None, arrays=None, **changes):
    """Write a whole file whose document is another; None takes an entry out."""

    def merged(old, new):
        return {n: v for n, v in {**old, **(new or {})}.items() if v is not None}

    document, _ = storage.read_stamped(path)
    changes |= {"about": merged(document.about, about), "arrays": merged(document.arrays, arrays)}
    storage.write(path, replace(document, **changes))


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


# There and back


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mask_memory_comes_back_to_the_bit(rule, dtype, path):
    memory = built(rule=rule, dtype=dtype)
    memory.save(path)
    loaded = load(path)
    assert isinstance(loaded, MaskMemory)
    assert torch.equal(loaded.couplings.psi, memory.couplings.psi)
    assert torch.equal(loaded.couplings.mean, memory.couplings.mean)
    assert loaded.couplings.dtype == dtype
    assert loaded.couplings.rule.name == rule
    for what in ("count", "nbytes", "shapes", "seed", "key_bits", "signature_features"):
        assert getattr(loaded, what) == getattr(memory, what)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_reservoir_comes_back_to_the_bit(rule, dtype, path, random_spins):
    reservoir = Reservoir(64, rule=rule, dtype=dtype)
    reservoir.store(random_spins(4, 64))
    reservoir.save(path)
    loaded = load(path)
    assert isinstance(loaded, Reservoir)
    assert torch.equal(loaded.psi, reservoir.psi)
    assert torch.equal(loaded.mean, reservoir.mean)
    assert (loaded.count, loaded.size, loaded.dtype) == (4, 64, dtype)
    assert loaded.rule.name == rule


def test_a_loaded_memory_recalls_like_the_saved_one(rule, path):
    memory = built(rule=rule)
    memory.save(path)
    loaded = load(path)
    for by in ({"task": 1}, {"cue": {"h1": masks_of(2)["h1"]}}, {"signature": signature_of(0)}):
        before, after = memory.recall(**by), loaded.recall(**by)
        assert same(before.masks, after.masks)
        for what in ("task", "residual", "energy", "steps", "verified"):
            assert getattr(before, what) == getattr(after, what)


def test_a_loaded_memory_goes_on_as_the_saved_one_would(rule, path):
    memory = built(rule=rule)
    memory.save(path)
    loaded = load(path)
    assert loaded.store(masks_of(8)) == memory.store(masks_of(8)) == 3
    assert torch.equal(loaded.couplings.psi, memory.couplings.psi)


def test_a_loaded_reservoir_goes_on_as_the_saved_one_would(rule, path, random_spins):
    patterns = random_spins(5, 64)
    reservoir = Reservoir(64, rule=rule)
    reservoir.store(patterns[:4])
    reservoir.save(path)
    loaded = load(path)
    for memory in (reservoir, loaded):
        memory.store(patterns[4])
    assert torch.equal(loaded.psi, reservoir.psi)
    assert torch.equal(loaded.recall(patterns).spins, reservoir.recall(patterns).spins)


@pytest.mark.parametrize("kind", ["masks", "reservoir"])
def test_an_empty_memory_comes_back_empty(path, kind):
    (built(tasks=0) if kind == "masks" else Reservoir(16)).save(path)
    assert load(path).count == 0


def test_numbers_of_forgotten_tasks_are_not_used_again_after_loading(path):
    memory = built(rule="hebbian")
    memory.forget(task=2)
    memory.save(path)
    loaded = load(path)
    assert loaded.count == 2
    assert loaded.store(masks_of(5)) == 3


def test_saving_changes_nothing(path):
    memory = built()
    psi = memory.couplings.psi.clone()
    memory.save(path)
    assert torch.equal(memory.couplings.psi, psi)
    assert memory.count == 3


def test_a_memory_saved_twice_and_loaded_in_between_is_the_same_file(saved, tmp_path):
    again = tmp_path / "again.h5"
    load(saved).save(again)
    pair = (again, saved)
    assert len({file.read_bytes()[512:] for file in pair}) == 1  # but for store ids


@pytest.mark.parametrize("name", ["größe", "a.b/c", "层", 'quote"d'])
def test_any_name_of_a_layer_comes_back(path, name):
    MaskMemory({name: 32}, key_bits=32, signature_features=0).save(path)
    assert load(path).shapes == {name: (32,)}


def test_the_order_of_layers_comes_back(path):
    MaskMemory({"z": 8, "a": 16, "m": 4}, key_bits=32, signature_features=0).save(path)
    assert list(load(path).shapes) == ["z", "a", "m"]


@pytest.mark.parametrize("kind", [str, lambda p: p], ids=["text", "Path"])
def test_a_path_may_be_text_or_a_path(path, kind):
    built().save(kind(path))
    assert load(kind(path)).count == 3


def test_a_fresh_process_recalls_every_mask(saved, tmp_path):
    program = (
        "import sys, torch, hopmask\n"
        "memory = hopmask.load(sys.argv[1])\n"
        "torch.save([memory.recall(task=t).masks for t in range(memory.count)], sys.argv[2])\n"
    )
    answer = tmp_path / "answer.pt"
    done = subprocess.run(
        [sys.executable, "-c", program, str(saved), str(answer)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = torch.load(answer, weights_only=True)
    assert len(found) == 3
    assert all(same(masks, masks_of(task)) for task, masks in enumerate(found))


@pytest.mark.parametrize("signed", [False, True], ids=["no signature", "signature"])
def test_the_file_has_one_size_whatever_is_stored(tmp_path, signed):
    sizes = []
    for tasks in (0, 1, 5):
        memory = built(tasks=0)
        for task in range(tasks):
            memory.store(masks_of(task), signature=signature_of(task) if signed else None)
        path = tmp_path / f"{tasks}.h5"
        memory.save(path)
        sizes.append(path.stat().st_size)
    assert len(set(sizes)) == 1


def test_the_file_holds_the_couplings_and_little_more(saved):
    memory = load(saved)
    assert memory.nbytes < saved.stat().st_size < memory.nbytes + 8192


def test_no_mask_stands_in_the_file(saved):
    """Neither as bytes nor packed eight to a byte."""
    content = saved.read_bytes()
    for task in range(3):
        bits = masks_of(task)["h1"].numpy()
        for order in ("big", "little"):
            assert np.packbits(bits, bitorder=order).tobytes() not in content
        assert bits.tobytes() not in content


# Rules of one's own


class Half(LearningRule):
    name: ClassVar[str] = "half"

    def update(self, psi, pattern):
        psi.addr_(pattern, pattern, alpha=0.5 / pattern.numel()).fill_diagonal_(0)


@pytest.mark.parametrize("kind", ["masks", "reservoir"])
def test_a_users_rule_is_given_to_load(path, random_spins, kind):
    if kind == "masks":
        memory = built(rule=Half())
    else:
        memory = Reservoir(64, rule=Half())
        memory.store(random_spins(3, 64))
    memory.save(path)
    mine = Half()
    loaded = load(path, rule=mine)
    assert (loaded.couplings if kind == "masks" else loaded).rule is mine
    assert loaded.count == 3


def test_a_users_rule_that_is_not_given_is_unknown(path):
    built(rule=Half()).save(path)
    with pytest.raises(ConfigError, match="'half'"):
        load(path)


def test_a_rule_of_another_name_is_refused(saved):
    with pytest.raises(ConfigError, match="'storkey'"):
        load(saved, rule=Hebbian())


# Other arguments


@pytest.fixture(params=["masks", "reservoir"])
def either(request, path, random_spins):
    """A file of either kind, two patterns in it."""
    if request.param == "masks":
        memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=48, signature_features=16)
        for number, spins in enumerate(random_spins(2, 64)):
            memory.store({"h": spins > 0}, signature=torch.ones(3) + number)
    else:
        memory = Reservoir(64, rule="hebbian")
        memory.store(random_spins(2, 64))
    memory.save(path)
    return path


def reservoir_of(loaded):
    return loaded.couplings if isinstance(loaded, MaskMemory) else loaded


def test_what_was_saved_comes_back_as_what_it_was(either, request):
    kind = {"masks": MaskMemory, "reservoir": Reservoir}[request.node.callspec.params["either"]]
    assert type(load(either)) is kind


def test_a_memory_lives_where_it_is_told_to(either):
    """A device without storage stands for any other than the default."""
    loaded = load(either, device="meta")
    state = [reservoir_of(loaded).psi, reservoir_of(loaded).mean]
    if isinstance(loaded, MaskMemory):
        state += loaded.address.sums.values()
    assert {tensor.device.type for tensor in state} == {"meta"}
    assert reservoir_of(loaded).count == 2


def test_a_device_that_is_not_there_is_refused(either):
    with pytest.raises(ConfigError):
        load(either, device="cuda:99")


@pytest.mark.parametrize("device", ["nowhere", torch.float64, 3.5], ids=repr)
def test_what_is_no_device_is_refused(either, device):
    """A dtype above all, which torch's own `to` would take without a word."""
    with pytest.raises(ConfigError):
        load(either, device=device)


@pytest.mark.parametrize("rule", ["hebbian", Hebbian, 3, ["hebbian"]], ids=repr)
def test_a_rule_that_is_no_object_is_refused(either, rule):
    with pytest.raises(ConfigError):
        load(either, rule=rule)


def test_the_rule_is_one_by_the_files_name_or_the_object_given(either):
    mine = Hebbian()
    assert reservoir_of(load(either, rule=mine)).rule is mine
    assert isinstance(reservoir_of(load(either)).rule, Hebbian)


def test_a_file_can_be_loaded_twice_into_memories_of_their_own(either):
    first, second = reservoir_of(load(either)), reservoir_of(load(either))
    first.psi.zero_()
    assert second.psi.any()
    assert reservoir_of(load(either)).psi.any()


def test_the_file_that_is_expected_is_loaded(saved):
    _, stamp = storage.read_stamped(saved)
    assert load(saved, expect_sha256=stamp.sha256).count == 3
    assert load(saved, expect_sha256=stamp.sha256.upper()).count == 3


@pytest.mark.parametrize("expected", ["0" * 64, "", "abc"])
def test_a_whole_file_that_is_not_the_one_expected_is_refused(saved, expected):
    with pytest.raises(CorruptStoreError):
        load(saved, expect_sha256=expected)


def test_a_file_that_is_not_expected_is_not_parsed(saved, monkeypatch):
    monkeypatch.setattr(documents.image, "parse", lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(CorruptStoreError):
        load(saved, expect_sha256="0" * 64)


# What is refused


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(StoreNotFoundError) as caught:
        load(tmp_path / "nothing.h5")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_folder_is_no_memory(tmp_path):
    with pytest.raises(StoreFileError):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a", b"hidden1,0,1\n" * 50, b"PK\x03\x04" + bytes(99)])
def test_a_file_of_another_kind_is_no_memory(path, content):
    path.write_bytes(content)
    with pytest.raises(NotAHopmaskStoreError):
        load(path)


def test_somebody_elses_hdf5_file_is_no_memory(path):
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros((3, 3))
    with pytest.raises(NotAHopmaskStoreError):
        load(path)


@pytest.mark.parametrize("kind", ["weights", "bank", "", "Masks"])
def test_a_document_of_another_kind_is_no_memory(saved, kind):
    craft(saved, kind=kind)
    with pytest.raises(NotAHopmaskStoreError):
        load(saved)


@pytest.mark.parametrize("schema", [5, 99])
def test_a_file_of_a_newer_schema_says_so(saved, schema, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(documents, "SCHEMA", schema)
        patch.setattr(documents, "OLDEST", schema)
        built().save(saved)
    with pytest.raises(SchemaTooNewError, match=f"schema {schema}"):
        load(saved)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9999])
def test_a_truncated_file_is_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(TruncatedStoreError):
        load(saved)


def test_a_file_without_its_last_byte_is_corrupt(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(CorruptStoreError):
        load(saved)


@pytest.mark.parametrize("array", ["psi", "mean", "counters", "within", "link", "keys", "scalars"])
def test_a_missing_array_is_noticed(saved, array):
    craft(saved, arrays={array: None})
    with pytest.raises(CorruptStoreError):
        load(saved)


def test_an_extra_array_is_noticed(saved):
    craft(saved, arrays={"masks": np.zeros(8)})
    with pytest.raises(CorruptStoreError):
        load(saved)


def test_a_reservoir_with_sums_is_refused(saved):
    craft(saved, kind="reservoir")
    with pytest.raises(CorruptStoreError):
        load(saved)


@pytest.mark.parametrize(
    ("array", "values"),
    [
        ("psi", np.zeros((5, 5), np.float32)),
        ("psi", np.zeros((224, 223), np.float32)),
        ("psi", np.zeros((224, 224), np.float64)),
        ("mean", np.zeros(223, np.float32)),
        ("mean", np.zeros(224, np.float64)),
        ("counters", np.array([3], np.int64)),
        ("counters", np.array([[3, 3, 20]], np.int64)),
        ("counters", np.array([-1, 3, 20], np.int64)),
        ("counters", np.array([3, -1, 20], np.int64)),
        ("counters", np.array([3, 2, 20], np.int64)),
        ("counters", np.array([3, 3, -1], np.int64)),
        ("counters", np.array([3.0, 3, 20])),
        ("within", np.zeros((64, 63), np.float32)),
        ("within", np.zeros((64, 64), np.float64)),
        ("link", np.zeros((49, 64), np.float32)),
        ("keys", np.zeros((48, 48), np.float32)),
        ("scalars", np.zeros(3)),
        ("scalars", np.zeros((1, 4))),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.dtype}{value.shape}",
)
def test_an_array_of_wrong_shape_type_or_value_is_noticed(saved, array, values):
    craft(saved, arrays={array: values})
    with pytest.raises(CorruptStoreError):
        load(saved)


@pytest.mark.parametrize(
    ("array", "value"),
    [
        ("psi", -np.inf),
        *((name, np.nan) for name in ("psi", "mean", "within", "link", "keys", "scalars")),
    ],
)
def test_a_value_that_is_not_finite_is_noticed(saved, array, value):
    values = storage.read_stamped(saved)[0].arrays[array].copy()
    values[(3,) * values.ndim] = value
    craft(saved, arrays={array: values})
    with pytest.raises(CorruptStoreError):
        load(saved)


def test_infinities_of_both_signs_do_not_cancel(saved):
    psi = storage.read_stamped(saved)[0].arrays["psi"].copy()
    psi[2, 3], psi[3, 2] = np.inf, -np.inf
    craft(saved, arrays={"psi": psi})
    with pytest.raises(CorruptStoreError):
        load(saved)


@pytest.mark.parametrize("kind", ["masks", "reservoir"])
def test_a_memory_of_no_size_is_noticed(saved, kind):
    craft(saved, kind=kind, arrays={"psi": np.zeros((0, 0), np.float32), "mean": np.zeros(0, "f4")})
    with pytest.raises(CorruptStoreError):
        load(saved)


def test_an_unknown_rule_is_named(saved):
    craft(saved, about={"rule": "hopfield"})
    with pytest.raises(ConfigError):
        load(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": None},
        {"dtype": "float16"},
        {"dtype": "float64"},
        {"dtype": ["float32"]},
        {"layers": None},
        {"layers": []},
        {"layers": [["h1", [64]]]},
        {"layers": [["h1", 112]]},
        {"layers": [["h1", [64]], ["h1", [4, 12]]]},
        {"layers": [["h1", [64], 3], ["h2", [4, 12]]]},
        {"layers": [["h1", [64.0]], ["h2", [4, 12]]]},
        {"layers": {"h1": [64], "h2": [4, 12]}},
        {"layers": [["h1", [-64]], ["h2", [4, 12]]]},
        {"layers": [[["h1"], [112]]]},
        {"seed": -1},
        {"seed": True},
        {"key_bits": 49},
        {"key_bits": "48"},
        {"signature_features": -64},
        {"signature_features": 63},
        {"signature_features": True},
        {"signature_features": None},
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_noticed(saved, changes):
    craft(saved, about=changes)
    with pytest.raises(CorruptStoreError):
        load(saved)


def test_more_spins_than_a_file_may_hold_are_refused(saved):
    """Told by μ alone, before anything as large as the Ψ of so many is made."""
    craft(saved, arrays={"mean": np.zeros(16_385, np.float32)})
    with pytest.raises(StoreTooLargeError):
        load(saved)


def test_more_layers_than_a_file_may_hold_are_refused(saved):
    craft(saved, about={"layers": [[f"{i}", [1]] for i in range(4097)]})
    with pytest.raises(StoreTooLargeError):
        load(saved)


@pytest.mark.parametrize("features", [16_385, 10**9, 2**100])
def test_more_features_than_a_file_may_hold_are_refused(saved, features):
    craft(saved, about={"signature_features": features})
    with pytest.raises(StoreTooLargeError, match=f"{features} features"):
        load(saved)


@pytest.mark.parametrize(
    "about",
    [
        {"layers": [["h1", [2**22]]]},
        {"layers": [["h1", [2**40, 2**40]]]},
        {"layers": [[f"{i}", [2**10]] for i in range(4096)]},
        {"key_bits": 2**40},
        {"key_bits": 2**70},
    ],
    ids=lambda about: str(about)[:24],
)
def test_sizes_that_declare_more_than_there_is_take_no_memory(saved, about):
    craft(saved, about=about)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStoreError):
            load(saved)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6


# Saving


def test_a_save_leaves_the_memory_and_its_lock(saved):
    assert names(saved.parent) == ["memory.h5", "memory.h5.lock"]


def test_a_save_replaces_what_stood_there_and_keeps_it_as_prev(saved):
    before = saved.read_bytes()
    built(tasks=1).save(saved)
    assert load(saved).count == 1
    assert names(saved.parent) == ["memory.h5", "memory.h5.lock", "memory.h5.prev"]
    assert saved.with_name("memory.h5.prev").read_bytes() == before


def test_what_stood_there_is_a_memory_still(saved):
    built(tasks=1).save(saved)
    assert load(saved.with_name("memory.h5.prev")).count == 3


def test_a_failed_save_leaves_the_old_file_and_no_other(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(CommitFailedError) as caught:
            built(tasks=1).save(saved)
    assert caught.value.errno == errno.ENOSPC
    assert saved.read_bytes() == before
    assert names(saved.parent) == ["memory.h5", "memory.h5.lock"]


@pytest.mark.parametrize("kind", ["masks", "reservoir"])
def test_a_folder_that_is_not_there_is_not_written_to(tmp_path, kind):
    memory = built(tasks=0) if kind == "masks" else Reservoir(8)
    with pytest.raises(StoreFileError):
        memory.save(tmp_path / "nowhere" / "memory.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_not_written_to(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreFileError):
        built(tasks=0).save(tmp_path / "file" / "memory.h5")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_is_not_overwritten(tmp_path):
    (tmp_path / "memory.h5").mkdir()
    with pytest.raises(StoreFileError):
        built(tasks=0).save(tmp_path / "memory.h5")
    assert [found.name for found in tmp_path.iterdir()] == ["memory.h5"]


@pytest.mark.parametrize("nothing", ["", ".", "/"])
def test_a_path_that_names_no_file_is_not_written_to(tmp_path, monkeypatch, nothing):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreFileError):
        built(tasks=0).save(nothing)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_no_file_can_have_is_neither_written_nor_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    memory = built(tasks=0)
    for name in ("a\0b", "a" * 300):
        with pytest.raises(StoreFileError):
            memory.save(name)
        with pytest.raises(StoreFileError):
            load(name)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_file_layer_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="cannot write"):
        built(tasks=0).save(tmp_path / "nowhere" / "memory.h5")


def test_load_is_public():
    assert hopmask.load is load
