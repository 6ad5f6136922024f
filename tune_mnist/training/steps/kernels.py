"""A fully connected network's steps: forward, backward and AdamW in one compiled loop.

MNIST's background is a constant -1: with pictures written as x = -1 + u, where most of u is 0, the first layer and its
gradient are sums over the few non-zeros of u,
    x W + b = u W + (b - sum of W's rows)        and        x^T d = u^T d - sum of d's rows.
No weights' gradient is ever whole: some rows at a time are made and go into AdamW (arXiv:1711.05101) at once.

What may be None is an argument of its own, as only then the branch for it is left out of the compiled code. What runs
once a row takes arrays, not tuples of them, whose references numba would count at every call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_mnist.training.batches import Lot, Rows
from tune_mnist.training.dataset import CLASSES
from tune_mnist.training.jit import compiled
from tune_mnist.training.steps.adamw import Rate, adamw
from tune_mnist.training.steps.network import Network, Workspace, delta_of, parameters_of, units_of, workspace
from tune_mnist.training.steps.products import Floats, add_sparse, matrix, multiply, repeat, sum_rows, transpose
from tune_mnist.training.steps.registers import LANES


class Plan(NamedTuple):
    """How some steps are to be taken."""

    batch_size: int
    rates: Rate
    average_share: np.floating[Any]
    """The share of the new parameters in their moving average."""
    softmax: bool
    """Whether the outputs are probabilities."""


@compiled
def first_layer(
    network: Network, by_picture: Rows | None, dense: Floats | None, first: int, sums: Floats, out: Floats
) -> None:
    """Write to `out` (count, width) the first layer's values, before its ReLU, of pictures from number `first` on."""
    parameters = parameters_of(network, 0)
    weights, biases = parameters[:-1], parameters[-1]
    if by_picture is not None:
        repeat(out, biases - sums)
        for r in range(len(out)):
            begin, end = by_picture.offsets[first + r], by_picture.offsets[first + r + 1]
            add_sparse(out[r], weights, by_picture.columns, by_picture.values, begin, end)
    if dense is not None:
        repeat(out, biases)
        multiply(out, dense[first:first + len(out)], weights)


@compiled
def forward(
    network: Network, by_picture: Rows | None, dense: Floats | None, first: int, count: int, masks: Floats | None,
    space: Workspace,
) -> Floats:
    """Fill in `space.units` for `count` pictures from number `first` on; return the last layer's (count, width)."""
    out = units_of(space.units, network, 1, count)
    first_layer(network, by_picture, dense, first, space.sums, out)
    for layer in range(1, len(network.sizes) - 1):
        hidden, zero = out.reshape(-1), out.dtype.type(0)
        for i in range(len(hidden)):
            hidden[i] = zero if hidden[i] < zero else hidden[i]  # NaN stays
        if masks is not None:
            out *= units_of(masks, network, layer, count)
        inputs, out = out, units_of(space.units, network, layer + 1, count)
        parameters = parameters_of(network, layer)
        repeat(out, parameters[-1])
        multiply(out, inputs, parameters[:-1])
    return out


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
    network: Network, layer: int, inputs: Floats, masks: Floats | None, delta: Floats, space: Workspace, out: Floats
) -> None:
    """Write to `out` the loss's gradient by a layer's `inputs` (count, n_in) before their ReLU and dropout.

    `delta` (count, n_out) is the gradient by its outputs. The transpose is made, 16 rows at a time: then all reads are
    along rows.
    """
    count, n_out = delta.shape
    weights, padded = parameters_of(network, layer)[:-1], (count + LANES - 1) // LANES * LANES
    turned, strip = matrix(space.turned, n_out, padded), matrix(space.strip, LANES, padded)
    transpose(turned, delta)
    for i in range(0, len(weights), LANES):
        strip[:] = 0
        multiply(strip, weights[i:i + LANES], turned)
        for r in range(count):
            for q in range(LANES):
                out[r, i + q] = strip[q, r]
    gradient, values, zero = out.reshape(-1), inputs.reshape(-1), out.dtype.type(0)
    for i in range(len(gradient)):
        gradient[i] = zero if values[i] <= zero else gradient[i]
    if masks is not None:
        out *= units_of(masks, network, layer, count)


