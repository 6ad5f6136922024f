"""What every kind of step offers, and the learning rate's schedule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures

# Adam's constants, torch's defaults (arXiv:1412.6980).
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Steps(ABC):
    """A model and its optimiser on resident data. Not thread-safe; uses torch's global generator for dropout."""

    @abstractmethod
    def train_epoch(self, epoch: int) -> float:
        """Train epoch number `epoch` (from 1) and return the mean loss over its pictures, each at its own step."""

    @abstractmethod
    def outputs(self, pictures: Pictures) -> Tensor:
        """The model's outputs without dropout, float32 on the CPU, (n, classes)."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Weights and optimiser state: tensors and plain Python values, not copied."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state()` of the same config; the next epochs equal uninterrupted ones bit for bit."""

    @abstractmethod
    def module(self) -> nn.Module:
        """A copy of the model with the evaluated weights: float32, on the CPU, in eval mode."""


class Pack(ABC):
    """Trainings of one model, batch size and recipe, trained in step. Not thread-safe.

    `members` are the numbers of those that are meant; what becomes of the others meanwhile is not defined.
    """

    @abstractmethod
    def train_epoch(self, epoch: int, members: Sequence[int]) -> list[float]:
        """Train epoch number `epoch` (from 1) and return each one's mean loss, as `Steps.train_epoch` does."""

    @abstractmethod
    def outputs(self, pictures: Pictures, members: Sequence[int]) -> Tensor:
        """Their outputs without dropout, float32 on the CPU, (members, n, classes)."""

    @abstractmethod
    def state(self, k: int) -> dict[str, Any]:
        """Member k's weights and optimiser state: tensors and plain Python values."""

    @abstractmethod
    def load(self, k: int, state: dict[str, Any]) -> None:
        """Let member k go on from a `state()` of the same config."""


class CheckpointedSteps(Steps):
    """Steps whose state can also be taken, and gone on from, in the middle of an epoch."""

    device = torch.device("cpu")
    middle: dict[str, Any] | None = None
    """Of the epoch under way: its steps done, what its loss is made of, and the state of dropout's generator."""

    @abstractmethod
    def train_epoch(self, epoch: int, after_step: Callable[[int], None] | None = None) -> float:
        """Train epoch number `epoch`, or what is left of it after `load` of a state from its middle.

        `after_step`, called with the number of the epoch's steps done, may take such a `state()`.
        """

    def _begin(self, seed: int, record: Tensor) -> int:
        """Seed dropout, or go on from `middle`, whose part of the `record` is filled in; return the steps done."""
        own = default_generator(self.device)
        own.manual_seed(seed)
        if self.middle is None:
            return 0
        record[: len(self.middle["record"])] = self.middle["record"]
        own.set_state(self.middle["generator"])
        return int(self.middle["steps"])

    def _note(self, steps: int, record: Tensor) -> None:
        self.middle = {"steps": steps, "record": record, "generator": default_generator(self.device).get_state()}

    def _middle(self) -> dict[str, Any]:
        """What `state()` has besides, in the middle of an epoch."""
        return {} if self.middle is None else {"middle": {**self.middle, "record": self.middle["record"].clone()}}


def default_generator(device: torch.device) -> torch.Generator:
    """What dropout on the device draws from. `torch.manual_seed` would seed those of all devices, the user's too."""
    if device.type == "cuda":
        torch.cuda.init()
        return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    return torch.default_generator


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """lr at optimisation step `step` (from 0): linear warm-up, then constant or cosine to 0 at the budget's end."""
    done = step / steps_per_epoch
    if done < config.warmup_epochs:
        return config.lr * min(1.0, (step + 1) / (config.warmup_epochs * steps_per_epoch))
    if config.schedule == "constant" or config.budget is None:
        return config.lr
    progress = (done - config.warmup_epochs) / max(1e-9, config.budget - config.warmup_epochs)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
