"""A reader written from `docs/file_format.md` alone: h5py and numpy, without hopmask."""

import json

import h5py
import numpy as np
import pytest
import torch

from hopmask import MaskMemory

SIZES = {"first": 150, "second": (10, 12)}


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
