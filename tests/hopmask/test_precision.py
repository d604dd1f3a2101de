"""What a memory computes depends on no global setting of torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from hopmask import MaskMemory, Reservoir

SPINS = 1024  # mask bits: beyond 256 positive spins bfloat16 cannot count


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "default float64": lambda: default_dtype(torch.float64),
    "default meta device": lambda: default_device("meta"),
}


@pytest.fixture(scope="module")
def data():
    g = torch.Generator().manual_seed(0)
    masks = torch.rand(3, SPINS, generator=g) < 0.5
    images = torch.randn(3, 12, 6, generator=g) + 3 * torch.randn(3, 1, 6, generator=g)
    return masks, images, torch.rand(SPINS, generator=g) < 0.8  # and which bits a cue knows


def used(masks, images, known):
    """A memory that stored, and what it recalls in every way."""
    memory = MaskMemory({"h": SPINS}, signature_features=64)
    for mask, samples in zip(masks, images, strict=True):
        memory.store({"h": mask}, signature=samples)
    wanted = masks[1].float()
    hits = [
        memory.recall(2),
        memory.recall([0, 2]),
        memory.recall(cue={"h": torch.where(known, masks[0].float(), 0.5)}),
        memory.recall(signature=images[1]),
        memory.recall(penalty=lambda m: (m["h"] - wanted).square().mean()),
        memory.recall(
            penalty=lambda m: (m["h"] - wanted).square().mean(-1), signature=images[1, None]
        ),
    ]
    return memory, hits


@pytest.mark.parametrize("setting", SETTINGS)
def test_store_and_recall_give_the_same_bits_under_any_global_setting(setting, data):
    memory, hits = used(*data)
    with SETTINGS[setting]():
        other, others = used(*data)
    assert torch.equal(other.couplings.psi, memory.couplings.psi)
    assert all(torch.equal(other.address.sums[n], s) for n, s in memory.address.sums.items())
    for hit, same in zip(hits, others, strict=True):
        assert torch.equal(same.masks["h"], hit.masks["h"])
        assert torch.as_tensor(same.verified).tolist() == torch.as_tensor(hit.verified).tolist()
        assert torch.as_tensor(same.verified).all()


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_reservoir_answers_the_same_under_any_global_setting(setting, data):
    patterns = data[0].float() * 2 - 1

    def answers():
        reservoir = Reservoir(SPINS)
        reservoir.store(patterns)
        hit = reservoir.recall(torch.where(data[2], patterns, 0))
        by_penalty = reservoir.recall(penalty=lambda z: (z - patterns[0]).square().mean())
        return [
            *(hit.spins, hit.verified, by_penalty.spins),
            *(reservoir.energy(patterns), reservoir.field(patterns), reservoir.residual(patterns)),
        ]

    plain = answers()
    with SETTINGS[setting]():
        other = answers()
    assert all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))
