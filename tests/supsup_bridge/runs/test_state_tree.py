"""Trees of tensors and plain values, to the bit and without pickle."""

import json
import math
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask.errors import CorruptStoreError, StoreTooLargeError
from supsup_bridge.runs.state_tree import packed, unpacked

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)
KEYS = st.integers() | st.text(max_size=3)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(TREES)
def test_plain_values_come_back_as_they_were(tree: Any) -> None:
    found = unpacked(packed(tree))
    assert repr(found) == repr(tree)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(1.5),
        torch.zeros(0, 3),
        torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)),
        torch.tensor([[1e-310, -0.0, math.inf, 1 / 3]], dtype=torch.float64),
        torch.tensor([True, False]),
        torch.arange(5, dtype=torch.uint8),
        torch.arange(5, dtype=torch.int32),
        torch.tensor([2**62 + 1, -1]),
        torch.arange(6.0).reshape(2, 3).T,
    ],
    ids=lambda tensor: f"{tensor.dtype}{tuple(tensor.shape)}",
)
def test_a_tensor_comes_back_to_the_bit(tensor: torch.Tensor) -> None:
    found = unpacked(packed({"a": torch.ones(3), "b": [tensor, torch.ones(2)]}))["b"][0]
    assert found.dtype == tensor.dtype
    assert found.shape == tensor.shape
    assert torch.equal(found, tensor)
    assert torch.equal(torch.signbit(found), torch.signbit(tensor))


def test_numbers_that_are_none_come_back() -> None:
    found = unpacked(packed([math.nan, math.inf, -math.inf]))
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf]


def test_an_optimiser_goes_on_as_it_would_have() -> None:
    def stepped(steps: int, state: Any = None) -> tuple[torch.Tensor, Any]:
        value = torch.ones(3, requires_grad=True)
        optimiser = torch.optim.Adam([value], lr=0.1)
        if state is not None:
            with torch.no_grad():
                value.copy_(state["value"])
            optimiser.load_state_dict(state["optimiser"])
        for _ in range(steps):
            optimiser.zero_grad()
            (value**3).sum().backward()
            optimiser.step()
        return value.detach(), {"value": value, "optimiser": optimiser.state_dict()}

    _, state = stepped(3)
    assert torch.equal(stepped(4, unpacked(packed(state)))[0], stepped(7)[0])


def test_there_are_few_arrays_however_many_tensors() -> None:
    assert set(packed([torch.ones(2)] * 500)) == {"tree", "float32"}


def test_what_is_no_plain_value_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        packed({"a": {1, 2}})


def bent(**changes: Any) -> dict[str, np.ndarray]:
    return packed({"a": torch.ones(3)}) | changes


def text(value: object) -> np.ndarray:
    return np.frombuffer(zlib.compress(json.dumps(value).encode()), np.uint8)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        bent(tree=np.zeros(4, np.uint8)),
        bent(tree=packed(1)["tree"][:-2]),
        bent(float32=np.ones(2, np.float32)),
        {"tree": packed({"a": torch.ones(3)})["tree"]},
        {"tree": text(["set", [1]])},
        {"tree": text(["tensor", "float16", [1], 0])},
        {"tree": text(["dict", [1]])},
        {"tree": text([])},
        {"tree": text(["dict", [[["list", []], 1]]])},
        {"tree": np.frombuffer(zlib.compress(b"[" * 100_000), np.uint8)},
    ],
    ids=range(11),
)
def test_arrays_that_make_no_sense_are_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(CorruptStoreError):
        unpacked(arrays)


def test_a_text_that_swells_beyond_bounds_is_refused(monkeypatch) -> None:
    arrays = packed("a" * 2000)
    monkeypatch.setattr("supsup_bridge.runs.state_tree._MOST", 1000)
    with pytest.raises(CorruptStoreError, match="too long"):
        unpacked(arrays)
    with pytest.raises(StoreTooLargeError, match="2002 bytes"):
        packed("a" * 2000)


def test_tensors_come_back_on_the_cpu_whatever_the_default_device() -> None:
    arrays = packed({"scores": torch.arange(3.0)})
    with torch.device("meta"):
        assert unpacked(arrays)["scores"].tolist() == [0, 1, 2]
