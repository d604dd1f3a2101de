"""Task inference over a bank: every rule against a slow one in float64."""

from collections.abc import Callable, Mapping
from functools import partial
from math import ceil, log2
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hopmask import ConfigError, EmptyMemoryError, NumericalError
from supsup_bridge import (
    FixedNetwork,
    MaskBank,
    MaskedNetwork,
    OneShot,
    UnitNetwork,
    entropy,
    fix_weights,
    mlp,
    superfluous,
)
from supsup_bridge.inference.base import (
    BankInference,
)
from supsup_bridge.inference.exhaustive import (
    ArgmaxLogits,
    TryAll,
)
from supsup_bridge.inference.gradient import (
    Binary,
    Descent,
)
from supsup_bridge.inference.named import INFERENCES, inference_named
from supsup_bridge.inference.objectives import Objective
from supsup_bridge.inference.slopes import slopes

INPUTS, OUTPUTS, LABELS = 6, 7, 3
SIZES = [INPUTS, 12, 8, OUTPUTS]
KINDS = ["weight", "hashed", "unit", "layer"]
METHODS: dict[str, Callable[..., BankInference]] = {
    "one-shot": OneShot,
    "binary": Binary,
    "descent": Descent,
    "try-all": TryAll,
    "argmax": partial(ArgmaxLogits, labels=LABELS),
}
OBJECTIVES: dict[str, Objective] = {"H": entropy, "G": partial(superfluous, labels=LABELS)}
CLOSE = 2e-5  # of Σ|g|: float32 gradients, and products to 1e-6


def network_of(kind: str, seed: int) -> FixedNetwork:
    g = torch.Generator().manual_seed(seed)
    if kind == "layer":
        return UnitNetwork(SIZES, network=g).double()
    module = fix_weights(mlp(SIZES), g)
    if kind == "hashed":
        return MaskedNetwork(module, masks="hashed", bits=40, spread=g).double()
    return MaskedNetwork(module, masks=kind).double()


def bank_of(network: FixedNetwork, count: int, seed: int) -> MaskBank:
    g = torch.Generator().manual_seed(seed + 1000)
    bank = MaskBank(network.mask_sizes)
    for _ in range(count):
        bank.store({n: torch.rand(s, generator=g) < 0.5 for n, s in network.mask_sizes.items()})
    return bank


def images_of(sets: int, samples: int, seed: int, inputs: int = INPUTS) -> Tensor:
    g = torch.Generator().manual_seed(seed + 2000)
    return torch.randn(sets, samples, inputs, generator=g).double()


def stored(bank: MaskBank) -> list[dict[str, Tensor]]:
    recalled = [bank.recall(task=i).masks for i in range(bank.count)]
    return [{name: mask.double() for name, mask in masks.items()} for masks in recalled]


def value_at(
    network: FixedNetwork, bank: MaskBank, objective: Objective, images: Tensor, alphas: Tensor
) -> Tensor:
    """H of one set (n, ...) through the explicit superposition Σ α_i M_i."""
    masks = stored(bank)
    superposed = {
        name: sum(alpha * mask[name] for alpha, mask in zip(alphas, masks, strict=True))
        for name in masks[0]
    }
    return objective(network(images, superposed)).mean()


def slope_of(
    network: FixedNetwork, bank: MaskBank, objective: Objective, images: Tensor, alphas: Tensor
) -> Tensor:
    """∂H/∂α_i by autograd through the explicit superposition, (k,)."""
    alphas = alphas.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value_at(network, bank, objective, images, alphas), alphas)
    return slope


def blur(
    network: FixedNetwork, bank: MaskBank, objective: Objective, images: Tensor, alphas: Tensor
) -> float:
    """By how much −∂H/∂α_i may be off: a small share of Σ|∂H/∂M|."""
    levels = {n: m[None].float() for n, m in bank.superpose(alphas.float()).items()}
    found = slopes(network, objective, images[None], levels)
    return CLOSE * sum(float(g.abs().sum()) for g in found.values()) + 1e-12


