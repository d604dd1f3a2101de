"""hopmask: a constant-size associative memory of neural-network masks."""

from hopmask import storage
from hopmask.damage import Damage
from hopmask.ensemble import Ensemble, GivenMasks, LeaningMasks, RandomMasks
from hopmask.errors import (
    CommitFailedError,
    CommitUncertainError,
    ConfigError,
    CorruptStoreError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    HopmaskError,
    LockingUnsupportedError,
    MaskError,
    MissingDependencyError,
    NotAHopmaskStoreError,
    NotForgettableError,
    NumericalError,
    OverloadWarning,
    PenaltyError,
    SchemaTooNewError,
    StaleStoreError,
    StoreFileError,
    StoreLockedError,
    StoreNotFoundError,
    StoreTooLargeError,
    TruncatedStoreError,
    UnknownTaskError,
    UnsafeStoreError,
)
from hopmask.health import LoadReport
from hopmask.hit import Hit
from hopmask.layout import Layout
from hopmask.live import LiveMemory, open
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
    "CommitFailedError",
    "CommitUncertainError",
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
    "LiveMemory",
    "LoadReport",
    "LockingUnsupportedError",
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
    "StaleStoreError",
    "StoreFileError",
    "StoreLockedError",
    "StoreNotFoundError",
    "StoreTooLargeError",
    "Storkey",
    "StorkeyMatrix",
    "Trace",
    "TruncatedStoreError",
    "UnknownTaskError",
    "UnsafeStoreError",
    "load",
    "open",
    "paper_schedule",
    "rule_named",
    "storage",
    "to_mask",
    "to_spins",
]
