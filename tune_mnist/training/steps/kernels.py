"""A fully connected network's steps on flat arrays: forward, backward and AdamW in one compiled loop.

A layer's weights (n_in, n_out) and then its biases (n_out,) lie in one flat array, layer after layer; every width is a
multiple of 16, as the input's 784 is, filled up with units that stay 0. Activations are (batch, width), row by row.
MNIST's background is a constant -1: with pictures written as x = -1 + u, where most of u is 0, the first layer and its
gradient are sums over the few non-zeros of u,
    x W + b = u W + (b - sum of W's rows)        and        x^T d = u^T d - sum of d's rows.
No weights' gradient is ever whole: some rows at a time are made and go into AdamW (arXiv:1711.05101) at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_mnist.training.batches import Rows
from tune_mnist.training.dataset import CLASSES
from tune_mnist.training.jit import compiled
from tune_mnist.training.steps.products import Floats, add_sparse, aligned, multiply, repeat, sum_rows, transpose
from tune_mnist.training.steps.registers import LANES


class Network(NamedTuple):
    """Widths int64 (layers + 1,), input first, and flat arrays of the parameters and AdamW's two moments."""

    sizes: NDArray[np.int64]
    flat: Floats
    means: Floats
    squares: Floats


class Plan(NamedTuple):
    """How some steps are to be taken.

    `rates` (steps, 3) has for each the learning rate over the first moment's bias correction, 1 over the root of the
    second's, and what weight decay leaves of a weight. `constants` are beta1, beta2, 1 - beta1, 1 - beta2, epsilon, and
    the share of the new parameters in their moving average. `softmax` tells whether the outputs are probabilities.
    """

    batch_size: int
    rates: Floats
    constants: Floats
    softmax: bool


@compiled
def adamw(
    network: Network, at: int, gradient: Floats, gradient_at: int, count: int, rate: Floats, constants: Floats
) -> None:
    """Update `count` parameters from place `at` on by their gradient."""
    flat, means, squares = network.flat[at:at + count], network.means[at:at + count], network.squares[at:at + count]
    g = gradient[gradient_at:gradient_at + count]
    step, root, kept = rate[0], rate[1], rate[2]
    beta1, beta2, rest1, rest2, eps = constants[0], constants[1], constants[2], constants[3], constants[4]
    for i in range(count):
        means[i] = means[i] * beta1 + g[i] * rest1
        squares[i] = squares[i] * beta2 + g[i] * g[i] * rest2
        flat[i] = flat[i] * kept - step * means[i] / (np.sqrt(squares[i]) * root + eps)


@compiled
def first_layer(
    network: Network, sparse: Rows | None, dense: Floats | None, first: int, count: int, sums: Floats, out: Floats
) -> None:
    """The first layer's values, before its ReLU, of `count` pictures from number `first` on, to `out`."""
    n_in, width = network.sizes[0], network.sizes[1]
    bias = network.flat[n_in * width:(n_in + 1) * width]
    if sparse is not None:
        repeat(out, 0, bias - sums, count)
        for r in range(count):
            begin, end = sparse.offsets[first + r], sparse.offsets[first + r + 1]
            add_sparse(out, r * width, network.flat, width, sparse, begin, end)
    if dense is not None:
        repeat(out, 0, bias, count)
        multiply(out, 0, width, dense, first * n_in, n_in, 1, count, n_in, network.flat, 0, width)


