"""Golden files: what former versions wrote is read to the bit, and so is what this one writes."""

import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hopmask import MaskMemory, Reservoir, load
from hopmask.errors import (
    CorruptStoreError,
    NotAHopmaskStoreError,
    SchemaTooNewError,
    StoreFileError,
)
from hopmask.storage import legacy, migrate, read_stamped

DATA = Path(__file__).parents[2] / "data"
ORDER = ("meta", "psi", "mean", "counters", "within", "link", "keys", "scalars", "masks")
NAMES = ("masks", "hebbian", "reservoir")


def masks_of(task):
    i, j = torch.arange(24), torch.arange(9)
    return {
        "hidden": (i * i * (task + 2) + 3 * task) % 7 < 3,
        "café/2": ((j * (task + 3) + task) % 5 < 2).reshape(3, 3),
    }


def built(name):
    """The memory in the golden files of that name, made anew."""
    if name == "reservoir":
        reservoir = Reservoir(16, rule="projection", dtype=torch.float64)
        reservoir.store(torch.ones(16))
        reservoir.store(torch.tensor([1.0, -1]).repeat(8))
        return reservoir
    sizes = {"hidden": 24, "café/2": (3, 3)}
    if name == "masks":
        memory = MaskMemory(sizes, rule="storkey", seed=5, key_bits=32, signature_features=8)
        for task in range(3):
            signature = torch.eye(4)[[task, task]]
            signature += torch.tensor([[0.1, 0, 0, 0], [0, 0.1, 0, 0]])
            memory.store(masks_of(task), signature=signature)
        return memory
    memory = MaskMemory(
        sizes, rule="hebbian", seed=5, key_bits=32, signature_features=0, dtype=torch.float64
    )
    for task in range(3):
        memory.store(masks_of(task))
    memory.forget(task=1)
    return memory


def state_of(memory):
    """Everything that a memory is, for comparison to the bit."""
    reservoir = memory if isinstance(memory, Reservoir) else memory.couplings
    state = {"psi": reservoir.psi, "mean": reservoir.mean}
    plain = [type(memory), reservoir.rule.name, reservoir.count, reservoir.dtype]
    if isinstance(memory, MaskMemory):
        plain += [memory.shapes, memory.seed, memory.key_bits, memory.signature_features]
        plain += [memory.numbered, list(memory.shapes)]
        if memory.address:
            state |= memory.address.sums
            plain.append(memory.address.length)
    return plain, {name: (v.dtype, v.shape, v.numpy().tobytes()) for name, v in state.items()}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def copied(tmp_path):
    """(file of tests/data) -> a copy of it."""
    return lambda file: Path(shutil.copy(DATA / file, tmp_path / "memory.h5"))


@pytest.fixture
def old(copied):
    return copied("masks_schema2.h5")


def edit(path, **datasets):
    """Change datasets of an old file, None to take one out, and seal it anew."""
    with h5py.File(path, "r+") as file:
        for name, values in datasets.items():
            if name in file:
                del file[name]
            if values is not None:
                file.create_dataset(name, data=values)
        digest = hashlib.sha256()
        for name in ORDER:
            if name in file:
                digest.update(file[name][()].tobytes())
        file["sha256"][...] = np.frombuffer(digest.digest(), np.uint8)


def describe(path, **changes):
    """Change the description of an old file; None takes an entry out."""
    with h5py.File(path, "r") as file:
        meta = json.loads(bytes(file["meta"][()])) | changes
    text = json.dumps({n: v for n, v in meta.items() if v is not None}, sort_keys=True)
    edit(path, meta=np.frombuffer(text.encode(), np.uint8))


# Golden files


@pytest.mark.parametrize("schema", [2, 3])
def test_a_golden_file_is_the_memory_that_was_saved(copied, name, schema):
    path = copied(f"{name}_schema{schema}.h5")
    assert state_of(load(path)) == state_of(built(name))
    assert read_stamped(path)[1].schema == schema


@pytest.mark.parametrize("schema", [2, 3])
def test_a_golden_memory_recalls_its_masks(copied, schema):
    memory = load(copied(f"hebbian_schema{schema}.h5"))
    assert (memory.count, memory.numbered) == (2, 3)
    memory = load(copied(f"masks_schema{schema}.h5"))
    expected = built("masks")
    for task in range(3):
        found, wanted = memory.recall(task=task).masks, expected.recall(task=task).masks
        assert all(torch.equal(found[layer], wanted[layer]) for layer in wanted)


def test_a_memory_is_saved_as_the_golden_file_of_this_schema(name, tmp_path):
    built(name).save(tmp_path / "memory.h5")
    assert read_stamped(tmp_path / "memory.h5") is not None
    found, _ = read_stamped(tmp_path / "memory.h5")
    golden, _ = read_stamped(DATA / f"{name}_schema3.h5")
    assert (found.kind, found.about) == (golden.kind, golden.about)
    assert {n: a.tobytes() for n, a in found.arrays.items()} == {
        n: a.tobytes() for n, a in golden.arrays.items()
    }


