"""Capacity: how many masks a learning rule holds, measured, and what a given memory still takes."""

from hopmask.capacity.damage import Damage
from hopmask.capacity.headroom import Estimate, biased_masks, estimate
from hopmask.capacity.measurement import Capacity, Point, curve, measure
from hopmask.capacity.theory import Limit, limits

__all__ = [
    "Capacity",
    "Damage",
    "Estimate",
    "Limit",
    "Point",
    "biased_masks",
    "curve",
    "estimate",
    "limits",
    "measure",
]
