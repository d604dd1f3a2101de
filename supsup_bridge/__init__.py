"""supsup_bridge: supermasks in superposition on top of hopmask's constant-size memory."""

from supsup_bridge.datasets import DataError
from supsup_bridge.experiment import Experiment, RunSettings
from supsup_bridge.features import KernelMean
from supsup_bridge.inference import PaperInference, RecallInference
from supsup_bridge.networks import FixedNetwork, HashedNetwork, UnitNetwork
from supsup_bridge.objectives import entropy
from supsup_bridge.tasks import Task, split_digits, split_mnist
from supsup_bridge.training import TrainingSettings, train_mask

__all__ = [
    "DataError",
    "Experiment",
    "FixedNetwork",
    "HashedNetwork",
    "KernelMean",
    "PaperInference",
    "RecallInference",
    "RunSettings",
    "Task",
    "TrainingSettings",
    "UnitNetwork",
    "entropy",
    "split_digits",
    "split_mnist",
    "train_mask",
]