banks = given(
    kind=st.sampled_from(KINDS),
    objective=st.sampled_from(["H", "G"]),
    count=st.integers(1, 9),
    samples=st.integers(1, 5),
    seed=st.integers(0, 10_000),
)
few = settings(max_examples=25, deadline=None)


# --- the slope at the superposition


@few
@banks
def test_support_equals_the_derivative_by_each_alpha(kind, objective, count, samples, seed) -> None:
    network, goal = network_of(kind, seed), OBJECTIVES[objective]
    bank, images = bank_of(network, count, seed), images_of(2, samples, seed)
    alphas = torch.rand(2, count, generator=torch.Generator().manual_seed(seed)).double()
    alphas = alphas / alphas.sum(-1, keepdim=True)
    inference = OneShot(network=network, bank=bank, objective=goal)
    support = inference.support(images, bank.superpose(alphas))
    assert support.shape == (2, count)
    for row in range(2):
        expected = -slope_of(network, bank, goal, images[row], alphas[row])
        tolerance = blur(network, bank, goal, images[row], alphas[row])
        torch.testing.assert_close(support[row].double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_support_equals_finite_differences(kind: str) -> None:
    """Of the entropy; G has no finite differences, since its gradient is cut."""
    network = network_of(kind, 3)
    bank, images = bank_of(network, 5, 3), images_of(1, 4, 3)
    support = OneShot(network=network, bank=bank).support(images, bank.mean)[0]
    alphas, step = torch.full((5,), 0.2).double(), 1e-6
    for i in range(5):
        up, down = alphas.clone(), alphas.clone()
        up[i] += step
        down[i] -= step
        rise = value_at(network, bank, entropy, images[0], up)
        fall = value_at(network, bank, entropy, images[0], down)
        slope = float(rise - fall) / (2 * step)
        assert float(support[i]) == pytest.approx(-slope, rel=1e-3, abs=1e-4)


@few
@banks
def test_one_shot_is_the_mask_of_steepest_descent(kind, objective, count, samples, seed) -> None:
    network, goal = network_of(kind, seed), OBJECTIVES[objective]
    bank, images = bank_of(network, count, seed), images_of(3, samples, seed)
    found = OneShot(network=network, bank=bank, objective=goal).infer(images)
    alphas = torch.full((count,), 1 / count).double()
    for row, task in enumerate(found.task.tolist()):
        support = -slope_of(network, bank, goal, images[row], alphas)
        tolerance = blur(network, bank, goal, images[row], alphas)
        assert float(support[task]) >= float(support.max()) - 2 * tolerance
    assert found.steps.tolist() == [1, 1, 1]


def test_slopes_are_of_each_sets_own_levels() -> None:
    network = network_of("weight", 1)
    images = images_of(3, 4, 1)
    g = torch.Generator().manual_seed(5)
    levels = {n: torch.rand(3, *s, generator=g) for n, s in network.mask_sizes.items()}
    together = slopes(network, entropy, images, levels)
    for row in range(3):
        alone = {n: level[row].double().requires_grad_() for n, level in levels.items()}
        entropy(network(images[row], alone)).mean().backward()
        for name, level in alone.items():
            torch.testing.assert_close(
                together[name][row].double(), level.grad, atol=1e-6, rtol=1e-4
            )


# --- binary search


def halve(
    network: FixedNetwork, bank: MaskBank, objective: Objective, images: Tensor
) -> tuple[int, int, bool]:
    """Algorithm 1, mask by mask; also whether each cut was clear of rounding."""
    kept, steps, clear = list(range(bank.count)), 0, True
    while len(kept) > 1:
        alphas = torch.zeros(bank.count).double()
        alphas[kept] = 1 / len(kept)
        support = -slope_of(network, bank, objective, images, alphas)
        tolerance = blur(network, bank, objective, images, alphas)
        order = sorted(kept, key=lambda i: -float(support[i]))
        half = ceil(len(kept) / 2)
        gap = float(support[order[half - 1]] - support[order[half]])
        clear = clear and gap > 4 * tolerance
        kept, steps = order[:half], steps + 1
    return kept[0], steps, clear


@few
@banks
def test_binary_search_halves_the_masks(kind, objective, count, samples, seed) -> None:
    network, goal = network_of(kind, seed), OBJECTIVES[objective]
    bank, images = bank_of(network, count, seed), images_of(2, samples, seed)
    found = Binary(network=network, bank=bank, objective=goal).infer(images)
    for row in range(2):
        task, steps, clear = halve(network, bank, goal, images[row])
        assert int(found.steps[row]) == steps
        assume(clear)
        assert int(found.task[row]) == task


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 16, 17])
def test_binary_search_takes_the_logarithm_of_the_masks(count: int) -> None:
    network = network_of("unit", 0)
    found = Binary(network=network, bank=bank_of(network, count, 0)).infer(images_of(2, 1, 0))
    assert found.steps.tolist() == [ceil(log2(count))] * 2


