"""The figures of a search: nothing of them is crushed by trials at chance, and no ticks lie over each other."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from support.figures import caption
from tune_mnist.figures import search as draw
from tune_mnist.figures.scales import Goal, Scale

ACCURACY = Goal("val_accuracy", maximize=True)
SCALES = [
    Scale("lr", log=True), Scale("dropout"), Scale("batch_size", choices=(16, 32, 64, 128)),
    Scale("model", choices=("SimpleNN", "MediumNN", "ComplexNN")),
]


@pytest.fixture
def trials() -> pd.DataFrame:
    """Forty trials, of which five complete ones are at chance and ten were stopped early."""
    chance = np.random.default_rng(0)
    n = 40
    table = pd.DataFrame({
        "number": range(n), "lr": 10 ** chance.uniform(-4, -1, n), "dropout": chance.uniform(0, 0.5, n),
        "batch_size": chance.choice([16, 32, 64, 128], n),
        "model": chance.choice(["SimpleNN", "MediumNN", "ComplexNN"], n),
    })
    table["value"] = 0.98 - 0.01 * (np.log10(table["lr"]) + 3) ** 2 - 0.02 * table["dropout"]
    table.loc[:4, "value"] = 0.1
    table["state"] = ["complete"] * 30 + ["stopped early"] * 10
    return table


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def points(line: Line2D) -> np.ndarray:
    """A line's points, float (n, 2)."""
    return np.asarray(line.get_xydata())


def no_ticks_overlap(panel: Axes) -> None:
    for axis in (panel.xaxis, panel.yaxis):
        boxes = [
            label.get_window_extent() for label in axis.get_ticklabels() if label.get_text() and label.get_visible()
        ]
        if any(label.get_rotation() for label in axis.get_ticklabels()):
            continue  # aslant: their boxes overlap, they do not
        for one, other in itertools.pairwise(boxes):
            assert not one.overlaps(other)


def test_chance_does_not_crush_the_scale_and_is_told(trials: pd.DataFrame) -> None:
    best = trials["value"].max()
    for figure in (draw.history(trials, ACCURACY), draw.slices(trials, SCALES, ACCURACY)):
        low, high = figure.axes[0].get_ylim()
        assert 0.85 < low < best < high < 1
        assert "5 trials under 9" in caption(figure)
    low, high = draw.distribution(trials, ACCURACY).axes[0].get_xlim()
    assert 0.85 < low < best < high
    losses = trials.assign(value=1 - trials["value"])
    low, high = draw.history(losses, Goal("val_loss", maximize=False)).axes[0].get_ylim()
    assert low < 1 - best < high < 0.15


def test_the_best_so_far_is_the_running_maximum_of_complete_trials(trials: pd.DataFrame) -> None:
    panel = draw.history(trials, ACCURACY).axes[0]
    line = next(line for line in panel.get_lines() if line.get_label() == "best so far")
    complete = trials[trials["state"] == "complete"]
    np.testing.assert_array_equal(np.asarray(line.get_ydata()), complete["value"].cummax())
    labels = {line.get_label() for line in panel.get_lines()}
    assert {"complete", "stopped early", "best so far"} <= labels


def test_courses_end_where_trials_were_stopped(trials: pd.DataFrame) -> None:
    courses = {
        number: {epoch: value - 0.03 / epoch for epoch in range(1, 3 if state == "stopped early" else 7)}
        for number, value, state in trials[["number", "value", "state"]].itertuples(index=False)
    }
    panel = draw.courses(trials, courses, ACCURACY).axes[0]
    lines = [line for line in panel.get_lines() if len(points(line)) > 1]
    assert sorted(len(points(line)) for line in lines) == [2] * 10 + [6] * 30
    ends = [points(line)[0] for line in panel.get_lines() if line.get_marker() == "x"]
    assert len(ends) == 10 and {x for x, _ in ends} == {2}
    assert panel.get_ylim()[0] > 0.8


def test_no_ticks_lie_over_each_other(trials: pd.DataFrame) -> None:
    for figure in (
        draw.history(trials, ACCURACY), draw.slices(trials, SCALES, ACCURACY), draw.parallel(trials, SCALES, ACCURACY),
        draw.pairs(trials, SCALES, ACCURACY), draw.importances({"lr": 0.7, "weight_decay": 0.3}, ACCURACY),
    ):
        for panel in drawn(figure).axes:
            no_ticks_overlap(panel)


def test_parallel_lines_pass_their_axes_where_the_values_are(trials: pd.DataFrame) -> None:
    panel = draw.parallel(trials, SCALES, ACCURACY).axes[0]
    lines = [np.asarray(line.get_ydata()) for line in panel.get_lines() if len(points(line)) == len(SCALES) + 1]
    complete = trials[trials["state"] == "complete"].sort_values("value")
    assert len(lines) == len(complete) and all((line >= 0).all() and (line <= 1).all() for line in lines)
    heights = [line[2] for line in lines]
    assert heights == [[16, 32, 64, 128].index(size) / 3 for size in complete["batch_size"]]


def test_a_plane_is_interpolated_only_where_points_span_one() -> None:
    one_line = pd.DataFrame({
        "number": range(6), "dropout": np.linspace(0, 0.5, 6), "rotation": np.linspace(0, 10, 6), "state": "complete",
        "value": np.linspace(0.9, 0.98, 6),
    })
    assert draw.pairs(one_line, [Scale("dropout"), Scale("rotation")], ACCURACY).axes


def test_a_front_stands_out_in_every_pair_of_objectives() -> None:
    goals = [ACCURACY, Goal("train_seconds", maximize=False), Goal("parameters", maximize=False)]
    table = pd.DataFrame({
        "number": [0, 1, 2], "val_accuracy": [0.97, 0.98, 0.96], "train_seconds": [1.0, 40.0, 2.0],
        "parameters": [1e5, 1e6, 2e5],
    })
    figure = draw.pareto(table, [0, 1], goals)
    assert len(figure.axes) == 3
    for panel in figure.axes:
        best = next(line for line in panel.get_lines() if line.get_label() == "beaten by no other")
        assert len(points(best)) == 2


def test_ticks_of_a_logarithmic_scale_are_a_few_round_numbers() -> None:
    for low, high in itertools.combinations((-4.0, -3.3, -3.1, -1.0), 2):
        figure = Figure()
        panel = figure.subplots()
        Scale("lr", log=True).set_ticks(panel.xaxis, np.array([low, high]))
        texts = [label.get_text() for label in panel.get_xticklabels()]
        assert 2 <= len(texts) <= 6
        assert all(low - 0.01 <= math.log10(float(text)) <= high + 0.01 for text in texts)
