"""Tests of a space: which combinations of settings it has, for all models and for one."""

from __future__ import annotations

from typing import Any

import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.space import Range, Space
from tune_mnist.spec.study import StudySpec


def combinations(space: Space, model: str, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(each[name] for name in names) for each in space.combinations(model)]


def test_a_model_has_its_own_settings_and_they_replace_the_others() -> None:
    own = {"CNN": {"lr": 0.5, "batch_size": [8, 16], "width": 32}}
    space = Space(models=("SimpleNN", "CNN"), lr=0.1, batch_size=64, own=own)
    assert combinations(space, "SimpleNN", "lr", "batch_size", "activation") == [(0.1, 64, "relu")]
    assert combinations(space, "CNN", "lr", "batch_size", "width") == [(0.5, 8, 32), (0.5, 16, 32)]


def test_what_means_nothing_beside_the_others_is_not_varied() -> None:
    optimisers = {"optimizer": ["adam", "sgd"], "momentum": [0, 0.9], "nesterov": [False, True]}
    space = Space(models="MLP", lr=0.1, batch_size=8, **optimisers)
    assert combinations(space, "MLP", "optimizer", "momentum", "nesterov") == [
        ("adam", 0.0, False), ("sgd", 0.0, False), ("sgd", 0.9, False), ("sgd", 0.9, True),
    ]


def test_a_grid_is_every_combination_each_training_once() -> None:
    own = {"MLP": {"hidden": ["64", "128", "256-128"], "activation": ["relu", "tanh"]}}
    spec = StudySpec(
        models="MLP", optimizer=["adam", "sgd"], lr=[1e-2, 1e-3], dropout=[0, 0.2], batch_size=64, epochs=(2, 5),
        own=own,
    )
    plans = spec.trainings()
    assert len(plans) == len({plan.config for plan in plans}) == 3 * 2 * 2 * 2 * 2
    assert {plan.config.value("hidden") for plan in plans} == {"64", "128", "256-128"}
    same = StudySpec(models="MLP", lr=0.1, batch_size=64, optimizer=["adam", "adamw", "sgd"])
    assert [plan.config.optimizer for plan in same.trainings()] == ["adam", "sgd"]  # the first two are one


def test_the_ranges_are_told_with_their_models() -> None:
    space = Space(models=("MLP", "CNN"), dropout=Range(0, 0.5), own={"CNN": {"lr": 0.1, "dropout": Range(0, 0.2)}})
    assert space.ranges() == ["CNN.dropout", "dropout", "lr"]


@pytest.mark.parametrize(("values", "told"), [
    ({"models": ("MLP", "MLP")}, "models has no value twice"),
    ({"own": {"MLP": 3}}, "MLP has settings.* 3"),
    ({"own": {"Mlp": {"hidden": 3}}}, "'Mlp': did you mean MLP"),
    ({"own": {"MLP": {"width": 3}}}, "MLP has no setting `width`: known are lr"),
    ({"momentum": (0.0, 0.9)}, "momentum goes with optimizer sgd or rmsprop.* adamw"),
    ({"optimizer": "rmsprop", "momentum": 0.5, "nesterov": True}, "nesterov goes with optimizer sgd with momentum"),
])
def test_a_bad_space_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Space(**values)