class Spying(MaskBank):
    """Remembers the weights of every superposition."""

    def __init__(self, sizes: Any) -> None:
        super().__init__(sizes)
        self.weights: list[Tensor] = []

    def superpose(self, weights: Tensor) -> dict[str, Tensor]:
        self.weights.append(weights.clone())
        return super().superpose(weights)


def spying(network: FixedNetwork, count: int, seed: int) -> Spying:
    bank = Spying(network.mask_sizes)
    for masks in stored(bank_of(network, count, seed)):
        bank.store(masks)
    return bank


def test_binary_search_shares_the_weight_among_the_masks_that_are_left() -> None:
    network = network_of("weight", 2)
    bank = spying(network, 9, 2)
    Binary(network=network, bank=bank).infer(images_of(4, 2, 2))
    left = [5, 3, 2]
    assert len(bank.weights) == len(left)
    for weights, number in zip(bank.weights, left, strict=True):
        torch.testing.assert_close(weights.sum(-1), torch.ones(4))
        assert bool(((weights > 0).sum(-1) == number).all())
        torch.testing.assert_close(weights.amax(-1), torch.full((4,), 1 / number))
    for before, after in zip(bank.weights, bank.weights[1:], strict=False):
        assert bool((before[after > 0] > 0).all())


# --- descent


def descend(
    network: FixedNetwork,
    bank: MaskBank,
    objective: Objective,
    images: Tensor,
    steps: int,
    rate: float,
) -> tuple[list[float], int, float]:
    """The formula of `Descent`, mask by mask: the last α, the steps, and how near to 0 one came."""
    alphas, nearest = [1 / bank.count] * bank.count, 1.0
    for step in range(1, steps + 1):
        slope = slope_of(network, bank, objective, images, torch.tensor(alphas).double()).tolist()
        active = [i for i, alpha in enumerate(alphas) if alpha > 0]
        mean = sum(slope[i] for i in active) / len(active)
        largest = max(abs(slope[i] - mean) for i in active)
        for i in active:
            part = (slope[i] - mean) / max(largest, 1e-30)
            moved = alphas[i] - rate * part / len(active)
            nearest = min(nearest, abs(moved))
            alphas[i] = max(moved, 0.0)
        total = sum(alphas)
        alphas = [alpha / total for alpha in alphas]
        if sum(alpha > 0 for alpha in alphas) == 1:
            return alphas, step, nearest
    return alphas, steps, nearest


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    objective=st.sampled_from(["H", "G"]),
    count=st.integers(1, 6),
    steps=st.integers(1, 6),
    rate=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_descent_follows_the_formula(kind, objective, count, steps, rate, seed) -> None:
    network, goal = network_of(kind, seed), OBJECTIVES[objective]
    bank, images = bank_of(network, count, seed), images_of(1, 3, seed)
    alphas, taken, nearest = descend(network, bank, goal, images[0], steps, rate)
    first, *others = sorted(alphas, reverse=True)
    assume(not others or (first - others[0] > 1e-2 and nearest > 1e-4))
    found = Descent(network=network, bank=bank, objective=goal, steps=steps, rate=rate)
    answer = found.infer(images)
    assert int(answer.task[0]) == alphas.index(first)
    assert int(answer.steps[0]) == taken


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_descent_stays_on_the_simplex_and_what_is_off_stays_off(kind: str, rate: float) -> None:
    network = network_of(kind, 4)
    bank = spying(network, 7, 4)
    Descent(network=network, bank=bank, steps=12, rate=rate).infer(images_of(5, 2, 4))
    assert bank.weights
    for weights in bank.weights:
        assert weights.shape == (5, 7)
        assert bool((weights >= 0).all())
        torch.testing.assert_close(weights.sum(-1).double(), torch.ones(5).double())
    for before, after in zip(bank.weights, bank.weights[1:], strict=False):
        assert bool((after[before == 0] == 0).all())


