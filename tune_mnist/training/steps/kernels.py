"""A fully connected network's steps: forward, backward and optimiser in one compiled loop.

MNIST's background is a constant -1: with pictures written as x = -1 + u, where most of u is 0, the first layer and its
gradient are sums over the few non-zeros of u,
    x W + b = u W + (b - sum of W's rows)        and        x^T d = u^T d - sum of d's rows.
What is 0 for a whole batch is left out of products.

What may be None is an argument of its own, as only then the branch for it is left out of the compiled code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tune_mnist.training.batches import Lot, Rows
from tune_mnist.training.dataset import CLASSES
from tune_mnist.training.jit import compiled
from tune_mnist.training.steps.adamw import Rate
from tune_mnist.training.steps.alive import all_finite, list_alive
from tune_mnist.training.steps.moves import rate_at
from tune_mnist.training.steps.network import Network, Workspace, delta_of, parameters_of, units_of, workspace
from tune_mnist.training.steps.products import Floats, Numbers, fours, matrix, multiply, repeat, sparse_sum, transpose
from tune_mnist.training.steps.registers import LANES
from tune_mnist.training.steps.sgd import SgdRate
from tune_mnist.training.steps.updates import update_dense, update_first


class Plan(NamedTuple):
    """How some steps are to be taken."""

    batch_size: int
    rates: Rate | SgdRate
    average_share: np.floating[Any]
    """The share of the new parameters in their moving average."""
    softmax: bool
    """Whether the outputs are probabilities."""


@compiled
def first_layer(
    network: Network, by_picture: Rows | None, dense: Floats | None, first: int, sums: Floats, every: Numbers,
    out: Floats,
) -> None:
    """Write to `out` (count, width) the first layer's values, before its ReLU, of pictures from number `first` on."""
    parameters = parameters_of(network, 0)
    weights, biases = parameters[:-1], parameters[-1]
    if by_picture is not None:
        start = biases - sums
        for r in range(len(out)):
            begin, end = by_picture.offsets[first + r], by_picture.offsets[first + r + 1]
            sparse_sum(out[r], start, weights, by_picture.columns, by_picture.values, begin, end)
    if dense is not None:
        repeat(out, biases)
        multiply(out, dense[first:first + len(out)], weights, every, every, len(weights))


@compiled
def first_values(network: Network, by_picture: Rows, first: int, count: int) -> Floats:
    """The first layer's values (count, width), before its ReLU, of pictures from number `first` on."""
    space, out = workspace(network, count), np.empty((count, network.sizes[1]), network.flat.dtype)
    first_layer(network, by_picture, None, first, space.sums, space.every, out)
    return out


@compiled
def forward(
    network: Network, by_picture: Rows | None, dense: Floats | None, first: int, count: int, masks: Floats | None,
    may_skip: bool, space: Workspace,
) -> tuple[Floats, bool]:
    """Fill in `space.units` for `count` pictures from number `first` on, and which are alive.

    Returns the last layer's values (count, width), and whether all hidden units' are finite.
    """
    out, finite = units_of(space.units, network, 1, count), True
    first_layer(network, by_picture, dense, first, space.sums, space.every, out)
    for layer in range(1, len(network.sizes) - 1):
        hidden, zero = out.reshape(-1), out.dtype.type(0)
        for i in range(len(hidden)):
            hidden[i] = zero if hidden[i] < zero else hidden[i]  # NaN stays
        if masks is not None:
            out *= units_of(masks, network, layer, count)
        alive = space.alive[layer]
        space.counts[layer], finite_here = list_alive(out, may_skip, space.magnitudes, alive)
        finite &= finite_here
        inputs, out = out, units_of(space.units, network, layer + 1, count)
        parameters = parameters_of(network, layer)
        repeat(out, parameters[-1])
        multiply(out, inputs, parameters[:-1], space.every, alive, space.counts[layer])
    return out, finite


@compiled
def softmax(scores: Floats, out: Floats) -> None:
    """Softmax of a picture's scores (classes,) to `out`."""
    most = scores[0]
    for k in range(1, CLASSES):
        most = max(most, scores[k])
    total = scores.dtype.type(0)
    for k in range(CLASSES):
        out[k] = np.exp(scores[k] - most)
        total += out[k]
    for k in range(CLASSES):
        out[k] /= total


@compiled
def output_gradient(logits: Floats, targets: Floats, probabilities: bool, delta: Floats) -> None:
    """Write to `delta` (count, width) the gradient by `logits` of their mean cross entropy with `targets` (count, 10).

    With `probabilities`, softmax is applied twice, as it is where the outputs are probabilities.
    """
    number = logits.dtype.type
    inner, outer = np.empty(CLASSES, logits.dtype), np.empty(CLASSES, logits.dtype)
    pictures = number(len(targets))
    delta[:] = 0
    for r in range(len(targets)):
        softmax(logits[r], inner)
        if not probabilities:
            for k in range(CLASSES):
                delta[r, k] = (inner[k] - targets[r, k]) / pictures
            continue
        softmax(inner, outer)
        mean = number(0)
        for k in range(CLASSES):
            outer[k] = (outer[k] - targets[r, k]) / pictures
            mean += outer[k] * inner[k]
        for k in range(CLASSES):
            delta[r, k] = inner[k] * (outer[k] - mean)


