"""The figures of a study, by name, from its tables."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from matplotlib.figure import Figure

from tune_mnist.figures.accuracy import accuracy_by_setting, accuracy_heatmap, accuracy_lines, pair_heatmap
from tune_mnist.figures.diagnostics import cost_figure, training_curves
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.slices import best_curves, costs
from tune_mnist.tables.views import ReportsSlices, pairs_to_show, reports_slices, settings_to_show


def figures_of(tables: Tables) -> Iterator[tuple[str, Figure]]:
    """The figures that tell of all cells, by name: the report's own, where the study holds their cells, or any
    settings'.

    None as long as no cell is complete.
    """
    summary, protocol = tables.summary, tables.protocol
    if not (summary["n"] > 0).any():
        return
    slices = reports_slices(tables)
    if slices is not None:
        yield from _reports_figures(tables, slices)
    elif settings := settings_to_show(tables):
        yield "accuracy_by_setting", accuracy_by_setting(summary, protocol, settings)
        for rows, columns in pairs_to_show(tables):
            yield f"heatmap_{rows}_{columns}", pair_heatmap(summary, protocol, rows, columns)
    curves = best_curves(tables)
    if curves["epoch"].nunique() > 1:
        yield "training_curves", training_curves(curves, protocol)
    costs_of_cells = costs(tables)
    if len(costs_of_cells) > 1:
        yield "cost", cost_figure(costs_of_cells, protocol, tables.name_of)


def _reports_figures(tables: Tables, slices: ReportsSlices) -> Iterator[tuple[str, Figure]]:
    """The report's figures; one along an axis of which the study has one value is left out."""
    lines = functools.partial(accuracy_lines, tables.summary, tables.protocol)
    heatmap = functools.partial(accuracy_heatmap, tables.summary, tables.protocol)
    epochs, middle = slices.epochs, slices.middle
    if "lr" in slices.axes:
        yield "accuracy_by_lr", lines(x="lr", line="batch_size", row="epochs", row_values=[epochs])
    if "epochs" in slices.axes:
        yield "accuracy_by_epochs", lines(x="epochs", line="batch_size", row="lr", row_values=slices.by_epochs)
    if "batch_size" in slices.axes:
        yield "accuracy_by_batch_size", lines(x="batch_size", line="epochs", row="lr", row_values=slices.by_batch_size)
    if {"lr", "batch_size"} <= slices.axes:
        yield "heatmap_lr_batch_size", heatmap("lr", epochs)
    if {"epochs", "batch_size"} <= slices.axes:
        yield "heatmap_epochs_batch_size", heatmap("epochs", middle)