def test_descent_lowers_the_objective() -> None:
    network = network_of("weight", 6)
    bank = spying(network, 5, 6)
    images = images_of(1, 4, 6)
    Descent(network=network, bank=bank, steps=4, rate=0.1).infer(images)
    values = [float(value_at(network, bank, entropy, images[0], w[0])) for w in bank.weights]
    start = float(value_at(network, bank, entropy, images[0], torch.full((5,), 0.2).double()))
    assert start > values[0] > values[-1]


def test_descent_ends_once_every_set_has_one_mask_left() -> None:
    network = network_of("weight", 5)
    bank, images = bank_of(network, 2, 5), images_of(3, 2, 5)
    found = Descent(network=network, bank=bank, steps=50, rate=1.0).infer(images)
    assert int(found.steps.max()) <= 3


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": -1}, {"rate": 0}, {"rate": 1.5}, {"rate": float("nan")}]
)
def test_a_descent_that_cannot_move_is_refused(wrong: dict[str, Any]) -> None:
    network = network_of("unit", 0)
    with pytest.raises(ConfigError, match="steps >= 1 and a rate in"):
        Descent(network=network, bank=bank_of(network, 2, 0), **wrong)


# --- trying every mask


@few
@banks
def test_try_all_is_the_mask_of_least_entropy(kind, objective, count, samples, seed) -> None:
    network, goal = network_of(kind, seed), OBJECTIVES[objective]
    bank, images = bank_of(network, count, seed), images_of(3, samples, seed)
    found = TryAll(network=network, bank=bank, objective=goal, chunk=4).infer(images)
    for row, task in enumerate(found.task.tolist()):
        values = [float(goal(network(images[row], mask)).mean()) for mask in stored(bank)]
        assert values[task] <= min(values) + 1e-6
    assert found.steps.tolist() == [count] * 3


@few
@banks
def test_argmax_is_the_mask_of_the_largest_real_logit(kind, objective, count, samples, seed):
    network = network_of(kind, seed)
    bank, images = bank_of(network, count, seed), images_of(3, samples, seed)
    found = ArgmaxLogits(network=network, bank=bank, labels=LABELS, chunk=4).infer(images)
    for row, task in enumerate(found.task.tolist()):
        values = []
        for mask in stored(bank):
            logits = network(images[row], mask).tolist()
            values.append(sum(max(image[:LABELS]) for image in logits) / samples)
        assert values[task] >= max(values) - 1e-6
    assert found.steps.tolist() == [count] * 3


def test_argmax_does_not_look_at_superfluous_outputs() -> None:
    class Loud(FixedNetwork):
        """Mask 0 is loud at a superfluous output, mask 1 at a real one, but less."""

        mask_sizes, outputs = {"bits": 2}, 3

        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            level = masks["bits"].double()
            logits = torch.stack([level[..., 1], 0 * level[..., 1], 9 * level[..., 0]], -1)
            return logits[..., None, :].expand(*images.shape[:-1], 3)

    network = Loud()
    bank = MaskBank(network.mask_sizes)
    for mask in torch.eye(2):
        bank.store({"bits": mask})
    images = torch.zeros(1, 2, 4)
    for labels, task in ((2, 1), (3, 0)):
        found = ArgmaxLogits(network=network, bank=bank, labels=labels).infer(images)
        assert found.task.tolist() == [task]


