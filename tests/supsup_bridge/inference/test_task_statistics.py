"""Task inference where tasks have statistics: their mean at a superposition, else a mask's own."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hopmask import MaskMemory
from supsup_bridge import MaskBank, MaskedNetwork, OneShot, RecallInference, entropy, fix_weights
from supsup_bridge.inference.exhaustive import TryAll
from supsup_bridge.inference.gradient import Binary, Descent
from supsup_bridge.inference.slopes import slopes

TASKS = 4


def network_of() -> MaskedNetwork:
    layers = nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 5)
    module = fix_weights(nn.Sequential(*layers), torch.Generator().manual_seed(0))
    return MaskedNetwork(module).double()


def images_of(task: int, *count: int) -> Tensor:
    g = torch.Generator().manual_seed(40 + task)
    return (1 + task) * torch.randn(*count, 6, generator=g).double() + task


def task_of(network: MaskedNetwork, task: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    g, sizes = torch.Generator().manual_seed(task), network.mask_sizes
    masks = {name: torch.rand(size, generator=g) < 0.5 for name, size in sizes.items()}
    return masks, network.statistics(masks, [images_of(task, 30)])


@pytest.fixture(scope="module")
def network() -> MaskedNetwork:
    return network_of()


@pytest.fixture(scope="module")
def tasks(network: MaskedNetwork) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    return [task_of(network, task) for task in range(TASKS)]


@pytest.fixture(scope="module")
def bank(network: MaskedNetwork, tasks: Any) -> MaskBank:
    bank = MaskBank(network.mask_sizes, extras=network.statistics_sizes)
    for masks, statistics in tasks:
        bank.store(masks, extras=statistics)
    return bank


def superposed(tasks: Any, alphas: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Masks and statistics, each weighted by α; slow and obvious."""
    parts = []
    for place in (0, 1):
        names = tasks[0][place]
        parts.append(
            {
                n: sum(a * t[place][n].double() for a, t in zip(alphas, tasks, strict=True))
                for n in names
            }
        )
    return parts[0], parts[1]


def test_slopes_are_by_the_masks_alone(network: MaskedNetwork, tasks: Any) -> None:
    masks, statistics = superposed(tasks, torch.full((TASKS,), 1 / TASKS).double())
    images = images_of(1, 3, 2)
    found = slopes(network, entropy, images, {**masks, **statistics})
    assert found.keys() == masks.keys()
    for row in range(3):
        levels = {name: level.clone().requires_grad_() for name, level in masks.items()}
        value = entropy(network(images[row], {**levels, **statistics})).mean()
        expected = torch.autograd.grad(value, list(levels.values()))
        for name, gradient in zip(levels, expected, strict=True):
            torch.testing.assert_close(found[name][row], gradient)


def test_one_shot_follows_the_slope_at_mean_masks_and_statistics(network, tasks, bank) -> None:
    images = images_of(2, 3, 2)
    inference = OneShot(network=network, bank=bank)
    support = inference.support(images, inference.middle)
    for row in range(3):
        alphas = torch.full((TASKS,), 1 / TASKS, dtype=torch.float64, requires_grad=True)
        masks, statistics = superposed(tasks, alphas)
        fixed = {name: value.detach() for name, value in statistics.items()}
        value = entropy(network(images[row], {**masks, **fixed})).mean()
        (expected,) = torch.autograd.grad(value, alphas)
        torch.testing.assert_close(support[row], -expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(inference.infer(images).task, support.argmax(-1))


def test_trying_all_tries_each_mask_with_its_own_statistics(network, tasks, bank) -> None:
    images = images_of(3, 5, 2)
    found = TryAll(network=network, bank=bank, chunk=3).infer(images)
    values = torch.stack(
        [
            entropy(network(images.flatten(0, 1), {**m, **s})).reshape(5, 2).mean(-1)
            for m, s in tasks
        ]
    )
    assert torch.equal(found.task, values.argmin(0))
    for row, number in enumerate(found.task.tolist()):
        masks, statistics = tasks[number]
        expected = {**masks, **statistics}
        given = found.of_set(row)
        assert given.keys() == expected.keys()
        assert all(torch.equal(given[name], expected[name]) for name in expected)


@pytest.mark.parametrize("way", [OneShot, Binary, Descent, TryAll])
def test_a_set_of_images_is_inferred_by_itself(way: Any, network, bank) -> None:
    images = torch.stack([images_of(task, 2) for task in range(TASKS)])
    infer = way(network=network, bank=bank).infer
    together = infer(images)
    assert together.task.tolist() == [int(infer(one[None]).task[0]) for one in images]
    for name, value in together.extras.items():
        assert value.shape == (TASKS, *bank.recall(task=0).extras[name].shape)


def test_a_recall_compares_masks_with_their_own_statistics(tasks) -> None:
    network = network_of().float()
    memory = MaskMemory(
        network.mask_sizes, couplings="hub", hubs=4, extras=network.statistics_sizes
    )
    for masks, statistics in tasks:
        memory.store(masks, extras=statistics)
    images = images_of(2, 6, 3)
    inference = RecallInference(network=network, memory=memory, recall="entropy")
    found = inference.infer(images.float())
    assert bool(found.verified.all())
    for row, number in enumerate(found.task.tolist()):
        given = found.of_set(row)
        for name, value in {**tasks[number][0], **tasks[number][1]}.items():
            assert torch.equal(given[name], value)
