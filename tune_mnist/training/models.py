"""The models and how one is built from a training's config."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tune_mnist.spec.models import PRESETS, is_fully_connected
from tune_mnist.spec.own.loading import load_class
from tune_mnist.spec.own.model import OwnModel, told
from tune_mnist.spec.training import Head, TrainingConfig
from tune_mnist.training.dataset import CLASSES, PIXELS, SIDE

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "silu": nn.SiLU, "leaky_relu": nn.LeakyReLU,
}
POOLED = 2
"""So many of the CNN's convolutions are followed by a pool."""

_drawing = threading.Lock()
"""Held while a model's weights are drawn from torch's global generator, which all threads share."""


class FullyConnected(nn.Module):
    """A stack of linear layers with an activation, and optionally dropout, between them: an MLP.

    Maps pictures (batch, 784) or (batch, 1, 28, 28) to outputs (batch, classes).
    """

    def __init__(
        self, hidden: Sequence[int], dropout: float, head: Head, activation: str = "relu", classes: int = CLASSES
    ) -> None:
        super().__init__()
        self.sizes = (PIXELS, *hidden, classes)
        self.linears = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in itertools.pairwise(self.sizes))
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.head = head_module(head)

    def forward(self, pictures: Tensor) -> Tensor:
        hidden = pictures.flatten(1)
        for linear in self.linears[:-1]:
            hidden = self.dropout(self.activation(linear(hidden)))
        return self.head(self.linears[-1](hidden))


class CNN(nn.Module):
    """3x3 convolutions, 2x2 max pools after the first two, two linear layers.

    Maps pictures (batch, 784) or (batch, 1, 28, 28) to outputs (batch, classes). Dropout acts on the
    hidden linear layer and, at half its rate, on the convolutions' features.
    """

    def __init__(
        self, channels: Sequence[int], width: int, batch_norm: bool, dropout: float, head: Head,
        classes: int = CLASSES,
    ) -> None:
        super().__init__()
        self.layers = len(channels)
        for number, (n_in, n_out) in enumerate(itertools.pairwise((1, *channels)), 1):
            self.add_module(f"conv{number}", nn.Conv2d(n_in, n_out, 3, padding=1))
            self.add_module(f"norm{number}", nn.BatchNorm2d(n_out) if batch_norm else nn.Identity())
        self.pool = nn.MaxPool2d(2)
        side = SIDE // 2 ** min(POOLED, self.layers)
        self.linear1 = nn.Linear(channels[-1] * side**2, width)
        self.linear2 = nn.Linear(width, classes)
        self.dropout_features = nn.Dropout(dropout / 2)
        self.dropout = nn.Dropout(dropout)
        self.head = head_module(head)

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures.reshape(-1, 1, SIDE, SIDE)
        for number in range(1, self.layers + 1):
            x = self.get_submodule(f"norm{number}")(self.get_submodule(f"conv{number}")(x))
            # ReLU is monotonic, so pooling first gives the same values from a quarter of the work.
            x = (self.pool(x) if number <= POOLED else x).relu()  # (batch, channels, side, side)
        x = self.dropout_features(x).flatten(1)
        return self.head(self.linear2(self.dropout(self.linear1(x).relu())))


class Own(nn.Module):
    """A model of one's own among the package's: maps pictures (batch, 784) to outputs (batch, classes)."""

    def __init__(self, model: nn.Module, head: Head) -> None:
        super().__init__()
        self.model, self.head = model, head_module(head)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.model(pictures.reshape(-1, 1, SIDE, SIDE)))


def head_module(head: Head) -> nn.Module:
    """What turns logits into a model's outputs."""
    return nn.Softmax(dim=1) if head == "softmax" else nn.Identity()


def build_model(config: TrainingConfig, classes: int = CLASSES) -> nn.Module:
    """The config's model with the initial weights (float32, CPU) that its seed determines.

    Drawing the weights leaves torch's global generator as it was. Several threads may do so at once.

    Raises:
        UserError: the constructor of a model of one's own failed.
    """
    with _drawing, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # `torch.manual_seed` would seed the GPUs' generators, too
        if isinstance(config.source, OwnModel):
            return Own(_own(config, config.source, classes), config.head)
        if is_fully_connected(config.model):
            hidden = widths(PRESETS.get(config.model) or config.value("hidden"))
            return FullyConnected(hidden, config.dropout, config.head, config.value("activation"), classes)
        own = (widths(config.value("channels")), config.value("width"), config.value("batch_norm"))
        return CNN(*own, config.dropout, config.head, classes)


def _own(config: TrainingConfig, model: OwnModel, classes: int) -> Any:
    source = model.source
    arguments = model.arguments(dict(config.model_settings), config.row(), classes)
    try:
        return load_class(source.class_name, source.module, source.files)(**arguments)
    except Exception as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise told(error, model, f"{model.class_name}({shown}) cannot be made") from error


def widths(text: str) -> tuple[int, ...]:
    """The whole numbers of a setting such as 256-128."""
    return tuple(map(int, text.split("-")))
