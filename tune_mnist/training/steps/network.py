"""A fully connected network as compiled code sees it: its parameters in flat arrays, and the buffers of a step.

A layer's weights (n_in, n_out) and then its biases (n_out,) lie in one flat array, layer after layer; every width is a
multiple of 16, as the input's 784 is, filled up with units that stay 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_mnist.training.jit import compiled
from tune_mnist.training.steps.products import Floats, Numbers, aligned, matrix, sum_rows
from tune_mnist.training.steps.registers import LANES


class Network(NamedTuple):
    """A network's shape, and flat arrays (parameters,) of its parameters and of AdamW's two moments."""

    sizes: NDArray[np.int64]
    """Widths (layers + 1,), the input's first."""
    places: NDArray[np.int64]
    """Where in the flat arrays each layer's parameters begin, and the last one's end (layers + 1,)."""
    flat: Floats
    means: Floats
    squares: Floats


class Workspace(NamedTuple):
    """Buffers for the steps of a batch, the matrices in them row by row."""

    units: Floats
    """Every layer's values (pictures, width) after ReLU and dropout, layer after layer, the input left out."""
    deltas: Floats
    """The loss's gradient by a layer's values, and by those of the layer before it: (2, batch * widest)."""
    packed: Floats
    """Of such a gradient the columns that are not all 0, side by side."""
    turned: Floats
    """A batch's inputs or gradient, rearranged so that products read along rows."""
    strip: Floats
    """16 rows of a gradient."""
    background: Floats
    """The gradient of a layer's biases (width,)."""
    sums: Floats
    """The sum of the rows of the first layer's weights (width,), kept up to date."""
    magnitudes: Floats
    """Of each unit of a layer (widest,) the sum of its values' magnitudes."""
    alive: Numbers
    """(layers + 1, widest): of each layer's inputs the numbers of those that are not 0 for every picture of a batch.

    The last row is the same of a gradient by a layer's values.
    """
    counts: NDArray[np.int64]
    """How many these are (layers + 1,)."""
    every: Numbers
    """The numbers 0, 1, 2, … of all rows, columns and pictures that there may be."""
    nothing: Floats
    """Zeros (widest,)."""
    starts: Numbers
    """Of each 16 units of a layer (widest / 16,) how many packed columns are before them."""
    lanes: Numbers
    """Of each 16 units of a layer (widest / 16,) a bit for each whether its column is packed."""


@compiled
def workspace(network: Network, batch: int) -> Workspace:
    """Buffers for batches of up to `batch` pictures."""
    widths, number, layers = network.sizes[1:], network.flat.dtype, len(network.sizes) - 1
    widest, padded = widths.max(), (batch + LANES - 1) // LANES * LANES
    space = Workspace(
        units=aligned(batch * widths.sum(), number),
        deltas=aligned(2 * batch * widest, number).reshape(2, batch * widest),
        packed=aligned(batch * widest, number),
        turned=aligned(widest * padded, number),
        strip=aligned(LANES * max(widest, padded), number),
        background=aligned(widest, number),
        sums=aligned(widths[0], number),
        magnitudes=aligned(widest, number),
        alive=np.zeros((layers + 1, widest), np.int32),
        counts=np.zeros(layers + 1, np.int64),
        every=np.arange(max(network.sizes.max(), padded)).astype(np.int32),
        nothing=np.zeros(widest, number),
        starts=np.zeros(widest // LANES, np.int32),
        lanes=np.zeros(widest // LANES, np.int32),
    )
    sum_rows(space.sums, parameters_of(network, 0)[:-1])
    return space


@compiled
def parameters_of(network: Network, layer: int) -> Floats:
    """A layer's weights and, as the last row, its biases (n_in + 1, n_out): a view."""
    n_in, n_out = network.sizes[layer], network.sizes[layer + 1]
    return matrix(network.flat[network.places[layer]:], n_in + 1, n_out)


@compiled
def units_of(units: Floats, network: Network, layer: int, count: int) -> Floats:
    """What goes into `layer` (count, width), of `units` as in a `Workspace`: a view."""
    return matrix(units[count * network.sizes[1:layer].sum():], count, network.sizes[layer])


@compiled
def delta_of(space: Workspace, network: Network, layer: int, count: int) -> Floats:
    """The loss's gradient by what goes into `layer` (count, width): a view."""
    return matrix(space.deltas[layer % 2], count, network.sizes[layer])
