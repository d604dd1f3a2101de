"""Networks, training, banks and inference under other defaults of torch, and on other devices."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supsup_bridge import (
    FixedNetwork,
    MaskBank,
    MaskedNetwork,
    OneShot,
    TrainingSettings,
    UnitNetwork,
    split_digits,
    train_mask,
)
from supsup_bridge.inference.exhaustive import (
    TryAll,
)
from supsup_bridge.inference.gradient import (
    Binary,
    Descent,
)
from supsup_bridge.inference.signatures import SIGNATURES, signature_named
from supsup_bridge.networks.registry import build, check_fits
from supsup_bridge.training.trainer import (
    MaskTrainer,
)

SETTINGS = TrainingSettings(epochs=2, batch=32)
KINDS = ["weight", "hashed", "unit"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def built(masks: str) -> FixedNetwork:
    sizes = {"inputs": 64, "outputs": 6, "bits": 300}
    name = "layer-norm" if masks == "unit" else "lenet-300-100"
    return build(name, masks=masks, weights=seeded(0), spread=seeded(1), **sizes)


def everything(masks: str) -> list[Tensor]:
    """Weights, learned masks, scores, answers and signatures of a small run."""
    network = built(masks)
    bank = MaskBank(network.mask_sizes)
    tasks = split_digits(tasks=2)
    for number, task in enumerate(tasks):
        images, labels = task.train_images[:100], task.train_labels[:100]
        check_fits(network, images[:2], name="it")
        bank.store(train_mask(network, images, labels, SETTINGS, generator=seeded(2 + number)))
    sets = torch.stack([task.inference_images[:5] for task in tasks])
    found = [*network.buffers(), *bank.mean.values()]
    for method in (OneShot, Binary, Descent, TryAll):
        answer = method(network=network, bank=bank).infer(sets)
        found += [answer.task, answer.verified, *answer.masks.values()]
    found += [signature_named(name, network)(sets[0]) for name in SIGNATURES]
    return found


@pytest.mark.parametrize("masks", KINDS)
def test_torchs_default_device_and_type_change_nothing(masks: str) -> None:
    plain = everything(masks)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = everything(masks)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(a.device.type == "cpu" for a in found)
    assert all(a.dtype == b.dtype for a, b in zip(plain, found, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))


@pytest.mark.parametrize("method", [OneShot, Binary, Descent, TryAll])
def test_inference_over_a_bank_does_not_depend_on_autocast(method: Callable[..., OneShot]) -> None:
    network = built("hashed")
    bank = MaskBank(network.mask_sizes)
    for seed in range(5):
        bank.store({"bits": torch.rand(300, generator=seeded(seed)) < 0.5})
    images = torch.randn(9, 3, 64, generator=seeded(9))
    infer = method(network=network, bank=bank).infer
    plain = infer(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = infer(images)
    assert torch.equal(plain.task, cast.task)
    assert torch.equal(plain.verified, cast.verified)


@pytest.mark.parametrize(
    "network",
    [
        UnitNetwork([4, 8, 2], network=seeded(0)),
        MaskedNetwork(nn.Linear(4, 2)),
    ],
    ids=["buffers", "parameters"],
)
def test_a_network_knows_its_device_and_scores_follow(network: FixedNetwork) -> None:
    there = network.to("meta")
    assert there.device == torch.device("meta")
    trainer = MaskTrainer(there, SETTINGS, scores=seeded(0), noise=seeded(1))
    assert all(score.device.type == "meta" for score in trainer.scores.values())


def test_a_network_without_weights_is_on_the_cpu() -> None:
    class Bare(FixedNetwork):
        mask_sizes, outputs = {"bits": 2}, 2

        def forward(self, images: Tensor, masks: dict[str, Tensor]) -> Tensor:
            return images[:, :2]

    assert Bare().device == torch.device("cpu")
