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
