"""Live hub memories: every change is in the file when it returns, for all who have it open."""

import pytest
import torch

from hopmask import load, open_memory
from hopmask.errors import (
    ConfigError,
    DuplicateError,
    MemoryFullError,
    ReadOnlyMemoryError,
    StoreFileError,
    UnknownTaskError,
)


@pytest.fixture
def path(hub_memory, tmp_path):
    path = tmp_path / "memory.h5"
    open_memory(path, "x", new=hub_memory(0, hubs=4)).close()
    return path


def test_what_one_does_the_other_sees(path, hub_task):
    writer, reader = open_memory(path, "r+"), open_memory(path)
    assert (reader.tasks, reader.capacity, len(reader)) == ((), 4, 0)
    assert writer.store(**hub_task(0)) == 0
    assert writer.store(task=3, **hub_task(3)) == 3
    assert reader.tasks == (0, 3)
    hit = reader.recall(3)
    assert hit.verified
    assert torch.equal(hit.extras["x"], hub_task(3)["extras"]["x"].half().float())
    writer.replace(0, **hub_task(7))
    assert torch.equal(reader.recall(0).masks["a"], hub_task(7)["masks"]["a"])
    assert reader.recall(signature=hub_task(7)["signature"][None]).task.tolist() == [0]
    writer.forget(3)
    assert reader.tasks == (0,)
    with pytest.raises(UnknownTaskError):
        reader.recall(3)


def test_growing_and_merging_are_durable(path, hub_memory, hub_task):
    live = open_memory(path, "r+")
    for number in range(4):
        live.store(**hub_task(number))
    with pytest.raises(MemoryFullError):
        live.store(**hub_task(4))
    live.grow()
    other = hub_memory(0, hubs=4)
    other.grow()
    other.store(task=6, **hub_task(6))
    live.merge(other)
    again = load(path)
    assert (again.tasks, again.capacity) == ((0, 1, 2, 3, 6), 8)
    assert bool(again.recall([0, 1, 2, 3, 6]).verified.all())


def test_what_is_refused_leaves_the_file_as_it_was(path, hub_memory, hub_task):
    live = open_memory(path, "r+")
    live.store(**hub_task(0))
    stamp = live.stamp
    for change, error in (
        (lambda: live.store(task=0, **hub_task(1)), DuplicateError),
        (lambda: live.store(task=4, **hub_task(1)), MemoryFullError),
        (lambda: live.merge(hub_memory(1, hubs=4)), DuplicateError),
        (lambda: live.merge(hub_memory(0, hubs=8)), ConfigError),
        (lambda: live.merge(None), ConfigError),
        (lambda: live.forget(2), UnknownTaskError),
    ):
        with pytest.raises(error):
            change()
    assert live.stamp == stamp
    assert live.tasks == (0,)


def test_a_reader_changes_nothing(path, hub_memory, hub_task):
    live = open_memory(path)
    for change in (
        lambda: live.store(**hub_task(0)),
        live.grow,
        lambda: live.merge(hub_memory(1, hubs=4)),
        lambda: live.replace(0, **hub_task(0)),
        lambda: live.forget(0),
    ):
        with pytest.raises(StoreFileError):
            change()


def test_a_file_that_has_grown_is_opened_with_the_memory_that_it_began_with(path, hub_memory):
    with open_memory(path, "a", new=hub_memory(0, hubs=4)) as live:
        live.grow()
    assert open_memory(path, "a", new=hub_memory(0, hubs=4)).capacity == 8
    for options in ({"hubs": 8}, {"seed": 1}, {"extras": {"x": 3}}, {"precision": "int16"}):
        with pytest.raises(ConfigError):
            open_memory(path, "a", new=hub_memory(0, **{"hubs": 4, **options}))


def test_a_rounded_file_is_read_alone(hub_memory, hub_task, tmp_path):
    hub_memory(2).save(tmp_path / "memory.h5", bits=4)
    before = (tmp_path / "memory.h5").read_bytes()
    live = open_memory(tmp_path / "memory.h5", "r+")
    assert live.recall([0, 1]).task.tolist() == [0, 1]
    for change in (
        lambda: live.store(**hub_task(3)),
        lambda: live.forget(0),
        live.grow,
        lambda: live.merge(hub_memory(0)),
    ):
        with pytest.raises(ReadOnlyMemoryError):
            change()
    assert (tmp_path / "memory.h5").read_bytes() == before
    assert live.tasks == (0, 1)
