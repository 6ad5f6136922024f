"""Tests of a search's space and spec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from support.searches import SPACE, SPEC
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import read_search
from tune_mnist.spec.space import Range, Space, domain_of_words, space_of, words_of_domain
from tune_mnist.spec.training import TrainingConfig

ROOT = Path(__file__).parents[2]


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
        assert found is not None and found[0] == trial.params and found[1] == trial.distributions
    plain: dict[str, Any] = {"model": "SimpleNN", "lr": 1e-3, "batch_size": 16}
    others: list[dict[str, Any]] = [
        {"lr": 1.0}, {"batch_size": 64}, {"model": "CNN"}, {"seed": 1}, {"ema_decay": 0.5}, {"dropout": 0.6}
    ]
    for other in others:
        assert space.params_of(TrainingConfig(**(plain | other))) is None, other


@pytest.mark.parametrize(("toml", "told"), [
    ("[space]\nlr = {grid_search = [1e-3, 1e-2]}", "has no grid_search"),
    ("[space]\nlr = {low = 1e-1, high = 1e-4}", "low <= high"),
    ("[space]\nlr = {low = 1e-4}", "lr has a low and a high"),
    ("[space]\nlearning_rate = 1e-4", "each parameter of a space is known"),
    ("lr = [1e-4]", "move it under"),
    ("sampler = 'best'", "`sampler`"),
    ("objectives = ['loss']", "an objective is one of"),
    ("[space]\nbatch_size = {low = 16, high = 32}", "batch_size is a list of values"),
])
def test_bad_toml_is_told(toml: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(toml)
    with pytest.raises(UserError, match=told):
        read_search(tmp_path / "s.toml")


def test_the_example_is_a_search_and_toml_reads_like_flags() -> None:
    spec = read_search(ROOT / "experiments" / "search.toml")
    assert spec.space.lr == Range(1e-4, 1e-1) and spec.stopping == "asha" and spec.goals == ("val_accuracy",)
    assert space_of({"lr": 1e-3, "dropout": [0.0, 0.5]}, "x") == Space(lr=(1e-3,), dropout=(0.0, 0.5))
