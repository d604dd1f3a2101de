"""Sets of images: of any shape, checked, and answered alike whatever else is in the call."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hopmask import ConfigError, MaskMemory
from supsup_bridge import (
    FixedNetwork,
    MaskBank,
    MaskedNetwork,
    OneShot,
    RecallInference,
    UnitNetwork,
    fix_weights,
)
from supsup_bridge.inference.base import (
    BankInference,
)
from supsup_bridge.inference.exhaustive import (
    TryAll,
)
from supsup_bridge.inference.gradient import (
    Binary,
    Descent,
)
from supsup_bridge.inference.paper import (
    PaperInference,
)

METHODS = [OneShot, Binary, Descent, TryAll]
Method = Callable[..., BankInference]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank_of(network: FixedNetwork, masks: list[Tensor]) -> MaskBank:
    bank = MaskBank(network.mask_sizes)
    (name,) = network.mask_sizes
    for mask in masks:
        bank.store({name: mask})
    return bank


@pytest.fixture(scope="module")
def conv() -> MaskedNetwork:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    return MaskedNetwork(fix_weights(module, seeded(0)), masks="hashed", bits=90)


@pytest.mark.parametrize("method", METHODS)
def test_identical_masks_are_never_preferred(method: Method) -> None:
    """However many sets: equal rows once differed by rounding from nine sets on."""
    network = UnitNetwork([20, 65, 3], network=seeded(68))
    mask = torch.rand(65, generator=seeded(1)) < 0.5
    for count in (3, 17):
        inference = method(network=network, bank=bank_of(network, [mask] * count))
        for sets in (1, 8, 9, 16, 33):
            found = inference.infer(torch.randn(sets, 4, 20, generator=seeded(sets)))
            assert not found.verified.any()
            assert not found.task.any()


@pytest.mark.parametrize("method", [OneShot, Binary, Descent])
def test_a_set_has_the_same_support_to_the_bit_whatever_the_number_of_sets(method: Method) -> None:
    network = UnitNetwork([20, 65, 3], network=seeded(0))
    masks = [torch.rand(65, generator=seeded(i)) < 0.5 for i in range(40)]
    inference = method(network=network, bank=bank_of(network, masks))
    images = torch.randn(33, 4, 20, generator=seeded(5))
    mean = inference.bank.mean
    whole = inference.support(images, mean)
    for count in (1, 8, 9):
        assert torch.equal(inference.support(images[:count], mean), whole[:count])
        found = inference.infer(images[:count])
        assert torch.equal(found.task, inference.infer(images).task[:count])


@pytest.mark.parametrize("method", METHODS)
def test_a_bank_infers_from_images_of_any_shape(method: Method, conv: MaskedNetwork) -> None:
    masks = [torch.rand(90, generator=seeded(i)) < 0.5 for i in range(4)]
    inference = method(network=conv, bank=bank_of(conv, masks))
    assert inference.infer(torch.randn(3, 2, 1, 8, 8, generator=seeded(0))).task.shape == (3,)


@pytest.fixture(scope="module")
def memory(conv: MaskedNetwork) -> MaskMemory:
    memory = MaskMemory(conv.mask_sizes, signature_features=64)
    for seed in range(2):
        mask = {"bits": torch.rand(90, generator=seeded(seed)) < 0.5}
        memory.store(mask, signature=torch.randn(20, 64, generator=seeded(seed)) + 3 * seed)
    return memory


@pytest.mark.parametrize("recall", ["both", "entropy", "address"])
def test_a_memory_infers_from_images_of_any_shape(
    recall: str, conv: MaskedNetwork, memory: MaskMemory
) -> None:
    inference = RecallInference(network=conv, memory=memory, recall=recall)
    found = inference.infer(torch.randn(3, 2, 1, 8, 8, generator=seeded(0)))
    assert found.task.shape == (3,)
    if recall != "entropy":
        images = torch.randn(1, 20, 64, generator=seeded(1)) + 3
        assert inference.infer(images.view(1, 20, 1, 8, 8)).task.tolist() == [1]


def test_the_papers_recall_takes_images_of_any_shape_and_stays_as_it_is(
    conv: MaskedNetwork, memory: MaskMemory
) -> None:
    inference = PaperInference(network=conv, memory=memory, generator=seeded(0), steps=2, batch=3)
    before = dict(vars(inference))
    pool = torch.randn(10, 1, 8, 8, generator=seeded(1))
    sets = inference.sets(pool, sets=2, samples=3, generator=seeded(0))
    assert vars(inference) == before
    assert inference.infer(sets).task.shape == (2,)
    with pytest.raises(ConfigError):
        inference.sets(pool, sets=2, samples=4, generator=seeded(0))


@pytest.mark.parametrize(
    "images",
    [
        torch.randn(5, 20),
        torch.randn(20),
        torch.randn(2, 0, 20),
        torch.randn(2, 3, 19),
        torch.ones(2, 3, 20, dtype=torch.uint8),
        [[[1.0] * 20]],
    ],
    ids=["one set", "one image", "no images", "other pixels", "bytes", "a list"],
)
def test_images_that_are_no_sets_are_refused(images: Tensor) -> None:
    network = UnitNetwork([20, 65, 3], network=seeded(0))
    mask = torch.rand(65, generator=seeded(0)) < 0.5
    bank = bank_of(network, [mask, ~mask])
    memory = MaskMemory(network.mask_sizes, signature_features=0)
    memory.store({"hidden1": mask})
    recall = RecallInference(network=network, memory=memory, recall="entropy")
    for inference in (*(method(network=network, bank=bank) for method in METHODS), recall):
        with pytest.raises(ConfigError):
            inference.infer(images)
