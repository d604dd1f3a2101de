"""The strategy against Avalanche itself, where it is installed."""

from typing import Any

import pytest
import torch

pytest.importorskip("avalanche", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # of Avalanche and its packages

from avalanche.benchmarks import nc_benchmark  # noqa: E402
from avalanche.benchmarks.utils import as_classification_dataset  # noqa: E402
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics  # noqa: E402
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402

from hopmask import ConfigError, NumericalError  # noqa: E402
from supsup_bridge import Experiment, RunSettings, SupSup, TrainingSettings  # noqa: E402
from supsup_bridge.adapters.avalanche_strategy import SupSupStrategy, tasks_of  # noqa: E402


class Labelled(TensorDataset):
    """Tensors with the targets that Avalanche reads."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        super().__init__(images, labels)
        self.targets = labels.tolist()


def digits(task_labels: bool = False) -> Any:
    """Five tasks of two digits each, in an order of Avalanche's."""
    pixels, targets = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels / 16).float()
    labels = torch.from_numpy(targets).long()
    place = torch.arange(len(labels)) % 3 == 0
    sets = [as_classification_dataset(Labelled(images[p], labels[p])) for p in (~place, place)]
    return nc_benchmark(*sets, n_experiences=5, task_labels=task_labels, seed=1)


def strategy(**options: Any) -> SupSupStrategy:
    evaluator = EvaluationPlugin(
        accuracy_metrics(minibatch=True, experience=True, stream=True),
        loss_metrics(minibatch=True, stream=True),
    )
    learner = SupSup("lenet-300-100", inputs=64, outputs=10, training=TrainingSettings(rate=0.01))
    given = {"classes": 10, "train_mb_size": 32, "train_epochs": 8, "evaluator": evaluator}
    return SupSupStrategy(learner, **(given | options))


@pytest.fixture(scope="module")
def taught() -> tuple[SupSupStrategy, Any]:
    made, benchmark = strategy(), digits(task_labels=True)
    for experience in benchmark.train_stream:
        made.train(experience)
    return made, benchmark


def test_a_stream_is_learned_and_metrics_are_those_of_the_learner(taught) -> None:
    made, benchmark = taught
    assert made.learner.tasks == (0, 1, 2, 3, 4)
    right = total = 0
    for experience in benchmark.test_stream:
        names = sorted(experience.classes_in_this_experience)
        images = torch.stack([row[0] for row in experience.dataset])
        found = made.learner.predict(images)
        for row, task, label in zip(experience.dataset, found.task, found.label, strict=True):
            mine = made.model.classes_of[int(task)]
            right += int(mine[int(label)]) == int(row[1])
            total += 1
        assert made.model.classes_of[experience.current_experience].tolist() == names
    metrics = made.eval(benchmark.test_stream)
    stream = {name: value for name, value in metrics.items() if name.startswith("Top1_Acc_Stream")}
    assert [*stream.values()] == [pytest.approx(right / total)]
    assert right / total > 0.6  # chance is .1
    loss = next(value for name, value in metrics.items() if name.startswith("Loss_Stream"))
    assert 0 < loss < 21


@pytest.mark.parametrize(("infer", "least"), [("batch", 0.9), ("given", 0.95)])
def test_other_ways_to_find_the_task(infer: str, least: float, taught) -> None:
    made, benchmark = taught
    made.infer = infer
    try:
        metrics = made.eval(benchmark.test_stream)
    finally:
        made.infer = "image"
    (accuracy,) = (value for name, value in metrics.items() if name.startswith("Top1_Acc_Stream"))
    assert accuracy > least


def test_training_metrics_are_of_the_mask_in_training() -> None:
    made = strategy(train_epochs=6)
    seen = list[float]()

    class Noted:
        def after_training_iteration(self, strategy: Any, **_: Any) -> None:
            assert strategy.mb_output.shape == (len(strategy.mb_x), 10)
            seen.append(float((strategy.mb_output.argmax(-1) == strategy.mb_y).float().mean()))

    made.plugins.append(Noted())
    metrics = made.train(digits().train_stream[0])
    steps = len(seen) // 6
    assert sum(seen[-steps:]) / steps > max(0.9, sum(seen[:steps]) / steps)
    assert any(name.startswith("Top1_Acc_MB/train") for name in metrics)


