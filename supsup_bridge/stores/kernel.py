"""The sum that numba compiles for `compiled.py`. Importing this file imports numba."""

import logging
from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # whole numbers that are added at once
ROWS = 8  # rows that share the loads of numbers
_NEAR = 128  # terms of a sum in 32 bits: 2^7 · 2^23 = 2^30
_log = logging.getLogger(__name__)
_SIGNATURE = "void(uint8[:, ::1], int64[::1], int64[::1], int32[:, ::1], int64[::1])"


@cache
def kernel() -> Callable[..., None]:
    """`_sums` as machine code, which runs without the interpreter's lock.

    Raises:
        ImportError: numba is switched off.
    """
    if numba.config.DISABLE_JIT:
        raise ImportError("numba does not compile: NUMBA_DISABLE_JIT is set")
    _log.info("numba compiles the product of packed masks, or reads it from its cache")
    try:
        ready: Callable[..., None] = numba.njit(_SIGNATURE, nogil=True, cache=True)(_sums)
    except Exception as error:  # the cache cannot be written, or is damaged
        _log.info("numba's cache is left out: %r", error)
        ready = numba.njit(_SIGNATURE, nogil=True)(_sums)
    return ready


def _sums(rows, firsts, places, lanes, found):  # type: ignore[no-untyped-def]
    """found_r = Σ_i Σ_l lanes_il, where bit l of the two bytes of row r at places_i is set, for the
    8 rows from each of `firsts` on."""
    near = np.empty((ROWS, LANES), np.int32)
    total = np.empty((ROWS, LANES), np.int64)
    for first in firsts:
        total[:] = 0
        for start in range(0, len(places), _NEAR):
            count = min(_NEAR, len(places) - start)
            _add(rows[first:], places[start:], lanes[start:], count, near)
            for row in range(ROWS):
                for lane in range(LANES):
                    total[row, lane] += near[row, lane]
        for row in range(ROWS):
            found[first + row] = total[row].sum()


@intrinsic
def _add(context, rows, places, lanes, count, near):  # type: ignore[no-untyped-def]
    """near_rl = Σ_i lanes_il over the first `count` places, for 8 rows, by vectors of LLVM."""
    return types.void(rows, places, lanes, types.intp, near), _generate


def _generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    word, index = ir.IntType(LANES), ir.IntType(64)
    vector, mask = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(ir.IntType(1), LANES)
    zeros = ir.Constant(vector, [0] * LANES)
    rows, places, lanes, near = (
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args, arguments, strict=True)
        if kind != types.intp
    )
    stride = builder.extract_value(rows.strides, 0)
    starts = [builder.gep(rows.data, [builder.mul(stride, index(row))]) for row in range(ROWS)]
    sums = [cgutils.alloca_once_value(builder, zeros) for _ in starts]
    numbers = builder.bitcast(lanes.data, vector.as_pointer())
    with cgutils.for_range(builder, arguments[3]) as loop:
        place = builder.load(builder.gep(places.data, [loop.index]))
        some = builder.load(builder.gep(numbers, [loop.index]), align=4)
        for start, total in zip(starts, sums, strict=True):
            there = builder.bitcast(builder.gep(start, [place]), word.as_pointer())
            chosen = builder.bitcast(builder.load(there, align=1), mask)
            added = builder.select(chosen, some, zeros)
            builder.store(builder.add(builder.load(total), added), total)
    out = builder.bitcast(near.data, vector.as_pointer())
    for row, total in enumerate(sums):
        builder.store(builder.load(total), builder.gep(out, [index(row)]), align=4)
    return context.get_dummy_value()
