"""The explicit store: every mask comes back, scores are those of the bits, files are whole."""

import errno
import os
import resource
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import (
    ConfigError,
    EmptyMemoryError,
    MaskError,
    NumericalError,
    Reservoir,
    UnknownTaskError,
    load,
    storage,
)
from hopmask.errors import (
    CommitFailedError,
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
)
from supsup_bridge.stores.bank import MaskBank

DATA = Path(__file__).parents[2] / "data"
SIZES = {"h": 21, "conv": (3, 2, 2), "out": (4, 5)}
WIDTH = 21 + 12 + 20


def masks_of(task, sizes=SIZES):
    generator = torch.Generator().manual_seed(task)
    return {name: torch.rand(size, generator=generator) < 0.5 for name, size in sizes.items()}


def gradient_of(*lead, seed=0):
    generator = torch.Generator().manual_seed(500 + seed)
    shapes = {n: (s,) if isinstance(s, int) else s for n, s in SIZES.items()}
    return {n: torch.randn(*lead, *shape, generator=generator) for n, shape in shapes.items()}


def built(tasks=3):
    bank = MaskBank(SIZES)
    for task in range(tasks):
        bank.store(masks_of(task))
    return bank


def same(found, masks):
    return list(found) == list(masks) and all(torch.equal(found[n], masks[n]) for n in masks)


# Storing and recalling


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
        min_size=1,
        max_size=4,
    ),
    tasks=st.integers(1, 40),
)
def test_masks_of_any_layers_come_back_to_the_bit(sizes, tasks):
    bank = MaskBank(sizes)
    numbers = [bank.store(masks_of(task, sizes)) for task in range(tasks)]
    assert numbers == list(range(tasks))
    assert bank.count == tasks
    for task in numbers:
        hit = bank.recall(task=task)
        assert hit.task == task
        assert same(hit.masks, masks_of(task, sizes))


def test_shapes_are_those_given():
    assert MaskBank(SIZES).shapes == {"h": (21,), "conv": (3, 2, 2), "out": (4, 5)}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_masks_may_be_zeros_and_ones_of_any_type(dtype):
    bank = MaskBank(SIZES)
    bank.store({name: mask.to(dtype) for name, mask in masks_of(0).items()})
    assert same(bank.recall(task=0).masks, masks_of(0))


def test_two_tasks_may_share_a_mask():
    bank = MaskBank(SIZES)
    assert [bank.store(masks_of(5)) for _ in range(3)] == [0, 1, 2]
    assert same(bank.recall(task=2).masks, masks_of(5))


def test_a_signature_changes_nothing():
    bank = built()
    assert bank.store(masks_of(3), signature=torch.randn(7)) == 3
    assert bank.nbytes == built(4).nbytes


def test_what_was_given_is_neither_kept_nor_changed():
    bank, masks = MaskBank(SIZES), masks_of(0)
    bank.store(masks)
    assert same(masks, masks_of(0))
    for mask in masks.values():
        mask.logical_not_()
    assert same(bank.recall(task=0).masks, masks_of(0))


def test_what_is_recalled_is_a_copy():
    bank = built()
    for mask in bank.recall(task=1).masks.values():
        mask.logical_not_()
    assert same(bank.recall(task=1).masks, masks_of(1))


def test_an_answer_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        built().recall(task=0).task = 5


@pytest.mark.parametrize("sizes", [{}, None, {"h": 0}, {"h": "12"}, {"": 3}])
def test_sizes_that_nothing_can_be_built_from_are_refused(sizes):
    with pytest.raises(ConfigError):
        MaskBank(sizes)


@pytest.mark.parametrize(
    "change",
    [
        {"out": torch.ones(5, 4)},
        {"out": torch.full((4, 5), 0.5)},
        {"out": None},
        {"more": torch.ones(3)},
    ],
    ids=["shape", "value", "type", "name"],
)
def test_a_mask_that_does_not_fit_is_refused_and_nothing_changes(change):
    bank = built()
    with pytest.raises(MaskError):
        bank.store(masks_of(3) | change)
    assert bank.count == 3
    assert same(bank.mean, built().mean)


def test_a_missing_mask_is_named():
    with pytest.raises(MaskError, match="'out' is missing"):
        MaskBank(SIZES).store({"h": masks_of(0)["h"], "conv": masks_of(0)["conv"]})


@pytest.mark.parametrize("task", [-1, 3, True, 1.0, "0"])
def test_an_unknown_task_is_named(task):
    with pytest.raises(UnknownTaskError, match="tasks 0 to 2"):
        built().recall(task=task)


