"""AdamW (arXiv:1711.05101), compiled, and what changes in it from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.jit import compiled
from tune_mnist.training.steps.base import BETA1, BETA2, learning_rate
from tune_mnist.training.steps.network import Network
from tune_mnist.training.steps.products import Floats
from tune_mnist.training.steps.registers import adam


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
    lr = np.array([learning_rate(config, step, steps_per_epoch) for step in steps])
    first, second = 1 - BETA1 ** (numbers + 1), 1 - BETA2 ** (numbers + 1)  # the moments' bias corrections
    rates = (lr / first, 1 / np.sqrt(second), 1 - lr * config.weight_decay)
    return Rate(*(values.astype(dtype) for values in rates))


@compiled
def may_rest(rate: Rate) -> bool:
    """Whether parameters whose gradient and first moment are 0 stay what they are."""
    return rate.kept == 1 and rate.lr - rate.lr == 0


@compiled
def adamw(network: Network, place: int, gradient: Floats, rate: Rate) -> bool:
    """Update the parameters from `place` on by their gradient (parameters,); return whether they are finite after."""
    flat, none = network.flat, np.empty(0, np.int32)
    return move(
        flat, network.means, network.squares, place, len(gradient), gradient, none, none, flat.dtype.type(0),
        rate.lr, rate.root, rate.kept, may_rest(rate),
    )


move, move_packed = adam(packed=False), adam(packed=True)
