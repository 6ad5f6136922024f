"""What every kind of step offers, and the learning rate's schedule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from tune_mnist.batches import Pictures
from tune_mnist.config import TrainingConfig

# Adam's constants, torch's defaults (arXiv:1412.6980).
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Steps(ABC):
    """A model and its optimiser on resident data. Not thread-safe; uses torch's global generator for dropout."""

    @abstractmethod
    def train_epoch(self, epoch: int) -> float:
        """Train epoch number `epoch` (from 1) and return the mean loss over its pictures, each at its own step."""

    @abstractmethod
    def outputs(self, pictures: Pictures) -> Tensor:
        """The model's outputs without dropout, float32 on the CPU, (n, 10)."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Weights and optimiser state: tensors and plain Python values, not copied."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state()` of the same config; the next epochs equal uninterrupted ones bit for bit."""

    @abstractmethod
    def module(self) -> nn.Module:
        """A copy of the model with the evaluated weights: float32, on the CPU, in eval mode."""


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """lr at optimisation step `step` (from 0): linear warm-up, then constant or cosine to 0 at the budget's end."""
    done = step / steps_per_epoch
    if done < config.warmup_epochs:
        return config.lr * min(1.0, (step + 1) / (config.warmup_epochs * steps_per_epoch))
    if config.schedule == "constant" or config.budget is None:
        return config.lr
    progress = (done - config.warmup_epochs) / max(1e-9, config.budget - config.warmup_epochs)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
