"""The descent of trained tensors, against Adam and SGD written out in float64."""

import pytest
import torch
from torch import Tensor

from supsup_bridge.training.descent import Descent
from supsup_bridge.training.settings import TrainingSettings

STEPS = 7


def start() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(3, generator=generator), "b": torch.randn(2, 2, generator=generator)}


def gradient(name: str, value: Tensor) -> Tensor:
    return value.pow(3) + (1.0 if name == "a" else -2.0)


def descended(settings: TrainingSettings, bounds: dict[str, float], steps: int) -> Descent:
    moved = {name: value.requires_grad_() for name, value in start().items()}
    descent = Descent(moved, bounds, settings)
    for _ in range(steps):
        descent.clear()
        for name, value in moved.items():
            value.grad = gradient(name, value.detach())
        descent.step()
    return descent


def test_adam_with_its_decaying_rate_and_the_moving_average() -> None:
    settings, bounds = TrainingSettings(rate=0.05, averaging=0.5), {"a": 0.1, "b": 0.02}
    found = descended(settings, bounds, STEPS)
    for name, value in start().items():
        now, average = value.double(), value.double()
        first = second = torch.zeros_like(now)
        for step in range(STEPS):
            slope = gradient(name, now)
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            rate = 0.05 * bounds[name] / 0.1 / (1 + step / 400)
            scale = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            now = now - rate * first / (1 - 0.9 ** (step + 1)) / scale
            kept = min(0.5, (2 + step) / (11 + step))
            average = kept * average + (1 - kept) * now
        assert torch.allclose(found.moved[name].detach().double(), now, atol=1e-5)
        assert torch.allclose(found.result[name].double(), average, atol=1e-5)
    assert found.done == STEPS


def test_sgd_with_momentum_and_weight_decay_and_no_average() -> None:
    found = descended(TrainingSettings(optimiser="sgd", rate=0.01), {"a": 0.1, "b": 0.1}, STEPS)
    for name, value in start().items():
        now, speed = value.double(), torch.zeros_like(value.double())
        for _ in range(STEPS):
            speed = 0.9 * speed + gradient(name, now) + 1e-4 * now
            now = now - 0.01 * speed
        assert torch.allclose(found.result[name].double(), now, atol=1e-5)
        assert torch.equal(found.result[name], found.moved[name].detach())


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_descent_goes_on_from_its_state(optimiser: str) -> None:
    settings, bounds = TrainingSettings(optimiser=optimiser, rate=0.02), {"a": 0.1, "b": 0.1}
    whole = descended(settings, bounds, STEPS)
    half = descended(settings, bounds, 3)
    other = Descent({n: v.requires_grad_() for n, v in start().items()}, bounds, settings)
    other.restore(half.state())
    for _ in range(STEPS - 3):
        other.clear()
        for name, value in other.moved.items():
            value.grad = gradient(name, value.detach())
        other.step()
    for name in bounds:
        assert torch.equal(other.result[name], whole.result[name])
