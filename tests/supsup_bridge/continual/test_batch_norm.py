"""A learner over batch norm in training mode: every task has statistics of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hopmask import ConfigError
from supsup_bridge import Experiment, RunSettings, SupSup
from supsup_bridge.continual import description
from supsup_bridge.continual.scoring import groups
from supsup_bridge.inference.base import Inferred
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.stores.protocols import for_forward
from supsup_bridge.training.data import LoaderData
from supsup_bridge.training.settings import TrainingSettings

TRAINING = TrainingSettings(epochs=8, batch=32, contrast=0.0)
WAYS: list[dict[str, Any]] = [
    {},
    {"signature_groups": 2},
    {"recall": "entropy"},
    {"memory": "bank"},
    {"memory": "bank", "masks": "hashed", "bits": 512},
    {"memory": "bank", "inference": "one-shot"},
    {"memory": "bank", "inference": "binary"},
    {"memory": "bank", "inference": "descent"},
    {"memory": "bank", "inference": "argmax"},
]
SCALES = (1.0, 6.0, 0.2)  # of the tasks' images


def clouds(task: int, count: int = 96) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 4, 4) of one of three tasks of two classes, each in a scale of its own."""
    g = torch.Generator().manual_seed(task)
    centres = 2 * torch.randn(2, 1, 4, 4, generator=g)
    labels = torch.arange(count) % 2
    images = centres[labels] + 0.5 * torch.randn(count, 1, 4, 4, generator=g)
    return images * SCALES[task] + SCALES[task], labels


def normed() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU()),
            *(nn.Conv2d(24, 24, 3), nn.BatchNorm2d(24, affine=False), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(96, 6)),
        )


def taught(tasks: int = 3, **options: Any) -> SupSup:
    learner = SupSup(normed(), training=TRAINING, **options)
    for task in range(tasks):
        assert learner.learn(clouds(task)) == task
    return learner


@pytest.fixture(scope="module")
def learner() -> SupSup:
    """Three tasks on hubs; not to be changed."""
    return taught()


def test_tasks_of_other_scales_are_learned_and_told_apart(learner: SupSup) -> None:
    for task in range(3):
        images, labels = clouds(task)
        given = learner.predict(images, task=task)
        assert float((given.label == labels).double().mean()) > 0.95
        assert set(learner.predict(images, together=True).task.tolist()) == {task}
        assert float((learner.predict(images).task == task).double().mean()) > 0.9
    assert min(learner.evaluate([clouds(task) for task in range(3)]).given) > 0.9


def test_statistics_of_one_task_never_reach_another() -> None:
    """Where norms shared their statistics, all tasks but the last one learned were lost."""
    learner = taught(1)
    images = clouds(0)[0]
    before = learner.predict(images, task=0).logits
    kept = for_forward(learner.memory.recall(task=0))
    for task in (1, 2):
        learner.learn(clouds(task))
    assert torch.equal(learner.predict(images, task=0).logits, before)
    after = for_forward(learner.memory.recall(task=0))
    assert all(torch.equal(after[name], kept[name]) for name in kept)
    shared = {**kept, **learner.memory.recall(task=2).extras}
    others = learner.network.predictor(shared, images[:0])(images)
    assert float((others - before).abs().mean()) > 1  # had they been shared


def test_statistics_are_those_of_the_tasks_own_training_images(learner: SupSup) -> None:
    for task in range(3):
        images, _ = clouds(task)
        stored = learner.memory.recall(task=task)
        found = learner.network.statistics(stored.masks, [images])
        for name, value in found.items():
            torch.testing.assert_close(
                stored.extras[name], value, rtol=0.1, atol=0.1 * SCALES[task]
            )


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_a_prediction_is_independent_of_its_batch_mates(options: dict[str, Any]) -> None:
    learner = taught(2, **options)
    images = torch.cat([clouds(task, 4)[0] for task in range(2)])
    for given in ({}, {"task": 1}):
        together = learner.predict(torch.cat([images, 50 * images]), **given)
        for row in range(len(images)):
            alone = learner.predict(images[row : row + 1], **given)
            assert int(alone.task) == int(together.task[row])
            torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"memory": "bank"}], ids=str)
