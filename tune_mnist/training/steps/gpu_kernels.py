"""What of a pack's step on a GPU torch has no single kernel for, written in Triton.

Each program works for one member and sums in a fixed order, so that a member's numbers are its own and the same each
time. K stands for a pack's members; a member's parameters are one row of `stride` numbers.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
PIXELS_BLOCK = 1024
ROWS, COLUMNS = 32, 64


@triton.jit
def _gather(
    pixels, targets, order, seed_of, step, pictures, chosen, n, batch, batch_size,
    PIXELS: tl.constexpr, CLASSES: tl.constexpr, BLOCK: tl.constexpr, CLASSES_BLOCK: tl.constexpr,
):
    i, k = tl.program_id(0), tl.program_id(1)
    place = tl.load(order + tl.load(seed_of + k) * n + tl.load(step) * batch_size + i)
    at = tl.arange(0, BLOCK)
    pixel = tl.load(pixels + place * PIXELS + at, mask=at < PIXELS, other=0).to(tl.float32)
    tl.store(pictures + (k * batch + i) * PIXELS + at, tl.div_rn(pixel, 127.5) - 1.0, mask=at < PIXELS)
    c = tl.arange(0, CLASSES_BLOCK)
    target = tl.load(targets + place * CLASSES + c, mask=c < CLASSES, other=0.0)
    tl.store(chosen + (k * batch + i) * CLASSES + c, target, mask=c < CLASSES)


def gather(
    pixels: Tensor, targets: Tensor, order: Tensor, seed_of: Tensor, step: Tensor, pictures: Tensor, chosen: Tensor,
    batch_size: int,
) -> None:
    """Write step number `step`'s normalised pictures (K, batch, 784) and their targets (K, batch, classes).

    From pixels uint8 (n, 784) and targets (n, classes), in the `order` (seeds, n) of each member's seed.
    """
    members, batch, width = pictures.shape
    _gather[batch, members](
        pixels, targets, order, seed_of, step, pictures, chosen, order.shape[1], batch, batch_size,
        PIXELS=width, CLASSES=chosen.shape[2], BLOCK=PIXELS_BLOCK,
        CLASSES_BLOCK=triton.next_power_of_2(chosen.shape[2]),
    )


@triton.jit
def _bias_relu(values, biases, count, width, stride, BLOCK: tl.constexpr):
    k = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    value = tl.load(values + k * count + at, mask=inside) + tl.load(biases + k * stride + at % width, mask=inside)
    tl.store(values + k * count + at, tl.where(value < 0, 0.0, value), mask=inside)  # what is no number stays so


def bias_relu_(values: Tensor, biases: Tensor) -> None:
    """Add biases (K, width) to values (K, batch, width), and make what is negative 0, in place."""
    members, batch, width = values.shape
    count = batch * width
    _bias_relu[triton.cdiv(count, BLOCK), members](values, biases, count, width, biases.stride(0), BLOCK=BLOCK)


@triton.jit
def _loss(
    outputs, biases, targets, deltas, gradients, total, counts, step, batch, stride,
    CLASSES: tl.constexpr, SOFTMAX: tl.constexpr, ROWS: tl.constexpr, CLASSES_BLOCK: tl.constexpr,
):
    k = tl.program_id(0)
    c = tl.arange(0, CLASSES_BLOCK)
    bias = tl.load(biases + k * stride + c, mask=c < CLASSES, other=0.0)
    summed, gradient = tl.zeros([ROWS], tl.float32), tl.zeros([CLASSES_BLOCK], tl.float32)
    for first in range(0, batch, ROWS):
        row = first + tl.arange(0, ROWS)
        place = (k * batch + row)[:, None] * CLASSES + c[None, :]
        inside = (row < batch)[:, None] & (c < CLASSES)[None, :]
        output = tl.load(outputs + place, mask=inside, other=0.0) + bias[None, :]
        target = tl.load(targets + place, mask=inside, other=0.0)
        if SOFTMAX:  # a head whose outputs are shares, of which the loss takes the softmax again
            risen = tl.where(inside, tl.exp(output - tl.max(tl.where(inside, output, -float("inf")), 1)[:, None]), 0.0)
            share = tl.where(inside, tl.div_rn(risen, tl.sum(risen, 1)[:, None] + tl.zeros_like(risen)), 0.0)
            output = share
        most = tl.max(tl.where(inside, output, -float("inf")), 1)
        risen = tl.where(inside, tl.exp(output - most[:, None]), 0.0)
        whole = tl.sum(risen, 1)
        log_share = output - (most + tl.log(whole))[:, None]
        summed += tl.where(row < batch, -tl.sum(tl.where(inside, target * log_share, 0.0), 1), 0.0)
        weight = tl.sum(target, 1)
        delta = (risen / whole[:, None] * weight[:, None] - target) / batch
        if SOFTMAX:
            delta = share * (delta - tl.sum(tl.where(inside, delta * share, 0.0), 1)[:, None])
        delta = tl.where(inside, delta, 0.0)
        tl.store(deltas + place, delta, mask=inside)
        gradient += tl.sum(delta, 0)
    tl.store(gradients + k * stride + c, gradient, mask=c < CLASSES)
    tl.store(total + k, tl.load(total + k) + tl.sum(summed, 0).to(tl.float64))
    tl.store(counts + k, tl.load(counts + k) + 1.0)
    if k == 0:
        tl.store(step, tl.load(step) + 1)


def loss_(
    outputs: Tensor, biases: Tensor, targets: Tensor, deltas: Tensor, gradients: Tensor, total: Tensor,
    counts: Tensor, step: Tensor, *, softmax: bool,
) -> None:
    """The cross entropy of outputs (K, batch, classes), after biases (K, classes) are added; targets are alike.

    Writes the mean loss's gradient by the outputs (`deltas`) and by the biases (`gradients`); adds the batch's summed
    loss to `total` float64 (K,) and 1 to `counts` (K,) and `step`. With `softmax` the outputs are their softmax.
    """
    members, batch, classes = outputs.shape
    _loss[members,](
        outputs, biases, targets, deltas, gradients, total, counts, step, batch, biases.stride(0),
        CLASSES=classes, SOFTMAX=softmax, ROWS=ROWS, CLASSES_BLOCK=triton.next_power_of_2(classes),
    )


@triton.jit
def _mask_and_sum(deltas, values, gradients, batch, width, stride, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    k = tl.program_id(1)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    gradient = tl.zeros([COLUMNS], tl.float32)
    for first in range(0, batch, ROWS):
        row = first + tl.arange(0, ROWS)
        place = (k * batch + row)[:, None] * width + column[None, :]
        inside = (row < batch)[:, None] & (column < width)[None, :]
        value = tl.load(values + place, mask=inside, other=0.0)
        delta = tl.where(value > 0, tl.load(deltas + place, mask=inside, other=0.0), 0.0)
        tl.store(deltas + place, delta, mask=inside)
        gradient += tl.sum(delta, 0)
    tl.store(gradients + k * stride + column, gradient, mask=column < width)


def mask_and_sum_(deltas: Tensor, values: Tensor, gradients: Tensor) -> None:
    """Make deltas (K, batch, width) 0 in place where values are, and write their sums to gradients (K, width)."""
    members, batch, width = deltas.shape
    _mask_and_sum[triton.cdiv(width, COLUMNS), members](
        deltas, values, gradients, batch, width, gradients.stride(0), ROWS=ROWS, COLUMNS=COLUMNS
    )


@triton.jit
def _adamw(
    weights, gradients, means, squares, rates, step, members, stride,
    BETA1: tl.constexpr, REST1: tl.constexpr, BETA2: tl.constexpr, REST2: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    k = tl.program_id(1)
    rate = rates + (tl.load(step) - 1) * 3 * members + k
    lr, root, kept = tl.load(rate), tl.load(rate + members), tl.load(rate + 2 * members)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < stride
    place = k * stride + at
    gradient = tl.load(gradients + place, mask=inside, other=0.0)
    mean = tl.load(means + place, mask=inside, other=0.0) * BETA1 + gradient * REST1
    square = tl.load(squares + place, mask=inside, other=0.0) * BETA2 + gradient * gradient * REST2
    weight = tl.load(weights + place, mask=inside, other=0.0)
    weight = weight * kept - tl.div_rn(lr * mean, tl.sqrt_rn(square) * root + EPS)
    tl.store(means + place, mean, mask=inside)
    tl.store(squares + place, square, mask=inside)
    tl.store(weights + place, weight, mask=inside)


def adamw_(
    weights: Tensor, gradients: Tensor, means: Tensor, squares: Tensor, rates: Tensor, step: Tensor, *,
    beta1: float, beta2: float, eps: float,
) -> None:
    """AdamW (arXiv:1711.05101) of all members' rows (K, stride) in place.

    By the `rates` (steps, 3, K) of the step before number `step`: as `Rate` has them, lr, root and kept.
    """
    members, stride = weights.shape
    _adamw[triton.cdiv(stride, BLOCK), members](
        weights, gradients, means, squares, rates, step, members, stride,
        BETA1=beta1, REST1=1 - beta1, BETA2=beta2, REST2=1 - beta2, EPS=eps, BLOCK=BLOCK,
    )
