"""Hypothesis strategies: masks, sets of masks, damaged cues, filled reservoirs and memories."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import assume, reject
from hypothesis import strategies as st
from torch import Tensor

from hopmask.capacity.damage import Damage
from hopmask.capacity.mask_sources import RandomMasks
from hopmask.couplings.rules import LearningRule
from hopmask.errors import ConfigError, DuplicateError, NumericalError, OverloadWarning
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.reservoir import Reservoir
from hopmask.patterns.layout import Size

Rule = str | LearningRule
_SEEDS = st.integers(0, 2**32 - 1)
_SIZES = st.integers(32, 128)
_COUNTS = st.integers(1, 4)


@dataclass(frozen=True)
class Filled:
    """What `reservoirs` and `memories` draw.

    Attributes:
        store: the Reservoir or MaskMemory.
        patterns: all that it holds, in order: ±1 (k, d), or name -> bool (k, *shape).

    Example:
        >>> from hypothesis import find
        >>> filled = find(reservoirs(size=16, count=2), lambda filled: True)
        >>> filled.store.count, filled.patterns.shape
        (2, torch.Size([2, 16]))
    """

    store: Any
    patterns: Any


def masks(
    shape: Size | st.SearchStrategy[Size], *, density: float | None = None
) -> st.SearchStrategy[Tensor]:
    """Bool masks.

    Args:
        shape: number of bits, or shape, or a strategy of such.
        density: share of bits that are set, as coins fall; None: any mask at all, drawn bit by
            bit, which shrinks to no bit set.

    Example:
        >>> from hypothesis import find
        >>> find(masks(4), lambda mask: bool(mask.any()))
        tensor([ True, False, False, False])
    """

    return mask_sets(shape, count=1, density=density).map(lambda rows: rows[0])


def spins(
    size: int | st.SearchStrategy[int], *, density: float | None = None
) -> st.SearchStrategy[Tensor]:
    """±1 vectors z = 2m − 1 of `masks`, float32 (d,).

    Args:
        size: d, or a strategy of it.
        density: share of spins that are up; None: any vector at all.

    Example:
        >>> from hypothesis import find
        >>> find(spins(3), lambda z: True)
        tensor([-1., -1., -1.])
    """
    return masks(size, density=density).map(_signed)


@st.composite
def mask_sets(
    draw: st.DrawFn,
    shape: Size | st.SearchStrategy[Size],
    *,
    count: int | st.SearchStrategy[int] = _COUNTS,
    density: float | None = None,
    overlap: float | None = None,
    distinct: bool = True,
) -> Tensor:
    """Sets of bool masks, (count, *shape).

    With a density or an overlap they are random masks of these statistics (`RandomMasks`) from a
    seed, which shrink in number and size; without, any masks at all, bit by bit.

    Args:
        draw: given by hypothesis.
        shape: number of bits, or shape, or a strategy of such.
        count: of masks, or a strategy of it.
        density: share of bits that are set; 0.5 where only an overlap is given.
        overlap: mean overlap of the spins of two masks.
        distinct: no mask, nor its opposite, comes twice: a memory takes a mask once, and z and −z
            have one energy.

    Example:
        >>> from hypothesis import find
        >>> find(mask_sets(3, count=2), lambda masks: True).shape
        torch.Size([2, 3])
    """
    size: Size = _drawn(draw, shape)
    sides = size if isinstance(size, tuple) else (size,)
    number, bits = _drawn(draw, count), torch.Size(sides).numel()
    if number < 1:
        raise ConfigError(f"a set holds at least one mask, got count={number}")
    assume(not distinct or number <= 2 ** (bits - 1))
    if density is None and overlap is None:
        rows = st.integers(0, 2**bits - 1)
        code = draw(
            st.lists(
                rows,
                min_size=number,
                max_size=number,
                unique_by=(lambda row: min(row, 2**bits - 1 - row)) if distinct else None,
            )
        )
        wide = b"".join(row.to_bytes(-(-bits // 8), "little") for row in code)
        packed = np.frombuffer(wide, np.uint8).reshape(number, -1)
        flat = torch.from_numpy(np.unpackbits(packed, axis=1, bitorder="little")[:, :bits] > 0)
    else:
        source = RandomMasks(
            size=bits, density=0.5 if density is None else density, overlap=overlap
        )
        flat = source.draw(number, torch.Generator().manual_seed(draw(_SEEDS))) > 0
        if distinct:
            assume(len(torch.unique(flat ^ flat[:, :1], dim=0)) == number)
    return flat.reshape(number, *sides)


@st.composite
def damaged(
    draw: st.DrawFn,
    patterns: Tensor | Mapping[str, Tensor],
    *,
    kind: str | st.SearchStrategy[str] = "flips",
    share: float | st.SearchStrategy[float] = 0.1,
) -> Any:
    """Cues made of patterns, damaged anew each time: see `hopmask.Damage`.

    Args:
        draw: given by hypothesis.
        patterns: ±1 spins or bool masks, (d,) or (k, d), each row damaged in places of its own; or
            name -> bool masks (k, *shape), the layers of k tasks, each task damaged as a whole: a
            `block` may take a layer and the beginning of the next.
        kind: flips, erasures, block, or a strategy of them.
        share: of the spins, or a strategy of it. Whole numbers of spins shrink to the fewest:
            `st.integers(0, 20).map(lambda spins: spins / size)`.

    Returns:
        Of the shape of the patterns. Of spins: 0 where unknown, for `Reservoir.recall`. Of masks:
        float levels in {0, 0.5, 1}, 0.5 where unknown, for `MaskMemory.recall(cue=...)`.

    Example:
        >>> from hypothesis import find
        >>> cue = find(damaged(torch.ones(8), kind="block", share=0.5), lambda cue: True)
        >>> int((cue == 0).sum())
        4
    """
    damage = Damage(kind=_drawn(draw, kind), share=_drawn(draw, share))
    generator = torch.Generator().manual_seed(draw(_SEEDS))
    if not isinstance(patterns, Mapping):
        return _damaged(patterns, damage, generator)
    flat = torch.cat([mask.flatten(1) for mask in patterns.values()], 1)
    whole, cues, first = _damaged(flat, damage, generator), {}, 0
    for name, mask in patterns.items():
        last = first + mask[0].numel()
        cues[name] = whole[:, first:last].reshape(mask.shape)
        first = last
    return cues


@st.composite
def reservoirs(
    draw: st.DrawFn,
    *,
    size: int | st.SearchStrategy[int] = _SIZES,
    rule: Rule | st.SearchStrategy[Rule] = "storkey",
    count: int | st.SearchStrategy[int] = _COUNTS,
    density: float | None = 0.5,
    overlap: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Filled:
    """Reservoirs with patterns stored in them, and these patterns.

    Args:
        draw: given by hypothesis.
        size: d.
        rule: by name or as an object.
        count: patterns stored.
        density: of the patterns; None: any patterns at all, if no overlap is given.
        overlap: mean overlap of two patterns.
        dtype: torch.float32 or torch.float64.

    Example:
        >>> from hypothesis import find
        >>> find(reservoirs(size=16), lambda filled: filled.store.count == 2).patterns.shape
        torch.Size([2, 16])
    """
    spins_of = _drawn(draw, size)
    patterns = draw(mask_sets(spins_of, count=count, density=density, overlap=overlap))
    reservoir = Reservoir(spins_of, rule=_drawn(draw, rule), dtype=dtype)
    with _taken():
        reservoir.store(patterns)
    return Filled(reservoir, _signed(patterns).to(dtype))


@st.composite
def memories(
    draw: st.DrawFn,
    *,
    sizes: Mapping[str, Size] | None = None,
    rule: Rule | st.SearchStrategy[Rule] = "storkey",
    count: int | st.SearchStrategy[int] = _COUNTS,
    density: float | None = 0.5,
    overlap: float | None = None,
    key_bits: int = 64,
    hubs: int | st.SearchStrategy[int] | None = None,
) -> Filled:
    """MaskMemories with tasks stored in them, and these tasks' masks.

    Args:
        draw: given by hypothesis.
        sizes: name -> bits or shape; by default two layers of 96 and 8 × 8 bits.
        rule: by name or as an object.
        count: tasks stored.
        density: of the masks; None: any masks at all, if no overlap is given.
        overlap: mean overlap of two masks.
        key_bits: of the memory, which has no content address.
        hubs: for a memory of hub couplings instead, without rule and key bits, K, or a strategy of
            it; it holds at most as many tasks.

    Example:
        >>> from hypothesis import find
        >>> filled = find(memories(sizes={"h": 64}, count=2), lambda filled: True)
        >>> filled.store.count, filled.patterns["h"].shape
        (2, torch.Size([2, 64]))
    """
    sizes = {"first": 96, "second": (8, 8)} if sizes is None else sizes
    seed = draw(st.integers(0, 2**16))
    if hubs is None:
        memory = MaskMemory(
            sizes, rule=_drawn(draw, rule), seed=seed, key_bits=key_bits, signature_features=0
        )
    else:
        many = _drawn(draw, hubs)
        memory = MaskMemory(sizes, couplings="hub", hubs=many, seed=seed, signature_features=0)
    number = _drawn(draw, count)
    assume(memory.capacity is None or number <= memory.capacity)
    layout, bits = memory.code.layout, memory.code.bits
    drawn = draw(mask_sets(bits, count=number, density=density, overlap=overlap))
    layers = layout.split(torch.nn.functional.pad(drawn, (layout.size - bits, 0)))
    with _taken():
        for task in range(number):
            memory.store({name: rows[task] for name, rows in layers.items()})
    return Filled(memory, layers)


@contextmanager
def _taken() -> Iterator[None]:
    """Patterns that are too many are stored without a word; a set that the rule refuses is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        try:
            yield
        except (DuplicateError, NumericalError):
            reject()


def _damaged(pattern: Tensor, damage: Damage, generator: torch.Generator) -> Tensor:
    mask = pattern.dtype == torch.bool
    rows = (_signed(pattern) if mask else pattern).reshape(-1, pattern.shape[-1])
    cue = damage.of(rows, generator).reshape(pattern.shape)
    return (1 + cue) / 2 if mask else cue


def _signed(mask: Tensor) -> Tensor:
    return mask.float().mul(2).sub(1)


def _drawn(draw: st.DrawFn, value: Any) -> Any:
    return draw(value) if isinstance(value, st.SearchStrategy) else value
