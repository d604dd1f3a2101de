"""supsup_bridge: supermasks in superposition, with every mask kept or on hopmask's memory."""

from supsup_bridge.continual.baselines.base import Baseline
from supsup_bridge.continual.evaluation import Evaluation
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.continual.prediction import Prediction
from supsup_bridge.continual.task_agnostic.learner import TaskAgnosticLearner
from supsup_bridge.continual.task_agnostic.staged_memory import StagedMemory
from supsup_bridge.data.benchmarks import split_digits, split_mnist
from supsup_bridge.data.files import DataError
from supsup_bridge.data.image_benchmarks import (
    split_cifar10,
    split_cifar100,
    split_folder,
    split_idx,
    split_imagenet,
    split_tiny_imagenet,
)
from supsup_bridge.data.mnist_variants import permuted_mnist, rotated_mnist
from supsup_bridge.data.pixel_scale import PixelScale
from supsup_bridge.data.task import Task
from supsup_bridge.inference.base import TaskInference
from supsup_bridge.inference.gradient import OneShot
from supsup_bridge.inference.objectives import entropy, entropy_and_logit, superfluous
from supsup_bridge.inference.posterior import PosteriorInference
from supsup_bridge.inference.recall import RecallInference
from supsup_bridge.networks.fixed import FixedNetwork, fix_weights, mlp
from supsup_bridge.networks.masked import MaskedNetwork
from supsup_bridge.networks.unit import UnitNetwork
from supsup_bridge.runs.baseline_run import BaselineRun
from supsup_bridge.runs.experiment import Experiment
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.runs.workers import Workers, WorkersLostError
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.training.fit import train_mask
from supsup_bridge.training.lessons import LessonsFailedError, train_masks
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.tasks_at_once import tasks_at_once

__all__ = [  # noqa: RUF022 (what a newcomer needs comes first)
    "SupSup",
    "Prediction",
    "Evaluation",
    "Baseline",
    "BaselineRun",
    "DataError",
    "Experiment",
    "FixedNetwork",
    "LessonsFailedError",
    "MaskBank",
    "MaskedNetwork",
    "OneShot",
    "PixelScale",
    "PosteriorInference",
    "RecallInference",
    "RunSettings",
    "StagedMemory",
    "Task",
    "TaskAgnosticLearner",
    "TaskInference",
    "TrainingSettings",
    "UnitNetwork",
    "Workers",
    "WorkersLostError",
    "entropy",
    "entropy_and_logit",
    "fix_weights",
    "mlp",
    "permuted_mnist",
    "rotated_mnist",
    "split_cifar10",
    "split_cifar100",
    "split_digits",
    "split_folder",
    "split_idx",
    "split_imagenet",
    "split_mnist",
    "split_tiny_imagenet",
    "superfluous",
    "tasks_at_once",
    "train_mask",
    "train_masks",
]
