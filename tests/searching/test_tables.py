"""Tests of a search's tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna

from support.searches import SPEC, opened, run_all, train
from tune_mnist.searching.figures import search_figures
from tune_mnist.searching.tables import pareto_table, trials_table
from tune_mnist.tables.of_study import tables_of


def test_a_trial_that_was_stopped_early_has_one_name_and_its_last_accuracy(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    first = trials.next()
    assert first is not None
    train(trials, first, 2)
    trials.end(first)
    run_all(trials)
    seen = trials.study.training(first.key).progress().rows[-1]["val_accuracy"]
    row = trials_table(trials).iloc[0]
    assert (row["state"], row["val_accuracy"], row["epochs"]) == ("stopped early", seen, 2)
    assert "1 stopped early" in trials.progress()
    for over in (False, True):
        trials.study.record_search("the command", over=over)
        results = tables_of(trials.study).results.set_index("status")
        assert ("stopped early" in results.index) == over and ("unfinished" in results.index) != over
    tables = tables_of(trials.study)
    assert results.loc["stopped early", "val_accuracy"] == seen
    last = tables.summary.iloc[-1]
    assert (last["status"], last["mean"], last["n"]) == ("stopped early", seen, 0)
    assert len(tables.complete) == 5 and "stopped early" not in set(tables.top3.get("status", []))


def test_the_objectives_have_their_names_in_the_storage(tmp_path: Path) -> None:
    trials = opened(tmp_path, replace(SPEC, objectives=("val_accuracy", "parameters")))
    stored = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 's' / 'optuna.db'}")
    assert stored.metric_names == list(trials.spec.goals) == ["val_accuracy", "parameters"]


def test_several_objectives_have_a_front_that_none_beats(tmp_path: Path) -> None:
    spec = replace(SPEC, objectives=("val_accuracy,train_seconds", "parameters"), trials=10)
    assert spec.goals == ("val_accuracy", "train_seconds", "parameters") and spec.stopping == "none"
    trials = opened(tmp_path, spec)
    run_all(trials)
    table = trials_table(trials)
    front = pareto_table(trials, table)
    values = table[list(spec.goals)].to_numpy() * [-1, 1, 1]
    beaten = [any((other <= row).all() and (other < row).any() for other in values) for row in values]
    assert set(front["number"]) == {n for n, lost in zip(table["number"], beaten, strict=True) if not lost}
    assert set(table["parameters"]) == {784 * 128 + 128 + 1290, 784 * 256 + 256 + 256 * 128 + 128 + 1290}
    names = search_figures(trials).keys()
    assert {"pareto_front", "history_val_accuracy", "importances_train_seconds"} <= names


def test_the_parameters_are_those_of_a_network_for_the_datas_classes(tmp_path: Path) -> None:
    trials = opened(tmp_path, replace(SPEC, objectives=("val_accuracy", "parameters")), classes=26)
    run_all(trials)
    counts = {784 * 128 + 128 + 129 * 26, 784 * 256 + 256 + 256 * 128 + 128 + 129 * 26}
    assert {*trials_table(trials)["parameters"]} <= counts
