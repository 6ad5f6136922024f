"""Tests of what a search starts from: the trainings of other studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState
from rich.console import Console

from support.searches import CONTEXT, LISTS, SPEC, opened, run_all, states
from support.studies import made_study
from tune_mnist.searching.trials import Trials
from tune_mnist.searching.warm_start import add_sources, check_sources
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.study import Study
from tune_mnist.tables.of_study import tables_of


def test_a_warm_start_enters_each_training_once_and_trains_none_again(tmp_path: Path) -> None:
    grid = StudySpec(models=("SimpleNN", "ComplexNN"), lr=(1e-3, 1e-2), batch_size=(16,), epochs=(1, 3))
    source = made_study(tmp_path / "grid", grid, pictures=200)
    for _ in range(2):
        trials = opened(tmp_path, SPEC)
        add_sources(trials, check_sources([source.folder], CONTEXT), Console(quiet=True))
        warm = [trial for trial in trials.all() if trial.state == TrialState.COMPLETE]
        assert len(warm) == 2 and {trial.params["model"] for trial in warm} == {"SimpleNN"}
        assert all(list(trial.intermediate_values) == [1, 2, 3] for trial in warm)
    assert states(trials) == {} and run_all(trials) == 6  # they come on top
    assert len(tables_of(trials.study).results) == 8
    shorter = Trials(Study(tmp_path / "s"), SPEC, CONTEXT)
    listed = replace(LISTS, epochs=3, space=replace(LISTS.space, models=("SimpleNN",), batch_size=(16,)))
    fresh = opened(tmp_path / "other", listed)
    add_sources(fresh, [source], Console(quiet=True))
    assert run_all(fresh) == 0 and fresh.over() and len(shorter.all()) == 8


def test_a_warm_start_from_other_data_is_refused(tmp_path: Path) -> None:
    source = made_study(tmp_path / "grid", StudySpec(models=("SimpleNN",), epochs=(1,)), pictures=100)
    with pytest.raises(UserError, match="protocol holdout"):
        check_sources([source.folder], replace(CONTEXT, protocol="report"))
