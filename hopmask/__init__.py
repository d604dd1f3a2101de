"""hopmask: a constant-size associative memory of neural-network masks."""

from hopmask import capacity, errors, storage
from hopmask._undisturbed import undisturbed
from hopmask.capacity.damage import Damage
from hopmask.capacity.mask_sources import GivenMasks, RandomMasks
from hopmask.couplings.rules import LearningRule, rule_named
from hopmask.errors import (
    ConfigError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    HopmaskError,
    MaskError,
    MemoryFullError,
    NotForgettableError,
    NumericalError,
    OverloadWarning,
    PenaltyError,
    ReadOnlyMemoryError,
    SaturationError,
    UnknownTaskError,
)
from hopmask.memory.live import LiveMemory, open_memory
from hopmask.memory.loading import load
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.reservoir import Reservoir
from hopmask.memory.signature_sums import SignatureSums
from hopmask.patterns.layout import Layout
from hopmask.patterns.spins import to_mask, to_spins
from hopmask.recall.dynamics import paper_schedule
from hopmask.recall.options import Search
from hopmask.recall.penalty import PointingPenalty, RowPenalty
from hopmask.recall.result import Hit, Trace

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "CueError",
    "Damage",
    "DuplicateError",
    "EmptyMemoryError",
    "GivenMasks",
    "Hit",
    "HopmaskError",
    "Layout",
    "LearningRule",
    "LiveMemory",
    "MaskError",
    "MaskMemory",
    "MemoryFullError",
    "NotForgettableError",
    "NumericalError",
    "OverloadWarning",
    "PenaltyError",
    "PointingPenalty",
    "RandomMasks",
    "ReadOnlyMemoryError",
    "Reservoir",
    "RowPenalty",
    "SaturationError",
    "Search",
    "SignatureSums",
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
    "undisturbed",
]
