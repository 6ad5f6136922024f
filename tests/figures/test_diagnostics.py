"""The figures that explain a result: what they draw is what the tables say."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from support.figures import SPEC, caption, made
from support.studies import made_tables
from tune_mnist.figures.diagnostics import (
    confusion_matrix,
    cost_figure,
    frontier,
    reliability,
    training_curves,
)
from tune_mnist.tables.slices import best_curves, costs
from tune_mnist.tables.statistics.calibration import calibration


def test_curves_are_the_losses_of_the_best_cells() -> None:
    curves = best_curves(made(SPEC))
    figure = training_curves(curves, "holdout")
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == list(SPEC.models)
    line = figure.axes[0].get_lines()[0]
    expected = curves[(curves["model"] == "SimpleNN") & (curves["split"] == "training")].groupby("epoch")["loss"].mean()
    np.testing.assert_allclose(np.asarray(line.get_ydata()), expected.to_numpy())
    assert "range of 2 seeds" in caption(figure)
    fewer = curves[(curves["model"] == "SimpleNN") | (curves["seed"] == 0)]
    assert "mean and range of 2 (SimpleNN) and 1 (MediumNN) seeds" in caption(training_curves(fewer, "holdout"))


def test_the_frontier_s_cells_are_more_accurate_than_every_cheaper_one() -> None:
    table = costs(made_tables(SPEC, seconds=3.0))
    front = frontier(table)
    assert front["seconds"].is_monotonic_increasing and front["mean"].is_monotonic_increasing
    for _, cell in front.iterrows():
        assert (table["mean"][table["seconds"] < cell["seconds"]] < cell["mean"]).all()


def test_a_confusion_matrix_writes_every_count_that_is_not_a_lack_of_mistakes() -> None:
    confusion = np.diag(np.arange(90, 100))
    confusion[3, 5] = 7
    figure = confusion_matrix(confusion, "Confusion matrix")
    texts = np.array([text.get_text() for text in figure.axes[0].texts]).reshape(10, 10)
    assert texts.diagonal().tolist() == [str(count) for count in range(90, 100)]
    assert texts[3, 5] == "7" and (texts != "").sum() == 11
    assert "945 of 952 right" in caption(figure)


def test_reliability_draws_the_bins_and_tells_the_error() -> None:
    shown = calibration(np.repeat([0.9, 0.6], 100), np.arange(200) % 10 < 7)
    figure = reliability(shown, "Reliability")
    shares, counts = figure.axes
    np.testing.assert_allclose(np.asarray(shares.get_lines()[1].get_xydata()), [[0.6, 0.7], [0.9, 0.7]])
    assert [bar.get_height() for bar in counts.patches] == [100, 100]  # type: ignore[attr-defined]
    assert "200 predictions; expected calibration error 15.00 points, 15 bins" in caption(figure)


@pytest.mark.parametrize("seconds", [(3.0, 3.3, 4.1), (2.0, 40.0, 900.0), (2.0, 2.1, 900.0)])
@pytest.mark.parametrize("letters", [20, 200])
def test_the_best_cell_s_name_stays_inside_and_ticks_apart_whatever_the_times(
    seconds: tuple[float, ...], letters: int
) -> None:
    table = pd.DataFrame({"model": "MLP", "seconds": seconds, "mean": [0.95, 0.98, 0.96]})
    figure = cost_figure(table, "holdout", lambda cell: ("abcdefghi " * 20)[:letters])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    panel, renderer = figure.axes[0], canvas.get_renderer()  # type: ignore[no-untyped-call]
    named = panel.texts[0].get_window_extent(renderer)
    assert figure.bbox.x0 <= named.x0 and named.x1 <= figure.bbox.x1
    low, high = panel.get_xlim()
    labels = [
        tick.label1.get_window_extent(renderer) for tick in panel.xaxis.get_major_ticks()
        if low <= tick.get_loc() <= high
    ]
    assert len(labels) >= 2 and all(left.x1 < right.x0 for left, right in itertools.pairwise(labels))
    assert not any(label.get_text() for label in panel.xaxis.get_ticklabels(minor=True))


@pytest.mark.parametrize("letters", [20, 59, 300])
def test_a_long_title_takes_further_lines_and_stands_above_its_notes(letters: int) -> None:
    title = ("Confusion matrix: MLP, lr 0.001, batch 64, optimizer adam, 5 epochs, " * 5)[:letters].strip()
    figure = confusion_matrix(np.eye(10, dtype=int), title)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    extents = [text.get_window_extent(canvas.get_renderer()) for text in figure.texts]  # type: ignore[no-untyped-call]
    assert figure.texts[0].get_text().replace("\n", " ") == title
    assert ("\n" in figure.texts[0].get_text()) == (letters > 60)
    assert all(figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1 for extent in extents)
    panel = figure.axes[0].get_window_extent(canvas.get_renderer())  # type: ignore[no-untyped-call]
    assert extents[0].y0 >= extents[1].y1 and extents[1].y0 >= panel.y1
