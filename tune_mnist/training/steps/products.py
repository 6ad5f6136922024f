"""Products and sums of matrices that lie row by row in flat arrays, each from a place `..._at` on.

`..._row` and `..._column` are the distances between rows and columns. Widths that are written to are multiples of 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_mnist.training.batches import Rows
from tune_mnist.training.jit import compiled
from tune_mnist.training.steps.registers import LANES, LONG, WIDE, sparse_row, tile

Floats = NDArray[np.floating[Any]]
CACHE_LINE = 64  # bytes

_four_wide, _one_wide, _four_narrow, _one_narrow = tile(4, WIDE), tile(1, WIDE), tile(4, LANES), tile(1, LANES)
_add_long, _add_narrow = sparse_row(LONG), sparse_row(LANES)


@compiled
def aligned(count: int, dtype: Any) -> Floats:
    """An uninitialised array that begins on a cache line: vectors that straddle two are read at half the speed."""
    spare = np.empty(count + CACHE_LINE, dtype)
    return spare[-spare.ctypes.data % CACHE_LINE // spare.itemsize:][:count]


@compiled
def multiply(
    out: Floats, at: int, row: int, left: Floats, left_at: int, left_row: int, left_column: int, rows: int, depth: int,
    right: Floats, right_at: int, columns: int,
) -> None:
    """Add left (rows, depth) times right (depth, columns) to `out`; `columns` is a multiple of 16."""
    j = 0
    while j < columns:
        wide = columns - j >= WIDE
        r = 0
        while r < rows:
            four = rows - r >= 4
            to, begin = at + r * row + j, left_at + r * left_row
            if wide and four:
                _four_wide(out, to, row, left, begin, left_row, left_column, right, right_at + j, columns, depth)
            elif wide:
                _one_wide(out, to, row, left, begin, left_row, left_column, right, right_at + j, columns, depth)
            elif four:
                _four_narrow(out, to, row, left, begin, left_row, left_column, right, right_at + j, columns, depth)
            else:
                _one_narrow(out, to, row, left, begin, left_row, left_column, right, right_at + j, columns, depth)
            r += 4 if four else 1
        j += WIDE if wide else LANES


@compiled
def add_sparse(
    out: Floats, at: int, matrix: Floats, width: int, rows: Rows, begin: int, end: int
) -> None:
    """Add to `out` (width,) the matrix's rows that `rows` names from `begin` to before `end`, times their values."""
    j = 0
    while j < width:
        if width - j >= LONG:
            _add_long(out, at + j, matrix, j, width, rows.columns, rows.values, begin, end)
            j += LONG
        else:
            _add_narrow(out, at + j, matrix, j, width, rows.columns, rows.values, begin, end)
            j += LANES


@compiled
def repeat(out: Floats, at: int, row: Floats, count: int) -> None:
    """Write `count` copies of `row` to `out`, one behind the other."""
    for r in range(count):
        for j in range(len(row)):
            out[at + r * len(row) + j] = row[j]


@compiled
def sum_rows(out: Floats, matrix: Floats, at: int, rows: int, width: int) -> None:
    """Write the sum of a matrix's rows (rows, width) to `out` (width,)."""
    out[:width] = 0
    for r in range(rows):
        row = matrix[at + r * width:at + (r + 1) * width]
        for j in range(width):
            out[j] += row[j]


@compiled
def transpose(matrix: Floats, rows: int, columns: int, out: Floats, width: int) -> None:
    """Write the transpose of a matrix (rows, columns), filled up with 0, to `out` (columns, width)."""
    out[:columns * width] = 0
    for j in range(0, columns, LANES):
        for r in range(rows):
            for q in range(LANES):
                out[(j + q) * width + r] = matrix[r * columns + j + q]
