"""Tests of what Optuna draws from a space, and of trainings known again as drawn from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest

from support.specs import changed
from tune_mnist.searching.suggesting import changed_fixed, distributions, fixed, params_of, settings_of, size, suggest
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range, Space
from tune_mnist.spec.training import TrainingConfig

SPACE = Space(models=("SimpleNN", "MediumNN"), lr=Range(1e-4, 1e-1), batch_size=(16, 32))
SPEC = SearchSpec(space=SPACE, epochs=3)
CONDITIONAL = Space(
    models=("MLP", "CNN"), lr=Range(1e-4, 1e-1), batch_size=(16, 32), optimizer=("adam", "sgd"), momentum=Range(0, 0.9),
    nesterov=(False, True), own={
        "MLP": {"hidden": ("64", "128-64"), "activation": ("relu", "tanh")},
        "CNN": {"lr": Range(1e-3, 2e-3), "width": Range(8, 64), "precision": ("fp32", "bf16")},
    },
)


def drawn(space: Space, count: int, seed: int = 0) -> list[tuple[optuna.Trial, dict[str, Any]]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trials = [study.ask() for _ in range(count)]
    return [(trial, suggest(space, trial)) for trial in trials]


def test_only_what_means_something_is_drawn() -> None:
    seen = set()
    for trial, settings in drawn(CONDITIONAL, 60):
        names, model = set(trial.params), settings["model"]
        assert names >= {"model", "optimizer", "batch_size"}
        assert ("momentum" in names) == (settings["optimizer"] == "sgd")
        assert ("nesterov" in names) == (settings["optimizer"] == "sgd" and settings["momentum"] > 0)
        if model == "CNN":
            assert names >= {"CNN.lr", "CNN.width", "CNN.precision"} and 1e-3 <= settings["lr"] <= 2e-3
        else:
            assert names >= {"lr", "MLP.hidden", "MLP.activation"} and settings["precision"] == "fp32"
        assert not {name for name in names if "." in name and not name.startswith(model)}
        seen.add((model, settings["optimizer"]))
    assert len(seen) == 4


def test_lr_is_drawn_log_uniformly() -> None:
    assert abs(np.mean([np.log10(settings["lr"]) for _, settings in drawn(Space(), 300)]) + 2.5) < 0.2


@pytest.mark.parametrize("space", [changed(SPACE, dropout=Range(0.0, 0.5)), CONDITIONAL], ids=["plain", "conditional"])
def test_a_spaces_trainings_are_known_again(space: Space) -> None:
    spec = replace(SPEC, space=space)
    for trial, settings in drawn(space, 20, seed=1):
        config = spec.planned(settings).config
        found = params_of(space, config)
        assert found is not None and found.params == trial.params and found.distributions == trial.distributions
        assert settings_of(space, config) == settings and spec.planned(settings).config == config


def test_other_trainings_are_not_a_spaces() -> None:
    plain: dict[str, Any] = {"model": "SimpleNN", "lr": 1e-3, "batch_size": 16}
    assert params_of(SPACE, TrainingConfig(**plain)) is not None
    others: list[dict[str, Any]] = [
        {"lr": 1.0}, {"batch_size": 64}, {"model": "CNN"}, {"ema_decay": 0.5}, {"dropout": 0.6}, {"optimizer": "sgd"},
        {"model_settings": {"activation": "tanh"}},
    ]
    for other in others:
        assert params_of(SPACE, TrainingConfig(**(plain | other))) is None, other


def test_what_varies_has_a_distribution_and_the_rest_is_fixed() -> None:
    assert distributions(CONDITIONAL).keys() == {
        "model", "lr", "batch_size", "optimizer", "momentum", "nesterov", "MLP.hidden", "MLP.activation", "CNN.lr",
        "CNN.width", "CNN.precision",
    }
    assert isinstance(distributions(CONDITIONAL)["CNN.width"], optuna.distributions.IntDistribution)
    assert fixed(CONDITIONAL).items() >= {"dropout": 0.0, "CNN.channels": "32-64-128"}.items()


def test_a_setting_that_came_later_changes_no_search_while_it_is_at_its_default() -> None:
    recorded = {"dropout": 0.0, "rotation": 0.0}  # as searches noted it before there were more settings
    assert changed_fixed(SPACE, recorded) == []
    assert changed_fixed(changed(SPACE, optimizer="sgd"), recorded) == ["optimizer"]
    assert changed_fixed(changed(SPACE, dropout=0.1), recorded) == ["dropout"]
    assert changed_fixed(changed(SPACE, dropout=(0.0, 0.1)), recorded) == ["dropout"]


def test_a_space_has_as_many_trainings_as_can_be_drawn() -> None:
    space = Space(
        models=("SimpleNN", "CNN"), lr=(0.1, 0.2), batch_size=(8, 16), optimizer=("adam", "sgd"), momentum=(0.0, 0.9),
        own={"CNN": {"lr": (0.1, 0.2, 0.3)}},
    )
    seen = {tuple(settings.items()) for _, settings in drawn(space, 600)}
    assert len(seen) == size(space) == 3 * (2 * 2 + 3 * 2)
