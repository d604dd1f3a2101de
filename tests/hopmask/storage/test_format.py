"""A reader written from `docs/file_format.md` alone: h5py and numpy, without hopmask."""

import hashlib
import json
import struct

import h5py
import numpy as np
import pytest
import torch

from hopmask import MaskMemory
from hopmask.storage import Document, write

SIZES = {"first": 150, "second": (10, 12)}


TYPES = {3: ("<f4", "<f8", "<i8", "|u1"), 4: ("|i1", "<i2", "<i4")}  # schema -> types it brought


def opened(path, schema):
    """Arrays of a file of any kind, by a reader that knows types up to a schema."""
    content = path.read_bytes()
    head, payload = bytearray(content[:512]), content[512:]
    seal, head[72:104] = bytes(head[72:104]), bytes(32)
    assert head[:16] == b"\x89HOPMASK\r\n\x1a\n".ljust(16, b"\0")
    assert hashlib.sha256(head).digest() == seal
    assert struct.unpack_from("<IIQQ", head, 16) == (1, 512, 1, len(payload))
    assert hashlib.sha256(payload).digest() == head[40:72]
    with h5py.File(path, "r") as file:
        meta = json.loads(bytes(file["meta"][()]))
        assert meta["format"] == "hopmask"
        if meta["reader"] > schema:
            raise NotImplementedError(f"this reader knows schema {schema}")
        known = [name for number, names in TYPES.items() if number <= schema for name in names]
        assert all(file[name].dtype.str in known for name in file)
        return {name: file[name][()] for name in file if name != "meta"}


def word(seed, domain, rows, w):
    """word(domain, row, w) of section "Patterns"."""
    offset = np.random.SeedSequence([seed, domain]).generate_state(1, np.uint64)[0]
    rows = np.asarray(rows, np.uint64)
    x = (rows * np.uint64(2**20) + np.uint64(w + 1)) * np.uint64(0x9E3779B97F4A7C15) + offset
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def key(seed, task, bits):
    spins = []
    for w in range(-(-bits // 64)):
        for byte in int(word(seed, 1, [task], w)[0]).to_bytes(8, "little"):
            spins += [1 if byte >> place & 1 else -1 for place in range(7, -1, -1)]
    return np.array(spins[:bits])


def fits(seed, spins, bits):
    """Whether the check spins of a pattern fit the others."""
    words = word(seed, 3, np.arange(len(spins)), 0)
    words[bits : bits + 64] = np.uint64(2) ** np.arange(64, dtype=np.uint64)
    return np.bitwise_xor.reduce(words[spins > 0]) == 0


def recalled(path, task):
    """Masks of a task, name -> bool array, and whether they are proven."""
    with h5py.File(path, "r") as file:
        psi, meta = file["psi"][()].astype(np.float64), bytes(file["meta"][()])
    about = json.loads(meta)["about"]
    seed, bits = about["seed"], about["key_bits"]
    spins = np.zeros(len(psi))
    spins[:bits] = key(seed, task, bits)
    for _ in range(50):
        before, spins = spins, np.where(psi @ spins > 0, 1, -1)
        if np.array_equal(before, spins):
            break
    proven = np.array_equal(spins[:bits], key(seed, task, bits)) and fits(seed, spins, bits)
    masks, at = {}, bits + 64
    for name, shape in about["layers"]:
        size = int(np.prod(shape))
        masks[name] = spins[at : at + size].reshape(shape) > 0
        at += size
    assert at == len(spins)
    return masks, proven


@pytest.mark.parametrize("rule", ["storkey", "hebbian", "projection"])
def test_a_reader_made_from_the_document_recalls_what_was_stored(rule, tmp_path):
    memory = MaskMemory(SIZES, rule=rule, seed=2**63 + 5, key_bits=150, signature_features=0)
    generator = torch.Generator().manual_seed(0)
    stored = [
        {name: torch.rand(size, generator=generator) < 0.5 for name, size in SIZES.items()}
        for _ in range(3)
    ]
    for masks in stored:
        memory.store(masks)
    memory.save(tmp_path / "memory.h5")
    for task, masks in enumerate(stored):
        found, proven = recalled(tmp_path / "memory.h5", task)
        assert proven
        assert list(found) == list(masks)
        assert all(np.array_equal(found[name], masks[name].numpy()) for name in masks)


@pytest.mark.parametrize("dtype", [name for names in TYPES.values() for name in names])
@pytest.mark.parametrize("shape", [(1,), (3, 0), (257, 3), (2, 70_001)])
def test_a_reader_made_from_the_document_reads_every_type(dtype, shape, path):
    values = np.random.default_rng(0).integers(0, 256, (*shape, np.dtype(dtype).itemsize))
    arrays = {"a": values.astype("u1").view(dtype)[..., 0], "b": np.arange(5)}
    write(path, Document(kind="any", about={}, arrays=arrays))
    found = opened(path, 4)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_an_older_reader_reads_the_types_that_it_knows_and_no_others(path):
    arrays = {f"of {name}": np.arange(5).astype(name) for name in TYPES[3]}
    write(path, Document(kind="any", about={}, arrays=arrays))
    assert set(opened(path, 3)) == set(arrays)
    for name in TYPES[4]:
        path.unlink()
        write(path, Document(kind="any", about={}, arrays=arrays | {"new": np.zeros(3, name)}))
        with pytest.raises(NotImplementedError):
            opened(path, 3)