@pytest.mark.parametrize(
    "ask",
    [
        lambda bank: bank.recall(task=0),
        lambda bank: bank.mean,
        lambda bank: bank.superpose(torch.ones(0)),
    ],
    ids=["recall", "mean", "superpose"],
)
def test_an_empty_bank_says_so(ask):
    with pytest.raises(EmptyMemoryError, match="empty"):
        ask(MaskBank(SIZES))


# Mean, scores and superposition


@pytest.mark.parametrize("tasks", [1, 2, 3, 50])
def test_the_mean_is_that_of_all_masks(tasks):
    mean = built(tasks).mean
    for name in SIZES:
        stacked = torch.stack([masks_of(task)[name] for task in range(tasks)])
        assert torch.equal(mean[name], stacked.double().mean(0).float())


def test_the_mean_follows_each_store():
    bank = built(1)
    assert same(bank.mean, {name: mask.float() for name, mask in masks_of(0).items()})
    bank.store(masks_of(1))
    assert same(bank.mean, built(2).mean)


def scored(gradient, tasks):
    """Products in float64, task by task."""
    values = []
    for task in range(tasks):
        masks = masks_of(task)
        total = torch.zeros(gradient["h"].shape[:-1], dtype=torch.float64)
        for name, part in gradient.items():
            kept = part.double() * masks[name]
            total = total + kept.flatten(part.ndim - masks[name].ndim).sum(-1)
        values.append(total)
    return torch.stack(values, -1)


@pytest.mark.parametrize("lead", [(), (1,), (2,), (20,)])
@pytest.mark.parametrize("tasks", [1, 30])
def test_scores_are_products_with_every_mask(lead, tasks):
    gradient = gradient_of(*lead)
    found = built(tasks).scores(gradient)
    assert found.shape == (*lead, tasks)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), scored(gradient, tasks), atol=1e-4)


def test_scores_take_any_float():
    gradient = {name: part.double() for name, part in gradient_of().items()}
    assert torch.allclose(built().scores(gradient).double(), scored(gradient, 3), atol=1e-4)


def test_scores_do_not_depend_on_the_order_of_names():
    gradient = gradient_of()
    assert torch.equal(built().scores(gradient), built().scores(dict(reversed(gradient.items()))))


def test_an_empty_bank_has_no_scores():
    assert MaskBank(SIZES).scores(gradient_of()).shape == (0,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"out": torch.ones(5, 4)}, r"'out' must be floats \(4, 5\)"),
        ({"h": torch.ones(21, dtype=torch.int64)}, "'h'"),
        ({"h": [1.0] * 21}, "'h'"),
        ({"h": torch.ones(2, 2, 21)}, "'h'"),
        ({"h": torch.ones(2, 21)}, "one batch size"),
        ({"more": torch.ones(3)}, "'more'"),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused(change, words):
    with pytest.raises(MaskError, match=words):
        built().scores(gradient_of() | change)


def test_a_missing_gradient_is_named():
    with pytest.raises(MaskError, match="'conv' is missing"):
        built().scores({"h": torch.ones(21), "out": torch.ones(4, 5)})


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_is_named(value):
    gradient = gradient_of()
    gradient["conv"][0, 1, 1] = value
    with pytest.raises(NumericalError, match="'conv'"):
        built().scores(gradient)


@pytest.mark.parametrize("lead", [(), (1,), (7,)])
def test_a_superposition_is_the_weighted_sum(lead):
    weights = torch.rand(*lead, 6, generator=torch.Generator().manual_seed(3))
    found = built(6).superpose(weights)
    for name, levels in found.items():
        masks = torch.stack([masks_of(task)[name] for task in range(6)]).double()
        expected = torch.tensordot(weights.double(), masks, 1)
        assert levels.shape == expected.shape
        assert torch.allclose(levels.double(), expected, atol=1e-5)


def test_equal_weights_give_the_mean():
    bank = built(5)
    found = bank.superpose(torch.full((5,), 0.2))
    assert all(torch.allclose(found[name], levels) for name, levels in bank.mean.items())


@pytest.mark.parametrize(
    "weights", [torch.ones(4), torch.ones(2, 2), torch.ones(1, 1, 3), torch.tensor(1.0), [1.0] * 3]
)
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ConfigError, match="weights"):
        built().superpose(weights)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(NumericalError):
        built().superpose(torch.tensor([1.0, torch.nan, 0.0]))


# Bytes


