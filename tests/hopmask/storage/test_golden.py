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


# Hub memories, since schema 4


def hub_task(task):
    signature = torch.eye(4)[[task % 4, task % 4]]
    signature += torch.tensor([[0.1, 0, 0, 0], [0, 0.1, 0, 0]])
    return {
        "masks": masks_of(task) | {"wide": torch.arange(160) * (task + 1) % 11 < 4},
        "extras": {"bn.mean": torch.tensor([task / 3, -1e-5]), "bn.var": torch.ones(1, 2) + task},
        "signature": signature,
    }


def built_hub():
    """The memory in the golden file, made anew."""
    memory = MaskMemory(
        {"hidden": 24, "café/2": (3, 3), "wide": 160},
        couplings="hub",
        hubs=4,
        precision="int8",
        seed=5,
        extras={"bn.mean": 2, "bn.var": (1, 2)},
        signature_features=4,
        fingerprint="golden",
    )
    memory.grow()
    for task in range(5):
        memory.store(**hub_task(task))
    memory.forget(3)
    return memory


@pytest.mark.parametrize(("name", "bits"), [("hub", None), ("hub_rounded", 3)])
def test_a_golden_hub_file_is_loaded_and_the_same_memory_saved_to_the_bit(name, bits, tmp_path):
    golden, stamp = read_stamped(DATA / f"{name}_schema4.h5")
    loaded = load(DATA / f"{name}_schema4.h5")
    for file, memory in (("built.h5", built_hub()), ("loaded.h5", loaded)):
        memory.save(tmp_path / file, bits=bits)
        found, _ = read_stamped(tmp_path / file)
        assert (found.kind, found.about) == (golden.kind, golden.about)
        assert found.arrays.keys() == golden.arrays.keys()
        for array, values in golden.arrays.items():
            if file == "built.h5" and array in ("within", "link"):  # float features come before
                assert np.abs(found.arrays[array] - values).max() < 2**44 * 1e-5
            else:
                assert found.arrays[array].tobytes() == values.tobytes()
    assert stamp.schema == 4


def test_a_golden_hub_memory_gives_back_masks_extras_and_tasks_by_their_data():
    memory = load(DATA / "hub_schema4.h5")
    assert memory.tasks == (0, 1, 2, 4)
    assert (memory.capacity, memory.numbered, memory.fingerprint) == (8, 5, "golden")
    for task in memory.tasks:
        hit, stored = memory.recall(task), hub_task(task)
        assert hit.verified
        assert all(torch.equal(hit.masks[layer], mask) for layer, mask in stored["masks"].items())
        for name, value in stored["extras"].items():
            assert torch.equal(hit.extras[name], value.half().float())
    found = memory.recall(signature=hub_task(2)["signature"][None])
    assert found.task.tolist() == [2]
    memory.store(task=3, **hub_task(3))
    assert memory.recall(3).verified


def test_plain_hdf5_is_no_memory(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["weights"] = np.zeros((3, 3))
    with pytest.raises(NotAHopmaskStoreError):
        load(tmp_path / "weights.h5")