@compiled
def input_gradient(
    network: Network, layer: int, inputs: Floats, rows: Numbers, n_rows: int, masks: Floats | None, delta: Floats,
    columns: Numbers, n_columns: int, space: Workspace, out: Floats,
) -> None:
    """Write to `out` the loss's gradient by a layer's `inputs` (count, n_in) before their ReLU and dropout.

    `delta` (count, n_out) is the gradient by its outputs. Only the inputs in `rows` and outputs in `columns` are not 0
    for all pictures. The transpose is made, 16 rows at a time: then all reads are along rows.
    """
    count, n_out = delta.shape
    weights, padded = parameters_of(network, layer)[:-1], (count + LANES - 1) // LANES * LANES
    turned, strip = matrix(space.turned, n_out, padded), matrix(space.strip, LANES, padded)
    transpose(turned, delta, columns, n_columns)
    out[:] = 0
    for i in range(0, n_rows, LANES):
        some = min(LANES, n_rows - i)
        here = strip[:fours(some)]
        here[:] = 0
        multiply(here, weights, turned, rows[i:], columns, n_columns)
        for r in range(count):
            for q in range(some):
                out[r, rows[i + q]] = strip[q, r]
    gradient, values, zero = out.reshape(-1), inputs.reshape(-1), out.dtype.type(0)
    for i in range(len(gradient)):
        gradient[i] = zero if values[i] <= zero else gradient[i]
    if masks is not None:
        out *= units_of(masks, network, layer, count)


@compiled
def train(
    network: Network, average: Floats | None, plan: Plan, lot: Lot, masks: Floats | None, targets: Floats,
    logits: Floats, begin: int, end: int,
) -> None:
    """Train on batches `begin` to before `end` of the lot, writing each picture's logits at its own step.

    Args:
        average: the parameters' moving average, which moves on; or None.
        masks: what dropout multiplies each hidden layer's values by, batch after batch and layer after layer; or None.
        targets: the probabilities (pictures, 10) to be trained towards.
        logits: (pictures, 10), written to.
    """
    space, last = workspace(network, plan.batch_size), len(network.sizes) - 1
    gradient_columns, every = space.alive[last], space.every
    sound, hidden_units = all_finite(network.flat[network.places[1]:]), network.sizes[1:last].sum()
    for step in range(begin, end):
        first = step * plan.batch_size
        count = min(plan.batch_size, lot.pictures - first)
        rate = rate_at(plan.rates, step)
        masks_here = None if masks is None else masks[(step - begin) * plan.batch_size * hidden_units:]
        values, finite = forward(network, lot.by_picture, lot.dense, first, count, masks_here, sound, space)
        sound &= finite
        for r in range(count):
            for k in range(CLASSES):
                logits[first + r, k] = values[r, k]
        delta = delta_of(space, network, last, count)
        output_gradient(values, targets[first:first + count], plan.softmax, delta)
        for layer in range(last - 1, 0, -1):
            inputs, before = units_of(space.units, network, layer, count), delta_of(space, network, layer, count)
            n_columns, finite = list_alive(delta, sound, space.magnitudes, gradient_columns)
            sound &= finite
            rows, n_rows = space.alive[layer], space.counts[layer]
            if not sound:
                rows, n_rows = every, inputs.shape[1]
            input_gradient(
                network, layer, inputs, rows, n_rows, masks_here, delta, gradient_columns, n_columns, space, before
            )
            sound &= update_dense(
                network, layer, inputs, rows, n_rows, delta, gradient_columns, n_columns, space, rate
            )
            delta = before
        n_columns, _ = list_alive(delta, True, space.magnitudes, gradient_columns)
        update_first(
            network, lot.by_pixel, lot.dense, step, first, delta, gradient_columns, n_columns, space, rate
        )
        if average is not None:
            for i in range(len(average)):
                average[i] += plan.average_share * (network.flat[i] - average[i])


@compiled
def outputs(network: Network, lot: Lot, batch_size: int) -> Floats:
    """The last layer's values (pictures, 10) of the lot, without dropout, a batch at a time."""
    logits = np.empty((lot.pictures, CLASSES), network.flat.dtype)
    space, sound = workspace(network, batch_size), all_finite(network.flat[network.places[1]:])
    for first in range(0, lot.pictures, batch_size):
        count = min(batch_size, lot.pictures - first)
        values, _ = forward(network, lot.by_picture, lot.dense, first, count, None, sound, space)
        for r in range(count):
            for k in range(CLASSES):
                logits[first + r, k] = values[r, k]
    return logits
