"""Tests of a search's tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.searches import SPEC, opened, run_all
from tune_mnist.searching.figures import search_figures
from tune_mnist.searching.tables import pareto_table, trials_table


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
