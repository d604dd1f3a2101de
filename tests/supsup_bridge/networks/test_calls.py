"""Calls with other weights: one at a time, and the module's own are there again whatever comes."""

import pickle
import sys
import threading
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supsup_bridge import MaskedNetwork, SupSup
from supsup_bridge.networks.calls import Calls

IMAGES = torch.randn(48, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def learner() -> SupSup:
    """Of two tasks; not to be changed."""
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4))
    learner = SupSup(module, signature_features=32)
    for task in range(2):
        learner.learn((IMAGES + task, torch.arange(48) % 2), epochs=2)
    return learner


def weights(learner: SupSup) -> list[Tensor]:
    return [value.clone() for value in learner.network.state_dict().values()]


def test_threads_predict_as_one_does(learner: SupSup) -> None:
    ways: tuple[dict[str, Any], ...] = ({"task": 0}, {"task": 1}, {}, {"together": True})
    wanted = [learner.predict(IMAGES, **way).logits for way in ways]
    before, wrong = weights(learner), list[object]()

    def ask(way: int) -> None:
        try:
            for _ in range(25):
                if not torch.equal(learner.predict(IMAGES, **ways[way]).logits, wanted[way]):
                    wrong.append(way)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(way,)) for way in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(map(torch.equal, weights(learner), before))


def at_exchange(number: int) -> Callable[..., None]:
    """A trace that raises KeyboardInterrupt when torch exchanges a tensor for the n-th time."""
    seen = 0

    def trace(frame: Any, event: str, argument: object) -> None:
        nonlocal seen
        if event == "call" and frame.f_code.co_name == "swap_tensor":
            seen += 1
            if seen == number:
                sys.settrace(None)
                raise KeyboardInterrupt

    return trace


@pytest.mark.parametrize("number", range(1, 9))
def test_an_interruption_leaves_the_weights_as_they_were(number: int, learner: SupSup) -> None:
    before, wanted = weights(learner), learner.predict(IMAGES, task=0).logits

    def learn() -> None:
        traced = sys.gettrace()
        sys.settrace(at_exchange(number))
        try:
            learner.learn((IMAGES + 2, torch.arange(48) % 2), epochs=1)
        finally:
            sys.settrace(traced)

    with pytest.raises(KeyboardInterrupt):
        learn()
    assert all(map(torch.equal, weights(learner), before))
    assert torch.equal(learner.predict(IMAGES, task=0).logits, wanted)


@pytest.mark.parametrize("copied", [deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_of_a_network_are_called_apart(copied, learner: SupSup) -> None:
    network, masks = learner.network, learner.memory.recall(task=0).masks
    assert isinstance(network, MaskedNetwork)
    other = copied(network)
    with Calls(network.module).one():
        assert torch.equal(other(IMAGES, masks), network(IMAGES, masks))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert float(network(IMAGES, masks).abs().max()) > 0
    assert float(other(IMAGES, masks).abs().max()) == 0
