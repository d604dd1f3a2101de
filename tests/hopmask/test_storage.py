"""Memories on disk: exact, of constant size, and never loaded when something is wrong."""

import json
import subprocess
import sys
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch

import hopmask
from hopmask import (
    ConfigError,
    CorruptStoreError,
    Hebbian,
    HopmaskError,
    LearningRule,
    MaskMemory,
    NotAHopmaskStoreError,
    Reservoir,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
    load,
    storage,
)

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


def edit(path, change):
    """Change a file and seal it anew, so that what is noticed is the change itself."""
    with h5py.File(path, "r+") as file:
        change(file)
        if {"meta", "psi", "mean", "counters", "sha256"} <= set(file):
            file["sha256"][...] = storage._digest(file)


def replace(path, name, values):
    def change(file):
        del file[name]
        file[name] = values

    edit(path, change)


def rewrite_meta(path, **changes):
    """Change the description; None takes an entry out."""

    def change(file):
        meta = json.loads(bytes(file["meta"][()])) | changes
        text = json.dumps({k: v for k, v in meta.items() if v is not None}, sort_keys=True)
        del file["meta"]
        file["meta"] = np.frombuffer(text.encode(), np.uint8)

    edit(path, change)


# There and back


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mask_memory_comes_back_to_the_bit(rule, dtype, path):
    memory = built(rule=rule, dtype=dtype)
    memory.save(path)
    loaded = load(path)
    assert isinstance(loaded, MaskMemory)
    assert torch.equal(loaded.reservoir.psi, memory.reservoir.psi)
    assert torch.equal(loaded.reservoir.mean, memory.reservoir.mean)
    assert loaded.reservoir.dtype == dtype
    assert loaded.reservoir.rule.name == rule
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
        for what in ("task", "residual", "energy", "steps", "converged"):
            assert getattr(before, what) == getattr(after, what)


def test_a_loaded_memory_goes_on_as_the_saved_one_would(rule, path):
    memory = built(rule=rule)
    memory.save(path)
    loaded = load(path)
    assert loaded.store(masks_of(8)) == memory.store(masks_of(8)) == 3
    assert torch.equal(loaded.reservoir.psi, memory.reservoir.psi)


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
    psi = memory.reservoir.psi.clone()
    memory.save(path)
    assert torch.equal(memory.reservoir.psi, psi)
    assert memory.count == 3


def test_a_memory_saved_twice_and_loaded_in_between_is_the_same_file(saved, tmp_path):
    again = tmp_path / "again.h5"
    load(saved).save(again)
    assert again.read_bytes() == saved.read_bytes()


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
    assert (loaded.reservoir if kind == "masks" else loaded).rule is mine
    assert loaded.count == 3


def test_a_users_rule_that_is_not_given_is_unknown(path):
    built(rule=Half()).save(path)
    with pytest.raises(ConfigError, match="'half'"):
        load(path)


def test_a_rule_of_another_name_is_refused(saved):
    with pytest.raises(ConfigError, match="'storkey', not by 'hebbian'"):
        load(saved, rule=Hebbian())


# What is refused


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"nothing\.h5") as caught:
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


@pytest.mark.parametrize(
    "meta",
    [
        np.zeros(0, np.uint8),
        np.frombuffer(b"{}", np.uint8),
        np.frombuffer(b"[1]", np.uint8),
        np.frombuffer(b"7", np.uint8),
        np.frombuffer(b"\xff\xfe", np.uint8),
        np.frombuffer(b'{"format":"other"}', np.uint8),
        np.zeros((2, 2)),
        "text",
    ],
    ids=["empty", "no format", "list", "number", "no text", "other", "matrix", "string"],
)
def test_an_hdf5_file_with_another_description_is_no_memory(saved, meta):
    replace(saved, "meta", meta)
    with pytest.raises(NotAHopmaskStoreError):
        load(saved)


@pytest.mark.parametrize("version", [3, 99])
def test_a_file_of_a_newer_version_says_so(saved, version):
    rewrite_meta(saved, version=version)
    with pytest.raises(SchemaTooNewError, match=str(version)):
        load(saved)


def test_a_file_from_before_the_first_release_says_so(saved):
    rewrite_meta(saved, version=1)
    with pytest.raises(CorruptStoreError, match="before the first release"):
        load(saved)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.3, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StoreFileError):
        load(saved)


