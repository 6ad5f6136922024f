"""What a step's end does to each layer: the gradient of its weights, some rows at a time, and the optimiser at once.

What runs once a row takes arrays, not tuples of them, whose references numba would count at every call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_mnist.training.batches import Rows
from tune_mnist.training.jit import compiled
from tune_mnist.training.steps.alive import pack
from tune_mnist.training.steps.moves import may_rest, move
from tune_mnist.training.steps.network import Network, Workspace, parameters_of
from tune_mnist.training.steps.products import Floats, Numbers, fours, matrix, multiply, sparse_sum, sum_rows
from tune_mnist.training.steps.registers import LANES

PACKED = 0.75
"""The largest share of a gradient's columns that are packed: below it that was faster, at batch 16 with AVX-512."""


@compiled
def update_dense(
    network: Network, layer: int, inputs: Floats, rows: Numbers, n_rows: int, delta: Floats, columns: Numbers,
    n_columns: int, space: Workspace, rate: Any,
) -> bool:
    """The optimiser on a layer's weights and biases, of inputs (count, n_in) and their gradient `delta` (count, n_out).

    Only the inputs in `rows` and outputs in `columns` are not 0 for all pictures. Returns whether all are finite after.
    """
    count, n_in = inputs.shape
    n_out, place, zero = delta.shape[1], network.places[layer], delta.dtype.type(0)
    flat, means, squares, starts, lanes = network.flat, network.means, network.squares, space.starts, space.lanes
    rests = may_rest(rate)
    nothing = space.nothing[:n_out]
    rest = nothing[0]  # not a constant, with which this processor's instruction for it is slow
    packs = packing_pays(n_columns, n_out)
    factors = pack(delta, columns, n_columns, space.packed, starts, lanes) if packs else delta
    side_by_side, strip = matrix(space.turned, count, LANES), matrix(space.strip, LANES, factors.shape[1])
    finite, row = True, 0
    for i in range(0, max(1, n_rows), LANES):
        some = min(LANES, n_rows - i)
        here = strip[:fours(some)]
        for r in range(count):  # side by side, as rows far apart would push each other out of the caches
            for q in range(some):
                side_by_side[r, q] = inputs[r, rows[i + q]]
            for q in range(some, len(here)):
                side_by_side[r, q] = zero
        here[:] = 0
        multiply(here, side_by_side.T, factors, space.every, space.every, count)
        q, end = 0, n_in if i + some == n_rows else rows[i + some]
        while row < end:
            at = place + row * n_out
            if q < some and row == rows[i + q]:
                gradient = strip[q]
                finite &= move(
                    flat, means, squares, at, n_out, gradient, packs, starts, lanes, rest, rate, rests
                )
                q += 1
            else:
                finite &= move(
                    flat, means, squares, at, n_out, nothing, False, starts, lanes, rest, rate, rests
                )
            row += 1
    background, at = space.background[:n_out], place + n_in * n_out
    sum_rows(background, delta)
    return finite & move(
        flat, means, squares, at, n_out, background, False, starts, lanes, zero, rate, rests
    )


@compiled
def packing_pays(n_columns: int, width: int) -> bool:
    """Whether it is faster to leave out of a gradient's `width` columns all but `n_columns`."""
    return n_columns <= PACKED * width


@compiled
def update_sparse(
    network: Network, by_pixel: Rows, offsets: NDArray[np.int32], delta: Floats, columns: Numbers, n_columns: int,
    space: Workspace, rate: Any,
) -> None:
    """The optimiser on the first layer, of sparse pictures; `space.sums` becomes the sum of its new weights' rows."""
    weights, sums, n_out, zero = parameters_of(network, 0)[:-1], space.sums, delta.shape[1], delta.dtype.type(0)
    flat, means, squares, starts, lanes = network.flat, network.means, network.squares, space.starts, space.lanes
    rests = may_rest(rate)
    pictures, heights = by_pixel.columns, by_pixel.values
    packs = packing_pays(n_columns, n_out)
    factors = pack(delta, columns, n_columns, space.packed, starts, lanes) if packs else delta
    background, gradient = space.background[:factors.shape[1]], space.strip[:factors.shape[1]]
    sum_rows(background, factors)
    start = -background
    sums[:] = 0
    for pixel in range(len(weights)):
        begin, end = offsets[pixel], offsets[pixel + 1]
        sparse_sum(gradient, start, factors, pictures, heights, begin, end)
        rest = zero if end > begin else -zero  # what the sums of what is left out are
        at = pixel * n_out
        move(flat, means, squares, at, n_out, gradient, packs, starts, lanes, rest, rate, rests)
        for j in range(n_out):
            sums[j] += weights[pixel, j]
    at = len(weights) * n_out
    move(flat, means, squares, at, n_out, background, packs, starts, lanes, zero, rate, rests)


@compiled
def update_first(
    network: Network, by_pixel: Rows | None, dense: Floats | None, step: int, first: int, delta: Floats,
    columns: Numbers, n_columns: int, space: Workspace, rate: Any,
) -> None:
    """The optimiser on the first layer, of the pictures of batch number `step`, which begin at number `first`."""
    if by_pixel is not None:
        update_sparse(network, by_pixel, by_pixel.offsets[step], delta, columns, n_columns, space, rate)
    if dense is not None:
        inputs = dense[first:first + len(delta)]
        update_dense(network, 0, inputs, space.every, inputs.shape[1], delta, columns, n_columns, space, rate)