@compiled
def forward(
    network: Network, sparse: Rows | None, dense: Floats | None, first: int, count: int, masks: Floats | None,
    sums: Floats, values: Floats,
) -> int:
    """The values of every layer, after ReLU and dropout, one behind the other in `values`; where the last's begin."""
    sizes = network.sizes
    first_layer(network, sparse, dense, first, count, sums, values)
    parameters, at = (sizes[0] + 1) * sizes[1], 0
    for layer in range(1, len(sizes) - 1):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        hidden = values[at:at + count * n_in]
        zero = values.dtype.type(0)
        for i in range(len(hidden)):
            hidden[i] = zero if hidden[i] < zero else hidden[i]  # NaN stays
        if masks is not None:
            for i in range(len(hidden)):
                hidden[i] *= masks[at + i]
        to = at + count * n_in
        repeat(values, to, network.flat[parameters + n_in * n_out:parameters + (n_in + 1) * n_out], count)
        multiply(values, to, n_out, values, at, n_in, 1, count, n_in, network.flat, parameters, n_out)
        parameters, at = parameters + (n_in + 1) * n_out, to
    return at


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
def output_gradient(
    values: Floats, at: int, width: int, targets: Floats, count: int, probabilities: bool, delta: Floats
) -> None:
    """The gradient of the mean cross entropy against `targets` (count, classes) by the last layer's values, to `delta`.

    With `probabilities`, softmax is applied twice, as it is where the outputs are probabilities.
    """
    inner, outer = np.empty(CLASSES, values.dtype), np.empty(CLASSES, values.dtype)
    pictures = values.dtype.type(count)
    delta[:count * width] = 0
    for r in range(count):
        own = delta[r * width:(r + 1) * width]
        softmax(values[at + r * width:at + (r + 1) * width], inner)
        if not probabilities:
            for k in range(CLASSES):
                own[k] = (inner[k] - targets[r, k]) / pictures
            continue
        softmax(inner, outer)
        mean = values.dtype.type(0)
        for k in range(CLASSES):
            outer[k] = (outer[k] - targets[r, k]) / pictures
            mean += outer[k] * inner[k]
        for k in range(CLASSES):
            own[k] = inner[k] * (outer[k] - mean)


@compiled
def input_gradient(
    network: Network, layer: int, parameters: int, delta: Floats, values: Floats, at: int, masks: Floats | None,
    count: int, turned: Floats, strip: Floats, out: Floats,
) -> None:
    """The gradient (count, n_in) with respect to a layer's inputs before their ReLU and dropout, to `out`.

    Its transpose is made, 16 rows at a time: then all reads are along rows.
    """
    n_in, n_out = network.sizes[layer], network.sizes[layer + 1]
    padded, zero = (count + LANES - 1) // LANES * LANES, out.dtype.type(0)
    transpose(delta, count, n_out, turned, padded)
    for i in range(0, n_in, LANES):
        strip[:LANES * padded] = 0
        multiply(strip, 0, padded, network.flat, parameters + i * n_out, n_out, 1, LANES, n_out, turned, 0, padded)
        for r in range(count):
            for q in range(LANES):
                out[r * n_in + i + q] = strip[q * padded + r]
    inputs = values[at:at + count * n_in]
    for i in range(count * n_in):
        out[i] = zero if inputs[i] <= zero else out[i]
    if masks is not None:
        for i in range(count * n_in):
            out[i] *= masks[at + i]


@compiled
def update_dense(
    network: Network, parameters: int, n_in: int, n_out: int, inputs: Floats, at: int, delta: Floats, count: int,
    packed: Floats, strip: Floats, rate: Floats, constants: Floats,
) -> None:
    """AdamW on a layer's weights and biases, of inputs (count, n_in) and their gradient `delta` (count, n_out)."""
    for i in range(0, n_in, LANES):
        for r in range(count):  # side by side, as rows far apart would push each other out of the caches
            for q in range(LANES):
                packed[r * LANES + q] = inputs[at + r * n_in + i + q]
        strip[:LANES * n_out] = 0
        multiply(strip, 0, n_out, packed, 0, 1, LANES, LANES, count, delta, 0, n_out)
        adamw(network, parameters + i * n_out, strip, 0, LANES * n_out, rate, constants)
    sum_rows(strip, delta, 0, count, n_out)
    adamw(network, parameters + n_in * n_out, strip, 0, n_out, rate, constants)


