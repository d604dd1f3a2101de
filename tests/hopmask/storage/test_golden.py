"""Golden files: what this version wrote once is read to the bit, and written again so."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hopmask import MaskMemory, Reservoir, load
from hopmask.errors import NotAHopmaskStoreError
from hopmask.storage import read_stamped

DATA = Path(__file__).parents[2] / "data"


def masks_of(task):
    i, j = torch.arange(24), torch.arange(9)
    return {
        "hidden": (i * i * (task + 2) + 3 * task) % 7 < 3,
        "café/2": ((j * (task + 3) + task) % 5 < 2).reshape(3, 3),
    }


def built(name):
    """The memory in the golden file of that name, made anew."""
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


@pytest.mark.parametrize("name", ["masks", "hebbian", "reservoir"])
def test_a_golden_file_is_loaded_and_the_same_memory_saved_to_the_bit(name, tmp_path):
    golden, stamp = read_stamped(DATA / f"{name}_schema3.h5")
    loaded = load(DATA / f"{name}_schema3.h5")
    for file, memory in (("built.h5", built(name)), ("loaded.h5", loaded)):
        memory.save(tmp_path / file)
        found, _ = read_stamped(tmp_path / file)
        assert (found.kind, found.about) == (golden.kind, golden.about)
        for array, values in golden.arrays.items():
            assert found.arrays[array].tobytes() == values.tobytes()
    assert stamp.schema == 3


def test_a_golden_memory_recalls_as_the_one_that_was_saved():
    memory, expected = load(DATA / "masks_schema3.h5"), built("masks")
    for task in range(3):
        found, wanted = memory.recall(task=task).masks, expected.recall(task=task).masks
        assert all(torch.equal(found[layer], wanted[layer]) for layer in wanted)


def test_plain_hdf5_is_no_memory(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["weights"] = np.zeros((3, 3))
    with pytest.raises(NotAHopmaskStoreError):
        load(tmp_path / "weights.h5")
