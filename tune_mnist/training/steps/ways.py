"""Which way a training goes: by compiled steps, by autograd, or in a pack on a GPU. Imports no torch."""

from __future__ import annotations

from typing import Literal

from tune_mnist.spec.models import is_fully_connected
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.dataset import CLASSES

Way = Literal["compiled steps", "packs", "autograd"]


def way_of(config: TrainingConfig, device: str, classes: int = CLASSES) -> Way:
    """The fastest way to do the config's training on the device."""
    if device == "cpu":
        return "compiled steps" if has_kernels(config) and classes == CLASSES else "autograd"
    return "packs" if packs(config) else "autograd"


def has_kernels(config: TrainingConfig) -> bool:
    """Whether the compiled steps, of fully connected models with ReLU under AdamW or SGD, are for it."""
    has_optimiser = _is_adamw(config) or config.optimizer == "sgd"
    has_kind = is_fully_connected(config.model) and config.value("activation") == "relu"
    return has_kind and has_optimiser and not config.clip_norm


def packs(config: TrainingConfig) -> bool:
    """Whether a pack's step is for it: the package's own models, without batch normalisation, under AdamW."""
    return config.source is None and not config.value("batch_norm") and _is_adamw(config) and not config.clip_norm


def _is_adamw(config: TrainingConfig) -> bool:
    return config.optimizer == "adamw" or (config.optimizer == "adam" and not config.weight_decay)
