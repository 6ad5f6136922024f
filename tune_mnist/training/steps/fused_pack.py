"""The step of a pack of fully connected models on a GPU, in a third of the kernels: each lasts some microseconds.

Forward and backward are written out: torch's products, and between them kernels of our own in place of the many that
automatic differentiation of vectorised functions makes.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from importlib import util
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures
from tune_mnist.training.dataset import PIXELS
from tune_mnist.training.steps.adamw import make_rates
from tune_mnist.training.steps.base import BETA1, BETA2, EPS
from tune_mnist.training.steps.pack import PackSteps
from tune_mnist.training.steps.ways import has_kernels


class Layer(NamedTuple):
    """Of a layer views into the members' rows: weights (K, n_out, n_in) and biases (K, n_out), and their gradients."""

    weights: Tensor
    biases: Tensor
    weight_gradients: Tensor
    bias_gradients: Tensor


def can_fuse(config: TrainingConfig, device: str) -> bool:
    """Whether `FusedPackSteps` can train it here: Triton comes with torch for CUDA, and wants a C compiler."""
    plain = not (config.dropout or config.augments) and config.precision == "fp32"
    return (
        torch.device(device).type == "cuda" and plain and has_kernels(config)
        and util.find_spec("triton") is not None and any(shutil.which(name) for name in ("cc", "gcc", "clang"))
    )


class FusedPackSteps(PackSteps):
    """`PackSteps` of fully connected models in float32, without dropout and augmentation; but for rounding the same."""

    def __init__(self, configs: Sequence[TrainingConfig], train: Pictures, device: str = "cuda") -> None:
        super().__init__(configs, train, device)
        with self._on_stream():
            self.rates = torch.zeros(self.steps_per_epoch, 3, len(configs), device=self.device)
            self.gradients = torch.zeros_like(self.weights)
        self.layers = self._layers()

    def _layers(self) -> list[Layer]:
        places = [0, *itertools.accumulate(shape.numel() for shape in self.shapes.values())]
        views = [
            [rows[:, place : place + shape.numel()].view(len(rows), *shape) for rows in (self.weights, self.gradients)]
            for place, shape in zip(places, self.shapes.values(), strict=False)
        ]  # of each parameter, weights and biases in turn
        return [
            Layer(weights, biases, weight_gradients, bias_gradients)
            for (weights, weight_gradients), (biases, bias_gradients) in zip(views[::2], views[1::2], strict=True)
        ]

    def _rates(self, numbers: range) -> Tensor:
        own = [np.stack(make_rates(config, numbers, self.steps_per_epoch, np.float32), 1) for config in self.configs]
        return torch.from_numpy(np.stack(own, 2))  # (steps, 3, members)

    def _advance(self, batch: int) -> None:
        from tune_mnist.training.steps.gpu_kernels import adamw_, bias_relu_, gather, loss_, mask_and_sum_

        members, device = len(self.configs), self.device
        pictures = torch.empty(members, batch, PIXELS, device=device)
        targets, deltas = (torch.empty(members, batch, self.classes, device=device) for _ in range(2))
        size = self.config.batch_size
        gather(self.pixels, self.targets, self.order, self.seed_of, self.step, pictures, targets, size)
        values = [pictures]  # of each layer what it gets (K, batch, n_in)
        for layer in self.layers[:-1]:
            hidden = torch.bmm(values[-1], layer.weights.mT)
            bias_relu_(hidden, layer.biases)
            values.append(hidden)
        last = self.layers[-1]
        outputs = torch.bmm(values[-1], last.weights.mT)
        loss_(outputs, last.biases, targets, deltas, last.bias_gradients, self.total, self.counts, self.step,
              softmax=self.config.head == "softmax")
        for i in reversed(range(len(self.layers))):
            torch.bmm(deltas.mT, values[i], out=self.layers[i].weight_gradients)
            if i:
                deltas = torch.bmm(deltas, self.layers[i].weights)
                mask_and_sum_(deltas, values[i], self.layers[i - 1].bias_gradients)
        adamw_(self.weights, self.gradients, self.means, self.squares, self.rates, self.step,
               beta1=BETA1, beta2=BETA2, eps=EPS)
        if self.average is not None:
            self.average.lerp_(self.weights, 1 - self.config.ema_decay)
