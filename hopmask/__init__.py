"""hopmask: a constant-size associative memory of neural-network masks."""

from hopmask.errors import (
    ConfigError,
    CorruptStoreError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    HopmaskError,
    MaskError,
    NotAHopmaskStoreError,
    NotForgettableError,
    NumericalError,
    OverloadWarning,
    PenaltyError,
    SchemaTooNewError,
    StoreFileError,
    StoreNotFoundError,
    UnknownTaskError,
)
from hopmask.health import LoadReport
from hopmask.hit import Hit
from hopmask.layout import Layout
from hopmask.loading import load
from hopmask.memory import MaskMemory
from hopmask.recall import AnnealedDescent, MeanField, SignPolish, paper_schedule
from hopmask.reservoir import Reservoir, SpinHit
from hopmask.rules import Hebbian, LearningRule, Projection, Storkey, StorkeyMatrix, rule_named
from hopmask.search import Trace
from hopmask.spins import to_mask, to_spins

__version__ = "0.1.0"

__all__ = [
    "AnnealedDescent",
    "ConfigError",
    "CorruptStoreError",
    "CueError",
    "DuplicateError",
    "EmptyMemoryError",
    "Hebbian",
    "Hit",
    "HopmaskError",
    "Layout",
    "LearningRule",
    "LoadReport",
    "MaskError",
    "MaskMemory",
    "MeanField",
    "NotAHopmaskStoreError",
    "NotForgettableError",
    "NumericalError",
    "OverloadWarning",
    "PenaltyError",
    "Projection",
    "Reservoir",
    "SchemaTooNewError",
    "SignPolish",
    "SpinHit",
    "StoreFileError",
    "StoreNotFoundError",
    "Storkey",
    "StorkeyMatrix",
    "Trace",
    "UnknownTaskError",
    "load",
    "paper_schedule",
    "rule_named",
    "to_mask",
    "to_spins",
]