@compiled
def update_sparse(
    network: Network, by_pixel: Rows, offsets: NDArray[np.int32], delta: Floats, count: int, strip: Floats,
    sums: Floats, rate: Floats, constants: Floats,
) -> None:
    """AdamW on the first layer, of sparse pictures; `sums` becomes the sum of its new weights' rows."""
    n_in, width = network.sizes[0], network.sizes[1]
    background = aligned(width, delta.dtype)
    sum_rows(background, delta, 0, count, width)
    sums[:width] = 0
    for pixel in range(n_in):
        for j in range(width):
            strip[j] = -background[j]
        add_sparse(strip, 0, delta, width, by_pixel, offsets[pixel], offsets[pixel + 1])
        adamw(network, pixel * width, strip, 0, width, rate, constants)
        row = network.flat[pixel * width:(pixel + 1) * width]
        for j in range(width):
            sums[j] += row[j]
    adamw(network, n_in * width, background, 0, width, rate, constants)


@compiled
def train(
    network: Network, average: Floats | None, plan: Plan, sparse: Rows | None, by_pixel: Rows | None,
    dense: Floats | None, masks: Floats | None, targets: Floats, logits: Floats, begin: int, end: int,
) -> None:
    """Train on batches `begin` to before `end` of the pictures, writing each picture's logits at its own step.

    Args:
        average: the parameters' moving average, which moves on; or None.
        sparse, by_pixel: the pictures' heights above the background, and each batch's transpose; None if `dense`.
        dense: pictures (n, 784), flat, else None.
        masks: for one batch, what dropout multiplies each hidden layer's values by, layer after layer; or None.
        targets: the probabilities (n, 10) to be trained towards.
        logits: (n, 10), written to.
    """
    sizes, constants, number = network.sizes, plan.constants, network.flat.dtype
    batch, widest, padded = plan.batch_size, sizes[1:].max(), (plan.batch_size + LANES - 1) // LANES * LANES
    values, sums = aligned(batch * sizes[1:].sum(), number), aligned(sizes[1], number)
    delta, gradient = aligned(batch * widest, number), aligned(batch * widest, number)
    turned, strip = aligned(widest * padded, number), aligned(LANES * max(widest, padded), number)
    sum_rows(sums, network.flat, 0, sizes[0], sizes[1])
    for step in range(begin, end):
        first, rate = step * batch, plan.rates[step]
        count = min(batch, len(targets) - first)
        at = forward(network, sparse, dense, first, count, masks, sums, values)
        for r in range(count):
            for k in range(CLASSES):
                logits[first + r, k] = values[at + r * sizes[-1] + k]
        output_gradient(values, at, sizes[-1], targets[first:first + count], count, plan.softmax, delta)
        parameters = len(network.flat)
        for layer in range(len(sizes) - 2, 0, -1):
            n_in, n_out = sizes[layer], sizes[layer + 1]
            parameters -= (n_in + 1) * n_out
            at -= count * n_in
            input_gradient(network, layer, parameters, delta, values, at, masks, count, turned, strip, gradient)
            update_dense(network, parameters, n_in, n_out, values, at, delta, count, turned, strip, rate, constants)
            delta, gradient = gradient, delta
        if by_pixel is not None:
            update_sparse(network, by_pixel, by_pixel.offsets[step], delta, count, strip, sums, rate, constants)
        if dense is not None:
            place = first * sizes[0]
            update_dense(network, 0, sizes[0], sizes[1], dense, place, delta, count, turned, strip, rate, constants)
        if average is not None:
            for i in range(len(average)):
                average[i] += constants[5] * (network.flat[i] - average[i])


@compiled
def outputs(network: Network, sparse: Rows | None, dense: Floats | None, count: int, batch: int) -> Floats:
    """The last layer's values (count, 10) of the first `count` pictures, without dropout, `batch` at a time."""
    sizes, number = network.sizes, network.flat.dtype
    found = np.empty((count, CLASSES), number)
    values, sums = aligned(batch * sizes[1:].sum(), number), aligned(sizes[1], number)
    sum_rows(sums, network.flat, 0, sizes[0], sizes[1])
    for first in range(0, count, batch):
        size = min(batch, count - first)
        at = forward(network, sparse, dense, first, size, None, sums, values)
        for r in range(size):
            for k in range(CLASSES):
                found[first + r, k] = values[at + r * sizes[-1] + k]
    return found
