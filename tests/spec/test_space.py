"""Tests of a search's space: domains in words, what is drawn from them, and what they contain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest

from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range, Space, domain_of_words, words_of_domain
from tune_mnist.spec.training import TrainingConfig

SPACE = Space(models=("SimpleNN", "MediumNN"), lr=Range(1e-4, 1e-1), batch_size=(16, 32))
SPEC = SearchSpec(space=SPACE, epochs=3)


@pytest.mark.parametrize("words", [["1e-4:0.1"], ["0.001", "0.01"], ["SimpleNN", "CNN"], ["16"]])
def test_a_domain_survives_its_words(words: list[str]) -> None:
    domain = domain_of_words(words)
    assert domain_of_words(words_of_domain(domain)) == domain


def test_the_cnn_has_its_own_options_and_the_others_have_not() -> None:
    space = Space(models=("SimpleNN", "CNN"), cnn_lr=Range(1e-3, 2e-3), cnn_precision=("fp32", "bf16"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        trial = study.ask()
        drawn: dict[str, Any] = space.suggest(trial)
        TrainingConfig(**drawn)
        if drawn["model"] == "CNN":
            assert {"cnn_lr", "cnn_precision"} <= trial.params.keys() and 1e-3 <= drawn["lr"] <= 2e-3
        else:
            assert not any(name.startswith("cnn_") for name in trial.params) and "precision" not in drawn


def test_lr_is_drawn_log_uniformly() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [Space().suggest(study.ask())["lr"] for _ in range(300)]
    assert abs(np.mean(np.log10(drawn)) + 2.5) < 0.2


def test_a_spaces_trainings_are_known_again_and_others_are_not() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    space = replace(SPACE, dropout=Range(0.0, 0.5))
    for _ in range(10):
        trial = study.ask()
        config = replace(SPEC, space=space).planned(space.suggest(trial)).config
        found = space.params_of(config)
        assert found is not None and found.params == trial.params and found.distributions == trial.distributions
    plain: dict[str, Any] = {"model": "SimpleNN", "lr": 1e-3, "batch_size": 16}
    others: list[dict[str, Any]] = [
        {"lr": 1.0}, {"batch_size": 64}, {"model": "CNN"}, {"seed": 1}, {"ema_decay": 0.5}, {"dropout": 0.6}
    ]
    for other in others:
        assert space.params_of(TrainingConfig(**(plain | other))) is None, other


def test_a_model_s_parameters_are_its_settings_and_the_cnn_s_own_replace_the_others() -> None:
    space = Space(models=("SimpleNN", "CNN"), cnn_lr=(0.5,), cnn_batch_size=(8, 16), cnn_precision=("bf16",))
    plain, cnn = space.parameters("SimpleNN"), space.parameters("CNN")
    assert next(iter(plain)) == next(iter(cnn)) == "model" and cnn.keys() - plain.keys() == {"precision"}
    assert {setting for setting in plain if plain[setting] != cnn[setting]} == {"lr", "batch_size"}
    assert {parameter.name for parameter in cnn.values()} - {parameter.name for parameter in plain.values()} == {
        "cnn_lr", "cnn_batch_size", "cnn_precision"
    }
    assert space.fixed().items() >= {"cnn_lr": 0.5, "cnn_precision": "bf16", "dropout": 0.0}.items()
    assert space.distributions().keys() == {"model", "lr", "batch_size", "cnn_batch_size"} and space.ranges() == ["lr"]


def test_a_space_has_as_many_trainings_as_can_be_drawn() -> None:
    space = Space(models=("SimpleNN", "CNN"), lr=(0.1, 0.2), batch_size=(8, 16), cnn_lr=(0.1, 0.2, 0.3))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {tuple(space.suggest(study.ask()).items()) for _ in range(300)}
    assert len(drawn) == space.size() == 2 * 2 + 3 * 2
