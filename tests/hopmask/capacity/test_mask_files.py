"""Masks read from a user's file, or their statistics from a saved memory."""

import h5py
import numpy as np
import pytest
import torch

from hopmask import GivenMasks, MaskError, MaskMemory, Reservoir, storage
from hopmask.capacity.mask_files import read_masks
from hopmask.capacity.mask_sources import BiasedMasks
from hopmask.errors import CorruptStoreError, NotAHopmaskStoreError, StoreNotFoundError

FIRST = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]], bool)
SECOND = np.array([[[1, 0], [0, 1]]] * 4, np.uint8)


def written(path, **arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


def rows_of(masks):
    return sorted(masks.draw(masks.most, torch.Generator()).tolist())


@pytest.fixture(params=["masks.npz", "masks.h5"])
def path(tmp_path, request):
    return tmp_path / request.param


def test_layers_stand_side_by_side(path):
    file = read_masks(written(path, a=FIRST, b=SECOND))
    assert file.what == "4 masks of 7 bits (a 3, b 2 × 2)"
    assert file.rule is None
    masks = file.masks
    assert isinstance(masks, GivenMasks)
    expected = np.concatenate([FIRST, SECOND.reshape(4, -1)], axis=1) * 2.0 - 1
    assert rows_of(masks) == sorted(expected.tolist())


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_masks_of_any_number_type_are_read(path, dtype):
    assert rows_of(read_masks(written(path, a=FIRST.astype(dtype))).masks) == sorted(
        (FIRST * 2.0 - 1).tolist()
    )


def test_groups_are_not_passed_over(tmp_path):
    path = written(tmp_path / "masks.h5", a=FIRST)
    with h5py.File(path, "a") as file:
        file["more/b"] = SECOND
    with pytest.raises(MaskError, match="'more'"):
        read_masks(path)


def test_a_file_of_torch_is_refused_with_the_remedy(tmp_path):
    torch.save({"a": torch.from_numpy(FIRST)}, tmp_path / "masks.pt")
    with pytest.raises(MaskError):
        read_masks(tmp_path / "masks.pt")


def test_an_archive_that_is_cut_is_refused(tmp_path):
    path = written(tmp_path / "masks.npz", a=np.zeros((64, 64), bool))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(MaskError):
        read_masks(path)


def test_a_link_to_nowhere_is_refused(tmp_path):
    path = written(tmp_path / "masks.h5", a=FIRST)
    with h5py.File(path, "a") as file:
        file["b"] = h5py.SoftLink("/none")
    with pytest.raises(MaskError):
        read_masks(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds no array"),
        ({"a": FIRST[0]}, r"array 'a' is bool \(3,\)"),
        ({"a": FIRST[:0]}, r"array 'a' is bool \(0, 3\)"),
        ({"a": FIRST * 2}, "array 'a' is int64"),
        ({"a": FIRST * 0.5}, "array 'a' is float64"),
        ({"a": np.where(FIRST, np.nan, 0)}, "array 'a'"),
        ({"a": FIRST.astype(complex)}, "array 'a' is complex128"),
        ({"a": FIRST, "b": SECOND[:3]}, "different numbers of masks"),
        ({"a": FIRST[[0, 0]]}, "repeat"),
    ],
    ids=["none", "one mask", "empty", "twos", "halves", "NaN", "complex", "ragged", "twice"],
)
def test_what_is_no_set_of_masks_is_refused(path, arrays, message):
    with pytest.raises(MaskError, match=message):
        read_masks(written(path, **arrays))


def test_objects_in_an_archive_are_not_unpickled(tmp_path):
    path = tmp_path / "masks.npz"
    np.savez(path, a=np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(MaskError, match="'a'"):
        read_masks(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreNotFoundError):
        read_masks(tmp_path / "masks.npz")
    with pytest.raises(StoreNotFoundError):
        read_masks(tmp_path)


def test_another_file_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "masks.npy"
    np.save(path, FIRST)
    with pytest.raises(MaskError):
        read_masks(path)


def test_of_a_saved_memory_the_statistics_are_taken(tmp_path):
    memory = MaskMemory({"h": 200}, rule="projection", key_bits=64, signature_features=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        memory.store({"h": torch.rand(200, generator=generator) < 0.8})
    memory.save(tmp_path / "memory.h5")
    file = read_masks(tmp_path / "memory.h5")
    assert file.rule == "projection"
    assert file.what == (
        "masks like the 4 of a memory, patterns of 328 spins: 200 mask bits, 128 of keys and checks"
    )
    masks = file.masks
    assert isinstance(masks, BiasedMasks)
    assert masks.size == memory.couplings.size
    assert not masks.mean[:128].any()  # key and check bits
    drawn = masks.draw(400, generator)[:, 128:]
    assert float((drawn > 0).double().mean()) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("bits", [None, 3])
def test_of_a_hub_memory_too_and_the_text_says_what_is_measured(bits, tmp_path):
    memory = MaskMemory({"h": 100}, couplings="hub", hubs=16, signature_features=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        memory.store({"h": torch.rand(100, generator=generator) < 0.8})
    memory.save(tmp_path / "memory.h5", bits=bits)
    file = read_masks(tmp_path / "memory.h5")
    assert file.what == (
        "masks like the 4 of a memory, patterns of 180 spins: 100 mask bits, 80 of keys and "
        "checks; in dense couplings, where its hubs hold 16 exactly"
    )
    drawn = file.masks.draw(400, generator)[:, :100]
    assert float((drawn > 0).double().mean()) == pytest.approx(0.8, abs=0.05)


def test_of_a_saved_reservoir_too(tmp_path):
    reservoir = Reservoir(64)
    reservoir.store(torch.arange(64) % 2 == 0)
    reservoir.save(tmp_path / "reservoir.h5")
    file = read_masks(tmp_path / "reservoir.h5")
    assert file.masks.size == 64
    assert file.what == "masks like the 1 of a memory, patterns of 64 spins"


def test_a_damaged_memory_is_not_taken_for_masks(tmp_path):
    path = tmp_path / "memory.h5"
    Reservoir(64).save(path)
    with h5py.File(path, "r+") as file:
        file["psi"][3, 4] = 1
    with pytest.raises(CorruptStoreError):
        read_masks(path)


def test_a_document_of_another_kind_is_no_file_of_masks(tmp_path):
    counts = storage.Document(kind="counts", about={}, arrays={"a": np.zeros((2, 3))})
    storage.write(tmp_path / "counts.h5", counts)
    with pytest.raises(NotAHopmaskStoreError, match="'counts'"):
        read_masks(tmp_path / "counts.h5")
