"""Which way a training goes: by compiled steps, by autograd, or in a pack on a GPU; and how its optimiser is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from tune_mnist.spec.models import is_fully_connected
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.dataset import CLASSES
from tune_mnist.training.steps.base import BETA1, BETA2, EPS

Way = Literal["compiled", "pack", "autograd"]
RMS_DECAY = 0.99
"""RMSprop's decay of the mean square, torch's default (Hinton, Neural Networks for Machine Learning, lecture 6)."""


def way_of(config: TrainingConfig, device: str, classes: int = CLASSES) -> Way:
    """The fastest way that gives the config's training on the device."""
    if device == "cpu":
        return "compiled" if has_kernels(config) and classes == CLASSES else "autograd"
    return "pack" if packs(config) else "autograd"


def has_kernels(config: TrainingConfig) -> bool:
    """Whether the compiled steps, of fully connected models with ReLU under AdamW on ten classes, are for it."""
    return is_fully_connected(config.model) and config.value("activation") == "relu" and _plain_adamw(config)


def packs(config: TrainingConfig) -> bool:
    """Whether a pack's step is for it: the package's own models, without batch normalisation, under AdamW."""
    return config.source is None and not config.value("batch_norm") and _plain_adamw(config)


def _plain_adamw(config: TrainingConfig) -> bool:
    is_adamw = config.optimizer == "adamw" or (config.optimizer == "adam" and not config.weight_decay)
    return is_adamw and not config.clip_norm


def make_optimiser(config: TrainingConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The config's optimiser, torch's own."""
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=decay, nesterov=config.nesterov)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, config.lr, RMS_DECAY, EPS, decay, config.momentum)
    kind = torch.optim.Adam if config.optimizer == "adam" and decay else torch.optim.AdamW
    return kind(parameters, config.lr, (BETA1, BETA2), EPS, decay, fused=True)
