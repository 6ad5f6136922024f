"""Tests of a search's figures: which there are, and of which data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
from optuna.trial import TrialState

from support.searches import SPEC, opened, run_all
from tune_mnist.searching.figures import of_one_goal, search_figures


def test_each_goals_figures_are_those_of_a_study_of_it_alone(tmp_path: Path) -> None:
    trials = opened(tmp_path, replace(SPEC, objectives=("val_accuracy,train_seconds",), trials=4))
    run_all(trials)
    assert trials.next() is None
    trials.optuna.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    for number, direction in enumerate(["MAXIMIZE", "MINIMIZE"]):
        alone = of_one_goal(trials, number)
        assert alone.direction.name == direction and len(alone.trials) == 5
        for trial, whole in zip(alone.trials, trials.all(), strict=True):
            assert (trial.number, trial.state, trial.params) == (whole.number, whole.state, whole.params)
            assert trial.values == (whole.values and [whole.values[number]])
    assert all(len(trial.values) == 2 for trial in trials.all()[:4])


def test_a_search_has_the_figures_that_optuna_has(tmp_path: Path) -> None:
    trials = opened(tmp_path, replace(SPEC, trials=8))
    run_all(trials)
    drawn = search_figures(trials)
    assert drawn.keys() == {
        "history", "edf", "slice", "parallel_coordinate", "contour", "importances", "intermediate_values"
    }
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
