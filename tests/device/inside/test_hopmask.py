"""The main paths of hopmask on the pretended device, against the same on the CPU."""

import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hopmask import (
    Damage,
    Hit,
    MaskMemory,
    OverloadWarning,
    RandomMasks,
    Reservoir,
    Search,
    load,
    paper_schedule,
)
from hopmask.capacity import biased_masks, curve, estimate, measure
from hopmask.patterns.check_bits import CheckBits
from hopmask.recall.result import (
    SpinHit,
)

Same = Callable[..., None]
RULES = ("storkey", "storkey-matrix", "hebbian", "projection")
SIZES = {"a": 128, "b": (8, 16)}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _spins(k: int, d: int, device: torch.device, seed: int = 0) -> Tensor:
    return (2 * torch.randint(0, 2, (k, d), generator=_generator(seed)) - 1).float().to(device)


def _masks(number: int, device: torch.device) -> dict[str, Tensor]:
    generator = _generator(number)
    return {
        name: (torch.rand(size, generator=generator) < 0.5).to(device)
        for name, size in SIZES.items()
    }


def _samples(number: int, device: torch.device) -> Tensor:
    """What the data of a task look like, (20, 6)."""
    generator = _generator(100 + number)
    centre = 2 * torch.randn(1, 6, generator=generator)
    return (centre + torch.randn(20, 6, generator=generator)).to(device)


def _filled(device: torch.device, **options: Any) -> MaskMemory:
    memory = MaskMemory(SIZES, signature_features=64, key_bits=64, device=device, **options)
    for task in range(3):
        memory.store(_masks(task, device), signature=_samples(task, device))
    memory.store(_masks(3, device))
    return memory


def _toward(number: int, device: torch.device, rows: int = 0) -> Callable[..., Tensor]:
    """A penalty that is lowest at a task's masks; of batches where `rows`."""
    goal = _masks(number, device)

    def penalty(masks: dict[str, Tensor]) -> Tensor:
        parts = [(masks[n] - goal[n].float()).square().flatten(1 if rows else 0) for n in goal]
        return 20 * torch.cat(parts, -1).mean(-1)

    return penalty


def _flat(hit: Hit | SpinHit) -> dict[str, Any]:
    """Name -> value of all that a recall answers."""
    found: dict[str, Any] = {}
    for field in fields(hit):
        value = getattr(hit, field.name)
        if isinstance(value, dict):
            found |= {f"masks {name}": mask for name, mask in value.items()}
        elif field.name == "trace" and value is not None:
            found |= {f"trace {part.name}": getattr(value, part.name) for part in fields(value)}
        elif value is not None:
            found[field.name] = value
    return {name: value for name, value in found.items() if value is not None}


