"""The models and how one is built from a training's config."""

from __future__ import annotations

import itertools
import threading
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_mnist.spec.training import Head, TrainingConfig
from tune_mnist.training.dataset import CLASSES, PIXELS

_drawing = threading.Lock()
"""Held while a model's weights are drawn from torch's global generator, which all threads share."""


class FullyConnected(nn.Module):
    """A stack of linear layers with ReLU, and optionally dropout, between them.

    Maps pictures (batch, 784) or (batch, 1, 28, 28) to outputs (batch, 10).
    """

    sizes: ClassVar[tuple[int, ...]]

    def __init__(self, dropout: float, head: Head) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in itertools.pairwise(self.sizes))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Softmax(dim=1) if head == "softmax" else nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        hidden = pictures.flatten(1)
        for linear in self.linears[:-1]:
            hidden = self.dropout(linear(hidden).relu())
        return self.head(self.linears[-1](hidden))


class SimpleNN(FullyConnected):
    sizes = (PIXELS, 128, CLASSES)


class MediumNN(FullyConnected):
    sizes = (PIXELS, 256, 128, CLASSES)


class ComplexNN(FullyConnected):
    sizes = (PIXELS, 512, 256, 128, 64, CLASSES)


class CNN(nn.Module):
    """Three 3x3 convolutions (32, 64, 128 channels), two 2x2 max pools, two linear layers.

    Maps pictures (batch, 784) or (batch, 1, 28, 28) to outputs (batch, 10). Dropout acts on the
    hidden linear layer and, at half its rate, on the convolutions' features.
    """

    def __init__(self, dropout: float, head: Head) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.linear1 = nn.Linear(128 * 7 * 7, 128)
        self.linear2 = nn.Linear(128, CLASSES)
        self.dropout_features = nn.Dropout(dropout / 2)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Softmax(dim=1) if head == "softmax" else nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures.reshape(-1, 1, 28, 28)
        # ReLU is monotonic, so pooling first gives the same values from a quarter of the work.
        x = self.pool(self.conv1(x)).relu()  # (batch, 32, 14, 14)
        x = self.pool(self.conv2(x)).relu()  # (batch, 64, 7, 7)
        x = self.dropout_features(self.conv3(x).relu()).flatten(1)  # (batch, 6272)
        return self.head(self.linear2(self.dropout(self.linear1(x).relu())))


# A new model is its class, listed here, and its name in `MODEL_NAMES` of spec/training.py.
MODELS: dict[str, type[nn.Module]] = {model.__name__: model for model in (SimpleNN, MediumNN, ComplexNN, CNN)}


def build_model(config: TrainingConfig) -> nn.Module:
    """The config's model with the initial weights (float32, CPU) that its seed determines.

    Drawing the weights leaves torch's global generator as it was. Several threads may do so at once.
    """
    with _drawing, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # `torch.manual_seed` would seed the GPUs' generators, too
        return MODELS[config.model](config.dropout, config.head)
