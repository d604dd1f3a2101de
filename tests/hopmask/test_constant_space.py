"""A hub memory keeps A, its wide columns, the address's sums, flags and counters, and nothing else.

Everything that Python can reach from a memory is looked at, so that no list of masks hides in it.
"""

import gc
import sys
from functools import partial
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    ModuleType,
)

import h5py
import numpy as np
import pytest
from torch import Tensor

from hopmask import Search, load

PLAIN = (int, float, complex, str, bytes, bool, type(None))
OUTSIDE = (ModuleType, type, BuiltinFunctionType, CodeType, GetSetDescriptorType)
CACHES = {"_map", "_ready", "_order"}  # the random map, read-outs and the order of keys
MANY = 8


@pytest.fixture(params=[1, 2], ids=lambda groups: f"{groups} groups")
def hub_memory(hub_memory, request):
    """(count, **options) -> a hub memory; of one group and of two."""
    return partial(hub_memory, signature_groups=request.param)


def reached(roots, *, skip=frozenset()):
    """All objects that roots refer to; not modules and classes, of functions what they enclose."""
    seen, todo = {}, list(roots)
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, OUTSIDE):
            continue
        seen[id(one)] = one
        if isinstance(one, FunctionType):
            todo += [cell.cell_contents for cell in one.__closure__ or ()]
        elif isinstance(one, dict):
            todo += [value for name, value in one.items() if name not in skip]
        elif skip and hasattr(one, "__dict__") and not isinstance(one, Tensor):
            todo += [value for name, value in vars(one).items() if name not in skip]
        elif not isinstance(one, PLAIN):
            todo += gc.get_referents(one)
    return list(seen.values())


def stored(roots, **options):
    """Storage -> bytes, of all tensors and arrays that roots refer to: also behind views."""
    found = {}
    for one in reached(roots, **options):
        if isinstance(one, Tensor):
            found[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        elif isinstance(one, np.ndarray):
            while isinstance(one.base, np.ndarray):
                one = one.base
            found[one.ctypes.data] = one.nbytes
    return found


def kinds(memory):
    """Shape and type of every tensor and array of a memory, sorted."""
    return sorted(
        f"{type(one).__name__} {tuple(one.shape)} {one.dtype}"
        for one in reached([memory])
        if isinstance(one, Tensor | np.ndarray)
    )


def plain(memory):
    """Bytes of all numbers and texts of a memory, and how many there are."""
    found = [one for one in reached([memory]) if isinstance(one, PLAIN)]
    return sum(map(sys.getsizeof, found)), len(found)


def every_recall(memory, task):
    """Recall in all ways."""
    layers = {name: mask.float() for name, mask in task["masks"].items()}
    batch = {name: mask.expand(3, *mask.shape) for name, mask in layers.items()}
    held = memory.tasks[0]
    memory.recall(held)
    memory.recall([held] * 3)
    memory.recall(cue=layers)
    memory.recall(cue=batch, search=Search(trace=True))
    memory.recall(penalty=lambda masks: masks["a"].mean())
    memory.recall(penalty=lambda masks: masks["a"].mean(-1), batch=3, search=Search(trace=True))
    memory.recall(signature=task["signature"][0])
    memory.recall(signature=task["signature"][:3])
    memory.recall(
        cue=batch,
        signature=task["signature"][None, :10].expand(3, -1, -1),
        penalty=lambda masks: masks["a"].mean(-1),
    )
    memory.report()


def test_a_memory_of_many_tasks_is_as_large_as_one_of_one(hub_memory, hub_task):
    few, many = hub_memory(1), hub_memory(MANY)
    for memory in (few, many):
        every_recall(memory, hub_task(0))
    many.replace(2, **hub_task(50))
    many.forget(5)
    many.forget(1)
    many.store(**hub_task(51))
    for memory in (few, many):
        every_recall(memory, hub_task(0))
    assert kinds(few) == kinds(many)
    assert sum(stored([few]).values()) == sum(stored([many]).values())
    (bytes_few, number_few), (bytes_many, number_many) = plain(few), plain(many)
    assert abs(bytes_few - bytes_many) <= 64  # numbers and texts: no bit of masks
    assert abs(number_few - number_many) <= 4


def test_all_tensors_but_caches_are_the_state_that_nbytes_counts(hub_memory, hub_task):
    memory = hub_memory(MANY)
    every_recall(memory, hub_task(0))
    state = sum(stored([memory], skip=CACHES).values())
    assert state + 8 == memory.nbytes  # the counter of numbers given out


@pytest.mark.parametrize("hubs", [8, 32])
def test_the_bytes_are_those_of_the_formula(hubs, hub_memory):
    memory = hub_memory(MANY, hubs=hubs)
    neurons, features = 96 + 32 + 16 * 5 + 64, 32
    couplings = neurons * hubs + 4 * neurons + hubs
    links = features * memory.signature_groups * hubs
    address = 8 * (features * (features + 1) // 2 + links + 2) + hubs
    assert memory.nbytes == couplings + address + 8 * 5 + 8


def test_nothing_is_kept_outside_of_the_memory(hub_memory, hub_task):
    def all_of_hopmask():
        modules = [vars(m) for name, m in sys.modules.items() if name.split(".")[0] == "hopmask"]
        return sum(stored(modules).values())

    memory = hub_memory(1)
    every_recall(memory, hub_task(0))
    before = all_of_hopmask()
    for number in range(1, MANY):
        memory.store(**hub_task(number))
    every_recall(memory, hub_task(0))
    assert all_of_hopmask() == before


def test_a_loaded_memory_keeps_no_more_than_a_made_one(hub_memory, hub_task, tmp_path):
    memory = hub_memory(3)
    memory.save(tmp_path / "memory.h5")
    again = load(tmp_path / "memory.h5")
    every_recall(again, hub_task(0))
    own = sum(stored([again], skip=CACHES).values())
    assert own + 8 == again.nbytes == memory.nbytes


@pytest.mark.parametrize("bits", [None, 3])
def test_a_file_of_many_tasks_is_as_large_as_one_of_one(bits, hub_memory, hub_task, tmp_path):
    sizes, datasets = set(), []
    for count in (0, 1, MANY):
        memory = hub_memory(count)
        if count:
            every_recall(memory, hub_task(0))
        if count == MANY:
            memory.forget(0)
        path = tmp_path / f"{count}.h5"
        memory.save(path, bits=bits)
        if bits is None:
            sizes.add(path.stat().st_size)
        with h5py.File(path) as file:
            here = {name: (file[name].shape, str(file[name].dtype)) for name in file}
            assert all(file[name].id.get_storage_size() == file[name].nbytes for name in file)
            about = here.pop("meta")
        datasets.append(here)
        assert about[0][0] < 1000
    assert datasets[0] == datasets[1] == datasets[2]
    assert set(datasets[0]) == {
        *(("narrow",) if bits is None else ("planes", "proof")),
        *("wide", "flags", "counters", "extras", "within", "link", "scalars"),
    }
    assert bits is not None or len(sizes) == 1
