"""Checks of what a memory promises; a failure says what was lost, how far, and at what load."""

import warnings
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor

from hopmask.capacity.bisection import enough
from hopmask.capacity.damage import Damage
from hopmask.capacity.mask_sources import Ensemble, RandomMasks, check_ensemble, generator_of
from hopmask.errors import (
    ConfigError,
    DuplicateError,
    MemoryFullError,
    NumericalError,
    OverloadWarning,
)
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.reservoir import Reservoir

Store = Reservoir | MaskMemory


def assert_recallable(
    store: Store, patterns: Tensor | Mapping[str, Tensor], *, cues: Any = None
) -> None:
    """Assert that a filled memory gives back patterns bit for bit.

    Args:
        store: a Reservoir, or a MaskMemory.
        patterns: of a Reservoir ±1 or bool (k, d); of a MaskMemory name -> bool (k, *shape), the
            masks of its tasks 0 ... k − 1, which are recalled by number too.
        cues: what to recall them by, of the same shape: spins in [-1, 1], or name -> levels in
            [0, 1]. By default the patterns themselves, undamaged.

    Raises:
        AssertionError: which pattern came back wrong first, by how many bits, and how many did.
        ConfigError: no patterns, or patterns or cues of another shape.

    Example:
        >>> reservoir = Reservoir(64)
        >>> patterns = RandomMasks(size=64).draw(3, torch.Generator().manual_seed(0))
        >>> reservoir.store(patterns)
        >>> assert_recallable(reservoir, patterns, cues=0.5 * patterns)
    """
    if isinstance(store, MaskMemory):
        if not isinstance(patterns, Mapping):
            raise ConfigError(
                f"the masks of a MaskMemory are name -> bool (k, *shape), got "
                f"{type(patterns).__name__}"
            )
        missing = sorted(set(store.shapes) ^ set(patterns))
        if missing:
            raise ConfigError(f"the memory's layers are {list(store.shapes)}; look at {missing}")
        masks = {name: patterns[name] > 0 for name in store.shapes}
        rows = len(next(iter(masks.values())))
        for name, shape in store.shapes.items():
            _check_shape(f"mask '{name}'", masks[name], rows, shape)
        for name, cue in (cues or {}).items():
            _check_shape(f"cue '{name}'", cue, rows, store.shapes.get(name, ()))
        _compare(_flat(masks), _flat(_by_number(store, masks)), store, "by number")
        if cues is not None:
            hit = store.recall(cue=cues)
            _compare(_flat(masks), _flat(hit.masks), store, "by cue")
        return
    expected = _rows(patterns)
    cue = expected if cues is None else _rows(cues)
    for what, given in (("patterns", expected), ("cues", cue)):
        _check_shape(what, given, len(expected), (store.size,))
    levels = expected.dtype == torch.bool != cue.dtype and not bool((cue < 0).any())
    if levels and not bool(expected.all()):
        raise ConfigError(
            "cues that are nowhere below 0 are levels in [0, 1]: a Reservoir is recalled by spins, "
            "2 * levels - 1"
        )
    _compare(expected > 0, store.recall(cue).spins > 0, store, "by cue")


