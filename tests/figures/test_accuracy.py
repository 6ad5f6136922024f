"""The figures of accuracy: what they draw is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from support.figures import SPEC, caption, made, raw_caption
from tune_mnist.figures.accuracy import accuracy_heatmap, accuracy_lines


def lines_by_lr(summary: pd.DataFrame) -> Figure:
    return accuracy_lines(summary, "holdout", x="lr", line="batch_size", row="epochs", row_values=[10])


def by_lr_and_batch_size(summary: pd.DataFrame, model: str) -> pd.DataFrame:
    cells = summary[(summary["model"] == model) & (summary["epochs"] == 10)]
    return cells.pivot(index="lr", columns="batch_size", values="mean")


def test_lines_are_the_summary_s_means_on_a_scale_with_chance_at_its_foot() -> None:
    summary = made(SPEC).summary
    figure = lines_by_lr(summary)
    for model, axes in zip(SPEC.models, figure.axes, strict=True):
        table = by_lr_and_batch_size(summary, model)
        for drawn, batch_size in zip(axes.containers, SPEC.batch_size, strict=True):
            np.testing.assert_array_equal(drawn[0].get_ydata(), table[batch_size])
        low, high = (axes.transData.transform((0, y))[1] for y in (0.1, 0.97))
        bottom, top = (axes.transAxes.transform((0, y))[1] for y in (0, 1))
        assert bottom < low < bottom + 0.2 * (top - bottom) < high < top
    assert "95% interval" in caption(figure) and "axis compressed" in caption(figure)


@pytest.mark.parametrize("std", [0.0, 0.25])
def test_no_accuracy_under_0_is_on_the_scale_however_much_seeds_differ(std: float) -> None:
    summary = made(SPEC).summary
    figure = lines_by_lr(summary.assign(std=np.where(summary["lr"] == 0.1, std, summary["std"])))
    ticks = figure.axes[0].get_yticks()
    assert ticks.min() == (0 if std else 0.1) and ticks.max() <= 1


def test_heatmap_cells_are_the_summary_s_means_in_one_scale_for_all_panels() -> None:
    summary = made(SPEC).summary
    figure = accuracy_heatmap(summary, "holdout", "lr", 10)
    limits = set()
    for model, axes in zip(SPEC.models, figure.axes, strict=False):
        (mesh,) = (drawn for drawn in axes.collections if isinstance(drawn, QuadMesh))
        table = by_lr_and_batch_size(summary, model)
        np.testing.assert_array_equal(np.asarray(mesh.get_array()), table)
        assert [text.get_text() for text in axes.texts] == [f"{100 * mean:.2f}" for mean in table.to_numpy().ravel()]
        limits.add(mesh.get_clim())
    ((low, high),) = limits
    assert 0.9 < low < high < 1


def test_heatmap_says_which_cells_diverged_and_which_are_missing() -> None:
    diverged = accuracy_heatmap(made(SPEC, "diverged").summary, "holdout", "lr", 10)
    assert [text.get_text() for text in diverged.axes[0].texts].count("div.") == 2
    assert "div.:\N{NO-BREAK SPACE}diverged" in raw_caption(diverged)
    missing = accuracy_heatmap(made(SPEC, only_lr=1e-3).summary, "holdout", "lr", 10)
    assert [text.get_text() for text in missing.axes[0].texts].count("–") == 4


def test_a_seed_s_divergence_hides_the_cell_s_mean() -> None:
    summary = made(SPEC).summary.assign(status="diverged")
    figure = lines_by_lr(summary)
    assert np.isnan(figure.axes[0].containers[0][0].get_ydata()).all()


def test_captions_say_on_what_accuracy_was_measured() -> None:
    summary = made(SPEC).summary
    chosen = summary.rename(columns={"val_loss": "test_loss"})
    assert "on the validation split" in caption(accuracy_heatmap(summary, "holdout", "lr", 10))
    assert "on which the choice was made too" in caption(accuracy_heatmap(chosen, "report", "lr", 10))
