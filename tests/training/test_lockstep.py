"""Tests of trainings on shared batches: each is bit for bit what it is alone."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from support.slices import evaluation_slice, train_slice
from tune_mnist.spec.training import FULLY_CONNECTED, TrainingConfig
from tune_mnist.training import batches
from tune_mnist.training.steps.choose import make_pack, make_steps
from tune_mnist.training.steps.lockstep import Lockstep, common_batches
from tune_mnist.training.steps.pack import PackSteps

LRS = (1e-4, 1e-2, 1e30)
RECIPES: list[dict[str, Any]] = [
    {}, {"head": "softmax"}, {"label_smoothing": 0.1, "weight_decay": 0.01, "ema_decay": 0.9},
    {"schedule": "cosine", "warmup_epochs": 1, "budget": 3}, {"dropout": 0.3},
]


def make_configs(model: str, batch_size: int, **recipe: Any) -> list[TrainingConfig]:
    return [TrainingConfig(model=model, lr=lr, batch_size=batch_size, **recipe) for lr in LRS]  # type: ignore[arg-type]


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name].nan_to_num(), expected[name].nan_to_num()) for name in found)


@pytest.mark.parametrize(("model", "batch_size", "recipe"), [
    *product(FULLY_CONNECTED, (16, 60), RECIPES[:2]), *(("SimpleNN", 32, recipe) for recipe in RECIPES[2:]),
])
def test_each_is_what_it_is_alone(
    model: str, batch_size: int, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LOT", 128)  # several turns an epoch
    train, evaluation, configs = train_slice(500), evaluation_slice(100), make_configs(model, batch_size, **recipe)
    pack, alone = make_pack(configs, train), [make_steps(config, train) for config in configs]
    assert isinstance(pack, Lockstep)
    for epoch in (1, 2):
        losses = pack.train_epoch(epoch, [0, 1, 2])
        expected = [steps.train_epoch(epoch) for steps in alone]
        assert torch.equal(torch.tensor(losses).nan_to_num(), torch.tensor(expected).nan_to_num())
    outputs = pack.outputs(evaluation, [0, 1, 2])
    assert outputs.shape == (3, 100, 10)
    for k, steps in enumerate(alone):
        assert torch.equal(outputs[k].nan_to_num(), steps.outputs(evaluation).nan_to_num())
        assert_same(pack.state(k), steps.state())


def test_those_left_out_stay_as_they_are_and_go_on_later() -> None:
    train, configs = train_slice(300), make_configs("SimpleNN", 32)
    pack, alone = make_pack(configs, train), make_steps(configs[1], train)
    pack.train_epoch(1, [1])
    pack.train_epoch(1, [0, 2])
    pack.train_epoch(2, [2, 1])
    for epoch in (1, 2):
        alone.train_epoch(epoch)
    assert_same(pack.state(1), alone.state())
    again = make_pack(configs, train)
    again.load(0, alone.state() | {"middle": None})
    assert_same(again.state(0), alone.state())


def test_only_trainings_that_differ_in_lr_alone_share_batches() -> None:
    train, config = train_slice(100), TrainingConfig(model="SimpleNN", lr=0.1, batch_size=32)
    for other in ({"seed": 1}, {"dropout": 0.5}, {"rotation": 3.0}):
        changed = TrainingConfig(model="SimpleNN", lr=0.1, batch_size=32, **other)
        assert common_batches(changed) != common_batches(config)
    other_seed = TrainingConfig(model="SimpleNN", lr=0.1, batch_size=32, seed=1)
    assert isinstance(make_pack([config, other_seed], train), PackSteps)
    assert common_batches(TrainingConfig(model="CNN", lr=0.1, batch_size=32)) is None
