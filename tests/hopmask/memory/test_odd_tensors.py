"""Tensors without entries in memory, sparse or on "meta", are refused by name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import hopmask
from hopmask import (
    ConfigError,
    CueError,
    MaskError,
    MaskMemory,
    PenaltyError,
    Reservoir,
    UnknownTaskError,
)

SPARSE: Callable[[Tensor], Tensor] = Tensor.to_sparse
META: Callable[[Tensor], Tensor] = lambda value: value.to("meta")  # noqa: E731
ODD = pytest.mark.parametrize(
    ("odd", "name"), [(SPARSE, "sparse"), (META, "meta")], ids=["sparse", "meta"]
)
MASK = torch.arange(16) % 2 == 0


@pytest.fixture(params=["hub", "dense"])
def memory(request: pytest.FixtureRequest) -> MaskMemory:
    options: dict[str, Any] = {"couplings": "hub", "hubs": 8} if request.param == "hub" else {}
    made = MaskMemory({"a": 16}, **options)
    made.store({"a": MASK}, signature=torch.arange(5.0))
    return made


@ODD
def test_masks_cues_and_signatures(odd: Any, name: str, memory: MaskMemory) -> None:
    with pytest.raises(MaskError, match=f"mask 'a' must be a dense torch.Tensor, got .*{name}"):
        memory.store({"a": odd(~MASK)})
    with pytest.raises(CueError, match=f"cue 'a' must have shape .*{name}"):
        memory.recall(cue={"a": odd(MASK.float())})
    with pytest.raises(CueError, match="a signature must be a dense"):
        memory.store({"a": ~MASK}, signature=odd(torch.ones(5)))
    with pytest.raises(CueError, match="a signature must be a"):
        memory.recall(signature=odd(torch.ones(5)))
    assert memory.count == 1
    assert torch.equal(memory.recall(task=0).masks["a"], MASK)


@ODD
def test_task_numbers_groups_and_penalties(odd: Any, name: str) -> None:
    memory = MaskMemory({"a": 16}, couplings="hub", hubs=8, signature_groups=2)
    samples, groups = torch.ones(2, 5), torch.tensor([0, 1])
    memory.store({"a": MASK}, signature=samples, groups=groups)
    with pytest.raises(UnknownTaskError, match=f"task numbers must be integers, got .*{name}"):
        memory.recall(odd(torch.tensor([0])))
    with pytest.raises(CueError, match=f"groups must be an integer tensor .*{name}"):
        memory.store({"a": ~MASK}, signature=samples, groups=odd(groups))
    with pytest.raises(PenaltyError, match=f"must return one scalar tensor per mask, got .*{name}"):
        memory.recall(penalty=lambda masks: odd(masks["a"].sum()))
    assert memory.count == 1


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_a_nested_tensor_is_no_mask(memory: MaskMemory) -> None:
    with pytest.raises(MaskError, match="got a nested tensor"):
        memory.store({"a": torch.nested.nested_tensor([torch.ones(16)])})


def test_a_complex_cue_is_called_complex(memory: MaskMemory) -> None:
    with pytest.raises(CueError, match=r"got a tensor of torch\.complex64"):
        memory.recall(cue={"a": torch.ones(16, dtype=torch.complex64)})


@ODD
def test_spins_of_a_reservoir(odd: Any, name: str) -> None:
    reservoir = Reservoir(16)
    reservoir.store(MASK)
    with pytest.raises(MaskError, match=f"must be a dense torch.Tensor, got .*{name}"):
        reservoir.store(odd(torch.ones(16)))
    with pytest.raises(CueError, match=f"real tensor of shape .*{name}"):
        reservoir.recall(odd(torch.ones(16)))
    assert reservoir.count == 1


def test_a_digest_is_a_text(memory: MaskMemory, tmp_path: Any) -> None:
    memory.save(tmp_path / "memory.h5")
    with pytest.raises(ConfigError, match="a SHA-256 is a text of 64 hexadecimal digits, got 5"):
        hopmask.load(tmp_path / "memory.h5", expect_sha256=5)  # type: ignore[arg-type]