def test_streams_are_tasks_of_a_run(quiet) -> None:
    tasks = tasks_of(digits())
    assert len(tasks) == 5
    for task in tasks:
        assert len(task.inference_images) == task.inference_count
        assert abs(len(task.scored_images) - task.inference_count) <= 1
        assert {*task.train_labels.tolist()} == {*task.scored_labels.tolist()} == {0, 1}
    run = Experiment(RunSettings(tasks=2, batches=60), tasks=tasks)
    run.run(quiet)
    assert run.result()["accuracy_given_task"] > 0.9


def test_what_does_not_fit_is_refused(taught) -> None:
    made, benchmark = taught
    with pytest.raises(ConfigError, match="infer must be one of"):
        strategy(infer="label")
    with pytest.raises(ConfigError, match="task_free"):
        SupSupStrategy(SupSup("lenet-300-100", inputs=64, outputs=10, task_free=True), classes=10)
    with pytest.raises(ConfigError, match="give classes="):
        strategy(classes=1).train(benchmark.train_stream[0])
    with pytest.raises(ConfigError, match="has learned 5 tasks"):
        SupSupStrategy(made.learner, classes=10)
    small = SupSup("lenet-300-100", inputs=64, outputs=1)
    with pytest.raises(ConfigError, match="more outputs"):
        SupSupStrategy(small, classes=10).train(benchmark.train_stream[0])
    with pytest.raises(ConfigError, match="one epoch"):
        strategy(train_epochs=0).train(benchmark.train_stream[0])
    few = strategy(train_epochs=1, infer="given")
    few.train(benchmark.train_stream[0])
    with pytest.raises(ConfigError, match="one task label"):
        few.eval(benchmark.test_stream[1])


def test_one_task_label_of_many_tasks_is_no_given_task() -> None:
    made, benchmark = strategy(train_epochs=1, infer="given"), digits()
    made.train(benchmark.train_stream[:2])
    with pytest.raises(ConfigError, match="with task labels"):
        made.eval(benchmark.test_stream[0])


def test_images_of_other_experiences_are_refused_and_nothing_stays() -> None:
    made, benchmark = strategy(train_epochs=1, plugins=[ReplayPlugin(mem_size=40)]), digits()
    made.train(benchmark.train_stream[0])
    with pytest.raises(ConfigError, match="other tasks"):
        made.train(benchmark.train_stream[1])
    assert made.learner.tasks == (0,)
    assert [*made.model.classes_of] == [0]


@pytest.mark.parametrize("eval_every", [0, 1])
def test_evaluation_in_between_changes_nothing(eval_every: int) -> None:
    class Seeded:  # an evaluation draws from the generator that orders the batches
        def before_training_epoch(self, strategy: Any, **_: Any) -> None:
            torch.default_generator.manual_seed(0)

    benchmark = digits()
    found = []
    with torch.random.fork_rng(devices=[]):
        for every in (-1, eval_every):
            made = strategy(train_epochs=2, eval_every=every, plugins=[Seeded()])
            for experience in benchmark.train_stream[:2]:
                made.train(experience, eval_streams=[benchmark.test_stream])
            found.append([made.learner.memory.recall(task=task).masks for task in range(2)])
    for one, other in zip(*found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_learned_says_nothing() -> None:
    metrics = strategy().eval(digits().test_stream)
    loss = next(value for name, value in metrics.items() if name.startswith("Loss_Stream"))
    assert loss == pytest.approx(torch.tensor(10.0).log().item())


def test_a_loss_that_is_not_finite_learns_nothing() -> None:
    images = torch.full((40, 64), float("nan"))
    sets = [as_classification_dataset(Labelled(images, torch.arange(40) % 2)) for _ in range(2)]
    made = strategy(train_epochs=1)
    with pytest.raises(NumericalError):
        made.train(nc_benchmark(*sets, n_experiences=1, task_labels=False).train_stream[0])
    assert made.learner.tasks == ()
    assert made.model.classes_of == {}
