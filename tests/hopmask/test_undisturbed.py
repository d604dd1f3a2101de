"""Changes that Ctrl-C does not cut in two."""

import signal
from collections.abc import Iterator
from threading import Thread

import pytest
import torch

from hopmask import MaskMemory, Reservoir, load
from hopmask._undisturbed import undisturbed
from hopmask.couplings.rules import Hebbian
from hopmask.memory.hub_address import HubAddress


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, though the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class Interrupted(Hebbian):
    """Is interrupted in the midst of each change."""

    name = "interrupted"

    def update(self, psi, pattern):
        interrupt()
        super().update(psi, pattern)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_the_block_is_over(kind):
    def handler(number, frame):
        raise KeyboardInterrupt

    def change():
        with undisturbed():
            with undisturbed():
                signal.raise_signal(kind)
                done.append("inner")
            done.append("outer")

    before, done = signal.signal(kind, handler), []
    try:
        with pytest.raises(KeyboardInterrupt):
            change()
        assert done == ["inner", "outer"]
        assert signal.getsignal(kind) is handler
    finally:
        signal.signal(kind, before)


def test_the_second_signal_goes_to_the_handler_that_the_first_left():
    done = []

    def second(number, frame):
        done.append("second")

    def first(number, frame):
        done.append("first")
        signal.signal(number, second)

    before = signal.signal(signal.SIGINT, first)
    try:
        with undisturbed():
            interrupt()
            interrupt()
            assert done == []
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["first", "second"]


def test_every_handler_is_put_back_though_one_raises():
    def leave(number, frame):
        raise SystemExit

    before = signal.signal(signal.SIGTERM, leave)
    own = signal.getsignal(signal.SIGINT)

    def change():
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)

    try:
        with pytest.raises(SystemExit):
            change()
        assert signal.getsignal(signal.SIGINT) is own
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)


def test_growth_is_whole(hub_memory, monkeypatch):
    memory, grow = hub_memory(3), HubAddress.grow

    def interrupted(self):
        interrupt()
        grow(self)

    monkeypatch.setattr(HubAddress, "grow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        memory.grow()
    assert memory.capacity == memory.address.hubs == 16
    assert bool(memory.recall([0, 1, 2]).verified.all())


def test_what_the_block_raises_comes_out_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="own"), undisturbed():
        raise ValueError("own")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_needs_no_signals():
    done = []

    def work():
        with undisturbed():
            done.append(True)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.parametrize("change", ["store", "replace", "forget"])
def test_a_hub_memory_is_changed_whole(change, hub_memory, hub_task, monkeypatch, tmp_path):
    memory, task = hub_memory(3), hub_task(9)
    put, drop = HubAddress.put, HubAddress.drop

    def interrupted_put(self, number, added):
        interrupt()
        put(self, number, added)

    def interrupted_drop(self, number):
        interrupt()
        drop(self, number)

    monkeypatch.setattr(HubAddress, "put", interrupted_put)
    monkeypatch.setattr(HubAddress, "drop", interrupted_drop)
    made = {
        "store": lambda: memory.store(**task),
        "replace": lambda: memory.replace(1, **task),
        "forget": lambda: memory.forget(1),
    }
    with pytest.raises(KeyboardInterrupt):
        made[change]()
    tasks = {"store": (0, 1, 2, 3), "replace": (0, 1, 2), "forget": (0, 2)}[change]
    memory.save(tmp_path / "memory.h5")
    again = load(tmp_path / "memory.h5")
    assert again.tasks == memory.tasks == tasks
    assert bool(again.recall(list(tasks)).verified.all())


def test_dense_couplings_are_changed_whole():
    memory = MaskMemory({"h": 64}, rule=Interrupted(), signature_features=32, key_bits=64)
    mask = torch.arange(64) % 3 == 0
    with pytest.raises(KeyboardInterrupt):
        memory.store({"h": mask}, signature=torch.eye(3))
    assert memory.count == 1
    assert memory.recall(0).verified
    assert int(memory.recall(signature=torch.eye(3)[None]).task) == 0
    reservoir = Reservoir(32, rule=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        reservoir.store(torch.ones(32))
    assert reservoir.count == 1
    assert bool(reservoir.recall(torch.ones(32)).verified)
