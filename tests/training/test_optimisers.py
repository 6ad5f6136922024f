"""Tests of the optimisers against their formulas, written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from support.slices import train_slice
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.models import build_model
from tune_mnist.training.steps.autograd import AutogradSteps
from tune_mnist.training.steps.optimisers import RMS_DECAY, make_optimiser

GRADIENTS = [torch.tensor([0.5, -2.0], dtype=torch.float64), torch.tensor([-1.0, 0.25], dtype=torch.float64)]
START = torch.tensor([1.0, -0.5], dtype=torch.float64)
LR = 0.1


def config(**values: Any) -> TrainingConfig:
    return TrainingConfig(model="SimpleNN", lr=LR, batch_size=8, **values)


def moved(**values: Any) -> torch.Tensor:
    """Two numbers after a step by each of the gradients."""
    parameter = nn.Parameter(START.clone())
    optimiser = make_optimiser(config(**values), [parameter])
    for gradient in GRADIENTS:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter.detach()


@pytest.mark.parametrize(("momentum", "nesterov", "decay"), [
    (0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.0), (0.5, True, 0.1),
])
def test_sgd(momentum: float, nesterov: bool, decay: float) -> None:
    weights, velocity = START.clone(), torch.zeros(2, dtype=torch.float64)
    for step, gradient in enumerate(GRADIENTS):
        whole = gradient + decay * weights
        velocity = whole if step == 0 else momentum * velocity + whole
        weights = weights - LR * (whole + momentum * velocity if nesterov else velocity)
    found = moved(optimizer="sgd", momentum=momentum, nesterov=nesterov, weight_decay=decay)
    torch.testing.assert_close(found, weights, rtol=1e-12, atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop(momentum: float) -> None:
    weights, squares, velocity = START.clone(), torch.zeros(2).double(), torch.zeros(2).double()
    for gradient in GRADIENTS:
        squares = RMS_DECAY * squares + (1 - RMS_DECAY) * gradient**2
        velocity = momentum * velocity + gradient / (squares.sqrt() + 1e-8)
        weights = weights - LR * (velocity if momentum else gradient / (squares.sqrt() + 1e-8))
    torch.testing.assert_close(moved(optimizer="rmsprop", momentum=momentum), weights, rtol=1e-12, atol=0)


@pytest.mark.parametrize("decoupled", [True, False])
def test_adam_and_adamw_differ_in_where_the_decay_goes(decoupled: bool) -> None:
    decay, weights = 0.1, START.clone()
    first, second = torch.zeros(2).double(), torch.zeros(2).double()
    for step, gradient in enumerate(GRADIENTS, 1):
        if decoupled:
            weights = weights * (1 - LR * decay)
        whole = gradient if decoupled else gradient + decay * weights
        first, second = 0.9 * first + 0.1 * whole, 0.999 * second + 0.001 * whole**2
        weights = weights - LR * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    found = moved(optimizer="adamw" if decoupled else "adam", weight_decay=decay)
    torch.testing.assert_close(found, weights, rtol=1e-9, atol=0)


def test_without_decay_adam_is_adamw_bit_for_bit() -> None:
    assert torch.equal(moved(optimizer="adam"), moved())


def test_a_gradient_is_scaled_down_to_the_largest_norm_and_no_further() -> None:
    train = train_slice(8)

    def step(clip_norm: float) -> torch.Tensor:
        wanted = config(optimizer="sgd", clip_norm=clip_norm)
        steps = AutogradSteps(wanted, build_model(wanted), train, dtype=torch.float64)
        before = nn.utils.parameters_to_vector(steps.model.parameters()).detach().clone()
        steps.train_epoch(1)
        return (before - nn.utils.parameters_to_vector(steps.model.parameters()).detach()) / LR

    whole = step(0.0)
    torch.testing.assert_close(step(0.5 * float(whole.norm())), 0.5 * whole, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(step(2 * float(whole.norm())), whole, rtol=1e-12, atol=0)
