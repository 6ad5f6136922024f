"""One optimisation step as fast as the machine goes."""

from __future__ import annotations

import torch

from tune_mnist.batches import Pictures
from tune_mnist.config import TrainingConfig
from tune_mnist.models import FullyConnected, build_model
from tune_mnist.steps.autograd import AutogradSteps
from tune_mnist.steps.base import Steps
from tune_mnist.steps.linear import LinearSteps
from tune_mnist.steps.pack import PackOfOne

__all__ = ["AutogradSteps", "LinearSteps", "Steps", "make_steps"]


def make_steps(config: TrainingConfig, train: Pictures, device: str = "cpu") -> Steps:
    """The fastest steps for the config: written out for fully connected models on the CPU, else autograd."""
    model = build_model(config)
    if isinstance(model, FullyConnected) and torch.device(device).type == "cpu":
        return LinearSteps(config, model, train)
    if torch.device(device).type == "cuda":
        return PackOfOne(config, train, device)
    return AutogradSteps(config, model, train, device)
