"""`SupSup` as a classifier of scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.training.settings import TrainingSettings

_NUMBERS = "biuf"  # kinds of labels that are numbers


class SupSupClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A continual classifier: every call of `partial_fit` is one task, and none is forgotten.

    A task has classes of its own, which other tasks may have as well: its mask tells them apart.
    `predict` infers the task of every sample from that sample alone, and then its class among the
    classes of that task. A minibatch is no task: whoever gives `partial_fit` one minibatch after
    the other makes as many tasks.

    There is no `predict_proba`. The inference names one task and gives no probability of the
    others, so that a softmax under its mask is none over all classes.

    Features should have similar scales, as for any neural network (`StandardScaler`).

    Args:
        network: a network by name, or a module; see `SupSup`. A module has at least as many outputs
            as a task has classes.
        image_shape: of a sample whose features are pixels, for networks over images, such as
            (1, 8, 8); default: the features as they are.
        max_classes: the largest number of classes of a task; default: as many as the first task
            has.
        epochs: passes over a task's samples.
        batch_size: samples per training step.
        seed: of everything.
        device: where to work; see `SupSup`.

    Attributes:
        classes_: (classes,), of all tasks, sorted.
        task_classes_: of each task, in the order of the calls, its classes, sorted.
        learner_: the `SupSup`, whose images are samples (n, features), or (n, *image_shape).
        n_features_in_: features of a sample.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> centres = np.array([[4.0, 0, 0], [-4, 0, 0], [0, 4, 0], [0, -4, 0]])
        >>> X, y = centres.repeat(32, 0) + rng.normal(size=(128, 3)), np.arange(4).repeat(32)
        >>> classifier = SupSupClassifier().partial_fit(X[:64], y[:64]).partial_fit(X[64:], y[64:])
        >>> classifier.predict(centres)
        array([0, 1, 2, 3])
        >>> classifier.task_classes_
        [array([0, 1]), array([2, 3])]

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), scenario GNu; the interface: scikit-learn's.
    """

    classes_: NDArray[Any]
    task_classes_: list[NDArray[Any]]
    learner_: SupSup

    def __init__(
        self,
        network: str | nn.Module = "lenet-300-100",
        *,
        image_shape: Sequence[int] | None = None,
        max_classes: int | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.network = network
        self.image_shape = image_shape
        self.max_classes = max_classes
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> "SupSupClassifier":
        """Forget all, and learn one task.

        Args:
            X: (n, features).
            y: labels (n,), of any type that scikit-learn takes.

        Raises:
            ConfigError, ValueError: samples, labels or arguments that nothing can be learned from.
        """
        return self._learned(X, y, None, first=True)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None
    ) -> "SupSupClassifier":
        """Learn one more task; where that fails, nothing has changed.

        Args:
            X: (n, features).
            y: labels (n,).
            classes: of this task; default: those in y.

        Raises:
            ConfigError: more classes than `max_classes`, or labels that are none of `classes`; and
                as for `fit`.
        """
        return self._learned(X, y, classes, first=not hasattr(self, "learner_"))

    def predict(
        self, X: ArrayLike, *, together: bool = False, task: int | None = None
    ) -> NDArray[Any]:
        """Class of each sample (n,).

        Args:
            X: (n, features).
            together: all samples are of one task, which is inferred from all of them.
            task: number of their task, where it is known: 0 for the first call of `partial_fit`.

        Raises:
            NotFittedError: nothing was learned.
            ConfigError: both, `together` and `task`.
            UnknownTaskError: no task of that number.
        """
        check_is_fitted(self, "learner_")
        samples = validate_data(self, X, reset=False, dtype=np.float32)
        found = self.learner_.predict(self._images(samples), together=together, task=task)
        classes = np.empty(len(samples), self.classes_.dtype)
        for number in sorted({*found.task.tolist()}):
            rows, own = found.task == number, self.task_classes_[number]
            label = found.label[rows]
            best = found.logits[rows, : len(own)].argmax(-1)  # where a superfluous output is larger
            classes[rows.numpy()] = own[torch.where(label < len(own), label, best).numpy()]
        return classes

    def _learned(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None, *, first: bool
    ) -> "SupSupClassifier":
        """Learn a task, or be as before."""
        before = {**self.__dict__}
        try:
            return self._learn(X, y, classes, first=first)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _learn(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None, *, first: bool
    ) -> "SupSupClassifier":
        samples, given = validate_data(self, X, y, reset=first, dtype=np.float32)
        check_classification_targets(given)
        given = column_or_1d(given, warn=True)
        own = np.unique(given if classes is None else np.asarray(classes))
        if not np.isin(given, own).all():
            raise ConfigError(
                f"classes are {own.tolist()!r:.200}, and y has {np.unique(given).tolist()!r:.200}: "
                "give all classes of this task, or leave classes out"
            )
        before = [] if first else self.task_classes_
        if before and (before[0].dtype.kind in _NUMBERS) != (own.dtype.kind in _NUMBERS):
            raise ConfigError(
                f"labels of the first task are {before[0].dtype}, and of this one {own.dtype}: "
                "give labels of one type"
            )
        known = np.unique(np.concatenate([*before, own]))
        learner = self._new_learner(samples, own) if first else self.learner_
        most = learner.settings.signature_groups or 1
        if len(own) > most:
            raise ConfigError(
                f"the task has {len(own)} classes, and the first one, or max_classes, said {most}: "
                f"make the classifier with max_classes={len(own)} or more"
            )
        labels = torch.as_tensor(np.searchsorted(own, given))
        learner.learn((self._images(samples), labels))
        self.learner_, self.task_classes_ = learner, [*before, own]
        self.classes_ = known
        return self

    def _new_learner(self, samples: NDArray[np.float32], own: NDArray[Any]) -> SupSup:
        most = len(own) if self.max_classes is None else self.max_classes
        named: dict[str, Any] = {}
        if isinstance(self.network, str):
            named = {"inputs": self.image_shape or samples.shape[1], "outputs": most}
        return SupSup(
            self.network,
            seed=self.seed,
            device=self.device,
            training=TrainingSettings(epochs=self.epochs, batch=self.batch_size),
            signature_groups=most,
            **named,
        )

    def _images(self, samples: NDArray[np.float32]) -> Tensor:
        images = torch.tensor(samples)
        if self.image_shape is None:
            return images
        shape = tuple(self.image_shape)
        if np.prod(shape) != images.shape[1]:
            raise ConfigError(
                f"image_shape {shape} has {np.prod(shape)} pixels, and a sample {images.shape[1]} "
                "features: give the shape of a sample"
            )
        return images.reshape(-1, *shape)
