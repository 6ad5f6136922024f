"""The figures of a study, by name, from its tables."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from matplotlib.figure import Figure

from tune_mnist.figures.accuracy import accuracy_heatmap, accuracy_lines
from tune_mnist.figures.diagnostics import cost_figure, training_curves
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.slices import best_curves, costs, nearest
from tune_mnist.tables.text import NAMES


def figures_of(tables: Tables) -> Iterator[tuple[str, Figure]]:
    """The figures that tell of all cells, by name.

    A figure along an axis of which the study has one value is left out, and so are all of them as long as no cell is
    complete.
    """
    summary, protocol = tables.summary, tables.protocol
    reached = summary[summary["n"] > 0]
    if reached.empty:
        return
    # The report's slices, or where the study has not these values the nearest.
    epochs = nearest(reached["epochs"], 10)
    low, middle, high = (nearest(reached["lr"], lr) for lr in (1e-4, 1e-3, 1e-1))
    # A search draws its settings: where most combinations of their values are missing there is nothing to slice.
    combinations = math.prod(summary[name].nunique() for name in ("model", *NAMES))
    several = {name for name in NAMES if summary[name].nunique() > 1 and 2 * len(summary) > combinations}
    lines = functools.partial(accuracy_lines, summary, protocol)
    if "lr" in several:
        yield "accuracy_by_lr", lines(x="lr", line="batch_size", row="epochs", row_values=[epochs])
    if "epochs" in several:
        lrs = sorted({middle, high})
        yield "accuracy_by_epochs", lines(x="epochs", line="batch_size", row="lr", row_values=lrs)
    if "batch_size" in several:
        lrs = sorted({low, middle})
        yield "accuracy_by_batch_size", lines(x="batch_size", line="epochs", row="lr", row_values=lrs)
    if {"lr", "batch_size"} <= several:
        yield "heatmap_lr_batch_size", accuracy_heatmap(summary, protocol, "lr", epochs)
    if {"epochs", "batch_size"} <= several:
        yield "heatmap_epochs_batch_size", accuracy_heatmap(summary, protocol, "epochs", middle)
    curves = best_curves(tables)
    if curves["epoch"].nunique() > 1:
        yield "training_curves", training_curves(curves, protocol)
    costs_of_cells = costs(tables)
    if len(costs_of_cells) > 1:
        yield "cost", cost_figure(costs_of_cells, protocol)
