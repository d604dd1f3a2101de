"""A reader written from `docs/file_format.md` alone: h5py and numpy, without hopmask."""

import hashlib
import json
import struct

import h5py
import numpy as np
import pytest
import torch

from hopmask import MaskMemory, load
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


# Hub memories


def hub_couplings(file, about):
    """A (D, K) in floats, wide columns in their places."""
    hubs, born = about["hubs"], about["born"]
    if "bits" not in about:
        kind = {"int8": "|i1", "int16": "<i2"}.get(about["precision"])
        assert file["narrow"].dtype.str == (kind or ("|i1" if hubs <= 256 else "<i2"))
        a = file["narrow"][()].astype(np.float64)
    else:
        rows = sum(int(np.prod(shape)) for _, shape in about["layers"])
        code = np.zeros((rows, hubs), int)
        for p, plane in enumerate(file["planes"][()]):
            assert not np.unpackbits(plane)[rows * hubs :].any()
            code |= np.unpackbits(plane)[: rows * hubs].reshape(rows, hubs).astype(int) << p
        u = 2 * code - (2 ** about["bits"] - 1)
        broad = file["wide"][:rows].astype(float)
        squares = file["counters"][0] * hubs - (broad**2).sum(1)
        sigma = np.sqrt(np.maximum(squares / (hubs - hubs // born), 1e-6))
        distance = {1: 1.596, 2: 0.9957, 3: 0.5860, 4: 0.3352}[about["bits"]]
        step = distance * sigma / 2
        a = np.concatenate([u * step[:, None], file["proof"][()]])
    a[:, ::born] = file["wide"][()]
    return a


def hub_key(about, task):
    """The key of a task, with one popcount for each spin."""
    born = about["born"]
    words = word(about["seed"], 4, np.arange(born), 0)
    order = sorted(range(born), key=lambda row: int(words[row]))
    row = order[task % born] + born * (task // born)
    return np.array([(-1) ** bin(row & column).count("1") for column in range(about["hubs"])])


def hub_recalled(path, task):
    """Masks and extras of a task, name -> array, and whether they are proven."""
    with h5py.File(path, "r") as file:
        about = json.loads(bytes(file["meta"][()]))["about"]
        assert (about["couplings"], about["rule"]) == ("hub", "storkey")
        field = hub_couplings(file, about) @ hub_key(about, task)
        held = file["flags"][()] & 1
        assert file["counters"][0] == held.sum()
        assert held[task] == 1
    if "bits" not in about:
        assert set(np.abs(field)) == {about["hubs"]}
    bits = (field > 0).astype(np.uint8)
    head = struct.pack("<QQ", about["seed"], task)
    digest = hashlib.blake2b(
        head + np.packbits(bits[:-64]).tobytes(), digest_size=8, person=b"hopmask task"
    )
    proven = np.packbits(bits[-64:]).tobytes() == digest.digest()
    masks, extras, at = {}, {}, 0
    for name, shape in about["layers"]:
        size = int(np.prod(shape))
        masks[name] = bits[at : at + size].reshape(shape) > 0
        at += size
    for name, shape in about["extras"]:
        size = int(np.prod(shape))
        halves = np.packbits(bits[at : at + 16 * size]).tobytes()
        extras[name] = np.frombuffer(halves, ">f2").astype(np.float32).reshape(shape)
        at += 16 * size
    assert at + 64 == len(bits)
    return masks, extras, proven


def hub_memory_of(count, **options):
    """A hub memory that has grown, and what it holds."""
    memory = MaskMemory(
        SIZES,
        couplings="hub",
        hubs=4,
        seed=2**63 + 5,
        extras={"mean": 3, "scale": (1, 2)},
        signature_features=8,
        signature_groups=2,
        **options,
    )
    memory.grow()
    memory.grow()
    generator, stored = torch.Generator().manual_seed(0), {}
    for task in (0, 5, 2, 11, 15, 7)[:count]:
        masks = {n: torch.rand(s, generator=generator) < 0.5 for n, s in SIZES.items()}
        extras = {
            "mean": torch.randn(3, generator=generator),
            "scale": torch.rand(1, 2, generator=generator),
        }
        signature = torch.randn(6, 4, generator=generator)
        groups = torch.tensor([0, 1, 1, 0, 1, 1]) if task else None
        memory.store(masks, task=task, extras=extras, signature=signature, groups=groups)
        stored[task] = masks, extras
    memory.forget(5)
    del stored[5]
    return memory, stored


@pytest.mark.parametrize("precision", ["auto", "int8", "int16"])
def test_a_reader_made_from_the_document_recalls_from_hubs(precision, tmp_path):
    memory, stored = hub_memory_of(6, precision=precision)
    memory.save(tmp_path / "memory.h5")
    for task, (masks, extras) in stored.items():
        found, values, proven = hub_recalled(tmp_path / "memory.h5", task)
        assert proven
        assert list(found) == list(masks)
        assert all(np.array_equal(found[name], masks[name].numpy()) for name in masks)
        for name, value in extras.items():
            assert np.array_equal(values[name], value.half().float().numpy())
    with h5py.File(tmp_path / "memory.h5") as file:
        total = sum(extras["mean"].half().double() for _, extras in stored.values())
        assert np.array_equal(file["extras"][:3], (total * 2**24).long().numpy())
        about = json.loads(bytes(file["meta"][()]))["about"]
        assert (about["signature_groups"], about["signature_features"]) == (2, 8)
        for task in stored:  # the mean features of each group, or zeros
            means = (file["link"][()] @ hub_key(about, task)).reshape(2, 8) / (16 * 2.0**44)
            assert (means >= 0).all()
            assert means.any(-1).tolist() == [True, task != 0]
        mean = file["wide"][:150, 0] / file["counters"][0]
        masks = np.stack([masks["first"].numpy() for masks, _ in stored.values()])
        assert np.allclose(mean, (2.0 * masks - 1).mean(0))


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_a_reader_made_from_the_document_recalls_from_rounded_hubs(bits, tmp_path):
    memory, stored = hub_memory_of(6)
    memory.save(tmp_path / "memory.h5", bits=bits)
    rounded = load(tmp_path / "memory.h5")
    for task, (masks, extras) in stored.items():
        found, values, proven = hub_recalled(tmp_path / "memory.h5", task)
        hit = rounded.recall(task)
        assert proven == hit.verified
        for name in masks:
            assert np.array_equal(found[name], hit.masks[name].numpy())
        for name, value in extras.items():
            assert np.array_equal(values[name], value.half().float().numpy())
