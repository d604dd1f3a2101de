"""Baselines: what each of them computes, keeps and forgets, against slow references."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopmask import ConfigError, NumericalError
from supsup_bridge import MaskedNetwork, TrainingSettings, mlp
from supsup_bridge.continual.baselines.batch_ensemble import BatchEnsemble
from supsup_bridge.continual.baselines.contexts import Superposition, UnitGating
from supsup_bridge.continual.baselines.fine_tuned import FineTuned
from supsup_bridge.continual.baselines.named import BASELINES, bare_network, baseline_named
from supsup_bridge.continual.baselines.piggyback import Piggyback
from supsup_bridge.continual.baselines.separate import SeparateHeads, UpperBound
from supsup_bridge.continual.baselines.subnetworks import (
    ExclusiveSubnetworks,
    WinningSubnetworks,
)
from supsup_bridge.continual.baselines.weights import WeightBaseline
from supsup_bridge.networks.fixed import shape_of
from supsup_bridge.rng import stream
from supsup_bridge.training.data import LoaderData, TensorData

INPUTS, HIDDEN, CLASSES = 6, (9, 7), 3
SIZES = {"0": (9, 6), "2": (7, 9), "4": (3, 7)}
TRUNK, HEAD = 9 * 6 + 7 * 9, 3 * 7
TRAINING = TrainingSettings(epochs=4, batch=16, rate=1e-2, contrast=0.0)
MADE: dict[str, Callable[..., WeightBaseline]] = {
    "upper-bound": UpperBound,
    "lower-bound": lambda network, **how: FineTuned(network, heads="own", classes=CLASSES, **how),
    "heads": lambda network, **how: SeparateHeads(network, trained=False, **how),
    "heads-trained": lambda network, **how: SeparateHeads(network, trained=True, **how),
    "batche": lambda network, **how: BatchEnsemble(network, trained=False, rank=2, **how),
    "batche-trained": lambda network, **how: BatchEnsemble(network, trained=True, **how),
    "psp": Superposition,
    "xdg": lambda network, **how: UnitGating(network, silent=0.6, **how),
    "piggyback": Piggyback,
    "wsn": lambda network, **how: WinningSubnetworks(network, share=0.4, **how),
    "exssnet": lambda network, **how: ExclusiveSubnetworks(network, share=0.4, **how),
}
FORGETTING = {"lower-bound", "psp", "xdg"}


def test_every_baseline_by_name_is_tested() -> None:
    assert {*MADE} == {*BASELINES}


def bare(outputs: int = CLASSES, hidden: tuple[int, ...] = HIDDEN) -> MaskedNetwork:
    module = mlp([INPUTS, *hidden, outputs])
    with torch.no_grad():
        for value in module.parameters():
            value.fill_(1.0)
    return MaskedNetwork(module)


def made(name: str, **changes: Any) -> WeightBaseline:
    return MADE[name](bare(), training=changes.pop("training", TRAINING), seed=3, **changes)


def data(task: int, images: int = 48) -> TensorData:
    generator = torch.Generator().manual_seed(50 + task)
    labels = torch.arange(images) % CLASSES
    centres = 2 * torch.randn(CLASSES, INPUTS, generator=generator)
    return TensorData(centres[labels] + torch.randn(images, INPUTS, generator=generator), labels)


def taught(name: str, tasks: int = 3, **changes: Any) -> WeightBaseline:
    learner = made(name, **changes)
    for task in range(tasks):
        learner.learn(data(task))
    return learner


def logits(weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Layer by layer, unit by unit, in float64."""
    values = images.double()
    for name in SIZES:
        layer = weights[name].double()
        rows = [[(image * unit).sum() for unit in layer] for image in values]
        values = torch.stack([torch.stack(row) for row in rows])
        values = values if name == "4" else values.clamp_min(0)
    return values


