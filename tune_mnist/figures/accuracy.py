"""Tables to figures: accuracy along each axis and heatmaps over two; a panel per model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tune_mnist.figures.canvas import caption, legend, make_panels, models_in, percent, styled
from tune_mnist.figures.diagnostics import cost_figure, training_curves
from tune_mnist.spec.training import Protocol
from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.slices import best_curves, costs, epochs_by_batch, floor, lr_by_batch, nearest, series

NAMES = {"lr": "learning rate", "batch_size": "batch size", "epochs": "number of epochs"}
MARKERS = "osD^vPX*"
COMPRESSED = 0.18  # share of an axis's height that the values below its floor get


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
    if "lr" in several:
        yield "accuracy_by_lr", accuracy_lines(summary, protocol, "lr", "batch_size", "epochs", [epochs])
    if "epochs" in several:
        lrs = sorted({middle, high})
        yield "accuracy_by_epochs", accuracy_lines(summary, protocol, "epochs", "batch_size", "lr", lrs)
    if "batch_size" in several:
        lrs = sorted({low, middle})
        yield "accuracy_by_batch_size", accuracy_lines(summary, protocol, "batch_size", "epochs", "lr", lrs)
    if {"lr", "batch_size"} <= several:
        yield "heatmap_lr_batch_size", accuracy_heatmap(summary, protocol, "lr", epochs)
    if {"epochs", "batch_size"} <= several:
        yield "heatmap_epochs_batch_size", accuracy_heatmap(summary, protocol, "epochs", middle)
    curves = best_curves(tables)
    if curves["epoch"].nunique() > 1:
        yield "training_curves", training_curves(curves, protocol)
    priced = costs(tables)
    if len(priced) > 1:
        yield "cost", cost_figure(priced, protocol)


@styled()
def accuracy_lines(
    summary: pd.DataFrame, protocol: Protocol, x: str, line: str, row: str, row_values: Sequence[Any]
) -> Figure:
    """Accuracy against `x`: a panel per model, a line per value of `line`, a row of panels per value of `row`.

    `x`, `line` and `row` are lr, batch_size and epochs in some order. Bars are 95% intervals.
    """
    models = models_in(summary)
    crowded = len(models) * sum(len(f"{value:g}") + 2 for value in summary[x].unique()) > 90
    figure, axes = make_panels(len(row_values), len(models), 2.3 if crowded else 2.0)
    notes = [_seeds(summary), _bars(summary)]
    for value, panels in zip(row_values, axes, strict=True):
        table = series(summary, x, line, **{row: value})
        if _scale_accuracy(panels, table):
            notes.append("grey: axis compressed")
        if (table["status"] == "diverged").any():
            notes.append("×: diverged")
        for model, panel in zip(models, panels, strict=True):
            _draw_lines(panel, table[table["model"] == model], x, line, sorted(summary[line].unique()))
            panel.set_title(f"{model}, {_named(row, value)}" if len(row_values) > 1 else model)
        panels[0].set_ylabel(f"{split_name(protocol)} accuracy")
    for panel in axes[-1]:
        panel.set_xlabel(NAMES[x])
    for panel in axes.flat:
        panel.tick_params(axis="x", rotation=45 if crowded else 0)
    legend(figure, axes[0][0])
    fixed = f", {_named(row, row_values[0])}" if len(row_values) == 1 else ""
    caption(figure, f"Accuracy by {NAMES[x]}{fixed}", protocol, notes)
    return figure


@styled()
def accuracy_heatmap(summary: pd.DataFrame, protocol: Protocol, rows: str, at: float) -> Figure:
    """Accuracy in percent over `rows` and batch size: a panel per model, one colour scale.

    `rows` is lr, and then `at` is the epoch budget shown, or epochs, and then `at` is the lr shown.
    """
    pivot: Callable[..., pd.DataFrame] = {"lr": lr_by_batch, "epochs": epochs_by_batch}[rows]
    models = models_in(summary)
    states = [pivot(summary, model, at, "status") for model in models]
    means = [pivot(summary, model, at).where(state != "diverged") for model, state in zip(models, states, strict=True)]
    pooled = pd.concat([mean.melt()["value"] for mean in means])
    norm = Normalize(_foot(pooled), pooled.max())
    across = min(len(models), max(1, 12 // summary["batch_size"].nunique()))  # else the numbers are too tight
    down = math.ceil(len(models) / across)
    figure, axes = make_panels(down, math.ceil(len(models) / down), 0.3 * max(3, summary[rows].nunique()) + 0.4)
    for i, panel in enumerate(axes.flat):
        panel.set_visible(i < len(models))
        if i < len(models):
            _draw_heatmap(panel, means[i], states[i], norm)
            panel.set(title=models[i], xlabel=NAMES["batch_size"], ylabel="")
    for panel in axes[:, 0]:
        panel.set_ylabel(NAMES[rows])
        panel.tick_params(labelleft=True)
    bar = figure.colorbar(
        ScalarMappable(norm, "viridis"), ax=list(axes.flat), extend="min" if pooled.min() < norm.vmin else "neither"
    )
    bar.set_label(f"{split_name(protocol)} accuracy")
    bar.ax.yaxis.set_major_formatter(percent)
    fixed = _named("epochs" if rows == "lr" else "lr", at)
    notes = ["numbers: percent", _seeds(summary), *_marks(states)]
    caption(figure, f"Accuracy by {NAMES[rows]} and batch size, {fixed}", protocol, notes)
    return figure


def _scale_accuracy(panels: Sequence[Axes], table: pd.DataFrame) -> bool:
    """Scale the panels' shared y axis to the table's accuracies; True if those below the `floor` are compressed."""
    accuracy, spread = table["mean"][table["status"] != "diverged"], _spread(table)
    compress = bool(accuracy.count()) and floor(accuracy) > accuracy.min()
    if accuracy.count():
        least, most = float((accuracy - spread).min()), min(1.0, float((accuracy + spread).max()))
        if compress:
            _compress(panels, least, _foot(accuracy), most)
        else:
            margin = 0.06 * (most - least) or 0.01
            panels[0].set_ylim(least - margin, most + margin)
    panels[0].yaxis.set_major_formatter(percent)
    return compress


def _spread(table: pd.DataFrame) -> pd.Series:
    """What the scale leaves room for around each mean: the seeds' deviation, or one seed's half interval."""
    return table["std"].fillna((table["ci_high"] - table["ci_low"]) / 2).fillna(0)


def _foot(accuracies: pd.Series) -> float:
    """Where a scale starts: a little under the `floor` if any accuracy lies below it, to tell the two apart."""
    least = floor(accuracies)
    return least - 0.06 * float(accuracies.max() - least) if accuracies.min() < least else least


def _compress(panels: Sequence[Axes], least: float, start: float, most: float) -> None:
    """Give the accuracies from `start` to `most` most of the height, and those below the grey foot of it."""
    bottom = least - 0.5 * (start - least)
    below, above = COMPRESSED / (start - bottom), (1 - COMPRESSED) / (most - start)

    def forward(y: Any) -> Any:
        return np.where(np.less(y, start), below * np.subtract(y, start), above * np.subtract(y, start))

    def inverse(y: Any) -> Any:
        return np.where(np.less(y, 0), np.divide(y, below), np.divide(y, above)) + start

    for panel in panels:
        panel.set_yscale("function", functions=(forward, inverse))
        panel.axhspan(bottom, start, color=".9", zorder=0)
    panels[0].set_ylim(bottom, most + 0.06 * (most - start))
    upper = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(start + 0.04 * (most - start), most))
    panels[0].set_yticks([round(least, 1), *upper[(upper > start + 0.04 * (most - start)) & (upper <= most)]])


def _draw_lines(panel: Axes, table: pd.DataFrame, x: str, line: str, values: list[Any]) -> None:
    place = np.log if x in ("lr", "batch_size") else np.asarray
    ticks = np.sort(table[x].unique())
    dodge = 0.018 * float(np.ptp(place(ticks))) if table["ci_low"].notna().any() else 0.0
    colors = sns.color_palette("viridis_r", len(values) + 1)[1:]
    for i, value in enumerate(values):
        part = table[table[line] == value]
        mean = part["mean"].where(part["status"] != "diverged").to_numpy()
        bars = np.abs(part[["ci_low", "ci_high"]].to_numpy().T - mean)
        at = place(part[x].to_numpy()) + dodge * (i - (len(values) - 1) / 2)
        look: dict[str, Any] = {"color": colors[i], "marker": MARKERS[i % len(MARKERS)]}
        panel.errorbar(
            at, mean, bars, capsize=2, elinewidth=0.9, ecolor=(*colors[i], 0.6), label=_named(line, value), **look
        )
        lost = at[(part["status"] == "diverged").to_numpy()]
        panel.plot(lost, np.full(len(lost), 0.04), "x", color=colors[i], transform=panel.get_xaxis_transform())
    low, high = place(ticks)[[0, -1]]
    panel.set_xlim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    panel.set_xticks(place(ticks), [f"{tick:g}" for tick in ticks])
    panel.grid(False, axis="x")


def _draw_heatmap(panel: Axes, means: pd.DataFrame, states: pd.DataFrame, norm: Normalize) -> None:
    texts = means.map(lambda mean: f"{100 * mean:.2f}")
    sns.heatmap(
        means, mask=means.isna(), annot=texts, fmt="", ax=panel, cmap="viridis", vmin=norm.vmin, vmax=norm.vmax,
        cbar=False, linewidths=0.8, annot_kws={"size": 8},
    )
    panel.patch.set(facecolor=".93", hatch="////", edgecolor=".75")
    for y, x in np.argwhere(means.isna().to_numpy()):
        mark = "div." if states.iloc[y, x] == "diverged" else "–"
        panel.text(x + 0.5, y + 0.5, mark, ha="center", va="center", size=8, bbox={"fc": ".97", "ec": "none", "pad": 1})
    panel.set_xticklabels([f"{value:g}" for value in means.columns])
    panel.set_yticklabels([f"{value:g}" for value in means.index], rotation=0, va="center")
    panel.tick_params(labelleft=False)


def _named(name: str, value: float) -> str:
    if name == "epochs":
        return "1 epoch" if value == 1 else f"{value:g} epochs"
    return f"{'batch size' if name == 'batch_size' else name} {value:g}"


def _seeds(summary: pd.DataFrame) -> str:
    least, most = summary["n"][summary["n"] > 0].min(), summary["n"].max()
    return "one seed" if most == 1 else f"mean of {most} seeds" if least == most else f"mean of up to {most} seeds"


def _bars(summary: pd.DataFrame) -> str:
    over = "seeds" if summary["n"].max() > 1 else "pictures"
    return f"bars: 95% interval over {over}" if summary["ci_low"].notna().any() else ""


def _marks(states: list[pd.DataFrame]) -> list[str]:
    seen = set(np.concatenate([state.to_numpy().ravel() for state in states]))
    return ["div.: diverged"] * ("diverged" in seen) + ["–: no result"] * bool(seen - {"complete", "diverged"})