def test_an_exported_task_has_its_statistics_baked_in(options: dict[str, Any]) -> None:
    learner = taught(2, **options)
    for task in range(2):
        images, _ = clouds(task)
        module = learner.module(task)
        assert not module.training
        expected = learner.predict(images, task=task).logits
        torch.testing.assert_close(module(images), expected, rtol=1e-4, atol=1e-4)
        one = module(images[:1])[0]
        torch.testing.assert_close(one, expected[0], rtol=1e-4, atol=1e-4)


def test_an_exported_batch_norm_has_the_momentum_of_its_module() -> None:
    for momentum in (0.3, None):
        module = normed()
        module[1].momentum = momentum
        learner = SupSup(module, training=TRAINING)
        learner.learn(clouds(0), epochs=1)
        exported = learner.module(0)
        assert (exported[1].momentum, exported[4].momentum) == (momentum, 0.1)
        assert module[1].momentum == momentum


@pytest.mark.parametrize("tracked", [True, False])
def test_an_exported_instance_norm_predicts_as_the_network_does(tracked: bool) -> None:
    for trained in (True, False):
        norm = nn.InstanceNorm2d(6, track_running_stats=tracked)
        module = nn.Sequential(nn.Conv2d(1, 6, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(24, 4))
        module(clouds(1)[0])
        learner = SupSup(module.train(trained), training=TRAINING)
        images, _ = clouds(0)
        learner.learn(clouds(0), epochs=1)
        expected = learner.predict(images, task=0).logits
        torch.testing.assert_close(learner.module(0)(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"hubs": 4}, {"memory": "bank"}], ids=str)
def test_a_loaded_learner_predicts_the_same_bits_and_learns_on(
    options: dict[str, Any], tmp_path: Path
) -> None:
    learner = taught(2, **options)
    learner.save(tmp_path)
    loaded = SupSup.load(tmp_path, module=normed())
    images = torch.cat([clouds(task, 8)[0] for task in range(2)])
    assert torch.equal(loaded.predict(images).logits, learner.predict(images).logits)
    for one in (learner, loaded):
        one.learn(clouds(2))
    mine, theirs = (for_forward(one.memory.recall(task=2)) for one in (learner, loaded))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_a_module_in_training_mode_saw_by_itself_is_no_part_of_its_learner(
    tmp_path: Path,
) -> None:
    def fresh() -> nn.Module:
        norm = nn.InstanceNorm2d(24, track_running_stats=True)
        return nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), norm, *list(normed())[1:])

    learner = SupSup(fresh(), training=TRAINING)
    learner.learn(clouds(0))
    learner.save(tmp_path)
    used = fresh()
    used(clouds(1)[0])
    seen = used[2].running_mean.clone()
    loaded = SupSup.load(tmp_path, module=used)
    images, _ = clouds(0)
    assert torch.equal(loaded.predict(images).logits, learner.predict(images).logits)
    assert torch.equal(used[2].running_mean, seen)
    assert bool(seen.any())


def test_a_network_by_name_is_loaded_by_its_name(tmp_path: Path) -> None:
    training = TrainingSettings(epochs=1, contrast=0.0, max_batches=1)
    learner = SupSup("gem-resnet18", inputs=(3, 8, 8), outputs=4, hubs=2, training=training)
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    learner.learn((images, torch.arange(8) % 2))
    learner.save(tmp_path)
    loaded = SupSup.load(tmp_path)
    assert torch.equal(
        loaded.predict(images, task=0).logits, learner.predict(images, task=0).logits
    )


def test_merged_and_grown_learners_are_as_if_one_had_learned_all() -> None:
    whole = taught(2, hubs=None)
    one, other = (SupSup(normed(), training=TRAINING) for _ in range(2))
    one.learn(clouds(0), task=0)
    other.learn(clouds(1), task=1)
    one.merge(other)
    one.memory.grow()
    images = torch.cat([clouds(task, 8)[0] for task in range(2)])
    assert torch.equal(one.predict(images).logits, whole.predict(images).logits)
    for name, value in whole.memory.mean_extras.items():
        assert torch.equal(one.memory.mean_extras[name], value)


