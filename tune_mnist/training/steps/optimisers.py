"""A config's optimiser, torch's own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.steps.base import BETA1, BETA2, EPS

RMS_DECAY = 0.99
"""RMSprop's decay of the mean square, torch's default (Hinton, Neural Networks for Machine Learning, lecture 6)."""


def make_optimiser(config: TrainingConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The config's optimiser; its learning rate is set before each step."""
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=decay, nesterov=config.nesterov)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, config.lr, RMS_DECAY, EPS, decay, config.momentum)
    kind = torch.optim.Adam if config.optimizer == "adam" and decay else torch.optim.AdamW
    return kind(parameters, config.lr, (BETA1, BETA2), EPS, decay, fused=True)