@pytest.mark.parametrize("tasks", [0, 1, 17, 60])
def test_bytes_are_the_packed_bits_and_the_counts(tasks):
    bank = built(tasks)
    assert bank.packed_nbytes == tasks * -(-WIDTH // 8)
    assert bank.nbytes == bank.packed_nbytes + 4 * WIDTH


def test_a_large_mask_takes_one_bit_a_weight():
    bank = MaskBank({"w": (100, 333)})
    bank.store({"w": torch.ones(100, 333)})
    assert 8 * bank.packed_nbytes <= 1.02 * 33_300


def test_no_more_room_than_an_eighth_is_kept_free():
    bank = MaskBank({"w": 8})
    for task in range(300):
        bank.store({"w": torch.arange(8) <= task % 8})
        assert bank._reserve.shape[0] <= bank.count + bank.count // 8 + 16


def test_masks_are_not_moved_at_every_store():
    bank, places = MaskBank({"w": 64}), []
    for _ in range(500):
        bank.store({"w": torch.ones(64)})
        places.append(len(bank._reserve))
    assert len(set(places)) < 40


# Files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bank.h5"


@pytest.fixture
def saved(path):
    """A file with a bank of three tasks."""
    built().save(path)
    return path


def craft(path, *, layers=..., arrays=None, kind="bank"):
    """Write a whole file whose document is another; None takes an entry out."""
    document, _ = storage.read_stamped(path)
    about = dict(document.about) if layers is ... else {"layers": layers}
    merged = {**document.arrays, **(arrays or {})}
    storage.write(
        path,
        storage.Document(
            kind=kind,
            about={n: v for n, v in about.items() if v is not None},
            arrays={n: v for n, v in merged.items() if v is not None},
        ),
    )


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("tasks", [0, 1, 20])
def test_a_bank_comes_back_to_the_bit(path, tasks):
    bank = built(tasks)
    bank.save(path)
    loaded = MaskBank.load(path)
    for what in ("count", "shapes", "nbytes", "packed_nbytes"):
        assert getattr(loaded, what) == getattr(bank, what)
    assert torch.equal(loaded._counts, bank._counts)
    assert all(same(loaded.recall(task=t).masks, masks_of(t)) for t in range(tasks))


def test_a_loaded_bank_goes_on_as_the_saved_one_would(saved):
    loaded = MaskBank.load(saved)
    assert loaded.store(masks_of(3)) == 3
    assert same(loaded.mean, built(4).mean)
    assert torch.equal(loaded.scores(gradient_of()), built(4).scores(gradient_of()))


def test_a_bank_saved_twice_and_loaded_in_between_is_the_same_file(saved, tmp_path):
    again = tmp_path / "again.h5"
    MaskBank.load(saved).save(again)
    pair = (again, saved)
    assert len({file.read_bytes()[512:] for file in pair}) == 1  # but for store ids


@pytest.mark.parametrize("name", ["größe", "a.b/c", "层", 'quote"d'])
def test_any_name_of_a_layer_comes_back(path, name):
    MaskBank({name: 3, "a": 2}).save(str(path))
    assert list(MaskBank.load(str(path)).shapes) == [name, "a"]


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"nothing\.h5"):
        MaskBank.load(tmp_path / "nothing.h5")


def test_a_folder_is_no_bank(tmp_path):
    with pytest.raises(StoreFileError):
        MaskBank.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a", b"0,1\n" * 50])
def test_a_file_of_another_kind_is_no_bank(path, content):
    path.write_bytes(content)
    with pytest.raises(NotAHopmaskStoreError):
        MaskBank.load(path)


def test_somebody_elses_hdf5_file_is_no_bank(path):
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros((3, 3))
    with pytest.raises(NotAHopmaskStoreError):
        MaskBank.load(path)


@pytest.mark.parametrize("kind", ["masks", "reservoir", "", "Bank"])
def test_a_document_of_another_kind_is_no_bank(saved, kind):
    craft(saved, kind=kind)
    with pytest.raises(NotAHopmaskStoreError, match="expected was bank"):
        MaskBank.load(saved)


def test_a_memory_is_no_bank_and_a_bank_no_memory(saved, tmp_path):
    Reservoir(8).save(tmp_path / "reservoir.h5")
    with pytest.raises(NotAHopmaskStoreError):
        MaskBank.load(tmp_path / "reservoir.h5")
    with pytest.raises(NotAHopmaskStoreError):
        load(saved)