def test_a_forgotten_task_takes_its_statistics_along() -> None:
    learner = taught(2)
    learner.forget(0)
    (only,) = learner.tasks
    extras = learner.memory.recall(task=only).extras
    for name, value in learner.memory.mean_extras.items():
        assert torch.equal(value, extras[name])


@pytest.mark.parametrize("source", ["tensors", "data set", "loader"])
def test_no_more_images_are_measured_than_there_are_to_be(source: str, monkeypatch) -> None:
    monkeypatch.setattr(description, "MEASURED", 50)
    images, labels = clouds(0)
    data: Any = {
        "tensors": (images, labels),
        "data set": TensorDataset(images, labels),
        "loader": DataLoader(TensorDataset(images, labels), batch_size=20),
    }[source]
    learner = SupSup(normed(), training=TRAINING)
    measured: list[int] = []
    inner = learner.network.statistics

    def counting(masks: Masks, batches: Any) -> Masks:
        parts = list(batches)
        measured.extend(len(part) for part in parts)
        return inner(masks, parts)

    monkeypatch.setattr(learner.network, "statistics", counting)
    learner.learn(data)
    assert sum(measured) == 50


def flat_norm() -> nn.Module:
    """A norm that has one value per image and channel, so that it cannot take one image alone."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4)
    )


@pytest.mark.parametrize("source", ["tensors", "data set", "loader"])
def test_statistics_are_never_of_one_image_that_is_left_over(source: str) -> None:
    images, labels = clouds(0, 129)
    data: Any = {
        "tensors": (images, labels),
        "data set": TensorDataset(images, labels),
        "loader": DataLoader(TensorDataset(images, labels), batch_size=43),
    }[source]
    training = TrainingSettings(epochs=1, batch=43, contrast=0.0)
    learner = SupSup(flat_norm(), training=training, signature_features=0)
    learner.learn(data)
    assert torch.isfinite(learner.predict(images, task=0).logits).all()


@pytest.mark.parametrize("batch", [32, 128])
def test_one_image_left_over_ends_no_lesson(batch: int) -> None:
    images, labels = clouds(0, 129)
    training = TrainingSettings(epochs=2, batch=batch, contrast=0.0)
    steps: list[tuple[int, int | None]] = []
    for data in ((images, labels), TensorDataset(images, labels)):
        learner = SupSup(flat_norm(), training=training, signature_features=0)
        learner.learn(data, progress=lambda step, of, loss: steps.append((step, of)))
        assert steps[-1] == (2 * (129 // batch),) * 2


@pytest.mark.parametrize("sizes", [[8, 1], [8, 8, 1], [1], [1, 1, 1], [8, 3], [8]])
def test_a_single_image_goes_with_the_batch_before_it(sizes: list[int]) -> None:
    whole = torch.arange(sum(sizes) * 2.0).view(-1, 2)
    batches = [(part, torch.zeros(len(part))) for part in whole.split(sizes)]
    order, here = torch.Generator(), torch.device("cpu")
    found = [*description.some_images(LoaderData(batches), generator=order, device=here)]
    expected = [*sizes[:-2], sum(sizes[-2:])] if sizes[0] > 1 == sizes[-1] else sizes
    assert [len(part) for part in found] == expected
    assert torch.equal(torch.cat(found), whole)


def test_where_one_image_alone_cannot_be_taken_the_error_says_what_to_do() -> None:
    learner = SupSup(flat_norm(), training=TRAINING, signature_features=0)
    images, labels = clouds(0, 33)
    loader = DataLoader(TensorDataset(images, labels), batch_size=32)
    with pytest.raises(ConfigError, match="drop_last=True"):
        learner.learn(loader)
    with pytest.raises(ConfigError, match="one image"):
        learner.network.statistics(
            {name: torch.ones(size) for name, size in learner.network.mask_sizes.items()},
            [images[:1]],
        )
    assert learner.tasks == ()


def test_statistics_of_images_that_do_not_fit_are_refused_by_their_shape() -> None:
    network = SupSup(flat_norm()).network
    masks = {name: torch.ones(size) for name, size in network.mask_sizes.items()}
    with pytest.raises(ConfigError, match=r"\(5, 3\)"):
        network.statistics(masks, [torch.zeros(5, 3)])


def test_statistics_that_cannot_be_kept_leave_everything_as_it_was() -> None:
    learner = taught(1)
    images, labels = clouds(1)
    with pytest.raises(ConfigError):
        learner.learn((images[:, :, :2], labels))
    assert learner.tasks == (0,)
    assert torch.isfinite(learner.predict(clouds(0)[0]).logits).all()


@pytest.mark.parametrize("options", [{"masks": "hashed"}, {"masks": "unit"}, {"task_free": True}])
def test_where_statistics_have_no_place_the_learner_says_so(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"statistics of batch norms.*module\.eval\(\)"):
        SupSup(normed(), **options)
    assert SupSup(normed().eval(), **options).network.statistics_sizes == {}


def test_norms_in_evaluation_mode_keep_the_modules_statistics() -> None:
    learner = SupSup(normed().eval(), training=TRAINING)
    learner.learn(clouds(0))
    assert learner.memory.recall(task=0).extras == {}


@pytest.mark.parametrize("options", [{}, {"memory": "bank"}], ids=str)
@pytest.mark.parametrize("trained", [True, False])
def test_norms_in_another_mode_are_refused_and_never_predict(
    options: dict[str, Any], trained: bool, tmp_path: Path
) -> None:
    learner = SupSup(normed().train(trained), training=TRAINING, **options)
    learner.learn(clouds(0))
    learner.save(tmp_path)
    with pytest.raises(ConfigError, match="mode of its batch norms"):
        SupSup.load(tmp_path, module=normed().train(not trained))
    images, labels = clouds(0)
    before = learner.predict(images, task=0).logits
    learner.network.train(not trained)
    remedy = rf"learner\.network\.{'train' if trained else 'eval'}\(\)"
    asks: list[Callable[[], Any]] = [
        lambda: learner.predict(images),
        lambda: learner.predict(images, task=0),
        lambda: learner.infer_task(images),
        lambda: learner.evaluate([(images, labels)]),
        lambda: learner.module(0),
        lambda: learner.learn(clouds(1)),
    ]
    for ask in asks:
        with pytest.raises(ConfigError, match=remedy):
            ask()
    learner.network.train(trained)
    assert torch.equal(learner.predict(images, task=0).logits, before)


def test_a_run_measures_statistics_too(
    small: Callable[..., RunSettings], quiet: Any, monkeypatch
) -> None:
    def net(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(inputs, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, outputs)
        )

    module = ModuleType("net_of_a_test")
    module.net = net  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "net_of_a_test", module)
    run = Experiment(small(network="net_of_a_test:net"))
    run.run(quiet)
    assert run.network.statistics_sizes == {"1.mean": 40, "1.std": 40}
    assert run.result()["exact_recall_rate"] > 0.5
    for task in range(2):
        extras = run.kept.recall(task=task).extras
        assert bool((extras["1.std"] > 0).any())


def test_sets_of_one_mask_and_other_statistics_pass_apart() -> None:
    masks = {"h": torch.tensor([[True, False]]).expand(4, 2)}
    extras = {"bn.mean": torch.tensor([[0.0], [1.0], [0.0], [1.0]])}
    task, steps, sure = torch.tensor([0, 1, 0, 2]), torch.ones(4), torch.ones(4).bool()
    found = Inferred(task=task, masks=masks, steps=steps, verified=sure, extras=extras)
    assert groups(found) == [[0, 2], [1, 3]]
    plain = Inferred(task=task, masks=masks, steps=steps, verified=sure)
    assert groups(plain) == [[0, 1, 2, 3]]
