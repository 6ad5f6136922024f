"""The steps of a fully connected model on the CPU: its parameters in one flat array, trained by compiled kernels."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import (
    Lot,
    Pictures,
    as_tensor,
    epoch_lots,
    epoch_order,
    evaluation_lot,
    generator,
    sparse_rows,
)
from tune_mnist.training.dataset import CLASSES
from tune_mnist.training.models import FullyConnected
from tune_mnist.training.steps import kernels
from tune_mnist.training.steps.adamw import Rate, make_rates
from tune_mnist.training.steps.base import BETA1, CheckpointedSteps
from tune_mnist.training.steps.dormant import Core, core_of, find_dormant, put_back
from tune_mnist.training.steps.network import Network
from tune_mnist.training.steps.registers import LANES
from tune_mnist.training.steps.sgd import Sgd, SgdRate, make_sgd_rates

EVALUATION_BATCH = 100


class Layer(NamedTuple):
    """One linear layer as views of a flat buffer: weight (n_in, n_out) and bias (n_out,)."""

    weight: Tensor
    bias: Tensor


def padded_sizes(sizes: Sequence[int]) -> list[int]:
    """The widths that the kernels work with, where every layer fills whole vectors, as the input's 784 numbers do."""
    return [sizes[0], *(-(-size // LANES) * LANES for size in sizes[1:])]


def layers_of(flat: Tensor, sizes: Sequence[int]) -> list[Layer]:
    """The layers of widths `sizes` (input first) that lie, with padded widths, one after the other in `flat`: views."""
    shapes = [(n_in + 1, n_out) for n_in, n_out in itertools.pairwise(padded_sizes(sizes))]  # the last row: biases
    matrices = map(Tensor.view, flat.split([rows * columns for rows, columns in shapes]), shapes)
    pairs = zip(matrices, itertools.pairwise(sizes), strict=True)
    return [Layer(matrix[:n_in, :n_out], matrix[-1, :n_out]) for matrix, (n_in, n_out) in pairs]


class Record(NamedTuple):
    """What an epoch's loss is made of, in its order: labels int64 (n,), targets (n, 10) and logits (n, 10).

    The logits are each picture's at its own step, and to be filled in but for the first `done` steps'.
    """

    labels: Tensor
    targets: Tensor
    logits: Tensor
    done: int
    dropout: torch.Generator
    core: Core | None
    """What is trained in place of the whole network, until the epoch's end."""


class LinearSteps(CheckpointedSteps):
    """Steps of any stack of Linear and ReLU, with either head, with dropout and augmentation, on the CPU.

    The optimiser is AdamW, or SGD where the config or `sgd` says how.

    They run in the caller's thread alone, so that the bits do not depend on torch's number of threads.
    """

    def __init__(
        self, config: TrainingConfig, model: FullyConnected, train: Pictures, dtype: torch.dtype = torch.float32,
        sgd: Sgd | None = None,
    ) -> None:
        self.sgd = Sgd(config.momentum, config.nesterov) if config.optimizer == "sgd" else sgd
        self.config, self.model, self.train, self.dtype = config, model, train, dtype
        self.labels = as_tensor(train.labels)
        self.sizes = padded_sizes(model.sizes)
        self.places = np.cumsum([0, *((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(self.sizes))])
        self.flat = torch.zeros(self.places[-1], dtype=dtype)
        parameters = [p.detach().t() for p in model.linears.parameters()]  # weight and bias, layer by layer
        for part, parameter in zip(itertools.chain(*layers_of(self.flat, model.sizes)), parameters, strict=True):
            part.copy_(parameter)
        self.means, self.squares = torch.zeros_like(self.flat), torch.zeros_like(self.flat)  # Adam's moments
        self.average = self.flat.clone() if config.ema_decay else None
        self.dormant = np.zeros(self.sizes[1], bool)  # units of the first layer that were found so, and stay so

    def train_epoch(self, epoch: int, after_step: Callable[[int], None] | None = None) -> float:
        order = self.order(epoch)
        record = self.begin(epoch, order, whole=after_step is not None)
        for lot in self.lots(epoch, order):
            self.advance(epoch, lot, record, after_step)
        return self.end(record)

    def order(self, epoch: int) -> Tensor:
        """The epoch's order of the training pictures, int64 (n,)."""
        return epoch_order(len(self.labels), self.config.seed, epoch)

    def begin(self, epoch: int, order: Tensor, *, whole: bool = False) -> Record:
        """Begin an epoch in this `order`, or go on from its middle; with `whole`, its state can be taken meanwhile."""
        labels = self.labels[order]
        smoothing = self.config.label_smoothing
        targets = F.one_hot(labels, CLASSES).to(self.dtype) * (1 - smoothing) + smoothing / CLASSES
        logits = torch.empty(len(labels), CLASSES, dtype=self.dtype)
        dropout, done = generator(self.config.seed, epoch, "dropout"), 0
        if self.middle is not None:
            logits[: len(self.middle["record"])] = self.middle["record"]
            dropout.set_state(self.middle["generator"])
            done = int(self.middle["steps"])
        return Record(labels, targets, logits, done, dropout, None if whole or done else self._core())

    @functools.cached_property
    def _lit(self) -> NDArray[np.bool_]:
        """Which pixels (784,) are not background in some training picture."""
        return np.asarray(self.train.pixels.any(0))

    def _core(self) -> Core | None:
        """What has to be trained of the network, if that is clearly less than all of it."""
        config, pictures = self.config, self.train.nonzero
        largest = config.lr / (1 - BETA1)  # over the first step's bias correction
        at_rest = not (config.weight_decay or config.ema_decay) and largest < torch.finfo(self.dtype).max
        if len(self.sizes) < 3 or not at_rest or config.augments or pictures is None:
            return None
        self.dormant = find_dormant(self._network(), sparse_rows(pictures, self.dtype), self.dormant)
        return core_of(self._network(), self.dormant)

    def lots(self, epoch: int, order: Tensor) -> Iterator[Lot]:
        """The epoch's batches in this `order`, made as they are taken."""
        return epoch_lots(self.train, self.config, epoch, order, self.dtype)

    def advance(self, epoch: int, lot: Lot, record: Record, after_step: Callable[[int], None] | None = None) -> None:
        """Train on what is left to do of the epoch's `lot`."""
        batch_size, number = self.config.batch_size, self.flat.numpy().dtype
        steps_per_epoch = math.ceil(len(record.labels) / batch_size)
        steps_before, steps = lot.first // batch_size, math.ceil(lot.pictures / batch_size)
        first_step = (epoch - 1) * steps_per_epoch + steps_before
        plan = kernels.Plan(
            batch_size, self._rates(range(first_step, first_step + steps), steps_per_epoch),
            average_share=number.type(1 - self.config.ema_decay), softmax=self.config.head == "softmax",
        )
        pictures = slice(lot.first, lot.first + lot.pictures)
        targets, logits = record.targets[pictures].numpy(), record.logits[pictures].numpy()
        average = None if self.average is None else self.average.numpy()
        network = self._network() if record.core is None else record.core.network
        stride = steps if after_step is None else 1
        for begin in range(max(0, record.done - steps_before), steps, stride):
            end = min(steps, begin + stride)
            masks = self._masks(record, range(begin, end), lot.pictures) if self.config.dropout else None
            kernels.train(network, average, plan, lot, masks, targets, logits, begin, end)
            if after_step is not None:
                self.middle = {
                    "steps": steps_before + end, "record": record.logits[: lot.first + end * batch_size],
                    "generator": record.dropout.get_state(),
                }
                after_step(steps_before + end)

    def _rates(self, steps: range, steps_per_epoch: int) -> Rate | SgdRate:
        number = self.flat.numpy().dtype
        if self.sgd is None:
            return make_rates(self.config, steps, steps_per_epoch, number)
        return make_sgd_rates(self.sgd, self.config, steps, steps_per_epoch, number)

    def _masks(self, record: Record, steps: range, pictures: int) -> NDArray[np.floating[Any]]:
        """What dropout multiplies hidden values by, in steps of a lot of `pictures`, as the kernels take it."""
        kept, size = 1 - self.config.dropout, self.config.batch_size
        masks = []
        for step in steps:
            count = min(size, pictures - step * size)
            for layer, (width, padded) in enumerate(zip(self.model.sizes[1:-1], self.sizes[1:-1], strict=True)):
                mask = torch.empty(count, width, dtype=self.dtype).bernoulli_(kept, generator=record.dropout).div_(kept)
                whole = F.pad(mask, (0, padded - width)).numpy()
                masks.append(record.core.of_units(whole) if layer == 0 and record.core is not None else whole)
        return np.concatenate([mask.reshape(-1) for mask in masks]) if masks else np.empty(0, self.flat.numpy().dtype)

    def _network(self, flat: Tensor | None = None) -> Network:
        arrays = (self.flat if flat is None else flat, self.means, self.squares)
        return Network(np.array(self.sizes), self.places, *(array.numpy() for array in arrays))

    def end(self, record: Record) -> float:
        """End an epoch; return the mean loss over its pictures, each at its own step."""
        self.middle = None
        if record.core is not None:
            steps = math.ceil(len(record.labels) / self.config.batch_size)
            put_back(record.core, self._network(), steps, self._lit)
        scores = record.logits.softmax(1) if self.config.head == "softmax" else record.logits
        return float(F.cross_entropy(scores, record.labels, label_smoothing=self.config.label_smoothing))

    def outputs(self, pictures: Pictures) -> Tensor:
        lot = evaluation_lot(pictures, self.dtype)
        logits = torch.from_numpy(kernels.outputs(self._network(self.average), lot, EVALUATION_BATCH)).float()
        return logits.softmax(1) if self.config.head == "softmax" else logits

    def state(self) -> dict[str, Any]:
        return {**self._tensors(), **self._middle()}

    def load(self, state: dict[str, Any]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(state[name])
        self.middle = state.get("middle")
        self.dormant[:] = False

    def _tensors(self) -> dict[str, Tensor]:
        average = {} if self.average is None else {"average": self.average}
        return {"flat": self.flat, "means": self.means, "squares": self.squares, **average}

    def module(self) -> nn.Module:
        flat = self.flat if self.average is None else self.average
        model = copy.deepcopy(self.model)
        for linear, layer in zip(model.linears, layers_of(flat, model.sizes), strict=True):
            linear.load_state_dict({"weight": layer.weight.t(), "bias": layer.bias})
        return model.eval()