@pytest.mark.parametrize("schema", [5, 99])
def test_a_file_of_a_newer_schema_says_so(saved, schema, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(storage.document, "SCHEMA", schema)
        patch.setattr(storage.document, "OLDEST", schema)
        built().save(saved)
    with pytest.raises(SchemaTooNewError, match=f"schema {schema}"):
        MaskBank.load(saved)


# Golden files: three tasks, saved by the version of that schema


def golden(task):
    i, j = torch.arange(24), torch.arange(9)
    return {
        "hidden": (i * i * (task + 2) + 3 * task) % 7 < 3,
        "café/2": ((j * (task + 3) + task) % 5 < 2).reshape(3, 3),
    }


@pytest.fixture
def old(path):
    return Path(shutil.copy(DATA / "bank_schema3.h5", path))


def is_golden(path):
    bank, expected = MaskBank.load(path), MaskBank({"hidden": 24, "café/2": (3, 3)})
    for task in range(3):
        expected.store(golden(task))
    return (
        bank.shapes == expected.shapes
        and bank.count == 3
        and torch.equal(bank._rows, expected._rows)
        and torch.equal(bank._counts, expected._counts)
    )


def test_a_golden_file_is_the_bank_that_was_saved(old):
    assert is_golden(old)


def test_a_golden_file_is_migrated(old):
    storage.migrate(old)
    assert is_golden(old)
    assert storage.read_stamped(old)[1].schema == 4


def test_a_golden_file_with_a_bit_turned_is_refused(old):
    content = bytearray(old.read_bytes())
    rows = MaskBank.load(old)._rows.numpy().tobytes()
    content[content.index(rows) + 3] ^= 1
    old.write_bytes(content)
    with pytest.raises(CorruptStoreError, match="SHA-256"):
        MaskBank.load(old)


def test_a_bank_is_saved_as_the_golden_file_of_this_schema(path):
    bank = MaskBank({"hidden": 24, "café/2": (3, 3)})
    for task in range(3):
        bank.store(golden(task))
    bank.save(path)
    found, expected = (
        storage.read(file, kinds=("bank",)) for file in (path, DATA / "bank_schema3.h5")
    )
    assert found.about == expected.about
    assert found.arrays["masks"].tobytes() == expected.arrays["masks"].tobytes()


# What is refused of a file


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StoreFileError):
        MaskBank.load(saved)


@pytest.mark.parametrize("place", [0, 10, 20])
def test_a_bit_that_was_turned_is_noticed(saved, place):
    content = bytearray(saved.read_bytes())
    content[content.index(built()._rows.numpy().tobytes()) + place] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CorruptStoreError, match="SHA-256"):
        MaskBank.load(saved)


def test_missing_masks_are_noticed(saved):
    craft(saved, arrays={"masks": None})
    with pytest.raises(CorruptStoreError):
        MaskBank.load(saved)


def test_an_extra_array_is_noticed(saved):
    craft(saved, arrays={"more": np.zeros(3)})
    with pytest.raises(CorruptStoreError, match="more"):
        MaskBank.load(saved)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 6), np.uint8),
        np.zeros((3, 8), np.uint8),
        np.zeros(7, np.uint8),
        np.zeros((3, 7), np.int64),
        np.zeros((3, 7), np.float32),
        np.full((3, 7), 255, np.uint8),
    ],
    ids=["narrow", "wide", "flat", "int64", "float", "bits beyond the width"],
)
def test_masks_that_do_not_fit_the_description_are_noticed(saved, values):
    craft(saved, arrays={"masks": values})
    with pytest.raises(CorruptStoreError):
        MaskBank.load(saved)


@pytest.mark.parametrize(
    "layers",
    [
        None,
        [],
        [["h"]],
        [["h", 53]],
        [["h", [52]], ["h", [53]], 3],
        [["h", [-53]]],
        [["h", [99]]],
        [["h", [53.0]]],
        {"h": [53]},
    ],
    ids=str,
)
def test_layers_that_cannot_be_are_noticed(saved, layers):
    craft(saved, layers=layers)
    with pytest.raises(CorruptStoreError):
        MaskBank.load(saved)


@pytest.mark.parametrize("shape", [[2**40], [2**62], [2**40, 2**40], [2**28]])
def test_layers_that_declare_more_than_there_is_take_no_memory(saved, shape):
    craft(saved, layers=[["h", shape]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptStoreError):
        MaskBank.load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_failed_save_leaves_the_old_file_and_no_other(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(CommitFailedError, match="No space left") as caught:
            built(1).save(saved)
    assert caught.value.errno == errno.ENOSPC
    assert saved.read_bytes() == before
    assert names(saved.parent) == ["bank.h5", "bank.h5.lock"]


def test_a_save_replaces_what_stood_there_and_keeps_it_as_prev(saved):
    built(1).save(saved)
    assert MaskBank.load(saved).count == 1
    assert MaskBank.load(saved.with_name("bank.h5.prev")).count == 3
    assert names(saved.parent) == ["bank.h5", "bank.h5.lock", "bank.h5.prev"]


def test_a_folder_that_is_not_there_is_not_written_to(tmp_path):
    with pytest.raises(StoreFileError, match="cannot write"):
        built().save(tmp_path / "nowhere" / "bank.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_path_without_a_name_is_refused():
    with pytest.raises(StoreFileError, match="names no file"):
        built().save("")