class TestReservoir:
    @pytest.mark.parametrize("rule", RULES)
    def test_store_and_what_is_measured(self, same: Same, rule: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            reservoir = Reservoir(96, rule=rule, device=device)
            patterns = _spins(4, 96, device)
            reservoir.store(patterns[0])
            reservoir.store(patterns[1:] > 0)
            return {
                "psi": reservoir.psi,
                "mean": reservoir.mean,
                "energy": reservoir.energy(patterns),
                "field": reservoir.field(patterns[0]),
                "residual": reservoir.residual(patterns),
            }

        same(make)

    @pytest.mark.parametrize("rule", RULES)
    def test_recall_by_cue(self, same: Same, rule: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            reservoir = Reservoir(96, rule=rule, device=device)
            patterns = _spins(4, 96, device)
            reservoir.store(patterns)
            cue = Damage(kind="flips", share=0.1).of(patterns, _generator(5))
            return _flat(reservoir.recall(cue))

        same(make)

    def test_recall_by_penalty(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            reservoir = Reservoir(96, device=device)
            patterns = _spins(4, 96, device)
            reservoir.store(patterns)
            hit = reservoir.recall(penalty=lambda z: (z - patterns[2]).square().mean())
            return _flat(hit)

        same(make)

    def test_forget(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            reservoir = Reservoir(96, rule="hebbian", device=device)
            patterns = _spins(4, 96, device)
            reservoir.store(patterns)
            reservoir.forget(patterns[1])
            return {"psi": reservoir.psi, "mean": reservoir.mean, "count": reservoir.count}

        same(make)

    def test_save_and_load(self, same: Same, tmp_path: Path) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            reservoir = Reservoir(96, device=device)
            patterns = _spins(4, 96, device)
            reservoir.store(patterns)
            reservoir.save(tmp_path / "reservoir.h5")
            again = load(tmp_path / "reservoir.h5", device=device)
            assert isinstance(again, Reservoir)
            return {"psi": again.psi, "mean": again.mean, **_flat(again.recall(patterns[0]))}

        same(make)


class TestMaskMemory:
    @pytest.mark.parametrize("rule", RULES)
    def test_store(self, same: Same, rule: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            memory = _filled(device, rule=rule)
            return {"psi": memory.couplings.psi, **memory.mean, "count": memory.count}

        same(make)

    def test_masks_and_signatures_from_the_cpu(self, same: Same) -> None:
        cpu = torch.device("cpu")

        def make(device: torch.device) -> dict[str, Any]:
            memory = MaskMemory(SIZES, signature_features=64, key_bits=64, device=device)
            memory.store(_masks(0, cpu), signature=_samples(0, cpu))
            memory.store(_masks(1, cpu))
            cue = {name: mask.float() for name, mask in _masks(1, cpu).items()}
            found = _flat(memory.recall(signature=_samples(0, cpu)[0]))
            return found | {f"by cue {n}": m for n, m in memory.recall(cue=cue).masks.items()}

        same(make, close=True)

    @pytest.mark.parametrize("rule", ["hebbian", "projection"])
    def test_recall_by_number(self, same: Same, rule: str) -> None:
        same(lambda device: _flat(_filled(device, rule=rule).recall(task=2)))

    @pytest.mark.parametrize("rows", [0, 3])
    def test_recall_by_cue(self, same: Same, rows: int) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            cue = _masks(1, device)["a"].float()
            cue[:40] = 0.5
            return _flat(_filled(device).recall(cue={"a": cue.expand(rows, -1) if rows else cue}))

        same(make)

    def test_recall_by_number_and_cue(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            return _flat(_filled(device).recall(task=1, cue={"a": _masks(1, device)["a"]}))

        same(make)

    @pytest.mark.parametrize("rows", [0, 3])
    def test_recall_by_penalty(self, same: Same, rows: int) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            penalty = _toward(2, device, rows)
            return _flat(_filled(device).recall(penalty=penalty, batch=rows or None))

        same(make)

    def test_recall_by_signature(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            memory = _filled(device)
            sets = torch.stack([_samples(task, device)[:5] for task in (1, 0)])
            one = _flat(memory.recall(signature=_samples(2, device)[0]))
            return _flat(memory.recall(signature=sets)) | {f"one {n}": v for n, v in one.items()}

        same(make, close=True)

    def test_recall_by_signature_and_penalty(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            sets = torch.stack([_samples(task, device)[:5] for task in (2, 2, 1)])
            penalty = _toward(2, device, 3)
            return _flat(
                _filled(device).recall(
                    signature=sets, penalty=penalty, search=Search(min_margin=2.0)
                )
            )

        same(make, close=True)

    def test_the_papers_recall(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            memory, schedule = _filled(device), paper_schedule(steps=5)
            hit = memory.recall(
                penalty=_toward(2, device), search=Search(dynamics=schedule, max_basins=1)
            )
            return _flat(hit)

        same(make)

    def test_a_traced_recall(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            return _flat(
                _filled(device).recall(penalty=_toward(2, device), search=Search(trace=True))
            )

        same(make)

    def test_overlap(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            memory = _filled(device)
            states = _spins(3, memory.couplings.size, device)
            return {"overlap": memory.overlap(states, _masks(1, device))}

        same(make)

    def test_forget_and_replace(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            memory = _filled(device, rule="hebbian")
            memory.forget(task=1)
            memory.replace(0, _masks(7, device), signature=_samples(7, device))
            by_data = _flat(memory.recall(signature=_samples(7, device)[0]))
            return {"psi": memory.couplings.psi, **by_data, "count": memory.count}

        same(make, close=True)

    def test_warnings_of_a_full_memory(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            options: dict[str, Any] = {"key_bits": 32, "signature_features": 0, "device": device}
            memory = MaskMemory({"a": 16}, rule="hebbian", **options)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                for task in range(10):
                    memory.store({"a": _masks(task, device)["a"][:16]})
            assert any(isinstance(one.message, OverloadWarning) for one in said)
            return {str(n): str(one.message) for n, one in enumerate(said)}

        same(make)

    def test_report(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            return {"report": str(_filled(device).report())}

        same(make)

    def test_save_and_load(self, same: Same, tmp_path: Path) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            _filled(device).save(tmp_path / "memory.h5")
            again = load(tmp_path / "memory.h5", device=device)
            assert isinstance(again, MaskMemory)
            number = again.store(_masks(9, device), signature=_samples(9, device))
            by_data = _flat(again.recall(signature=_samples(9, device)[0]))
            return _flat(again.recall(task=number)) | {f"data {n}": v for n, v in by_data.items()}

        same(make, close=True)

    def test_many_numbers_at_once(self, same: Same) -> None:
        same(lambda device: _flat(_filled(device).recall([2, 0])))

    def test_a_memory_moves_between_devices(self, device: torch.device) -> None:
        memory = _filled(torch.device("cpu")).to(device)
        assert memory.device == device
        for hit in (memory.recall([2]), memory.recall(signature=_samples(2, device)[None])):
            assert torch.equal(hit.masks["a"][0], _masks(2, device)["a"])

    def test_a_file_moves_between_devices(self, device: torch.device, tmp_path: Path) -> None:
        _filled(torch.device("cpu")).save(tmp_path / "memory.h5")
        moved = load(tmp_path / "memory.h5", device=device)
        assert isinstance(moved, MaskMemory)
        assert moved.device == device
        assert torch.equal(moved.recall(task=2).masks["a"], _masks(2, device)["a"])


def test_check_bits_mend(same: Same) -> None:
    def make(device: torch.device) -> dict[str, Any]:
        parity = CheckBits(seed=0, size=200, where=slice(0, 64))
        whole = _spins(3, 200, device)
        parity.seal(whole)
        wrong = whole.clone()
        wrong[:, 70:80] *= -1
        firm = torch.arange(200.0, device=device).sub(75).abs().expand(3, -1)
        mended = parity.mended(wrong, firm)
        assert torch.equal(mended, whole)
        return {"mended": mended, "holds": parity.holds(mended)}

    same(make)


class TestCapacity:
    def test_estimate(self, same: Same) -> None:
        same(lambda device: {"estimate": str(estimate(_filled(device), most=4))})

    def test_estimate_after_forgetting(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            memory = _filled(device, rule="hebbian")
            memory.forget(task=1)
            return {"estimate": str(estimate(memory, most=4))}

        same(make)

    def test_masks_like_those_held(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            masks = biased_masks(_filled(device))
            return {"mean": masks.mean, "drawn": masks.draw(3, _generator(0))}

        same(make, on_cpu=("drawn",))  # where the generator is

    def test_measure(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            masks = RandomMasks(size=32)
            return {"capacity": str(measure("hebbian", masks, trials=2, device=device))}

        same(make)

    @pytest.mark.parametrize("kind", ["flips", "erasures", "block"])
    def test_curve(self, same: Same, kind: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            damages = [Damage(kind=kind, share=0.1)]
            points = curve("storkey", RandomMasks(size=48), [2, 9], damages=damages, device=device)
            return {str(point.patterns): point.recalled for point in points}

        same(make)
