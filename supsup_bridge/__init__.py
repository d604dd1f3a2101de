"""supsup_bridge: supermasks in superposition, with every mask kept or on hopmask's memory."""

from supsup_bridge.bank import MaskBank, Stored
from supsup_bridge.binarise import Threshold, TopK, erdos_renyi
from supsup_bridge.datasets import DataError
from supsup_bridge.experiment import Experiment, StreamEndedError
from supsup_bridge.inference import (
    ArgmaxLogits,
    BankInference,
    Binary,
    Descent,
    Inferred,
    OneShot,
    TaskInference,
    TryAll,
)
from supsup_bridge.lesson import train_mask
from supsup_bridge.masking import MaskedNetwork
from supsup_bridge.metrics import average_accuracy, backward_transfer, forgetting
from supsup_bridge.networks import FixedNetwork, UnitNetwork, fix_weights, mlp
from supsup_bridge.novelty import FreeLearner, NoveltyTest
from supsup_bridge.objectives import entropy, superfluous
from supsup_bridge.open_memory import OpenMemory
from supsup_bridge.open_recall import OpenInference, RecallNovelty
from supsup_bridge.recall import PaperInference, RecallInference
from supsup_bridge.settings import RunSettings
from supsup_bridge.store import MaskStore
from supsup_bridge.task import Task
from supsup_bridge.tasks import split_digits, split_mnist
from supsup_bridge.training import MaskTrainer, TrainingSettings
from supsup_bridge.transformed import permuted_mnist, rotated_mnist

__all__ = [
    "ArgmaxLogits",
    "BankInference",
    "Binary",
    "DataError",
    "Descent",
    "Experiment",
    "FixedNetwork",
    "FreeLearner",
    "Inferred",
    "MaskBank",
    "MaskStore",
    "MaskTrainer",
    "MaskedNetwork",
    "NoveltyTest",
    "OneShot",
    "OpenInference",
    "OpenMemory",
    "PaperInference",
    "RecallInference",
    "RecallNovelty",
    "RunSettings",
    "Stored",
    "StreamEndedError",
    "Task",
    "TaskInference",
    "Threshold",
    "TopK",
    "TrainingSettings",
    "TryAll",
    "UnitNetwork",
    "average_accuracy",
    "backward_transfer",
    "entropy",
    "erdos_renyi",
    "fix_weights",
    "forgetting",
    "mlp",
    "permuted_mnist",
    "rotated_mnist",
    "split_digits",
    "split_mnist",
    "superfluous",
    "train_mask",
]
