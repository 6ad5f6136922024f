"""Epochs of the compiled steps in which nothing is left out, to compare with."""

from __future__ import annotations

import math

import torch

from tune_mnist.training.batches import Lot
from tune_mnist.training.steps import kernels, updates
from tune_mnist.training.steps.adamw import Rate, make_rates
from tune_mnist.training.steps.linear import LinearSteps, Record
from tune_mnist.training.steps.network import delta_of, units_of, workspace


def whole_epoch(steps: LinearSteps, epoch: int) -> float:
    """Train an epoch as `steps.train_epoch` does, with every unit of every layer in all products."""
    order = steps.order(epoch)
    record = steps.begin(epoch, order, whole=True)
    for lot in steps.lots(epoch, order):
        for step in range(math.ceil(lot.pictures / steps.config.batch_size)):
            whole_step(steps, epoch, lot, record, step)
    return steps.end(record)


def whole_step(steps: LinearSteps, epoch: int, lot: Lot, record: Record, step: int) -> None:
    size, network, last = steps.config.batch_size, steps._network(), len(steps.sizes) - 1
    first, count = step * size, min(size, lot.pictures - step * size)
    here = slice(lot.first + first, lot.first + first + count)
    steps_per_epoch = math.ceil(len(record.labels) / size)
    number = (epoch - 1) * steps_per_epoch + lot.first // size + step
    rates = make_rates(steps.config, range(number, number + 1), steps_per_epoch, network.flat.dtype)
    rate = Rate(*(values[0] for values in rates))
    masks = steps._masks(record, range(step, step + 1), lot.pictures) if steps.config.dropout else None
    space = workspace(network, size)
    every, sizes = space.every, steps.sizes
    values, _ = kernels.forward(network, lot.by_picture, lot.dense, first, count, masks, False, space)
    record.logits[here] = torch.from_numpy(values[:, :10])
    delta = delta_of(space, network, last, count)
    kernels.output_gradient(values, record.targets[here].numpy(), steps.config.head == "softmax", delta)
    for layer in range(last - 1, 0, -1):
        inputs, before = units_of(space.units, network, layer, count), delta_of(space, network, layer, count)
        columns = (delta, every, sizes[layer + 1])
        kernels.input_gradient(network, layer, inputs, every, sizes[layer], masks, *columns, space, before)
        updates.update_dense(network, layer, inputs, every, sizes[layer], *columns, space, rate)
        delta = before
    updates.update_first(network, lot.by_pixel, lot.dense, step, first, delta, every, sizes[1], space, rate)
    if steps.average is not None:
        share = network.flat.dtype.type(1 - steps.config.ema_decay)
        steps.average += share * (steps.flat - steps.average)


def bits(steps: LinearSteps) -> dict[str, bytes]:
    """The bits of a state's numbers, those that are none (NaN) alike."""
    return {name: tensor.nan_to_num(nan=7.0).numpy().tobytes() for name, tensor in steps._tensors().items()}
