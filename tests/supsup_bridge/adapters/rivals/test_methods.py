"""The update of each method of Avalanche's against a slow reference, where it is installed."""

from collections.abc import Callable
from copy import deepcopy
from itertools import product
from typing import Any

import pytest
import torch

pytest.importorskip("avalanche", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # of Avalanche and its packages

from avalanche.training.plugins import SupervisedPlugin  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from supsup_bridge import split_digits  # noqa: E402
from supsup_bridge.adapters.rivals.generator import GenerativeReplay  # noqa: E402
from supsup_bridge.adapters.rivals.isolation import PackNet, Pnn  # noqa: E402
from supsup_bridge.adapters.rivals.memories import Agem, Gem, Icarl, Replay  # noqa: E402
from supsup_bridge.adapters.rivals.methods import Method  # noqa: E402
from supsup_bridge.adapters.rivals.networks import Terms  # noqa: E402
from supsup_bridge.adapters.rivals.penalties import Ewc, Lwf, Si  # noqa: E402
from supsup_bridge.adapters.rivals.training import (  # noqa: E402
    ChangedLoss,
    Course,
    TaskExperience,
    drawn_from,
)
from supsup_bridge.training.settings import TrainingSettings  # noqa: E402

BATCH, STEPS, RATE = 32, 12, 3e-3
Look = Callable[[Any], None]


class Spy(SupervisedPlugin):  # type: ignore[misc]
    """Calls one function at each of the moments of a strategy that are named."""

    def __init__(self, **moments: Look) -> None:
        super().__init__()
        for moment, look in moments.items():
            setattr(self, moment, lambda strategy, _look=look, **_: _look(strategy))


class Watched:
    """A method that learns tasks of digits, and what is seen of it meanwhile."""

    def __init__(
        self, kind: type[Method], *, scenario: str = "GNu", tasks: int = 2, **options: Any
    ) -> None:
        training = TrainingSettings(rate=RATE, batch=BATCH, epochs=STEPS, max_batches=STEPS)
        terms = Terms(
            network="lenet-300-100",
            inputs=64,
            classes=2,
            tasks=tasks,
            scenario=scenario,
            training=training,
            seed=0,
            device=torch.device("cpu"),
        )
        with drawn_from(0):
            self.method = kind(terms, **options)
            loss = ChangedLoss(training, torch.Generator().manual_seed(0))
            self.strategy = self.method.strategy(loss, Course(training, decays=True))
        self.tasks, self.given = [*split_digits(tasks=tasks)], scenario == "GG"
        self.shift = 2 if scenario == "GNu" else 0
        self.done = 0

    def images(self, task: int) -> Tensor:
        return self.tasks[task].train_images

    def labels(self, task: int) -> Tensor:
        return self.tasks[task].train_labels + self.shift * task

    def teach(self, *, first: bool = False, **moments: Look) -> None:
        """Learn the next task, under the eyes of a spy before or behind all other plugins."""
        task, spy = self.done, Spy(**moments)
        experience = TaskExperience(
            self.images(task),
            self.labels(task),
            number=task,
            task_label=task if self.given else 0,
            classes=[sorted({*self.labels(t).tolist()}) for t in range(task + 1)],
            outputs=self.method.terms.outputs,
        )
        self.strategy.plugins.insert(0 if first else len(self.strategy.plugins), spy)
        with drawn_from(task):
            self.method.teach(self.strategy, experience, STEPS)
        self.strategy.plugins.remove(spy)
        self.done += 1

    def weights(self) -> list[Tensor]:
        return [value.detach().clone() for value in self.strategy.model.parameters()]


def at_step(step: int, look: Look) -> Look:
    """Calls a function at one step alone."""
    left = [step]

    def called(strategy: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            look(strategy)

    return called


def logits(strategy: Any, images: Tensor, model: Any = None) -> Tensor:
    return (model or strategy.model)(images)


def gradient(strategy: Any, loss: Tensor) -> Tensor:
    """Of a loss, by all weights in a row."""
    found = torch.autograd.grad(loss, [*strategy.model.parameters()], allow_unused=True)
    pairs = zip(found, strategy.model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def gradient_taken(strategy: Any) -> Tensor:
    return torch.cat([value.grad.flatten() for value in strategy.model.parameters()])


def plain_loss(strategy: Any) -> Tensor:
    return F.cross_entropy(logits(strategy, strategy.mb_x), strategy.mb_y)


def penalised(watched: Watched, penalty: Callable[[Any], Tensor]) -> None:
    """The next task's fifth step follows the gradient of its loss and a penalty, which matters."""
    seen = list[tuple[Tensor, Tensor, Tensor]]()

    def look(strategy: Any) -> None:
        plain = gradient(strategy, plain_loss(strategy))
        whole = gradient(strategy, plain_loss(strategy) + penalty(strategy))
        seen.append((gradient_taken(strategy), whole, plain))

    watched.teach(after_backward=at_step(5, look))
    ((taken, whole, plain),) = seen
    torch.testing.assert_close(taken, whole, rtol=1e-4, atol=1e-6)
    assert (plain - whole).norm() > 1e-2 * plain.norm()


def test_ewc_holds_weights_by_their_squared_gradients() -> None:
    watched, strength = Watched(Ewc, strength=1e6), 1e6
    watched.teach()
    kept, squares = watched.weights(), 0.0
    batches = [*zip(watched.images(0).split(BATCH), watched.labels(0).split(BATCH), strict=True)]
    for images, labels in batches:
        loss = F.cross_entropy(logits(watched.strategy, images), labels)
        squares = squares + gradient(watched.strategy, loss).square()
    fisher = squares / len(batches)

    def penalty(strategy: Any) -> Tensor:
        moved = [(w - k).flatten() for w, k in zip(strategy.model.parameters(), kept, strict=True)]
        return strength * (fisher * torch.cat(moved).square()).sum()

    penalised(watched, penalty)
    assert len([*watched.method.kept()]) == 2 * 2 * len(kept)


def test_si_holds_weights_by_what_they_did_for_the_loss() -> None:
    watched, strength = Watched(Si, strength=1e3), 1e3
    start = torch.cat([value.flatten() for value in watched.weights()])
    paths, before = [torch.zeros_like(start)], list[Tensor]()

    def now(strategy: Any) -> Tensor:
        return torch.cat([value.detach().flatten() for value in strategy.model.parameters()])

    def after(strategy: Any) -> None:
        paths[0] = paths[0] - gradient_taken(strategy) * (now(strategy) - before.pop())

    watched.teach(
        before_training_iteration=lambda strategy: before.append(now(strategy)),
        after_training_iteration=after,
    )
    kept = now(watched.strategy)
    omega = (paths[0] / ((kept - start).square() + 1e-7)).clamp(max=1e-3)
    assert (omega > 0).float().mean() > 0.1

    def penalty(strategy: Any) -> Tensor:
        weights = torch.cat([value.flatten() for value in strategy.model.parameters()])
        return strength / 2 * (omega * (weights - kept).square()).sum()

    penalised(watched, penalty)


def test_lwf_holds_the_outputs_of_earlier_labels() -> None:
    watched, strength, heat = Watched(Lwf, strength=1.5, temperature=3.0), 1.5, 3.0
    watched.teach()
    old = deepcopy(watched.strategy.model)

    def penalty(strategy: Any) -> Tensor:
        images, seen = strategy.mb_x, [0, 1]
        target = (logits(strategy, images, old)[:, seen] / heat).softmax(-1).detach()
        found = (logits(strategy, images)[:, seen] / heat).softmax(-1)
        return strength * (target * (target / found).log()).sum(-1).mean()

    penalised(watched, penalty)
    assert [*watched.method.kept()] == []


def test_lwf_holds_the_last_layers_of_earlier_tasks() -> None:
    watched = Watched(Lwf, scenario="GG")
    watched.teach()
    old, seen = deepcopy(watched.strategy.model), list[tuple[Tensor, Tensor]]()

    def look(strategy: Any) -> None:
        images = strategy.mb_x
        target = (old(images, 0) / 2).softmax(-1).detach()
        found = (strategy.model(images, 0) / 2).softmax(-1)
        own = F.cross_entropy(strategy.model(images, 1), strategy.mb_y)
        whole = own + (target * (target / found).log()).sum(-1).mean()
        seen.append((gradient_taken(strategy), gradient(strategy, whole)))

    watched.teach(after_backward=at_step(5, look))
    torch.testing.assert_close(*seen[0], rtol=1e-4, atol=1e-6)


def projected(g: Tensor, rows: Tensor, least: float) -> Tensor:
    """g + Gᵀv with v ≥ least, (G Gᵀ + ε) v + G g ≥ 0, each tight or at its least, by trial."""
    square = rows @ rows.T + 1e-3 * torch.eye(len(rows))
    for tight in product([True, False], repeat=len(rows)):
        free = torch.tensor(tight)
        v = torch.full((len(rows),), least, dtype=rows.dtype)
        if free.any():
            right = -(rows @ g) - square[:, ~free] @ v[~free]
            v[free] = torch.linalg.solve(square[free][:, free], right[free])
        slack = square @ v + rows @ g
        if bool((v >= least - 1e-9).all()) and bool((slack[~free] >= -1e-9).all()):
            return g + rows.T @ v
    raise AssertionError("no case holds")


def test_gem_turns_the_gradient_away_from_none_of_the_tasks() -> None:
    watched = Watched(Gem, tasks=3, buffer=90, strength=0.1)
    watched.teach()
    watched.teach()
    turned, kept = list[float](), watched.method.plugins[0]
    for task in range(2):  # thirty images of each, all its own
        found = (kept.memory_x[task][:, None] == watched.images(task)[None]).all(-1)
        assert found.any(1).all()
        assert len(found) == 30
        assert {*kept.memory_y[task].tolist()} <= {*watched.labels(task).tolist()}

    def look(strategy: Any) -> None:
        own = gradient(strategy, plain_loss(strategy)).double()
        rows = torch.stack(
            [
                gradient(
                    strategy,
                    F.cross_entropy(logits(strategy, kept.memory_x[task]), kept.memory_y[task]),
                ).double()
                for task in range(2)
            ]
        )
        against = bool((rows @ own < 0).any())
        wanted = projected(own, rows, 0.1) if against else own
        taken = gradient_taken(strategy).double()
        torch.testing.assert_close(taken, wanted, rtol=1e-3, atol=1e-5)
        turned.append(float((wanted - own).norm() / own.norm()))

    watched.teach(after_backward=look)
    assert len(turned) == STEPS
    assert sum(share > 0.05 for share in turned) > 2
    assert watched.method.images() == 90


def test_averaged_gem_takes_out_what_is_against_the_kept_images() -> None:
    watched = Watched(Agem, buffer=80, sample=40)  # a sample is all that is kept of task 0
    watched.teach()
    (kept,) = watched.method.plugins[0].buffers
    images, labels = (torch.stack([torch.as_tensor(row[i]) for row in kept]) for i in range(2))
    turned = list[float]()

    def look(strategy: Any) -> None:
        own = gradient(strategy, plain_loss(strategy))
        other = gradient(strategy, F.cross_entropy(logits(strategy, images), labels))
        along = float(own @ other)
        wanted = own - along / float(other @ other) * other if along < 0 else own
        torch.testing.assert_close(gradient_taken(strategy), wanted, rtol=1e-3, atol=1e-5)
        turned.append(float((wanted - own).norm() / own.norm()))

    watched.teach(after_backward=look)
    assert len(turned) == STEPS
    assert sum(share > 0.05 for share in turned) > 2
    assert watched.method.images() == 80


def rows_in(images: Tensor, others: Tensor) -> Tensor:
    """Which images (n, ...) are among the others."""
    return (images[:, None] == others[None]).all(-1).any(1)


def test_replay_shows_as_many_kept_images_as_new_ones() -> None:
    watched, seen = Watched(Replay, tasks=3, buffer=61), list[Tensor]()
    kept = watched.method.plugins[0].storage_policy
    before = torch.empty(0, 64)
    for task, sizes in enumerate([[61], [31, 30], [21, 20, 20]]):
        seen.clear()
        watched.teach(before_forward=lambda strategy: seen.append(strategy.mb_x))
        for images in seen[:2]:  # the buffer's second batch is what the first left of it
            fresh = rows_in(images, watched.images(task))
            assert torch.equal(fresh, torch.arange(len(images)) < BATCH)
            assert rows_in(images[BATCH:], before).all()
        assert [len(images) - BATCH for images in seen[:2]] == ([32, 29] if task else [0, 0])
        groups = [*kept.buffer_groups.values()]
        assert [len(group.buffer) for group in groups] == sizes
        for number, group in enumerate(groups):
            images = torch.stack([row[0] for row in group.buffer])
            assert rows_in(images, watched.images(number)).all()
            assert {int(row[1]) for row in group.buffer} <= {*watched.labels(number).tolist()}
        before = torch.stack([row[0] for row in kept.buffer])
    assert watched.method.images() == 61


def test_a_reservoir_keeps_all_that_was_seen_with_one_chance() -> None:
    watched = Watched(Replay, scenario="NNs", tasks=3, buffer=120)
    for _ in range(3):
        watched.teach()
    images = torch.stack([row[0] for row in watched.method.plugins[0].storage_policy.buffer])
    shares = [int(rows_in(images, watched.images(task)).sum()) for task in range(3)]
    assert sum(shares) == 120
    assert min(shares) > 20  # of 40 to be expected, with a deviation of 4.5


def test_icarl_keeps_exemplars_by_herding_and_answers_by_the_nearest_mean() -> None:
    watched = Watched(Icarl, buffer=40)
    watched.teach()
    watched.teach()
    model = watched.strategy.model.eval()
    plugin = next(p for p in watched.strategy.plugins if hasattr(p, "x_memory"))
    assert [len(images) for images in plugin.x_memory] == [10] * 4

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            return F.normalize(model.feature_extractor(images), dim=-1)

    for label in (2, 3):  # of the last task, whose exemplars are of these features
        own = watched.images(1)[watched.labels(1) == label]
        seen, mean, chosen = features(own), features(own).mean(0), list[int]()
        while len(chosen) < 10:  # the next brings the sum of those chosen closest to the mean
            close = seen @ (mean * (len(chosen) + 1) - seen[chosen].sum(0))
            close[chosen] = -torch.inf
            chosen.append(int(close.argmax()))
        common = rows_in(own[chosen], plugin.x_memory[label])
        assert common.sum() >= 8  # Avalanche's goal moves on when it meets one chosen already
    means = F.normalize(
        torch.stack([features(images).mean(0) for images in plugin.x_memory]), dim=-1
    )
    images = torch.cat([task.scored_images for task in watched.tasks])
    with torch.no_grad():
        found = model(images).argmax(-1)
    nearest = (features(images)[:, None] - means[None]).norm(dim=-1).argmin(-1)
    assert torch.equal(found, nearest)


def test_icarl_trains_old_outputs_on_what_they_were() -> None:
    watched = Watched(Icarl, buffer=40)
    watched.teach()
    old = deepcopy(watched.strategy.model).train()
    seen = list[tuple[Tensor, Tensor]]()

    def look(strategy: Any) -> None:
        targets = F.one_hot(strategy.mb_y, 4).float()
        targets[:, :2] = old(strategy.mb_x)[:, :2].sigmoid().detach()
        found = strategy.model(strategy.mb_x)
        whole = F.binary_cross_entropy_with_logits(found, targets)
        seen.append((gradient_taken(strategy), gradient(strategy, whole)))

    watched.teach(after_backward=at_step(4, look))
    torch.testing.assert_close(*seen[0], rtol=1e-3, atol=1e-6)


def test_generated_images_have_the_labels_that_the_network_gave() -> None:
    watched = Watched(GenerativeReplay)
    watched.teach()
    old, steps = deepcopy(watched.strategy.model), list[int]()

    def look(strategy: Any) -> None:
        new, drawn = strategy.mb_x[:BATCH], strategy.mb_x[BATCH:]
        steps.append(len(drawn))
        assert rows_in(new, watched.images(1)).all()
        assert not rows_in(drawn, watched.images(0)).any()
        assert drawn.min() >= watched.images(0).min() - 1e-5
        assert drawn.max() <= watched.images(0).max() + 1e-5
        assert torch.equal(strategy.mb_y[BATCH:], old(drawn).argmax(-1))

    watched.teach(before_forward=at_step(2, look))
    assert steps == [BATCH]
    trainer = watched.method.plugins[1].generator_strategy
    assert trainer.clock.train_iterations == 2 * STEPS


def test_a_column_reads_the_columns_before_it() -> None:
    watched = Watched(Pnn, scenario="GG", layers=2, width=5)
    watched.teach()
    images = watched.tasks[0].scored_images
    alone = watched.strategy.model.eval()(images, 0).detach()
    watched.teach()
    model = watched.strategy.model.eval()
    assert torch.equal(model(images, 0), alone)
    lower, upper = model.layers
    first = lower.columns[0].itoh(images).relu()
    adapted = lower.columns[1].adapter
    side = adapted.U(adapted.V(adapted.alphas[0] * images).relu())
    second = (side + lower.columns[1].itoh(images)).relu()
    adapted = upper.columns[1].adapter
    side = adapted.U(adapted.V(adapted.alphas[0] * first).relu())
    top = (side + upper.columns[1].itoh(second)).relu()
    torch.testing.assert_close(model(images, 1), model.classifier.classifiers["1"](top))


def test_packnet_frees_the_smallest_weights_and_freezes_the_others() -> None:
    watched, prune = Watched(PackNet, scenario="GG", prune=0.7), 0.7
    model, sizes, epochs = watched.strategy.model, list[list[Tensor]](), [0]

    def look(strategy: Any) -> None:
        if epochs[0] == 1:  # before the pruning
            sizes.append([layer.wrappee.weight.detach().abs() for layer in model.layers()])
        epochs[0] += 1

    watched.teach(first=True, before_training_epoch=look)
    assert epochs == [2]
    for layer, size in zip(model.layers(), sizes[0], strict=True):
        free = layer.task_index != 0
        assert int(free.sum()) == int(prune * size.numel())
        assert size[free].max() <= size[~free].min()
    images = watched.tasks[0].scored_images
    before = model.eval()(images, 0).detach()
    frozen = [layer.wrappee.weight[layer.task_index == 0].detach() for layer in model.layers()]
    watched.teach()
    assert torch.equal(model.eval()(images, 0), before)
    for layer, weights in zip(model.layers(), frozen, strict=True):
        assert torch.equal(layer.wrappee.weight[layer.task_index == 0], weights)
        free = int(prune * layer.task_index.numel())
        assert int((layer.task_index == 1).sum()) == free - int(prune * free)
