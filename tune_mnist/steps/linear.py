"""The step of a fully connected model on the CPU, written out on flat buffers.

All parameters lie in one flat buffer, so that AdamW is one fused call; so do the gradients, but for the first
layer's weights: theirs is used where `torch.embedding_bag` left it, as a copy would cost more than it saves.
MNIST's background is a constant -1: with pictures written as x = -1 + u, where most of u is 0, the
first layer and its gradient are sums over the few non-zeros of u, which `torch.embedding_bag` does
faster than a dense product:
    x W + b = u W + (b - sum of W's rows)        and        x^T d = u^T d - sum of d's rows.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_mnist.batches import (
    Bags,
    Pictures,
    SparseBatch,
    affine_maps,
    as_tensor,
    epoch_order,
    generator,
    normalise,
    picture_bags,
    sparse_batches,
    transform,
)
from tune_mnist.config import TrainingConfig
from tune_mnist.models import CLASSES, FullyConnected
from tune_mnist.steps.base import BETA1, BETA2, EPS, CheckpointedSteps, learning_rate

EVALUATION_BATCH = 500
Inputs = Tensor | SparseBatch


class Layer(NamedTuple):
    """One linear layer as views of a flat buffer: weight (n_in, n_out) and bias (n_out,)."""

    weight: Tensor
    bias: Tensor


def layers_of(flat: Tensor, sizes: Sequence[int]) -> list[Layer]:
    """The layers of widths `sizes` (input first) laid one after the other in `flat`, as views."""
    shapes = list(itertools.pairwise(sizes))
    parts = flat.split([length for n_in, n_out in shapes for length in (n_in * n_out, n_out)])
    return [Layer(parts[2 * i].view(shape), parts[2 * i + 1]) for i, shape in enumerate(shapes)]


class Hidden(NamedTuple):
    """A hidden layer's values in a step (batch, width), the same transposed, and the gradient with respect to them."""

    values: Tensor
    transposed: Tensor
    gradient: Tensor


class Record(NamedTuple):
    """An epoch's labels int64 (n,), in its order, and the logits (n, 10) of each picture at its own step.

    All are kept, so that the epoch's loss is one operation instead of one a step.
    """

    labels: Tensor
    logits: Tensor


