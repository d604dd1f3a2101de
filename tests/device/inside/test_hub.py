"""Hub memories on the pretended device, against the same on the CPU: the same bits."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hopmask import Hit, MaskMemory, Search, load, open_memory
from hopmask.capacity import estimate

Same = Callable[..., None]
SIZES: dict[str, Any] = {"a": 100, "b": (4, 8)}
EXTRAS = {"x": 3}
CPU = torch.device("cpu")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _task(number: int, device: torch.device) -> dict[str, Any]:
    """Masks, extras, signature and groups of a task."""
    g = _generator(number)
    masks = {n: (torch.rand(s, generator=g) < 0.5).to(device) for n, s in SIZES.items()}
    extras = {"x": torch.randn(3, generator=g).to(device)}
    samples = 2 * torch.randn(1, 6, generator=g) + torch.randn(20, 6, generator=g)
    groups = (torch.arange(20) % 2).to(device)
    return {"masks": masks, "extras": extras, "signature": samples.to(device), "groups": groups}


def _empty(device: torch.device, **options: Any) -> MaskMemory:
    options = {
        "hubs": 8,
        "extras": EXTRAS,
        "signature_features": 32,
        "signature_groups": 2,
        **options,
    }
    return MaskMemory(SIZES, couplings="hub", device=device, **options)


def _filled(device: torch.device, **options: Any) -> MaskMemory:
    memory = _empty(device, **options)
    for number in range(4):
        memory.store(**_task(number, device))
    return memory


def _flat(hit: Hit) -> dict[str, Any]:
    """Name -> value of all that a recall answers."""
    found: dict[str, Any] = {}
    for field in fields(hit):
        value = getattr(hit, field.name)
        if isinstance(value, dict):
            found |= {f"{field.name} {name}": part for name, part in value.items()}
        elif field.name == "trace" and value is not None:
            found |= {f"trace {part.name}": getattr(value, part.name) for part in fields(value)}
        else:
            found[field.name] = value
    return {name: value for name, value in found.items() if value is not None}


def _state(memory: MaskMemory) -> dict[str, Any]:
    sums = memory.address.sums
    return {
        **memory.couplings.arrays(),
        **{f"address {name}": value for name, value in sums.items()},
        "mean extras": memory.mean_extras["x"],
        "mean a": memory.mean["a"],
        "tasks": list(memory.tasks),
        "numbered": memory.numbered,
    }


def _toward(number: int, device: torch.device, rows: int = 0) -> Callable[..., Tensor]:
    goal = _task(number, device)["masks"]

    def penalty(masks: dict[str, Tensor]) -> Tensor:
        parts = [(masks[n] - goal[n].float()).square().flatten(1 if rows else 0) for n in goal]
        return 20 * torch.cat(parts, -1).mean(-1)

    return penalty


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_store_replace_forget_and_grow(same: Same, precision: str) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        memory = _filled(device, precision=precision)
        memory.replace(1, **_task(11, device))
        memory.forget(2)
        memory.grow()
        memory.store(task=9, **_task(9, device))
        return _state(memory)

    same(make)


def test_what_is_stored_may_lie_on_the_cpu(same: Same) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        memory = _empty(device)
        for number in range(3):
            memory.store(**_task(number, CPU))
        memory.replace(1, **_task(5, CPU))
        cue = {"a": _task(2, CPU)["masks"]["a"].float()}
        found = memory.recall(cue=cue, signature=_task(2, CPU)["signature"].mean(0))
        return _state(memory) | _flat(found)

    same(make, close=True)


@pytest.mark.parametrize("tasks", [2, [3, 0, 3]])
def test_recall_by_number(same: Same, tasks: Any) -> None:
    same(lambda device: _flat(_filled(device).recall(tasks)))


@pytest.mark.parametrize("rows", [0, 3])
def test_recall_by_cue(same: Same, rows: int) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        cue = _task(1, device)["masks"]["a"].float()
        cue[:40] = 0.5
        return _flat(_filled(device).recall(cue={"a": cue.expand(rows, -1) if rows else cue}))

    same(make)


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_recall_by_penalty(same: Same, rows: int, precision: str) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        memory, penalty = _filled(device, precision=precision), _toward(2, device, rows)
        search = Search(trace=True, min_margin=1.0)
        return _flat(memory.recall(penalty=penalty, batch=rows or None, search=search))

    same(make)


def test_recall_by_signature_alone_and_with_all_others(same: Same) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        memory = _filled(device)
        sets = torch.stack([_task(number, device)["signature"][:5] for number in (1, 0, 2)])
        cue = {"b": _task(1, device)["masks"]["b"].float()}
        alone = _flat(memory.recall(signature=sets))
        joint = memory.recall(cue=cue, signature=sets, penalty=_toward(1, device, 3))
        return alone | {f"joint {name}": value for name, value in _flat(joint).items()}

    same(make, close=True)


def test_merge(same: Same) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        memory, other = _filled(device), _empty(device)
        other.store(task=6, **_task(6, device))
        memory.merge(other)
        return _state(memory)

    same(make)


def test_memories_of_two_devices_merge(device: torch.device) -> None:
    for mine, theirs in ((device, CPU), (CPU, device)):
        memory, other = _filled(mine), _empty(theirs)
        other.store(task=6, **_task(6, theirs))
        memory.merge(other)
        assert memory.device == torch.device(mine)
        assert memory.recall([0, 6]).verified.tolist() == [True, True]


@pytest.mark.parametrize("bits", [None, 3])
def test_save_and_load(same: Same, tmp_path: Path, bits: int | None) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        _filled(device).save(tmp_path / "memory.h5", bits=bits)
        again = load(tmp_path / "memory.h5", device=device)
        assert isinstance(again, MaskMemory)
        again.save(tmp_path / "again.h5")
        by_data = _flat(again.recall(penalty=_toward(2, device)))
        return _flat(again.recall([0, 1])) | {f"data {n}": v for n, v in by_data.items()}

    same(make, close=bits is not None)


def test_a_memory_moves_between_devices(device: torch.device, tmp_path: Path) -> None:
    memory = _filled(CPU)
    memory.recall(signature=_task(2, CPU)["signature"][None])
    memory.save(tmp_path / "memory.h5")
    for moved in (memory.to(device), load(tmp_path / "memory.h5", device=device)):
        assert isinstance(moved, MaskMemory)
        assert moved.device == device
        moved.forget(0)
        assert moved.store(**_task(7, device)) == 4
        hits = (moved.recall([2]), moved.recall(signature=_task(2, device)["signature"][None]))
        for hit in hits:
            assert torch.equal(hit.masks["a"][0], _task(2, device)["masks"]["a"])
    assert memory.to("cpu").recall(4).verified


def test_report_and_estimate(same: Same) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        memory = _filled(device)
        return {"report": str(memory.report()), "estimate": str(estimate(memory))}

    same(make)


def test_a_live_memory(device: torch.device, tmp_path: Path) -> None:
    new = _empty(device)
    with open_memory(tmp_path / "memory.h5", "x", new=new, device=device) as live:
        live.store(**_task(0, device))
        live.grow()
        live.merge(_other(device))
        assert live.tasks == (0, 6)
    again = open_memory(tmp_path / "memory.h5", device=device)
    assert bool(again.recall([0, 6]).verified.all())


def _other(device: torch.device) -> MaskMemory:
    other = _empty(device)
    other.grow()
    other.store(task=6, **_task(6, device))
    return other
