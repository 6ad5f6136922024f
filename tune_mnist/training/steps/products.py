"""Products and sums of matrices. The widths of those that are written to are multiples of 16."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_mnist.training.jit import compiled, inlined
from tune_mnist.training.steps.registers import LANES, LONG, WIDE, sparse_row, tile

Floats = NDArray[np.floating[Any]]
Numbers = NDArray[np.int32]
CACHE_LINE = 64  # bytes

_four_wide, _one_wide, _four_narrow, _one_narrow = tile(4, WIDE), tile(1, WIDE), tile(4, LANES), tile(1, LANES)
_long, _half, _single = sparse_row(LONG), sparse_row(LONG // 2), sparse_row(LANES)


@compiled
def aligned(count: int, dtype: Any) -> Floats:
    """An uninitialised array that begins on a cache line: vectors that straddle two are read at half the speed."""
    spare = np.empty(count + CACHE_LINE, dtype)
    return spare[-spare.ctypes.data % CACHE_LINE // spare.itemsize:][:count]


@compiled
def matrix(numbers: Floats, rows: int, columns: int) -> Floats:
    """The matrix (rows, columns) that flat `numbers` begin with, row by row: a view."""
    return numbers[:rows * columns].reshape(rows, columns)


@compiled
def multiply(
    out: Floats, left: Floats, right: Floats, left_rows: Numbers, terms: Numbers, count: int
) -> None:
    """Add to `out` (rows, columns) the product of rows of left (…, depth) and right (depth, columns).

    Of `out`, row r is that of left's row `left_rows[r]`; of the product, only the first `count` of `terms` are taken:
    left's columns and right's rows of these numbers, the others being 0 on one side and finite on the other.
    """
    rows, columns = out.shape
    j = 0
    while j < columns:
        wide = columns - j >= WIDE
        r = 0
        while r < rows:
            four = rows - r >= 4
            if wide and four:
                _four_wide(out, left, right, left_rows, terms, count, r, j)
            elif wide:
                _one_wide(out, left, right, left_rows, terms, count, r, j)
            elif four:
                _four_narrow(out, left, right, left_rows, terms, count, r, j)
            else:
                _one_narrow(out, left, right, left_rows, terms, count, r, j)
            r += 4 if four else 1
        j += WIDE if wide else LANES


@inlined
def sparse_sum(
    out: Floats, start: Floats, matrix: Floats, numbers: Numbers, factors: Floats, begin: int, end: int
) -> None:
    """Write to `out` (width,) `start` and `factors[k] * matrix[numbers[k]]` for each k from `begin` to before `end`."""
    j, width = 0, len(out)
    while width - j >= LONG:
        _long(out, start, matrix, numbers, factors, begin, end, j)
        j += LONG
    if width - j >= LONG // 2:
        _half(out, start, matrix, numbers, factors, begin, end, j)
        j += LONG // 2
    while j < width:
        _single(out, start, matrix, numbers, factors, begin, end, j)
        j += LANES


@compiled
def repeat(out: Floats, row: Floats) -> None:
    """Write `row` (width,) to every row of `out` (rows, width)."""
    for r in range(len(out)):
        for j in range(len(row)):
            out[r, j] = row[j]


@compiled
def sum_rows(out: Floats, matrix: Floats) -> None:
    """Write the sum of a matrix's rows (rows, width) to `out` (width,)."""
    out[:] = 0
    for r in range(len(matrix)):
        for j in range(len(out)):
            out[j] += matrix[r, j]


@compiled
def transpose(out: Floats, matrix: Floats, columns: Numbers, count: int) -> None:
    """Write the first `count` of the `columns` of a matrix, filled up with 0, to those rows of `out` (…, width)."""
    rows = len(matrix)
    for c in range(count):
        j = columns[c]
        for r in range(rows):
            out[j, r] = matrix[r, j]
        out[j, rows:] = 0


@compiled
def fours(rows: int) -> int:
    """The number of rows filled up to a multiple of 4, as products are fast with."""
    return (rows + 3) // 4 * 4
