"""Heatmaps, series, curves and costs as figures and pages show them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from support.studies import made_tables
from tune_mnist.spec.study import StudySpec
from tune_mnist.tables.slices import best_curves, costs, floor, fully_connected_and_cnn, heatmap, nearest, series

SPEC = StudySpec(models=("SimpleNN", "ComplexNN"), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2, 4), seeds=2)


def test_heatmaps_have_the_summary_s_values_in_ascending_order() -> None:
    summary = made_tables(SPEC).summary
    by_lr, by_epochs = heatmap(summary, "lr", 4), heatmap(summary, "epochs", 1e-3)
    assert list(by_lr.means) == list(by_epochs.means) == ["SimpleNN", "ComplexNN"]
    lr_table, epochs_table = by_lr.means["ComplexNN"], by_epochs.means["ComplexNN"]
    assert (list(lr_table.index), list(lr_table.columns)) == ([1e-4, 1e-3], [16, 64])
    assert (list(epochs_table.index), list(epochs_table.columns)) == ([2, 4], [16, 64])
    cells = summary.set_index(["model", "lr", "batch_size", "epochs"])["mean"]
    assert lr_table.loc[1e-3, 64] == cells["ComplexNN", 1e-3, 64, 4]
    assert epochs_table.loc[2, 16] == cells["ComplexNN", 1e-3, 16, 2]
    assert set(by_lr.statuses["ComplexNN"].to_numpy().ravel()) == {"complete"}
    assert by_lr.texts("ComplexNN").loc[1e-3, 64] == f"{100 * cells['ComplexNN', 1e-3, 64, 4]:.2f}"
    assert sorted(by_lr.accuracies) == sorted(cells.xs(4, level="epochs"))


def test_a_heatmap_s_cell_without_a_result_says_why() -> None:
    summary = made_tables(replace(SPEC, models=("SimpleNN",))).summary
    at_16 = summary["batch_size"] == 16
    summary.loc[at_16, "status"] = "diverged"
    summary.loc[~at_16, ["status", "mean"]] = ["missing", np.nan]
    shown = heatmap(summary, "lr", 4)
    assert shown.accuracies.isna().all()
    assert shown.texts("SimpleNN").to_numpy().tolist() == [["div.", "–"]] * 2


def test_series_have_the_summary_s_values_by_model_line_and_x() -> None:
    summary = made_tables(SPEC).summary
    table = series(summary, "lr", "batch_size", epochs=4)
    keys = itertools.product(SPEC.models, SPEC.batch_size, SPEC.lr)
    assert list(table[["model", "batch_size", "lr"]].itertuples(index=False, name=None)) == list(keys)
    assert table["mean"].iloc[1] == heatmap(summary, "lr", 4).means["SimpleNN"].loc[1e-3, 16]


@pytest.mark.parametrize(("values", "expected"), [((2, 5, 10, 15), 10), ((5, 20), 20), ((1, 3), 3), ((40, 2), 40)])
def test_nearest_is_by_ratio_and_the_larger_of_a_tie(values: tuple[int, ...], expected: int) -> None:
    assert nearest(values, 10) == expected


def test_best_curves_stop_at_the_best_cell_s_budget() -> None:
    spec = StudySpec(models=("SimpleNN",), lr=(1e-3, 0.1), batch_size=(16,), epochs=(2, 3))
    accuracies = {1e-3: [0.1, 0.9, 0.5], 0.1: [0.1, 0.1, 0.1]}
    tables = made_tables(
        spec, lambda config, epoch: accuracies[config.lr][epoch - 1], lambda config, epoch: 0.5 / epoch
    )
    curves = best_curves(tables)
    assert curves[["split", "epoch"]].values.tolist() == [
        ["training", 1], ["training", 2], ["validation", 1], ["validation", 2],
    ]
    assert list(curves["loss"]) == pytest.approx([0.5, 0.25, 1.8, 0.2])
    assert set(curves["lr"]) == {1e-3}


def test_costs_are_the_seconds_to_a_cell_s_epochs() -> None:
    table = costs(made_tables(SPEC, seconds=3.0))
    assert len(table) == 16
    np.testing.assert_allclose(table["seconds"], table["epochs"] * 16 * 3 / table["batch_size"])


def test_the_cnn_stands_beside_the_fully_connected_best_though_of_another_study() -> None:
    tables = made_tables(SPEC)
    cnn = made_tables(replace(SPEC, models=("CNN",)))
    assert fully_connected_and_cnn(tables) is None
    curves = fully_connected_and_cnn(tables, [cnn])
    assert isinstance(curves, pd.DataFrame)
    assert list(curves["model"].unique()) == [tables.top3["model"].iloc[0], "CNN"]
    assert set(curves["split"]) == {"training"} and set(curves["seed"]) == {0, 1}
    of_the_report = made_tables(replace(SPEC, models=("CNN",), protocol="report"))
    for others, protocol in (([of_the_report], "report"), ([of_the_report, cnn], "holdout")):
        beside = fully_connected_and_cnn(tables, others)
        assert beside is not None and list(beside["protocol"].unique())[-1] == protocol


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.97, 0.98, 0.975, 0.1, 0.11, 0.09], 0.97),  # chance would crush the rest
        ([0.97, 0.98, 0.96, 0.95], 0.95),  # nothing to leave out
        ([0.9800, 0.9790, 0.9785, 0.9795, 0.9792, 0.9788, 0.85], 0.9785),  # one outlier above 80%
        ([0.1, 0.11, 0.09], 0.09),  # nothing learnt at all
        ([0.98, 0.98, 0.1], 0.1),  # no range to resolve above the outlier
        ([0.5], 0.5),
    ],
)
def test_floor(accuracies: list[float], expected: float) -> None:
    assert floor(pd.Series(accuracies)) == expected
