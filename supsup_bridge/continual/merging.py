"""Merging of two learners that learned different tasks."""

from copy import deepcopy
from dataclasses import fields

from hopmask import ConfigError, MaskMemory
from hopmask.errors import DuplicateError
from supsup_bridge.continual.learning import Learning
from supsup_bridge.continual.numbers import Held
from supsup_bridge.continual.settings import LearnerSettings
from supsup_bridge.data.pixel_scale import UNKNOWN, PixelScale
from supsup_bridge.inference.signatures import SIGNATURES

_FREE = ("recall", "inference", "objective", "infer_samples", "pixels")  # that no mask depends on


def merge(one: Learning, other: Learning) -> PixelScale | str | None:
    """Add the masks of one learner to another's; see `SupSup.merge`.

    Returns:
        How images of both are made of pixels.
    """
    _check_mergeable(one, other)
    pixels = _pixels_of_both(one, other)
    mine, theirs = one.kept, other.kept
    assert isinstance(mine, MaskMemory)
    assert isinstance(theirs, MaskMemory)
    hubs = max(mine.capacity or 0, theirs.capacity or 0)
    if theirs.capacity != hubs:
        theirs = deepcopy(theirs)  # the other learner stays as it is
    with mine.growing(hubs), theirs.growing(hubs):
        mine.merge(theirs)
    return pixels


def _pixels_of_both(one: Learning, other: Learning) -> PixelScale | str | None:
    """How images of both learners, not merged yet, are made of pixels; "unknown" if they differ."""
    mine, theirs = one.settings.pixels, other.settings.pixels
    if mine == theirs or not other.tasks:
        return mine
    if not one.tasks:
        return theirs if mine is None else mine
    return UNKNOWN


def _check_mergeable(one: Learning, other: Learning) -> None:
    """Raise unless two learners learn the same masks from the same tasks, and hold different ones.

    Raises:
        ConfigError: memories without hubs, or learners that were made otherwise; says what differs.
        DuplicateError: a task that both hold; says which.
    """
    for learner in (one, other):
        if not isinstance(learner, Learning):
            raise ConfigError(f"merge takes a SupSup, got {type(learner).__name__}")
        if not isinstance(learner.numbers, Held):
            raise ConfigError(
                f"{learner!r} cannot be merged: use memory='hopfield', masks='weight' and no "
                "task_free"
            )
    for field in fields(one.settings):
        mine, theirs = (_meant(some.settings, field.name) for some in (one, other))
        if field.name not in _FREE and mine != theirs:
            raise ConfigError(
                f"learners that are merged need the same {field.name}: one has {mine!r:.80}, the "
                f"other {theirs!r:.80}"
            )
    if one.fingerprint != other.fingerprint:
        raise ConfigError(
            "the learners have different networks: make both of the same module, with the same seed"
        )
    if one.tasks and other.tasks and one.image_shape != other.image_shape:
        raise ConfigError(
            f"one learner's images have shape {one.image_shape}, the other's {other.image_shape}"
        )
    if both := sorted({*one.tasks} & {*other.tasks}):
        raise DuplicateError(
            f"both learners hold task {', '.join(map(str, both[:8]))}: give each task a number of "
            "its own with learn(data, task=)"
        )


def _meant(settings: LearnerSettings, name: str) -> object:
    """A setting, or what it stands for where it was left out."""
    usual = {"masks": settings.mask_kind, "signature": settings.signature or SIGNATURES[0]}
    return usual.get(name, getattr(settings, name))
