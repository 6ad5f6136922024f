"""What of a study is worth a figure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from support.studies import made_records, made_tables
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.analyse import Tables, analyse
from tune_mnist.tables.anova import anovas, weights
from tune_mnist.tables.slices import along, heatmap_of_pair
from tune_mnist.tables.views import pairs_to_show, reports_slices, settings_to_show

MANY = StudySpec(
    models=("SimpleNN",), lr=(1e-3, 1e-2), dropout=(0.0, 0.2, 0.5), rotation=(0.0, 10.0), batch_size=64, epochs=(2, 5),
)


def by_dropout(config: TrainingConfig, epoch: int) -> float:
    """Dropout matters most, then the epochs, then the learning rate; rotation next to nothing."""
    error = 0.04 * (1 + 2 * config.dropout) * (1 + 0.4 / epoch) * (1 + 10 * config.lr)
    return 1 - error * (1 + 0.001 * config.rotation)


def test_the_reports_grid_is_cut_where_the_report_did() -> None:
    slices = reports_slices(made_tables(StudySpec()))
    assert slices is not None
    assert slices.axes == {"lr", "batch_size", "epochs"} and (slices.epochs, slices.middle) == (10, 1e-3)
    assert (slices.by_epochs, slices.by_batch_size) == ([1e-3, 1e-1], [1e-4, 1e-3])


@pytest.mark.parametrize("changes", [
    {"epochs": (5, 20)}, {"lr": (3e-4, 3e-3)}, {"dropout": (0.0, 0.2)}, {"batch_size": 32, "lr": 1e-3, "epochs": 10},
])
def test_a_grid_without_the_reports_cells_is_not_cut_like_it(changes: dict[str, Any]) -> None:
    report = {"models": ("SimpleNN",), "lr": (1e-4, 1e-3), "batch_size": (16, 64), "epochs": (2, 10)}
    assert reports_slices(made_tables(StudySpec(**report))) is not None
    assert reports_slices(made_tables(StudySpec(**report | changes))) is None


def test_the_settings_that_explain_most_come_first_and_the_largest_two_are_the_first_pair() -> None:
    tables = made_tables(MANY, by_dropout)
    assert settings_to_show(tables) == ["dropout", "epochs", "lr", "rotation"]
    (grid,) = anovas(tables)[:1]
    assert list(grid.settings)[:2] == ["dropout", "epochs"]
    assert pairs_to_show(tables)[0] == ("dropout", "epochs")  # the one with more values gives the rows
    assert len(pairs_to_show(tables)) == 3


def test_of_a_grid_with_a_hole_the_same_two_settings_come_first() -> None:
    records = made_records(MANY, by_dropout)[1:]
    tables = analyse(MANY.trainings(), records, "holdout")
    assert not anovas(tables) and list(weights(tables))[:2] == ["dropout", "epochs"]
    assert sum(weights(tables).values()) == pytest.approx(1, abs=0.1)


def drawn(count: int) -> Tables:
    """What a search of so many trials leaves: a learning rate and a batch size each, drawn at random."""
    chance = np.random.default_rng(0)
    specs = [
        StudySpec(models=("SimpleNN",), lr=float(10 ** chance.uniform(-4, -2)), batch_size=int(size), epochs=(3,))
        for size in chance.choice([16, 32, 64], count)
    ]
    plans = [plan for spec in specs for plan in spec.trainings()]
    return analyse(plans, [record for spec in specs for record in made_records(spec)], "holdout")


@pytest.mark.parametrize("count", [8, 40])
def test_of_a_search_there_is_no_heatmap_of_empty_rows(count: int) -> None:
    tables = drawn(count)
    assert settings_to_show(tables) == ["batch_size"] and pairs_to_show(tables) == []


def test_along_a_setting_are_the_best_and_the_quartiles_of_its_cells() -> None:
    summary = made_tables(MANY, by_dropout).summary
    table = along(summary, "dropout")
    assert list(table["value"]) == [0.0, 0.2, 0.5] and set(table["cells"]) == {8}
    for row in table.to_dict("records"):
        means = summary["mean"][summary["dropout"] == row["value"]]
        assert (row["mean"], row["middle"]) == (means.max(), pytest.approx(means.median()))
        assert row["low"] <= row["middle"] <= row["high"] <= row["mean"]


def test_a_pairs_heatmap_has_the_best_cell_of_each_combination() -> None:
    summary = made_tables(MANY, by_dropout).summary
    shown = heatmap_of_pair(summary, "dropout", "epochs")
    (means,) = shown.means.values()
    assert list(means.index) == [0.0, 0.2, 0.5] and list(means.columns) == [2, 5]
    for (dropout, epochs), best in summary.groupby(["dropout", "epochs"])["mean"].max().items():
        assert means.loc[dropout, epochs] == best
    assert not math.isnan(means.to_numpy().sum())