@pytest.mark.parametrize("name", BASELINES)
def test_the_network_of_a_task_is_the_plain_one_with_its_weights(name: str) -> None:
    learner, images = taught(name), data(1).images[:5]
    for task in range(3):
        found = learner.predictor(task)(images)
        assert found.shape == (5, CLASSES)
        assert torch.allclose(found.double(), logits(learner.weights(task), images), atol=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_tasks_are_learned(name: str) -> None:
    how = replace(TRAINING, epochs=40)
    learner, right = MADE[name](bare(hidden=(60, 40)), training=how, seed=3), []
    for task in range(2):
        learner.learn(data(task))
    for task in range(2):
        some = data(task)
        right.append(
            float((learner.predictor(task)(some.images).argmax(-1) == some.labels).float().mean())
        )
    assert right[1] > 0.8
    assert right[0] > (1 / CLASSES if name in FORGETTING else 0.8)


@pytest.mark.parametrize("name", BASELINES)
def test_who_forgets_and_who_does_not(name: str) -> None:
    learner, images = made(name), data(0).images
    learner.learn(data(0))
    before = learner.predictor(0)(images)
    for task in (1, 2):
        learner.learn(data(task))
    assert torch.equal(learner.predictor(0)(images), before) == (name not in FORGETTING)


@pytest.mark.parametrize("name", BASELINES)
def test_a_seed_says_all(name: str) -> None:
    first, again = (taught(name, tasks=2).weights(1) for _ in range(2))
    other = MADE[name](bare(), training=TRAINING, seed=4)
    for task in range(2):
        other.learn(data(task))
    assert all(torch.equal(first[layer], again[layer]) for layer in SIZES)
    assert any(not torch.equal(first[layer], other.weights(1)[layer]) for layer in SIZES)


@pytest.mark.parametrize("name", BASELINES)
def test_the_global_generator_is_left_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    taught(name, tasks=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_bytes_are_those_of_what_is_kept() -> None:
    tasks, bits = 3, sum(-(-9 * 6 // 8) + -(-7 * 9 // 8) for _ in range(1))
    found = {name: taught(name).nbytes for name in BASELINES}
    heads = 4 * HEAD * tasks
    assert found["upper-bound"] == 4 * (TRUNK + HEAD) * tasks
    assert found["lower-bound"] == 4 * TRUNK + heads
    assert found["heads"] == heads
    assert found["heads-trained"] == 4 * TRUNK + heads
    assert found["batche"] == heads + 4 * tasks * 2 * (9 + 6 + 7 + 9)
    assert found["batche-trained"] == 4 * TRUNK + heads + 4 * (tasks - 1) * (9 + 6 + 7 + 9)
    assert found["psp"] == found["xdg"] == 4 * (TRUNK + HEAD)
    assert found["piggyback"] == 4 * TRUNK + heads + (tasks - 1) * bits
    assert (
        found["wsn"] == 4 * 2 * TRUNK + heads + tasks * bits
    )  # scores, too: the next task's start
    exssnet = taught("exssnet")
    assert isinstance(exssnet, ExclusiveSubnetworks)
    used = sum(int(mask.sum()) for mask in exssnet.used.values())
    assert exssnet.nbytes == 4 * used + heads + tasks * bits


# Updates against slow references. Each one says how the trained tensors make the weights, and where
# they must not move; one function then does what Adam, its decaying rate and the average do.


def adam(
    start: Mapping[str, Tensor],
    weights: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    some: TensorData,
    *,
    steps: range,
    generator: torch.Generator,
    rates: Mapping[str, float] | None = None,
    still: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Tensors after Adam's steps, written out; all of it in float64."""
    moved = {name: value.double().clone() for name, value in start.items()}
    first = {name: torch.zeros_like(value) for name, value in moved.items()}
    second = {name: torch.zeros_like(value) for name, value in moved.items()}
    average, done = {name: value.clone() for name, value in moved.items()}, 0
    while done < len(steps):
        order = torch.randperm(len(some.labels), generator=generator)
        for chosen in torch.split(order, TRAINING.batch):
            if done >= len(steps):
                break
            leaves = {name: value.clone().requires_grad_() for name, value in moved.items()}
            values = some.images[chosen].double()
            made_of = weights(leaves)
            for layer in SIZES:
                values = values @ made_of[layer].T
                values = values if layer == "4" else values.relu()
            F.cross_entropy(values, some.labels[chosen]).backward()
            done += 1
            for name, leaf in leaves.items():
                gradient = leaf.grad
                assert gradient is not None
                if still and name in still:
                    gradient = gradient * ~still[name]
                rate = TRAINING.rate * (rates or {}).get(name, 1) / (1 + (done - 1) / 400)
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                step = first[name] / (1 - 0.9**done)
                step = step / ((second[name] / (1 - 0.999**done)).sqrt() + 1e-8)
                moved[name] = moved[name] - rate * step
                kept = min(TRAINING.averaging, (1 + done) / (10 + done))
                average[name] = kept * average[name] + (1 - kept) * moved[name]
    return average


ALL = range(12)  # steps of a task: 4 epochs of 3 batches


def close(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert torch.allclose(value.double(), wanted[name].double(), atol=2e-5), name


class Straight(torch.autograd.Function):
    """[score >= level], or the largest share of scores; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, share: float) -> Tensor:
        if share == 0:
            return (scores >= 0).to(scores)
        kept = max(1, round(share * scores.numel()))
        level = scores.flatten().sort(descending=True).values[kept - 1]
        return (scores >= level).to(scores)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def test_update_of_a_whole_network() -> None:
    learner = made("upper-bound")
    start = learner.drawn()
    learner.learn(data(0))
    wanted = adam(start, dict, data(0), steps=ALL, generator=stream(3, "batches", 0))
    close(learner.weights(0), wanted)


def test_update_of_the_lower_bound_goes_on_from_the_last_task() -> None:
    learner = made("lower-bound")
    learner.learn(data(0))
    head = learner.drawn()["4"]
    start = {**learner.weights(0), "4": head}
    learner.learn(data(1))
    wanted = adam(start, dict, data(1), steps=ALL, generator=stream(3, "batches", 1))
    close(learner.weights(1), wanted)
    assert torch.equal(learner.weights(0)["0"], learner.weights(1)["0"])
    assert not torch.equal(learner.weights(0)["4"], learner.weights(1)["4"])


@pytest.mark.parametrize("name", ["heads", "heads-trained"])
def test_update_of_a_head(name: str) -> None:
    learner = taught(name, tasks=1)
    trunk = {layer: value for layer, value in learner.weights(0).items() if layer != "4"}
    head = {"4": learner.drawn()["4"]}
    learner.learn(data(1))
    wanted = adam(
        head,
        lambda leaf: {**{n: w.double() for n, w in trunk.items()}, **leaf},
        data(1),
        steps=ALL,
        generator=stream(3, "batches", 1),
    )
    close(learner.weights(1), {**trunk, **wanted})


def test_update_of_a_batch_ensemble() -> None:
    """y_o = Σ_k s_ko Σ_i W_oi r_ki x_i, by its factors alone."""
    learner = made("batche")
    signs = learner.signs()
    generator, start = stream(3, "factors", 0), {"4": learner.drawn()["4"]}
    for layer in ("0", "2"):
        for side, size in zip(("out", "in"), SIZES[layer], strict=True):
            drawn = torch.randn(2, size, generator=generator)
            start[f"{layer} {side}"] = (1 + 0.1 * drawn) / 2**0.5

    def weights(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made_of = {"4": leaves["4"]}
        for layer in ("0", "2"):
            out, into = leaves[f"{layer} out"], leaves[f"{layer} in"]
            ranks = [torch.outer(out[k], into[k]) for k in range(2)]
            made_of[layer] = signs[layer].double() * sum(ranks)
        return made_of

    learner.learn(data(0))
    found = adam(start, weights, data(0), steps=ALL, generator=stream(3, "batches", 0))
    close(learner.weights(0), weights(found))


def test_update_in_superposition() -> None:
    """The weights move behind the inputs' signs of the task."""
    learner = taught("psp", tasks=1)
    assert isinstance(learner, Superposition)
    flips, before = learner.context(1), learner.context(0)
    assert all(set(flip.flatten().tolist()) == {-1.0, 1.0} for flip in flips.values())
    assert any(not torch.equal(flips[layer], before[layer]) for layer in SIZES)
    start = {layer: value * before[layer] for layer, value in learner.weights(0).items()}
    learner.learn(data(1))
    found = adam(
        start,
        lambda leaves: {n: w * flips[n].double() for n, w in leaves.items()},
        data(1),
        steps=ALL,
        generator=stream(3, "batches", 1),
    )
    close(learner.weights(1), {n: w * flips[n] for n, w in found.items()})


def test_update_of_gated_units() -> None:
    """Silenced units pass nothing on, and their weights do not move."""
    learner = taught("xdg", tasks=1)
    assert isinstance(learner, UnitGating)
    gates = learner.context(1)
    assert [int(gates[layer].sum()) for layer in ("0", "2")] == [4, 3]  # of 9 and 7, a share of .4
    shared = {n: w.clone() for n, w in zip(SIZES, learner.kept(), strict=True)}
    learner.learn(data(1))
    found = adam(
        shared,
        lambda leaves: {n: w * gates[n].double() for n, w in leaves.items()},
        data(1),
        steps=ALL,
        generator=stream(3, "batches", 1),
    )
    now = dict(zip(SIZES, learner.kept(), strict=True))
    close(now, found)
    silent = gates["0"].flatten() == 0
    assert torch.equal(now["0"][silent], shared["0"][silent])


def test_update_of_piggyback_masks() -> None:
    learner = taught("piggyback", tasks=1)
    backbone = learner.weights(0)
    start = {**{n: torch.full(SIZES[n], 0.005) for n in ("0", "2")}, "4": learner.drawn()["4"]}

    def weights(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        masks = {n: Straight.apply(leaves[n], 0.0) for n in ("0", "2")}  # type: ignore[no-untyped-call]
        return {**{n: backbone[n].double() * mask for n, mask in masks.items()}, "4": leaves["4"]}

    learner.learn(data(1))
    found = adam(
        start,
        weights,
        data(1),
        steps=ALL,
        generator=stream(3, "batches", 1),
        rates={"0": 0.1, "2": 0.1},
    )
    close(learner.weights(1), weights(found))
    cut = [float((learner.weights(1)[n] == 0).float().mean()) for n in ("0", "2")]
    assert all(0 < share < 1 for share in cut)


def test_update_of_winning_subnetworks() -> None:
    """Weights and scores move together; weights of earlier masks stay."""
    learner = taught("wsn", tasks=1)
    assert isinstance(learner, WinningSubnetworks)
    shared, used, score = dict(learner.shared), learner.used, "score of "
    scores = {**learner.trained_scores}
    start = {**shared, **scores, "4": learner.drawn("heads")["4"]}

    def weights(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        masks = {n: Straight.apply(leaves[score + n].abs(), 0.4) for n in shared}  # type: ignore[no-untyped-call]
        return {**{n: leaves[n] * mask for n, mask in masks.items()}, "4": leaves["4"]}

    learner.learn(data(1))
    found = adam(start, weights, data(1), steps=ALL, generator=stream(3, "batches", 1), still=used)
    close(learner.weights(1), weights(found))
    for name, weight in shared.items():
        assert torch.equal(learner.shared[name][used[name]], weight[used[name]])
        assert int(learner.masks[1][name].sum()) == round(0.4 * weight.numel())


def test_update_of_exclusive_subnetworks() -> None:
    """Half of the steps find a mask over the weights as they are; the other half trains those of
    its weights that are free."""
    learner = taught("exssnet", tasks=1)
    assert isinstance(learner, ExclusiveSubnetworks)
    shared, used, score = dict(learner.shared), learner.used, "score of "
    generator = stream(3, "batches", 1)
    start = {**learner.scores(), "4": learner.drawn()["4"]}

    def masked(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        masks = {n: Straight.apply(leaves[score + n].abs(), 0.4) for n in shared}  # type: ignore[no-untyped-call]
        return {**{n: shared[n].double() * mask for n, mask in masks.items()}, "4": leaves["4"]}

    half = range(len(ALL) // 2)
    found = adam(start, masked, data(1), steps=half, generator=generator)
    masks = {n: Straight.apply(found[score + n].abs(), 0.4) > 0 for n in shared}  # type: ignore[no-untyped-call]
    free = {n: masks[n] & ~used[n] for n in shared}
    found = adam(
        {**shared, "4": found["4"]},
        lambda leaves: {**{n: leaves[n] * masks[n] for n in shared}, "4": leaves["4"]},
        data(1),
        steps=half,
        generator=generator,
        still={n: ~free[n] for n in shared},
    )
    learner.learn(data(1))
    close(learner.weights(1), {**{n: found[n] * masks[n] for n in shared}, "4": found["4"]})
    for name, weight in shared.items():
        assert torch.equal(learner.shared[name][~free[name]], weight[~free[name]])
        assert not torch.equal(learner.shared[name][free[name]], weight[free[name]])


def test_outputs_of_all_tasks_read_out_task_and_label() -> None:
    how = replace(TRAINING, epochs=40)
    learner = FineTuned(bare(3 * CLASSES), training=how, seed=0, heads="all", classes=CLASSES)
    for task in range(2):
        learner.learn(data(task))
    images = data(1).images
    tasks, labels = learner.read_out(images)
    whole = logits(learner.weights(1), images)
    wanted = whole[:, : 2 * CLASSES].argmax(-1)  # the third task was not learned
    assert tasks is not None
    assert torch.equal(tasks * CLASSES + labels, wanted)
    assert torch.allclose(learner.predictor(1)(images).double(), whole[:, 3:6], atol=1e-4)
    assert learner.reads_out
    assert float((tasks == 1).float().mean()) > 0.9  # the last task is what it knows


def test_one_head_reads_out_labels_alone() -> None:
    how = replace(TRAINING, epochs=40)
    learner = FineTuned(bare(), training=how, seed=0, heads="shared", classes=CLASSES)
    learner.learn(data(0))
    tasks, labels = learner.read_out(data(0).images)
    assert tasks is None
    assert float((labels == data(0).labels).float().mean()) > 0.8


def test_without_boundaries_one_descent_goes_on() -> None:
    """Two tasks are learned as one stream of their batches, by SGD with momentum."""
    how = TrainingSettings(epochs=1, batch=16, rate=0.05, contrast=0.0)
    learner = FineTuned(
        bare(), training=how, seed=0, heads="shared", classes=CLASSES, boundless=True
    )
    moved = {n: w.double() for n, w in learner.drawn().items()}
    speed = {n: torch.zeros_like(w) for n, w in moved.items()}
    for task in range(2):
        some, generator = data(task), stream(0, "batches", task)
        for chosen in torch.split(torch.randperm(48, generator=generator), 16):
            leaves = {n: w.clone().requires_grad_() for n, w in moved.items()}
            values = some.images[chosen].double()
            for layer in SIZES:
                values = values @ leaves[layer].T
                values = values if layer == "4" else values.relu()
            F.cross_entropy(values, some.labels[chosen]).backward()
            for n, leaf in leaves.items():
                assert leaf.grad is not None
                speed[n] = 0.9 * speed[n] + leaf.grad + 1e-4 * moved[n]
                moved[n] = moved[n] - 0.05 * speed[n]
        learner.learn(some)
    close(learner.weights(1), moved)


def test_the_surest_task_is_inferred() -> None:
    learner = taught("upper-bound")
    images = torch.stack([data(task).images[:4] for task in (2, 0, 1)])  # (3, 4, inputs)
    wanted = []
    for some in images:
        entropies = []
        for task in range(3):
            p = logits(learner.weights(task), some).softmax(-1)
            entropies.append(float(-(p * p.log()).sum(-1).mean()))
        wanted.append(entropies.index(min(entropies)))
    assert learner.infer(images).tolist() == wanted
    with pytest.raises(ConfigError):
        learner.read_out(images[0])


def test_statistics_of_norms_belong_to_the_task() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 16, CLASSES, bias=False),
    )
    for layer in (module[0], module[4]):
        nn.init.ones_(layer.weight)
    learner = UpperBound(MaskedNetwork(module), training=TRAINING, seed=0)
    generator = torch.Generator().manual_seed(0)
    for task in range(2):
        images = torch.randn(32, 1, 6, 6, generator=generator) + 3 * task
        learner.learn(TensorData(images, torch.arange(32) % CLASSES))
        one, all_of_them = (learner.predictor(task)(images[:n])[0] for n in (1, 32))
        assert torch.allclose(one, all_of_them, atol=1e-5)  # no image depends on another
    weights = 4 * 9 + 64 * CLASSES
    assert learner.nbytes == 2 * (4 * weights + 2 * 2 * 4)


def test_one_network_for_all_tasks_has_one_set_of_statistics() -> None:
    training = TrainingSettings(max_batches=2, batch=16, contrast=0.0)
    terms: dict[str, Any] = {**COMMON, "network": "gem-resnet18", "inputs": (3, 8, 8)}
    found = {}
    for scenario in ("GG", "GNs"):
        learner = baseline_named(
            "lower-bound", **{**terms, "training": training, "scenario": scenario}
        )
        generator = torch.Generator().manual_seed(0)
        sizes = []
        for task in range(2):
            images = torch.randn(16, 3, 8, 8, generator=generator) * (1 + task)
            learner.learn(TensorData(images, torch.arange(16) % 2))
            sizes.append(learner.nbytes)
        first, last = (learner.predictor(task)(images) for task in (0, 1))
        found[scenario] = sizes[1] - sizes[0], torch.equal(first, last)
        head = learner.weights(0)[learner.head].nbytes
    numbers = sum(prod(shape_of(size)) for size in learner.network.statistics_sizes.values())
    assert found == {"GG": (head + 2 * numbers, False), "GNs": (0, True)}


def test_a_loss_that_is_not_finite_is_said() -> None:
    learner = made("upper-bound", training=TrainingSettings(rate=1e30, contrast=0.0, batch=16))
    with pytest.raises(NumericalError, match="lower the learning rate"):
        learner.learn(data(0))
    assert learner.count == 0


def test_labels_beyond_the_outputs_are_refused() -> None:
    learner = made("psp")
    with pytest.raises(ConfigError, match=r"labels must lie in 0 \.\. 2"):
        learner.learn(TensorData(torch.randn(4, INPUTS), torch.tensor([0, 1, 2, 3])))


COMMON: dict[str, Any] = {
    "network": "lenet-300-100",
    "inputs": 16,
    "classes": 2,
    "tasks": 5,
    "training": TRAINING,
    "seed": 0,
}


def test_outputs_of_the_lower_bound_follow_the_scenario() -> None:
    found = {
        scenario: baseline_named("lower-bound", scenario=scenario, **COMMON).outputs
        for scenario in ("GG", "GNs", "GNu", "NNs")
    }
    assert found == {"GG": 2, "GNs": 2, "GNu": 10, "NNs": 2}


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("spp", {}, "psp"),
        ("psp", {"scenario": "NNs"}, "GG, GNs, GNu"),
        ("psp", {"share": 0.5}, "does not take these options"),
        ("wsn", {"share": 0.0}, "share must lie"),
        ("batche", {"rank": 0}, "rank must be"),
        ("batche", {"rank": 1.5}, "rank must be"),
        ("xdg", {"silent": 1.0}, "silent must lie"),
        ("xdg", {"silent": "a"}, "silent must lie"),
        ("exssnet", {"mask_part": 1.0}, "mask_part"),
        ("psp", {"network": "layer-norm"}, "unit masks"),
    ],
)
def test_what_does_not_go_together_is_refused(
    name: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        baseline_named(name, **{**COMMON, "scenario": "GG", **changes})


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("most", [1, 5, 12])
def test_a_task_takes_the_steps_that_were_announced(name: str, most: int) -> None:
    learner, steps = made(name, training=replace(TRAINING, max_batches=most)), list[int]()
    for task in range(2):
        learner.learn(data(task), progress=lambda step, loss: steps.append(step))
    assert steps == 2 * [*range(1, learner.steps(48) + 1)]
    assert learner.steps(48) == most


def test_parts_of_a_task_need_its_number_of_steps() -> None:
    learner, some = made("exssnet"), data(0)
    endless = LoaderData(iter([(some.images, some.labels)]))
    with pytest.raises(ConfigError, match="no length"):
        learner.learn(endless)


@pytest.mark.parametrize("name", ["wsn", "exssnet"])
def test_weights_that_must_stay_are_not_trained_by_sgd(name: str) -> None:
    with pytest.raises(ConfigError, match="adam"):
        made(name, training=TrainingSettings(optimiser="sgd"))


def test_a_bare_network_is_its_weights() -> None:
    network = bare_network("fc-100-100", inputs=4, outputs=2)
    weights = {
        name: torch.randn(size)
        for name, size in network.mask_sizes.items()
        if isinstance(size, tuple)
    }
    images = torch.randn(3, 4)
    first, second, last = weights.values()
    wanted = ((images @ first.T).relu() @ second.T).relu() @ last.T
    assert torch.allclose(network(images, weights), wanted, atol=1e-4)
