"""Training in bfloat16: the layers alone, and the same bits after a break."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge import MaskedNetwork, TrainingSettings
from supsup_bridge.networks.fixed import fix_weights
from supsup_bridge.networks.precision import precision_on
from supsup_bridge.networks.registry import build
from supsup_bridge.training.data import TensorData
from supsup_bridge.training.fit import Lesson


class Watched(nn.Module):
    """A convolution, a norm and a linear layer that keep what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8, affine=False)
        self.out = nn.Linear(8, 4, bias=False)
        self.seen: list[tuple[torch.dtype, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        last = images.is_contiguous(memory_format=torch.channels_last)
        self.seen.append((maps.dtype, last))
        return self.out(self.norm(maps).relu().mean((-2, -1)))


def lesson(precision: str, **changes: Any) -> tuple[Lesson, Watched]:
    g = torch.Generator().manual_seed(0)
    network = MaskedNetwork(fix_weights(Watched(), g))
    images = torch.randn(24, 3, 6, 6, generator=g)
    settings = TrainingSettings(epochs=3, batch=8, precision=precision, **changes)
    data = TensorData(images, torch.arange(24) % 4)
    made = Lesson(network, data, settings, scores=g, batches=torch.Generator().manual_seed(1))
    module = network.module
    assert isinstance(module, Watched)
    return made, module


@pytest.mark.parametrize("contrast", [0.0, 0.5])
@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_layers_compute_in_the_precision(precision, dtype, contrast) -> None:
    made, module = lesson(precision, contrast=contrast)
    losses: list[float] = []
    masks = made.run(lambda step, loss: losses.append(loss))
    assert module.seen[0] == (dtype, False)  # a module of one's own gets images as they are
    assert {kind for kind, _ in module.seen} == {dtype}
    assert all(mask.dtype == torch.bool for mask in masks.values())
    assert all(score.dtype == torch.float32 for score in made.trainer.scores.values())


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512_bf16": True, "avx2": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True, "cpu_name": "x"}, torch.float32),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_instructions_for_it(
    capabilities, dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    made, module = lesson("auto")
    made.run()
    assert {kind for kind, _ in module.seen} == {dtype}


def test_auto_is_float32_where_torch_does_not_say_or_on_another_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert precision_on("auto", torch.device("cpu")) == "float32"
    assert precision_on("auto", torch.device("meta")) == "float32"
    assert precision_on("bfloat16", torch.device("meta")) == "bfloat16"
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(asked.append(device)))
    asked: list[torch.device] = []
    for has in (True, False):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda *, including_emulation, has=has: has
        )
        assert precision_on("auto", torch.device("cuda:1")) == ("bfloat16" if has else "float32")
    assert asked == [torch.device("cuda:1")] * 2


class Viewing(nn.Module):
    """A module that takes no maps but contiguous ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 3, bias=False), nn.Linear(128, 4, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.conv(images).view(-1, 128))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_module_of_ones_own_may_use_view(precision: str) -> None:
    g = torch.Generator().manual_seed(0)
    network = MaskedNetwork(fix_weights(Viewing(), g))
    settings = TrainingSettings(epochs=1, batch=8, contrast=0, precision=precision)
    data = TensorData(torch.randn(24, 3, 6, 6, generator=g), torch.arange(24) % 4)
    assert Lesson(network, data, settings, scores=g, batches=g).run()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["lenet-5", "gem-resnet18"])
def test_networks_by_name_train_on_images_that_lie_channels_last(name: str, precision: str) -> None:
    g = torch.Generator().manual_seed(0)
    network = build(
        name, masks="weight", inputs=(3, 32, 32), outputs=4, bits=0, weights=g, spread=g
    )
    seen: list[bool] = []

    def look(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    first.register_forward_pre_hook(look)
    settings = TrainingSettings(epochs=1, batch=4, contrast=0, precision=precision)
    data = TensorData(torch.randn(4, 3, 32, 32, generator=g), torch.arange(4))
    Lesson(network, data, settings, scores=g, batches=g).run()
    assert seen[0]


def test_the_loss_is_nearly_that_of_full_precision() -> None:
    losses: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16"):
        of: list[float] = []
        lesson(precision)[0].run(lambda step, loss, of=of: of.append(loss))
        losses[precision] = of
    assert losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"][0] == pytest.approx(losses["float32"][0], rel=0.02)


def test_statistics_and_predictions_are_in_full_precision() -> None:
    made, module = lesson("bfloat16")
    network, masks = made.trainer.network, made.run()
    module.seen.clear()
    images = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    statistics = network.statistics(masks, [images])
    logits = network.predictor({**masks, **statistics}, images)(images)
    assert logits.dtype == torch.float32
    assert {kind for kind, _ in module.seen} == {torch.float32}


def test_a_lesson_that_was_broken_off_goes_on_to_the_same_bits() -> None:
    whole, _ = lesson("bfloat16")
    expected = whole.run()
    first, _ = lesson("bfloat16")
    states: list[dict[str, Any]] = []

    class Break(Exception):
        pass

    def pause() -> None:
        if first.batches.done == 4:
            states.append(first.state())
            raise Break

    with pytest.raises(Break):
        first.run(pause=pause)
    second, _ = lesson("bfloat16")
    second.restore(states[0])
    found = second.run()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    scores, others = whole.trainer.scores, second.trainer.scores
    assert all(torch.equal(scores[name], others[name]) for name in scores)


@pytest.mark.parametrize("precision", ["half", "float16", "float64", "", None, torch.bfloat16, 16])
def test_an_unknown_precision_is_refused(precision: Any) -> None:
    with pytest.raises(ConfigError, match="precision must be one of float32, bfloat16, auto"):
        TrainingSettings(precision=precision)
