"""Inference mode around a memory: what is made in it can be changed outside of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hopmask import MaskMemory, load, open_memory

KINDS: dict[str, dict[str, Any]] = {
    "dense": {"rule": "hebbian", "signature_features": 32},
    "hub": {"couplings": "hub", "hubs": 2, "signature_features": 32},
}


def mask(number: int) -> dict[str, Tensor]:
    return {"h": torch.rand(256, generator=torch.Generator().manual_seed(number)) < 0.5}


def made(kind: dict[str, Any], folder: Path) -> MaskMemory:
    return MaskMemory({"h": 256}, **kind)


def loaded(kind: dict[str, Any], folder: Path) -> MaskMemory:
    MaskMemory({"h": 256}, **kind).save(folder / "memory.h5")
    memory = load(folder / "memory.h5")
    assert isinstance(memory, MaskMemory)
    return memory


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [made, loaded])
def test_a_memory_of_inference_mode_is_changed_outside(
    make: Callable[..., MaskMemory], kind: str, tmp_path: Path
) -> None:
    data = torch.randn(4, 10, 6, generator=torch.Generator().manual_seed(0))
    plain = make(KINDS[kind], tmp_path)
    with torch.inference_mode():
        memory = make(KINDS[kind], tmp_path)
        memory.store(mask(0), signature=data[0] + 1)
    memory.store(mask(1), signature=data[1])
    if kind == "hub":
        with torch.inference_mode():
            memory.grow()
    memory.replace(0, mask(2), signature=data[2])
    memory.forget(1)
    plain.store(mask(0), signature=data[0] + 1)
    plain.store(mask(1), signature=data[1])
    if kind == "hub":
        plain.grow()
    plain.replace(0, mask(2), signature=data[2])
    plain.forget(1)
    assert memory.recall(0).verified
    assert memory.save(tmp_path / "one.h5").sha256 == plain.save(tmp_path / "other.h5").sha256


def test_a_live_memory_is_changed_in_inference_mode(tmp_path: Path) -> None:
    MaskMemory({"h": 256}, **KINDS["hub"]).save(tmp_path / "memory.h5")
    with torch.inference_mode():
        live = open_memory(tmp_path / "memory.h5", "r+")
        live.store(mask(0))
    live.store(mask(1))
    assert live.recall(0).verified
    assert live.recall(1).verified
