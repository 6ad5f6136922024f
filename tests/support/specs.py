"""A config and a context, another valid value of each of their fields, and a grid's cells."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, TypeVar

from tune_mnist.spec.space import Space
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context, TrainingConfig

Spec = TypeVar("Spec", bound=Space)
CONFIG = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=32)
CONTEXT = Context(protocol="holdout", data_sha256="ab" * 32)

# Another valid value of every field: a new field must be added here, and so is known to enter the key.
OTHER_CONFIG: dict[str, Any] = {
    "model": "CNN", "lr": 1e-2, "batch_size": 64, "seed": 1, "head": "softmax", "budget": 5,
    "dropout": 0.5, "weight_decay": 0.1, "label_smoothing": 0.1, "ema_decay": 0.9, "schedule": "cosine",
    "optimizer": "sgd", "momentum": 0.9, "nesterov": True, "clip_norm": 1.0, "model_settings": {"activation": "tanh"},
    "source": "ab" * 32,
    "warmup_epochs": 0.5, "rotation": 10.0, "translation": 2.0, "scaling": 0.1, "shear": 5.0, "precision": "bf16",
}
OTHER_CONTEXT: dict[str, Any] = {
    "protocol": "report", "data_sha256": "cd" * 32, "device": "cuda", "threads": 2, "engine_version": 99,
}


def changed(spec: Spec, **domains: Any) -> Spec:
    """A spec or space with other values of some settings, of which type checkers do not know."""
    return replace(spec, **domains)


def cells(spec: StudySpec) -> list[tuple[Any, ...]]:
    """Every (model, lr, batch size, seed, epochs) that the trainings answer."""
    return [
        (plan.config.model, plan.config.lr, plan.config.batch_size, plan.config.seed, budget)
        for plan in spec.trainings() for budget in plan.budgets
    ]


def grid_of(spec: StudySpec) -> list[tuple[Any, ...]]:
    """Every combination of the spec's values."""
    return list(itertools.product(spec.models, spec.lr, spec.batch_size, range(spec.first_seeds), spec.epochs))
