"""What a memory keeps: how it is looked at, moved, marked, and kept whole."""

import copy
import warnings

import pytest
import torch

from hopmask import ConfigError, MaskMemory, NumericalError, OverloadWarning, Reservoir, load


def mask(seed, bits=256):
    return {"h": torch.rand(bits, generator=torch.Generator().manual_seed(seed)) < 0.5}


def samples(seed, n=6):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(20, n, generator=g) + 3 * torch.randn(1, n, generator=g)


def state_of(memory):
    kept = [memory.couplings.psi, memory.couplings.mean, *memory.address.sums.values()]
    return [memory.count, memory.numbered, *(tensor.clone() for tensor in kept)]


def same(one, other):
    pairs = zip(one, other, strict=True)
    return all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)


def test_a_memory_tells_its_length_and_shows_its_facts_instead_of_its_tensors():
    memory = MaskMemory({"h": 256}, signature_features=32)
    memory.store(mask(0))
    assert len(memory) == memory.count == 1
    text = repr(memory)
    assert "1 tasks" in text
    assert "tensor" not in text
    assert len(Reservoir(8)) == 0
    assert "8 spins" in repr(Reservoir(8))


def test_a_hit_shows_no_tensors():
    memory = MaskMemory({"h": 256}, signature_features=32)
    memory.store(mask(0))
    assert "tensor" not in repr(memory.recall(0))
    assert len(repr(memory.recall([0, 0]))) < 400


def test_moving_a_memory_keeps_what_it_holds():
    memory = MaskMemory({"h": 256}, signature_features=32)
    memory.store(mask(0), signature=samples(0))
    assert memory.to("cpu") is memory
    assert memory.recall(signature=samples(0).mean(0)).task == 0
    with pytest.raises(ConfigError):
        memory.to("cuda:99" if torch.cuda.is_available() else "cuda")
    assert memory.recall(0).verified


@pytest.mark.parametrize("fault", [RuntimeError("out of memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("part", ["couplings", "address"])
def test_a_store_that_fails_changes_nothing(monkeypatch, part, fault):
    memory = MaskMemory({"h": 256}, signature_features=32)
    memory.store(mask(0), signature=samples(0))
    before = state_of(memory)

    def fail(*_):
        raise fault

    target = memory.couplings if part == "couplings" else memory.address.keys
    monkeypatch.setattr(target, "write" if part == "couplings" else "of", fail)
    with pytest.raises(type(fault)):
        memory.store(mask(1), signature=samples(1))
    monkeypatch.undo()
    assert same(state_of(memory), before)
    assert memory.store(mask(1), signature=samples(1)) == 1
    assert memory.recall(signature=samples(1).mean(0)).task == 1


def test_a_pattern_that_the_rule_refuses_leaves_the_address_as_it_was():
    memory = MaskMemory({"h": 64}, rule="projection", key_bits=32, signature_features=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for task in range(400):
            before = state_of(memory)
            try:
                memory.store(mask(task, 64), signature=samples(task), check=False)
            except NumericalError:
                break
    assert same(state_of(memory), before)


def test_the_check_after_a_store_can_be_left_out():
    """Far too many tasks: the check warns, and without it nothing does."""
    memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=32, signature_features=0)
    for task in range(12):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            memory.store(mask(task, 64), check=False)
    with pytest.warns(OverloadWarning):
        memory.store(mask(12, 64))


def test_signatures_in_parts_teach_the_address_what_they_teach_as_one():
    whole = MaskMemory({"h": 256}, signature_features=32, dtype=torch.float64)
    parts = copy.deepcopy(whole)
    for task in range(3):
        data = samples(task).double()
        whole.store(mask(task), signature=data)
        parts.store(mask(task), signature=iter(data.split(7)))
    for name, expected in whole.address.sums.items():
        torch.testing.assert_close(parts.address.sums[name], expected, rtol=1e-9, atol=1e-9)


def test_tasks_of_one_signature_are_recalled_but_not_told_apart():
    memory = MaskMemory({"h": 256}, signature_features=32)
    vector = samples(0)[0]
    for task in range(5):
        memory.store(mask(task), signature=vector)
    hit = memory.recall(signature=vector)
    assert hit.verified
    assert not hit.recognized


def test_a_fingerprint_stays_with_the_memory(tmp_path):
    memory = MaskMemory({"h": 64}, signature_features=0, fingerprint="weights of seed 3")
    memory.save(tmp_path / "memory.h5")
    assert load(tmp_path / "memory.h5").fingerprint == "weights of seed 3"
    plain = MaskMemory({"h": 64}, signature_features=0)
    plain.save(tmp_path / "plain.h5")
    assert load(tmp_path / "plain.h5").fingerprint == ""
    for wrong in (3, None, "x" * 257):
        with pytest.raises(ConfigError):
            MaskMemory({"h": 64}, fingerprint=wrong)


@pytest.mark.parametrize("options", [{"sizes": {"h": 17_000}}, {"signature_features": 16_385}])
def test_a_memory_that_no_file_would_hold_is_refused_before_anything_is_learned(options):
    with pytest.raises(ConfigError):
        MaskMemory(options.pop("sizes", {"h": 64}), device="meta", **options)
