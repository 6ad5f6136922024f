"""Stochastic gradient descent with momentum, as torch's SGD takes it: what changes from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.steps.base import learning_rate


class Sgd(NamedTuple):
    """How gradients are taken: momentum in [0, 1), and whether Nesterov's (Sutskever et al., ICML 2013)."""

    momentum: float = 0.0
    nesterov: bool = False


class SgdRate(NamedTuple):
    """SGD's numbers for one step, or arrays (steps,) for several."""

    lr: Any
    momentum: Any
    direct: Any
    """The share of the gradient itself in the step."""
    ahead: Any
    """The share of the momentum in the step."""
    decay: Any
    """How much of a weight, its decay, is part of its gradient."""


def make_sgd_rates(sgd: Sgd, config: TrainingConfig, steps: range, steps_per_epoch: int, dtype: Any) -> SgdRate:
    """The rates of optimisation steps (from 0), as arrays of `dtype`."""
    lr = np.array([learning_rate(config, step, steps_per_epoch) for step in steps])
    constants = (sgd.momentum, float(sgd.nesterov), sgd.momentum if sgd.nesterov else 1.0, config.weight_decay)
    with np.errstate(over="ignore"):  # what is too large for the dtype is infinite
        return SgdRate(lr.astype(dtype), *(np.full(len(lr), constant).astype(dtype) for constant in constants))