@pytest.mark.parametrize("labels", [0, -1, OUTPUTS + 1])
def test_labels_that_are_no_outputs_are_refused(labels: int) -> None:
    network = network_of("unit", 0)
    with pytest.raises(ConfigError, match=f"labels must lie in 1 .. {OUTPUTS}.*got {labels}"):
        ArgmaxLogits(network=network, bank=bank_of(network, 2, 0), labels=labels)


# --- what all have in common


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_answer_is_the_mask_of_the_task_bit_for_bit(method: str, kind: str) -> None:
    network = network_of(kind, 7)
    bank = bank_of(network, 6, 7)
    found = METHODS[method](network=network, bank=bank).infer(images_of(9, 2, 7))
    assert found.task.shape == found.steps.shape == found.verified.shape == (9,)
    assert found.verified.dtype == torch.bool
    assert bool(found.verified.all())
    assert list(found.masks) == list(network.mask_sizes)
    for row, task in enumerate(found.task.tolist()):
        for name, mask in bank.recall(task=task).masks.items():
            assert found.masks[name].dtype == torch.bool
            assert torch.equal(found.masks[name][row], mask)


@pytest.mark.parametrize("kind", ["weight", "layer"])
@pytest.mark.parametrize("method", METHODS)
def test_a_set_is_answered_among_others_as_alone(method: str, kind: str) -> None:
    network = network_of(kind, 8)
    bank, images = bank_of(network, 5, 8), images_of(7, 3, 8)
    alone = [METHODS[method](network=network, bank=bank).infer(images[i : i + 1]) for i in range(7)]
    tasks = [int(answer.task[0]) for answer in alone]
    assert len(set(tasks)) > 1
    for chunk in (1, 3, 100):
        together = METHODS[method](network=network, bank=bank, chunk=chunk).infer(images)
        assert together.task.tolist() == tasks
        for name, masks in together.masks.items():
            assert torch.equal(masks, torch.cat([answer.masks[name] for answer in alone]))


@pytest.mark.parametrize("method", METHODS)
def test_a_wild_set_does_not_change_the_answer_to_another(method: str) -> None:
    network = network_of("weight", 9)
    bank, images = bank_of(network, 6, 9), images_of(4, 3, 9)
    infer = METHODS[method](network=network, bank=bank).infer
    wild = torch.cat([images, 1e4 * images_of(2, 3, 10)])
    assert torch.equal(infer(wild).task[:4], infer(images).task)


@pytest.mark.parametrize("method", METHODS)
def test_sets_are_not_mixed_where_images_depend_on_each_other(method: str, generator) -> None:
    layers = [nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, OUTPUTS)]
    module = fix_weights(nn.Sequential(*layers), generator(0))
    for network in (
        MaskedNetwork(module).double(),
        UnitNetwork(SIZES, network=generator(1), normalisation="batch").double(),
    ):
        assert not network.pointwise
        bank, images = bank_of(network, 4, 0), images_of(5, 6, 0)
        images = images * torch.tensor([1, 5, 0.2, 30, 2]).reshape(5, 1, 1)
        infer = METHODS[method](network=network, bank=bank).infer
        alone = [int(infer(images[i : i + 1]).task[0]) for i in range(5)]
        assert infer(images).task.tolist() == alone


def test_try_all_normalises_each_set_by_itself(generator) -> None:
    network = UnitNetwork(SIZES, network=generator(1), normalisation="batch").double()
    bank, images = bank_of(network, 5, 0), images_of(4, 6, 0)
    images = images * torch.tensor([1, 5, 0.2, 30]).reshape(4, 1, 1)
    found = TryAll(network=network, bank=bank, chunk=2)
    values = torch.cat([entropy(logits).mean(-1) for logits in found.logits(images)])
    for row in range(4):
        for task, mask in enumerate(stored(bank)):
            expected = entropy(network(images[row], mask)).mean()
            torch.testing.assert_close(values[task, row], expected)


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_without_any_preference_is_not_to_be_trusted(method: str) -> None:
    """Without biases, all logits of a black image are 0 under every mask."""
    network = network_of("weight", 0)
    images = images_of(3, 2, 0)
    images[1] = 0
    found = METHODS[method](network=network, bank=bank_of(network, 5, 0)).infer(images)
    assert found.verified.tolist() == [True, False, True]
    assert 0 <= int(found.task[1]) < 5