def test_a_golden_file_is_migrated(copied, name):
    path = copied(f"{name}_schema2.h5")
    before, after = migrate(path)
    assert (before.schema, after.schema) == (2, 3)
    assert state_of(load(path)) == state_of(built(name))
    assert state_of(load(path.with_name("memory.h5.prev"))) == state_of(built(name))


def test_a_migrated_golden_file_has_the_description_of_the_newest(copied, name):
    path = copied(f"{name}_schema2.h5")
    migrate(path)
    golden, _ = read_stamped(DATA / f"{name}_schema3.h5")
    found, _ = read_stamped(path)
    assert (found.kind, found.about) == (golden.kind, golden.about)


def test_an_old_file_has_a_stamp_without_generation_or_store(old):
    _, stamp = read_stamped(old)
    content = old.read_bytes()
    assert (stamp.generation, stamp.store, stamp.schema) == (0, "", 2)
    assert (stamp.sha256, stamp.nbytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_an_old_file_that_is_expected_is_loaded(old):
    assert load(old, expect_sha256=hashlib.sha256(old.read_bytes()).hexdigest()).count == 3
    with pytest.raises(CorruptStoreError, match="not the file that was expected"):
        load(old, expect_sha256="0" * 64)


# What is refused of an old file


def test_an_edited_and_sealed_file_is_read(old):
    describe(old)
    assert state_of(load(old)) == state_of(built("masks"))


@pytest.mark.parametrize(
    "meta",
    [b"{}", b"[1]", b"7", b"\xff\xfe", b'{"format":"other"}', b"[" * 100_000],
    ids=["no format", "list", "number", "no text", "other", "deep"],
)
def test_an_hdf5_file_with_another_description_is_no_memory(old, meta):
    edit(old, meta=np.frombuffer(meta, np.uint8))
    with pytest.raises(NotAHopmaskStoreError):
        load(old)


def test_an_hdf5_file_without_a_description_is_no_memory(old):
    edit(old, meta=None)
    with pytest.raises(NotAHopmaskStoreError):
        load(old)


def test_somebody_elses_hdf5_file_is_no_memory(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["weights"] = np.zeros((3, 3))
    with pytest.raises(NotAHopmaskStoreError):
        load(tmp_path / "weights.h5")


@pytest.mark.parametrize("version", [3, 99])
def test_a_version_that_never_was_written_says_newer(old, version):
    describe(old, version=version)
    with pytest.raises(SchemaTooNewError, match=f"version {version}"):
        load(old)


def test_a_file_from_before_the_first_release_says_so(old):
    describe(old, version=1)
    with pytest.raises(CorruptStoreError, match="before the first release"):
        load(old)


@pytest.mark.parametrize("version", [None, "1", 0, -1, True, 1.5])
def test_a_version_that_never_was_is_refused(old, version):
    describe(old, version=version)
    with pytest.raises(CorruptStoreError):
        load(old)


@pytest.mark.parametrize("name", ["psi", "mean", "counters", "within", "scalars", "sha256"])
def test_a_missing_dataset_is_noticed(old, name):
    with h5py.File(old, "r+") as file:
        del file[name]
    with pytest.raises(CorruptStoreError):
        load(old)


@pytest.mark.parametrize("name", ["psi", "mean", "counters", "within", "link", "keys", "scalars"])
def test_a_bit_flipped_in_a_dataset_is_noticed(old, name):
    with h5py.File(old, "r") as file:
        at = file[name].id.get_offset()
    content = bytearray(old.read_bytes())
    content[at + 3] ^= 4
    old.write_bytes(content)
    with pytest.raises(CorruptStoreError, match="SHA-256 does not match"):
        load(old)


def test_a_bit_flipped_anywhere_in_the_description_is_noticed(old):
    with h5py.File(old, "r") as file:
        at, size = file["meta"].id.get_offset(), file["meta"].size
    whole = old.read_bytes()
    for position in range(at, at + size):
        content = bytearray(whole)
        content[position] ^= 1
        old.write_bytes(content)
        with pytest.raises(StoreFileError):
            load(old)


def test_an_extra_dataset_is_noticed(old):
    edit(old, more=np.zeros(8))
    with pytest.raises(CorruptStoreError, match="more"):
        load(old)


@pytest.mark.parametrize("kind", [None, 3, "weights"])
def test_a_kind_that_never_was_is_refused(old, kind):
    describe(old, kind=kind)
    with pytest.raises(StoreFileError):
        load(old)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_old_file_is_refused(old, share):
    content = old.read_bytes()
    old.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StoreFileError):
        load(old)


def test_only_files_that_begin_as_hdf5_are_old_ones(old):
    assert legacy.begins(memoryview(old.read_bytes()))
    assert not legacy.begins(memoryview(b"\x89HDF"))
    assert not legacy.begins(memoryview(bytes(512) + old.read_bytes()))