@compiled
def update_dense(network: Network, layer: int, inputs: Floats, delta: Floats, space: Workspace, rate: Rate) -> None:
    """AdamW on a layer's weights and biases, of inputs (count, n_in) and their gradient `delta` (count, n_out)."""
    count, n_in = inputs.shape
    n_out, place = delta.shape[1], network.places[layer]
    packed, gradient = matrix(space.turned, count, LANES), space.strip[:LANES * n_out]
    strip, turned = matrix(gradient, LANES, n_out), packed.T
    for i in range(0, n_in, LANES):
        for r in range(count):  # side by side, as rows far apart would push each other out of the caches
            for q in range(LANES):
                packed[r, q] = inputs[r, i + q]
        strip[:] = 0
        multiply(strip, turned, delta)
        adamw(network, place + i * n_out, gradient, rate)
    sum_rows(gradient[:n_out], delta)
    adamw(network, place + n_in * n_out, gradient[:n_out], rate)


@compiled
def update_sparse(
    network: Network, by_pixel: Rows, offsets: NDArray[np.int32], delta: Floats, space: Workspace, rate: Rate
) -> None:
    """AdamW on the first layer, of sparse pictures; `space.sums` becomes the sum of its new weights' rows."""
    weights, sums, width = parameters_of(network, 0)[:-1], space.sums, delta.shape[1]
    background, gradient = space.background, space.strip[:width]
    pictures, heights = by_pixel.columns, by_pixel.values
    sum_rows(background, delta)
    sums[:] = 0
    for pixel in range(len(weights)):
        for j in range(width):
            gradient[j] = -background[j]
        add_sparse(gradient, delta, pictures, heights, offsets[pixel], offsets[pixel + 1])
        adamw(network, pixel * width, gradient, rate)
        for j in range(width):
            sums[j] += weights[pixel, j]
    adamw(network, len(weights) * width, background, rate)


@compiled
def update_first(
    network: Network, by_pixel: Rows | None, dense: Floats | None, step: int, first: int, delta: Floats,
    space: Workspace, rate: Rate,
) -> None:
    """AdamW on the first layer, of the pictures of batch number `step`, which begin at number `first`."""
    if by_pixel is not None:
        update_sparse(network, by_pixel, by_pixel.offsets[step], delta, space, rate)
    if dense is not None:
        update_dense(network, 0, dense[first:first + len(delta)], delta, space, rate)


@compiled
def train(
    network: Network, average: Floats | None, plan: Plan, lot: Lot, masks: Floats | None, targets: Floats,
    logits: Floats, begin: int, end: int,
) -> None:
    """Train on batches `begin` to before `end` of the lot, writing each picture's logits at its own step.

    Args:
        average: the parameters' moving average, which moves on; or None.
        masks: for one batch, what dropout multiplies each hidden layer's values by, layer after layer; or None.
        targets: the probabilities (pictures, 10) to be trained towards.
        logits: (pictures, 10), written to.
    """
    space, last = workspace(network, plan.batch_size), len(network.sizes) - 1
    for step in range(begin, end):
        first = step * plan.batch_size
        count = min(plan.batch_size, lot.pictures - first)
        rate = Rate(plan.rates.lr[step], plan.rates.root[step], plan.rates.kept[step])
        values = forward(network, lot.by_picture, lot.dense, first, count, masks, space)
        for r in range(count):
            for k in range(CLASSES):
                logits[first + r, k] = values[r, k]
        delta = delta_of(space, network, last, count)
        output_gradient(values, targets[first:first + count], plan.softmax, delta)
        for layer in range(last - 1, 0, -1):
            inputs, before = units_of(space.units, network, layer, count), delta_of(space, network, layer, count)
            input_gradient(network, layer, inputs, masks, delta, space, before)
            update_dense(network, layer, inputs, delta, space, rate)
            delta = before
        update_first(network, lot.by_pixel, lot.dense, step, first, delta, space, rate)
        if average is not None:
            for i in range(len(average)):
                average[i] += plan.average_share * (network.flat[i] - average[i])


@compiled
def outputs(network: Network, lot: Lot, batch_size: int) -> Floats:
    """The last layer's values (pictures, 10) of the lot, without dropout, a batch at a time."""
    logits = np.empty((lot.pictures, CLASSES), network.flat.dtype)
    space = workspace(network, batch_size)
    for first in range(0, lot.pictures, batch_size):
        count = min(batch_size, lot.pictures - first)
        values = forward(network, lot.by_picture, lot.dense, first, count, None, space)
        for r in range(count):
            for k in range(CLASSES):
                logits[first + r, k] = values[r, k]
    return logits
