"""hopmask: a constant-size associative memory of neural-network masks."""

from hopmask.damage import Damage
from hopmask.ensemble import Ensemble, GivenMasks, LeaningMasks, RandomMasks
from hopmask.errors import (
    ConfigError,
    CorruptStoreError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    HopmaskError,
    MaskError,
    MissingDependencyError,
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
    "Damage",
    "DuplicateError",
    "EmptyMemoryError",
    "Ensemble",
    "GivenMasks",
    "Hebbian",
    "Hit",
    "HopmaskError",
    "Layout",
    "LeaningMasks",
    "LearningRule",
    "LoadReport",
    "MaskError",
    "MaskMemory",
    "MeanField",
    "MissingDependencyError",
    "NotAHopmaskStoreError",
    "NotForgettableError",
    "NumericalError",
    "OverloadWarning",
    "PenaltyError",
    "Projection",
    "RandomMasks",
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