def test_a_file_without_its_last_byte_is_corrupt(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(CorruptStoreError):
        load(saved)


def flip(path, position):
    with h5py.File(path, "r+") as file:
        file["meta"][position] ^= 1


def test_a_bit_flipped_anywhere_in_the_description_is_noticed(saved):
    """Most of all in the seed, without which every key would be another."""
    with h5py.File(saved, "r") as file:
        length = file["meta"].size
    silent = []
    for position in range(length):
        flip(saved, position)
        try:
            load(saved)
        except HopmaskError:
            pass
        else:
            silent.append(position)
        flip(saved, position)
    with h5py.File(saved, "r") as file:
        text = bytes(file["meta"][()]).decode()
    assert [text[max(0, n - 12) : n + 3] for n in silent] == []


@pytest.mark.parametrize("dataset", ["psi", "mean", "counters"])
def test_a_missing_dataset_is_noticed(saved, dataset):
    def remove(file):
        del file[dataset]

    edit(saved, remove)
    with pytest.raises(CorruptStoreError):
        load(saved)


def test_a_file_without_a_description_is_no_memory(saved):
    def remove(file):
        del file["meta"]

    edit(saved, remove)
    with pytest.raises(NotAHopmaskStoreError):
        load(saved)


def test_an_extra_dataset_is_noticed(saved):
    def add(file):
        file["masks"] = np.zeros(8)

    edit(saved, add)
    with pytest.raises(CorruptStoreError, match="masks"):
        load(saved)


@pytest.mark.parametrize(
    ("dataset", "values"),
    [
        ("psi", np.zeros((5, 5), np.float32)),
        ("psi", np.zeros(224 * 224, np.float32)),
        ("psi", np.zeros((224, 223), np.float32)),
        ("psi", np.zeros((224, 224), np.float64)),
        ("psi", np.zeros((224, 224), np.int32)),
        ("psi", "text"),
        ("mean", np.zeros(223, np.float32)),
        ("mean", np.zeros((1, 224), np.float32)),
        ("mean", np.zeros(224, np.float64)),
        ("mean", np.float32(0)),
        ("counters", np.array([3], np.int64)),
        ("counters", np.int64(3)),
        ("counters", np.array([-1, 3, 20], np.int64)),
        ("counters", np.array([3, 2, 20], np.int64)),
        ("counters", np.array([np.nan, 3, 20])),
    ],
    ids=lambda value: value if isinstance(value, str) else str(np.shape(value)),
)
def test_a_dataset_of_wrong_shape_type_or_value_is_noticed(saved, dataset, values):
    replace(saved, dataset, values)
    with pytest.raises(CorruptStoreError):
        load(saved)


@pytest.mark.parametrize("dataset", ["psi", "mean"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_noticed(saved, dataset, value):
    def spoil(file):
        file[dataset][(3,) * file[dataset].ndim] = value

    edit(saved, spoil)
    with pytest.raises(CorruptStoreError):
        load(saved)


def test_infinities_of_both_signs_do_not_cancel(saved):
    def spoil(file):
        file["psi"][2, 3], file["psi"][3, 2] = np.inf, -np.inf

    edit(saved, spoil)
    with pytest.raises(CorruptStoreError):
        load(saved)


@pytest.mark.parametrize("kind", ["masks", "reservoir"])
def test_a_memory_of_no_size_is_noticed(saved, kind):
    rewrite_meta(saved, kind=kind)
    replace(saved, "psi", np.zeros((0, 0), np.float32))
    replace(saved, "mean", np.zeros(0, np.float32))
    with pytest.raises(CorruptStoreError):
        load(saved)


def test_an_unknown_rule_is_named(saved):
    rewrite_meta(saved, rule="hopfield")
    with pytest.raises(ConfigError, match="hopfield"):
        load(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": None},
        {"rule": 3},
        {"dtype": "float16"},
        {"dtype": "float64"},
        {"dtype": None},
        {"dtype": ["float32"]},
        {"kind": None},
        {"kind": "weights"},
        {"layers": None},
        {"layers": 5},
        {"layers": []},
        {"layers": [["h1", [64]]]},
        {"layers": [["h1", 112]]},
        {"layers": [["h1", [-64]], ["h2", [4, 12]]]},
        {"layers": [[["h1"], [112]]]},
        {"seed": None},
        {"seed": -1},
        {"seed": "7"},
        {"key_bits": None},
        {"key_bits": 49},
        {"key_bits": "48"},
        {"key_bits": 48.0},
        {"signature_features": -64},
        {"signature_features": 10**9},
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_noticed(saved, changes):
    rewrite_meta(saved, **changes)
    with pytest.raises(CorruptStoreError):
        load(saved)


@pytest.mark.parametrize("version", [None, "1", 0, -1, True, 1.5])
def test_a_version_that_never_was_is_refused(saved, version):
    rewrite_meta(saved, version=version)
    with pytest.raises(StoreFileError):
        load(saved)


# Saving that fails


def test_a_failed_save_leaves_the_old_file_and_no_other(saved, monkeypatch):
    before = saved.read_bytes()

    class Full(h5py.File):
        def __setitem__(self, name, values):
            if name == "mean":
                raise OSError(28, "No space left on device")
            super().__setitem__(name, values)

    monkeypatch.setattr(h5py, "File", Full)
    with pytest.raises(StoreFileError, match="No space left"):
        built(tasks=1).save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
    assert load(saved).count == 3


def test_a_save_leaves_no_file_but_the_memory(saved):
    assert list(saved.parent.iterdir()) == [saved]


def test_a_save_replaces_what_stood_there(saved):
    built(tasks=1).save(saved)
    assert load(saved).count == 1


@pytest.mark.parametrize("kind", ["masks", "reservoir"])
def test_a_folder_that_is_not_there_is_not_written_to(tmp_path, kind):
    memory = built(tasks=0) if kind == "masks" else Reservoir(8)
    with pytest.raises(StoreFileError, match="cannot write"):
        memory.save(tmp_path / "nowhere" / "memory.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_not_written_to(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreFileError, match="cannot write"):
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
    with pytest.raises(StoreFileError, match="names no file"):
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
