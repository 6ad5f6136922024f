"""Fully connected trainings on the CPU that differ in lr only, in turn on the same batches.

Making an epoch's sparse batches takes a thirtieth of the largest model's time and a quarter of the smallest's: here
it is done once for all. Each training takes the very steps that it would take alone, so its bits are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures
from tune_mnist.training.models import FullyConnected, build_model
from tune_mnist.training.steps.base import Pack
from tune_mnist.training.steps.linear import LinearSteps
from tune_mnist.training.steps.ways import has_kernels


def common_batches(config: TrainingConfig) -> TrainingConfig | None:
    """What trainings that can share batches have in common: the config but for its lr. None if it shares with none."""
    shares = has_kernels(config) and not config.augments
    return dataclasses.replace(config, lr=1.0) if shares else None


class Lockstep(Pack):
    """Trainings with the same `common_batches`."""

    def __init__(self, configs: Sequence[TrainingConfig], train: Pictures) -> None:
        models = [cast(FullyConnected, build_model(config)) for config in configs]
        self.steps = [LinearSteps(config, model, train) for config, model in zip(configs, models, strict=True)]

    def train_epoch(self, epoch: int, members: Sequence[int]) -> list[float]:
        trainings = [self.steps[k] for k in members]
        order = trainings[0].order(epoch)
        records = [steps.begin(epoch, order) for steps in trainings]
        for lot in trainings[0].lots(epoch, order):  # each training's weights stay in the caches for a lot
            for steps, record in zip(trainings, records, strict=True):
                steps.advance(epoch, lot, record)
        return [steps.end(record) for steps, record in zip(trainings, records, strict=True)]

    def outputs(self, pictures: Pictures, members: Sequence[int]) -> Tensor:
        return torch.stack([self.steps[k].outputs(pictures) for k in members])

    def state(self, k: int) -> dict[str, Any]:
        return self.steps[k].state()

    def load(self, k: int, state: dict[str, Any]) -> None:
        self.steps[k].load(state)