def assert_capacity(
    factory: Callable[[], Store],
    *,
    load: float,
    noise: float | Damage = 0.1,
    recalled: float = 0.9,
    masks: Ensemble | None = None,
    trials: int = 2,
    seed: int = 0,
) -> None:
    """Assert that memories hold a load: so many random masks come back from damaged cues.

    Args:
        factory: makes an empty Reservoir or MaskMemory; called once a trial.
        load: α; round(α · d) patterns are stored, at least one, where d counts the key and check
            bits of a MaskMemory too (`hopmask.capacity.measure` knows bare reservoirs alone). Of
            hub couplings α is a share of the hubs.
        noise: share of the spins of a cue that are turned, or a `Damage`. A MaskMemory is recalled
            by masks alone, not by number.
        recalled: share of all the patterns that must come back bit for bit.
        masks: where patterns come from, of the reservoir's size, or of the bits of all the layers
            together; by default independent random masks, half of whose bits are set.
        trials: draws; their recalls count together.
        seed: of draws and damage.

    Raises:
        AssertionError: fewer came back, or the rule refused a pattern.
        ConfigError: a factory, load or ensemble that does not fit.

    Example:
        >>> assert_capacity(lambda: Reservoir(128), load=0.1, noise=0.1)
        >>> assert_capacity(lambda: Reservoir(128, rule="hebbian"), load=0.3)
        Traceback (most recent call last):
        ...
        AssertionError: rule 'hebbian', 128 spins, 38 patterns (load 0.297): 0 of 76 came back ...

    Source:
        `hopmask.capacity.measure` finds the load to assert.
    """
    if not 0 <= load < inf or not 0 < recalled <= 1 or trials < 1:
        raise ConfigError(
            "a check takes a load >= 0, a share recalled in (0, 1] and at least 1 trial, got "
            f"load={load}, recalled={recalled}, trials={trials}"
        )
    if masks is not None:
        check_ensemble(masks)
    if not callable(factory):
        raise ConfigError(
            f"factory must be callable, such as lambda: Reservoir(512), got {factory!r}"
        )
    damage = noise if isinstance(noise, Damage) else Damage(share=noise)
    generator = generator_of(seed, 0)
    back = sample = 0
    for _ in range(trials):
        store = factory()
        if not isinstance(store, Store) or store.count:
            raise ConfigError(f"factory must make an empty Reservoir or MaskMemory, got {store!r}")
        spins = store.couplings.size
        bits = store.code.bits if isinstance(store, MaskMemory) else store.size
        source: Ensemble = masks if masks is not None else RandomMasks(size=bits)
        count = max(1, round(load * _places(store)))
        if source.size != bits or (source.most is not None and source.most < count):
            raise ConfigError(
                f"masks must come with {bits} bits, {count} of them, got {source.size} bits and "
                f"{source.most}"
            )
        patterns = source.draw(count, generator)
        what = _described(store, count, spins)
        try:
            found = _stored_and_recalled(store, patterns, damage.of(patterns, generator))
        except (DuplicateError, MemoryFullError, NumericalError) as error:
            raise AssertionError(f"{what}: a pattern was refused: {error}") from error
        back += int((found == (patterns > 0).cpu()).all(-1).sum())
        sample += count
    if not enough(back, sample, recalled):
        raise AssertionError(
            f"{what}: {back} of {sample} came back bit for bit from cues ({damage}), fewer than "
            f"{100 * recalled:g}%: lower the load, or use a rule that holds more (hopmask capacity)"
        )


def _stored_and_recalled(store: Store, patterns: Tensor, cues: Tensor) -> Tensor:
    """Store ±1 patterns (k, bits) and recall them by cues; bool (k, bits)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        if isinstance(store, Reservoir):
            store.store(patterns.to(store.psi))
            return (store.recall(cues.to(store.psi)).spins > 0).cpu()
        layout = store.code.layout
        whole = torch.zeros(len(patterns), layout.size)
        whole[:, layout.body] = patterns
        for row in whole:
            store.store(layout.split(row > 0))
    whole[:, layout.body] = cues
    return _flat(store.recall(cue=layout.split((1 + whole) / 2)).masks).cpu()


def _by_number(memory: MaskMemory, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tasks = len(next(iter(masks.values())))
    hits = [memory.recall(task=task).masks for task in range(tasks)]
    return {name: torch.stack([hit[name] for hit in hits]) for name in masks}


def _flat(masks: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([mask.flatten(1) for mask in masks.values()], -1)


def _rows(patterns: Any) -> Tensor:
    """Patterns (k, d), also of a single one (d,)."""
    rows = torch.as_tensor(patterns)
    return rows[None] if rows.ndim == 1 else rows


def _check_shape(what: str, given: Tensor, rows: int, shape: tuple[int, ...]) -> None:
    if rows < 1 or tuple(given.shape) != (rows, *shape):
        raise ConfigError(
            f"{what} must have shape {(max(rows, 1), *shape)}, got {tuple(given.shape)}"
        )


def _compare(expected: Tensor, found: Tensor, store: Store, how: str) -> None:
    wrong = (found.to(expected.device) != expected).sum(-1)
    if not bool(wrong.any()):
        return
    first = int(wrong.nonzero()[0, 0])
    spins = store.couplings.size
    raise AssertionError(
        f"{_described(store, store.count, spins)}: {int((wrong > 0).sum())} of {len(wrong)} "
        f"patterns came back wrong {how}; the first is {first}, in {int(wrong[first])} of "
        f"{expected.shape[-1]} bits"
    )


def _described(store: Store, count: int, spins: int) -> str:
    load = count / _places(store)
    return f"rule '{store.couplings.rule_name}', {spins} spins, {count} patterns (load {load:.3f})"


def _places(store: Store) -> int:
    """What a load is a share of: the hubs, or the spins of dense couplings."""
    hubs = store.capacity if isinstance(store, MaskMemory) else None
    return hubs or store.couplings.size