@pytest.mark.parametrize("method", METHODS)
def test_one_mask_alone_is_always_preferred(method: str) -> None:
    network = network_of("weight", 0)
    found = METHODS[method](network=network, bank=bank_of(network, 1, 0)).infer(
        images_of(2, 2, 0) * 0
    )
    assert found.task.tolist() == [0, 0]
    assert found.verified.tolist() == [True, True]


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_bank_has_no_answer(method: str) -> None:
    network = network_of("weight", 0)
    inference = METHODS[method](network=network, bank=MaskBank(network.mask_sizes))
    with pytest.raises(EmptyMemoryError, match="the bank holds no mask"):
        inference.infer(images_of(2, 1, 0))


@pytest.mark.parametrize("method", METHODS)
def test_equal_masks_are_no_trouble(method: str) -> None:
    network = network_of("weight", 0)
    bank = MaskBank(network.mask_sizes)
    (masks,) = stored(bank_of(network, 1, 0))
    for _ in range(3):
        bank.store(masks)
    found = METHODS[method](network=network, bank=bank).infer(images_of(3, 2, 0))
    assert set(found.task.tolist()) <= {0, 1, 2}
    for name, mask in masks.items():
        assert torch.equal(found.masks[name], mask.bool().expand(3, *mask.shape))


@pytest.mark.parametrize("method", METHODS)
def test_images_that_are_not_finite_have_no_answer(method: str) -> None:
    network = network_of("weight", 0)
    for poison in (float("nan"), float("inf")):
        images = images_of(2, 3, 0)
        images[1, 2, 0] = poison
        with pytest.raises(NumericalError):
            METHODS[method](network=network, bank=bank_of(network, 4, 0)).infer(images)


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_stored_later_is_among_the_answers(method: str) -> None:
    network = network_of("weight", 0)
    bank = bank_of(network, 1, 0)
    inference, images = METHODS[method](network=network, bank=bank), images_of(30, 1, 0)
    assert set(inference.infer(images).task.tolist()) == {0}
    for masks in stored(bank_of(network, 2, 77)):
        bank.store(masks)
    assert len(set(inference.infer(images).task.tolist())) > 1


