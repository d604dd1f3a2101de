"""hopmask: a constant-size associative memory of neural-network masks."""

from hopmask import capacity, errors, storage
from hopmask.capacity.damage import Damage
from hopmask.capacity.mask_sources import BiasedMasks, Ensemble, GivenMasks, RandomMasks
from hopmask.couplings.rules import (
    Hebbian,
    LearningRule,
    Projection,
    Storkey,
    StorkeyMatrix,
    rule_named,
)
from hopmask.errors import (
    ConfigError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    HopmaskError,
    MaskError,
    NotForgettableError,
    NumericalError,
    OverloadWarning,
    PenaltyError,
    UnknownTaskError,
)
from hopmask.memory.health import LoadReport
from hopmask.memory.live import LiveMemory, open_memory
from hopmask.memory.loading import load
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.reservoir import Reservoir
from hopmask.patterns.layout import Layout
from hopmask.patterns.spins import to_mask, to_spins
from hopmask.recall.dynamics import AnnealedDescent, MeanField, SignPolish, paper_schedule
from hopmask.recall.landscape import RowPenalty
from hopmask.recall.options import Search
from hopmask.recall.result import Hit, SpinHit, Trace

__version__ = "0.1.0"

__all__ = [
    "AnnealedDescent",
    "BiasedMasks",
    "ConfigError",
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
    "LearningRule",
    "LiveMemory",
    "LoadReport",
    "MaskError",
    "MaskMemory",
    "MeanField",
    "NotForgettableError",
    "NumericalError",
    "OverloadWarning",
    "PenaltyError",
    "Projection",
    "RandomMasks",
    "Reservoir",
    "RowPenalty",
    "Search",
    "SignPolish",
    "SpinHit",
    "Storkey",
    "StorkeyMatrix",
    "Trace",
    "UnknownTaskError",
    "capacity",
    "errors",
    "load",
    "open_memory",
    "paper_schedule",
    "rule_named",
    "storage",
    "to_mask",
    "to_spins",
]
