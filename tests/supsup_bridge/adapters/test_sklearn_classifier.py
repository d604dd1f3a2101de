"""The classifier for scikit-learn: its own checks, and what a task means."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from hopmask import ConfigError, UnknownTaskError
from supsup_bridge import SupSup, TrainingSettings, split_digits
from supsup_bridge.adapters.sklearn_classifier import SupSupClassifier

Samples = tuple[NDArray[Any], NDArray[Any]]


@parametrize_with_checks([SupSupClassifier(epochs=5)])
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def tasks() -> list[Samples]:
    """Digits 0 and 1, 2 and 3, 4 and 5 in training; labels are the digits."""
    return [
        (task.train_images.numpy(), task.train_labels.numpy() + 2 * number)
        for number, task in enumerate(split_digits(tasks=3))
    ]


@pytest.fixture(scope="module")
def scored() -> list[Samples]:
    """Other images of the same digits."""
    return [
        (task.scored_images.numpy(), task.scored_labels.numpy() + 2 * number)
        for number, task in enumerate(split_digits(tasks=3))
    ]


@pytest.fixture(scope="module")
def classifier(tasks: list[Samples]) -> SupSupClassifier:
    found = SupSupClassifier(epochs=5)
    for X, y in tasks:
        found.partial_fit(X, y)
    return found


def test_every_call_of_partial_fit_is_a_task(classifier: SupSupClassifier) -> None:
    assert classifier.classes_.tolist() == [0, 1, 2, 3, 4, 5]
    assert [own.tolist() for own in classifier.task_classes_] == [[0, 1], [2, 3], [4, 5]]
    assert classifier.learner_.tasks == (0, 1, 2)


def test_it_predicts_as_the_learner_does(
    classifier: SupSupClassifier, tasks: list[Samples], scored: list[Samples]
) -> None:
    training = TrainingSettings(epochs=5, batch=32)
    learner = SupSup("lenet-300-100", inputs=64, outputs=2, signature_groups=2, training=training)
    for number, (X, y) in enumerate(tasks):
        learner.learn((torch.tensor(X), torch.tensor(y) - 2 * number))
    images = np.concatenate([X for X, _ in scored])
    found = learner.predict(torch.tensor(images))
    assert classifier.predict(images).tolist() == (2 * found.task + found.label).tolist()


def test_it_finds_the_task_and_the_class_of_one_sample_alone(
    classifier: SupSupClassifier, scored: list[Samples]
) -> None:
    X, y = (np.concatenate(parts) for parts in zip(*scored, strict=True))
    assert classifier.score(X, y) > 0.9  # by chance: 1/6
    assert classifier.predict(X[:1]).tolist() == classifier.predict(X)[:1].tolist()


def test_samples_together_are_of_one_task(
    classifier: SupSupClassifier, scored: list[Samples]
) -> None:
    for number, (X, _) in enumerate(scored):
        joint, given = classifier.predict(X, together=True), classifier.predict(X, task=number)
        assert joint.tolist() == given.tolist()
        assert set(given) <= set(classifier.task_classes_[number])
    with pytest.raises(UnknownTaskError):
        classifier.predict(X, task=7)
    with pytest.raises(ConfigError):
        classifier.predict(X, task=0, together=True)


def test_nothing_is_forgotten(tasks: list[Samples], scored: list[Samples]) -> None:
    found = SupSupClassifier(epochs=2).partial_fit(*tasks[0])
    before = found.predict(scored[0][0])
    found.partial_fit(*tasks[1])
    assert found.predict(scored[0][0], task=0).tolist() == before.tolist()
    found.fit(*tasks[1])
    assert found.classes_.tolist() == [2, 3]


def test_tasks_may_share_classes_of_any_type(tasks: list[Samples]) -> None:
    (X, y), (others, z) = tasks[:2]
    names = np.array(["even", "odd"])
    found = SupSupClassifier(epochs=5).partial_fit(X, names[y]).partial_fit(others, names[z - 2])
    assert found.classes_.tolist() == ["even", "odd"]
    assert found.score(others, names[z - 2]) > 0.9


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        pytest.param(lambda y: np.arange(len(y)) % 3, None, id="more classes than the first task"),
        pytest.param(lambda y: y, [2, 5], id="labels outside the classes"),
    ],
)
def test_a_task_that_does_not_fit_changes_nothing(
    tasks: list[Samples], labels: Any, classes: list[int] | None
) -> None:
    found = SupSupClassifier(epochs=1).partial_fit(*tasks[0])
    before = found.predict(tasks[0][0])
    with pytest.raises(ConfigError):
        found.partial_fit(tasks[1][0], labels(tasks[1][1]), classes)
    assert found.classes_.tolist() == [0, 1]
    assert found.predict(tasks[0][0]).tolist() == before.tolist()
    found.partial_fit(*tasks[1])
    assert found.learner_.tasks == (0, 1)


def test_tasks_of_fewer_classes_than_the_largest(tasks: list[Samples]) -> None:
    (X, y), (others, z) = tasks[:2]
    found = SupSupClassifier(max_classes=3, epochs=5)
    found.partial_fit(np.concatenate([X, others[z == 2]]), np.concatenate([y, z[z == 2]]))
    found.partial_fit(others[z == 3], z[z == 3])
    assert [own.tolist() for own in found.task_classes_] == [[0, 1, 2], [3]]
    assert set(found.predict(X, task=1)) == {3}
    assert set(found.predict(X)) <= {0, 1, 2, 3}


def test_a_module_over_images(tasks: list[Samples]) -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    found = SupSupClassifier(net, image_shape=(1, 8, 8), epochs=2)
    assert clone(found).partial_fit(*tasks[0]).learner_.image_shape == (1, 8, 8)
    with pytest.raises(ConfigError):
        SupSupClassifier(net, image_shape=(1, 8, 9)).fit(*tasks[0])


def test_in_a_pipeline_with_cross_validation(tasks: list[Samples]) -> None:
    pipeline = make_pipeline(StandardScaler(), SupSupClassifier(epochs=3))
    assert cross_val_score(pipeline, *tasks[0], cv=3).mean() > 0.9


def test_it_promises_no_probabilities(classifier: SupSupClassifier, tasks: list[Samples]) -> None:
    assert not hasattr(classifier, "predict_proba")
    with pytest.raises(NotFittedError):
        SupSupClassifier().predict(tasks[0][0])


def test_labels_of_another_kind_are_refused_and_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    samples = np.repeat([[4.0, 0, 0], [-4.0, 0, 0]], 16, 0) + rng.normal(size=(32, 3))
    letters, numbers = np.repeat(["a", "b"], 16), np.repeat([0, 1], 16)
    classifier = SupSupClassifier(epochs=2).partial_fit(samples, letters)
    with pytest.raises(ConfigError, match="one type"):
        classifier.partial_fit(samples, numbers)
    assert len(classifier.task_classes_) == len(classifier.learner_.tasks) == 1
    assert {*classifier.predict(samples)} <= {"a", "b"}


def test_a_fit_that_fails_leaves_what_was_learned_before() -> None:
    samples, labels = np.random.default_rng(0).normal(size=(32, 3)), np.arange(32) % 2
    classifier = SupSupClassifier(epochs=1).fit(samples, labels)
    with pytest.raises(ValueError, match="NaN"):
        classifier.fit(np.full((32, 5), np.nan), labels)
    assert classifier.predict(samples).shape == (32,)
    fresh = SupSupClassifier(max_classes=1)
    with pytest.raises(ConfigError):
        fresh.partial_fit(samples, labels)
    with pytest.raises(NotFittedError):
        fresh.predict(samples)
    assert not hasattr(fresh, "n_features_in_")