class LinearSteps(CheckpointedSteps):
    """Steps of any stack of Linear and ReLU, with either head, with dropout and augmentation, on the CPU."""

    def __init__(
        self, config: TrainingConfig, model: FullyConnected, train: Pictures, dtype: torch.dtype = torch.float32
    ) -> None:
        self.config, self.model, self.train, self.dtype = config, model, train, dtype
        self.labels = as_tensor(train.labels)
        self.nonzero = None if config.augments else train.nonzero
        self.flat = torch.cat([p.detach().t().flatten() for p in model.linears.parameters()]).to(dtype)
        self.means, self.squares = torch.zeros_like(self.flat), torch.zeros_like(self.flat)  # Adam's moments
        self.step_count = torch.zeros(())
        self.average = self.flat.clone() if config.ema_decay else None
        self.layers = layers_of(self.flat, model.sizes)
        self.back = [layer.weight.t() for layer in self.layers[1:]]
        first, n_out = self.layers[0].weight.numel(), model.sizes[1]
        self.parts = [buffer.split([first, len(buffer) - first]) for buffer in (self.flat, self.means, self.squares)]
        self.gradient = torch.empty_like(self.parts[0][1])  # of all but the first layer's weights
        self.first_bias_gradient = self.gradient[:n_out]
        self.gradients = layers_of(self.gradient[n_out:], model.sizes[1:])
        self.hidden: dict[int, list[Hidden]] = {}

    @torch.inference_mode()  # cheaper at each operation than no_grad
    def train_epoch(self, epoch: int, after_step: Callable[[int], None] | None = None) -> float:
        order = self.order(epoch)
        record = self.begin(order)
        for done in self.advance(epoch, self.batches(epoch, order), record):
            if after_step is not None:
                self._note(done, record.logits[: done * self.config.batch_size])
                after_step(done)
        self.middle = None
        return self.loss(record)

    def order(self, epoch: int) -> Tensor:
        """The epoch's order of the training pictures, int64 (n,)."""
        return epoch_order(len(self.labels), self.config.seed, epoch)

    def begin(self, order: Tensor) -> Record:
        """What the loss of an epoch in this `order` is made of, the logits to be filled in."""
        return Record(self.labels[order], torch.empty(len(order), CLASSES, dtype=self.dtype))

    def advance(self, epoch: int, batches: Iterable[Inputs], record: Record) -> Iterator[int]:
        """Train on the epoch's `batches`, yielding after each step how many are done. Run it in inference mode."""
        config = self.config
        steps = -(-len(record.labels) // config.batch_size)
        begin = self._begin(generator(config.seed, epoch, "dropout").initial_seed(), record.logits)
        targets = self.targets(record.labels)
        whole = zip(batches, record.logits.split(config.batch_size), targets.split(config.batch_size), strict=True)
        for i, batch in enumerate(itertools.islice(whole, begin, None), begin):
            gradient = self.backward(*batch)
            self._update(gradient, learning_rate(config, (epoch - 1) * steps + i, steps))
            yield i + 1

    def loss(self, record: Record) -> float:
        """The mean loss over a finished epoch's pictures, each at its own step."""
        scores = record.logits.softmax(1) if self.config.head == "softmax" else record.logits
        return float(F.cross_entropy(scores, record.labels, label_smoothing=self.config.label_smoothing))

    def targets(self, labels: Tensor) -> Tensor:
        """The probabilities (n, 10) that the outputs are trained towards, for labels int64 (n,)."""
        smoothing = self.config.label_smoothing
        return F.one_hot(labels, CLASSES).to(self.dtype) * (1 - smoothing) + smoothing / CLASSES

    def batches(self, epoch: int, order: Tensor) -> Iterable[Inputs]:
        """The epoch's batches in its `order`, made as they are taken."""
        config = self.config
        if self.nonzero is not None:
            return sparse_batches(self.nonzero, config.batch_size, self.dtype, order.numpy())
        pixels = as_tensor(self.train.pixels)
        pictures = (normalise(pixels[batch], self.dtype) for batch in order.split(config.batch_size))
        if not config.augments:
            return pictures
        maps = affine_maps(len(order), config, config.seed, epoch).split(config.batch_size)
        return map(transform, pictures, maps)

    def backward(self, inputs: Inputs, logits: Tensor, targets: Tensor) -> Tensor:
        """Write one batch's logits (batch, 10) and the gradient of its mean loss against `targets` (batch, 10).

        Returns:
            The first layer's weights' part of the gradient, (n_in, n_out); the rest is in `self.gradient`.
        """
        hidden = self._hidden(len(logits))
        masks = self._forward(inputs, logits, hidden)
        delta = self._logits_gradient(logits, targets)
        for i in range(len(hidden) - 1, -1, -1):
            gradient, layer = self.gradients[i], hidden[i]
            torch.mm(layer.transposed, delta, out=gradient.weight)
            torch.sum(delta, 0, out=gradient.bias)
            torch.mm(delta, self.back[i], out=layer.gradient)
            if masks:
                layer.gradient.mul_(masks[i])
            delta = torch.ops.aten.threshold_backward.grad_input(
                layer.gradient, layer.values, 0, grad_input=layer.gradient
            )
        torch.sum(delta, 0, out=self.first_bias_gradient)
        return first_gradient(inputs, delta, self.first_bias_gradient)

    def _forward(self, inputs: Inputs, logits: Tensor, hidden: list[Hidden]) -> list[Tensor]:
        """Fill `logits` and the hidden layers' values (after dropout); return the dropout masks, if any."""
        masks: list[Tensor] = []
        outs = [*(values for values, _, _ in hidden), logits]
        first_layer(inputs.by_picture if isinstance(inputs, SparseBatch) else inputs, self.layers[0], outs[0])
        for values, layer, out in zip(outs, self.layers[1:], outs[1:], strict=False):
            values.relu_()
            if self.config.dropout:
                kept = 1 - self.config.dropout
                masks.append(torch.empty_like(values).bernoulli_(kept).div_(kept))
                values.mul_(masks[-1])
            torch.addmm(layer.bias, values, layer.weight, out=out)
        return masks

    def _logits_gradient(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Gradient of the mean cross entropy with respect to the logits, (batch, 10)."""
        scores = torch.softmax(logits, 1)
        if self.config.head == "logits":
            return scores.sub_(targets).div_(len(logits))
        outer = torch.softmax(scores, 1).sub_(targets).div_(len(logits))
        return torch.ops.aten._softmax_backward_data(outer, scores, 1, logits.dtype)

    def _update(self, first_gradient: Tensor, rate: float) -> None:
        parameters, means, squares = self.parts
        count = self.step_count.add_(1)
        torch._fused_adamw_(
            parameters, [first_gradient.view(-1), self.gradient], means, squares, [], [count, count],
            lr=rate, beta1=BETA1, beta2=BETA2, weight_decay=self.config.weight_decay, eps=EPS,
            amsgrad=False, maximize=False,
        )
        if self.average is not None:
            self.average.lerp_(self.flat, 1 - self.config.ema_decay)

    def _hidden(self, batch: int) -> list[Hidden]:
        """The hidden layers' buffers for batches of this size."""
        if batch not in self.hidden:
            shapes = [(batch, len(layer.bias)) for layer in self.layers[:-1]]
            buffers = [(torch.empty(shape, dtype=self.dtype), torch.empty(shape, dtype=self.dtype)) for shape in shapes]
            self.hidden[batch] = [Hidden(values, values.t(), gradient) for values, gradient in buffers]
        return self.hidden[batch]

    @torch.inference_mode()
    def outputs(self, pictures: Pictures) -> Tensor:
        layers = self.layers if self.average is None else layers_of(self.average, self.model.sizes)
        if pictures.nonzero is not None:
            batches: Iterable[Tensor | Bags] = picture_bags(pictures.nonzero, EVALUATION_BATCH, self.dtype)
        else:
            batches = (normalise(part, self.dtype) for part in as_tensor(pictures.pixels).split(EVALUATION_BATCH))
        parts = []
        for inputs in batches:
            hidden = first_layer(inputs, layers[0])
            for layer in layers[1:]:
                hidden = torch.addmm(layer.bias, hidden.relu_(), layer.weight)
            parts.append(hidden)
        logits = torch.cat(parts).float()
        return logits.softmax(1) if self.config.head == "softmax" else logits

    def state(self) -> dict[str, Any]:
        return {**self._tensors(), **self._middle()}

    def load(self, state: dict[str, Any]) -> None:
        for name, own in self._tensors().items():
            own.copy_(state[name])
        self.middle = state.get("middle")

    def _tensors(self) -> dict[str, Tensor]:
        average = {} if self.average is None else {"average": self.average}
        return {
            "flat": self.flat, "means": self.means, "squares": self.squares, "step_count": self.step_count, **average
        }

    def module(self) -> nn.Module:
        flat = self.flat if self.average is None else self.average
        model = copy.deepcopy(self.model)
        for linear, layer in zip(model.linears, layers_of(flat, model.sizes), strict=True):
            linear.load_state_dict({"weight": layer.weight.t(), "bias": layer.bias})
        return model.eval()


def first_layer(inputs: Tensor | Bags, layer: Layer, out: Tensor | None = None) -> Tensor:
    """The first layer's values (batch, n_out), before its ReLU."""
    if not isinstance(inputs, Bags):
        return torch.addmm(layer.bias, inputs, layer.weight, out=out)
    return torch.add(product(inputs, layer.weight), layer.bias - layer.weight.sum(0), out=out)


def first_gradient(inputs: Inputs, delta: Tensor, delta_sum: Tensor) -> Tensor:
    """The gradient (n_in, n_out) of the first layer's weights.

    `delta` (batch, n_out) is the gradient of its values, and `delta_sum` (n_out,) its sum over the batch.
    """
    if not isinstance(inputs, SparseBatch):
        return inputs.t() @ delta
    return product(inputs.by_pixel, delta).sub_(delta_sum)


def product(matrix: Bags, dense: Tensor) -> Tensor:
    """The sparse matrix (m, n) times the dense one (n, width)."""
    return torch.embedding_bag(dense, matrix.columns, matrix.offsets, False, 0, False, matrix.values, True)[0]
