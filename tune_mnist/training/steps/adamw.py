"""AdamW (arXiv:1711.05101): what changes in it from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.steps.base import BETA1, BETA2, learning_rate


class Rate(NamedTuple):
    """What changes in AdamW from step to step: numbers for one step or arrays (steps,) for several."""

    lr: Any
    """The learning rate over the first moment's bias correction."""
    root: Any
    """1 over the root of the second moment's bias correction."""
    kept: Any
    """What weight decay leaves of a weight."""


def make_rates(config: TrainingConfig, steps: range, steps_per_epoch: int, dtype: Any) -> Rate:
    """The rates of optimisation steps (from 0), as arrays of `dtype`."""
    numbers = np.array(steps)
    if config.schedule == "constant" and not config.warmup_epochs:
        lr = np.full(len(steps), config.lr)
    else:
        lr = np.array([learning_rate(config, step, steps_per_epoch) for step in steps])
    first, second = 1 - BETA1 ** (numbers + 1), 1 - BETA2 ** (numbers + 1)  # the moments' bias corrections
    rates = (lr / first, 1 / np.sqrt(second), 1 - lr * config.weight_decay)
    with np.errstate(over="ignore"):  # what is too large for the dtype is infinite
        return Rate(*(values.astype(dtype) for values in rates))