@pytest.mark.parametrize("method", METHODS)
def test_an_inference_changes_nothing(method: str) -> None:
    network = network_of("hashed", 0)
    bank, images = bank_of(network, 5, 0), images_of(3, 2, 0)
    masks, pixels, rng = stored(bank), images.clone(), torch.get_rng_state()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    METHODS[method](network=network, bank=bank).infer(images)
    assert torch.equal(images, pixels)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(v, weights[n]) for n, v in network.state_dict().items())
    assert bank.count == 5
    for before, after in zip(masks, stored(bank), strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", METHODS)
def test_an_inference_works_where_gradients_are_off(method: str) -> None:
    network = network_of("weight", 0)
    inference = METHODS[method](network=network, bank=bank_of(network, 5, 0))
    images = images_of(3, 2, 0)
    expected = inference.infer(images).task
    with torch.no_grad():
        found = inference.infer(images)
    assert torch.equal(found.task, expected)
    assert not any(mask.requires_grad for mask in found.masks.values())


# --- what it costs


class Counting(MaskedNetwork):
    """Counts calls and the rows of images that passed."""

    calls = rows = 0

    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        self.calls += 1
        self.rows += images.numel() // INPUTS
        return super().forward(images, masks)


def cost(method: str, count: int, sets: int = 4, samples: int = 5, **options: Any) -> Any:
    network = Counting(mlp(SIZES)).double()
    bank = bank_of(network, count, 0)
    inference = METHODS[method](network=network, bank=bank, chunk=100, **options)
    inference.infer(images_of(sets, samples, 0))
    return network.calls, network.rows


@pytest.mark.parametrize("count", [1, 9])
def test_one_shot_passes_each_image_once_however_many_masks(count: int) -> None:
    assert cost("one-shot", count) == (1, 20)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_binary_search_passes_each_image_once_a_step(count: int) -> None:
    steps = ceil(log2(count))
    assert cost("binary", count) == (steps, 20 * steps)


def test_descent_passes_each_image_once_a_step() -> None:
    assert cost("descent", 9, steps=3, rate=0.01) == (3, 60)


@pytest.mark.parametrize("method", ["try-all", "argmax"])
@pytest.mark.parametrize("count", [1, 9])
def test_trying_all_passes_each_image_once_a_mask(method: str, count: int) -> None:
    assert cost(method, count) == (1, 20 * count)


@pytest.mark.parametrize("method", METHODS)
def test_no_more_than_a_chunk_of_sets_or_masks_passes_at_once(method: str) -> None:
    network = Counting(mlp(SIZES)).double()
    largest: list[int] = []

    class Watching(Counting):
        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            largest.append(len(next(iter(masks.values()))))
            return super().forward(images, masks)

    network.__class__ = Watching
    METHODS[method](network=network, bank=bank_of(network, 7, 0), chunk=3).infer(images_of(8, 1, 0))
    assert max(largest) == 3


# --- by name


def test_each_way_has_its_name() -> None:
    network = network_of("weight", 0)
    bank = bank_of(network, 2, 0)
    named = {
        name: inference_named(
            name, network=network, bank=bank, objective=OBJECTIVES["G"], labels=LABELS
        )
        for name in INFERENCES
    }
    assert {name: type(way) for name, way in named.items()} == {
        "one-shot": OneShot,
        "binary": Binary,
        "descent": Descent,
        "try-all": TryAll,
        "argmax": ArgmaxLogits,
    }
    assert all(way.network is network and way.bank is bank for way in named.values())
    for name in ("one-shot", "binary", "descent"):
        assert named[name].objective is OBJECTIVES["G"]
    assert named["try-all"].objective is entropy
    assert named["argmax"].labels == LABELS


# --- sets of images


def test_sets_of_a_pool_have_no_repeats_and_are_drawn_anew(generator) -> None:
    network = network_of("unit", 0)
    inference = OneShot(network=network, bank=bank_of(network, 1, 0))
    pool = torch.arange(30.0)[:, None].expand(-1, 2)
    sets = inference.sets(pool, sets=6, samples=10, generator=generator(0))
    assert sets.shape == (6, 10, 2)
    chosen = [tuple(row.tolist()) for row in sets[..., 0]]
    assert all(len(set(row)) == 10 and set(row) <= set(range(30)) for row in chosen)
    assert len(set(chosen)) == 6
    again = inference.sets(pool, sets=6, samples=10, generator=generator(0))
    assert torch.equal(sets, again)


@pytest.mark.parametrize("samples", [0, -1, 31])
def test_more_images_than_a_pool_has_are_refused(samples: int, generator) -> None:
    network = network_of("unit", 0)
    inference = OneShot(network=network, bank=bank_of(network, 1, 0))
    with pytest.raises(ConfigError, match=f"1 to 30 images.*got {samples}"):
        inference.sets(torch.zeros(30, 2), sets=1, samples=samples, generator=generator(0))


@pytest.mark.parametrize("method", [OneShot, Binary, Descent, TryAll])
def test_images_that_say_nothing_have_an_answer_that_is_not_to_be_trusted(method) -> None:
    network = MaskedNetwork(fix_weights(mlp([4, 6, 3]), torch.Generator().manual_seed(0)))
    bank = MaskBank(network.mask_sizes)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        sizes = network.mask_sizes.items()
        bank.store({n: torch.rand(size, generator=generator) < 0.5 for n, size in sizes})
    images = torch.stack([torch.zeros(2, 4), torch.randn(2, 4, generator=generator)])
    found = method(network=network, bank=bank).infer(images)
    assert found.verified.tolist() == [False, True]
