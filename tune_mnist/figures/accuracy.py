"""Figures of accuracy along one setting, and heatmaps over two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tune_mnist.figures.canvas import caption, legend, make_panels, percent_tick, styled
from tune_mnist.spec.training import Protocol
from tune_mnist.spec.words.naming import full_name, value_text
from tune_mnist.tables.analyse import split_name
from tune_mnist.tables.slices import MARKS, Heatmap, along, floor, heatmap, heatmap_of_pair, models_in, series, thinned

MARKERS = "osD^vPX*"
MOST_TICKS, MOST_LINES = 24, 12
"""Of a panel of lines: no eye tells more apart."""
MOST_ROWS, MOST_NUMBERS = 60, 16
"""Of a heatmap the rows, and columns; up to how many of them each has its number."""
COMPRESSED = 0.18  # share of an axis's height that the values below its floor get


@styled()
def accuracy_lines(
    summary: pd.DataFrame, protocol: Protocol, *, x: str, line: str, row: str, row_values: Sequence[Any]
) -> Figure:
    """Accuracy against `x`: a panel per model, a line per value of `line`, a row of panels per value of `row`.

    `x`, `line` and `row` are lr, batch_size and epochs in some order. Bars are 95% intervals.
    """
    whole, summary = summary, thinned(summary, {x: MOST_TICKS, line: MOST_LINES})
    models = models_in(summary)
    crowded = len(models) * sum(len(f"{value:g}") + 2 for value in summary[x].unique()) > 90
    figure, axes = make_panels(len(row_values), len(models), 2.3 if crowded else 2.0)
    notes = [_seeds(summary), _bars(summary), *_left_out(whole, summary, (x, line))]
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
        panel.set_xlabel(full_name(x))
    for panel in axes.flat:
        panel.tick_params(axis="x", rotation=45 if crowded else 0)
    legend(figure, axes[0][0])
    fixed = f", {_named(row, row_values[0])}" if len(row_values) == 1 else ""
    caption(figure, f"Accuracy by {full_name(x)}{fixed}", protocol, notes)
    return figure


@styled()
def accuracy_by_setting(summary: pd.DataFrame, protocol: Protocol, settings: Sequence[str]) -> Figure:
    """Accuracy along each of the settings, a panel each: of each value all cells, their median, and the best."""
    across = min(3, len(settings))
    down = math.ceil(len(settings) / across)
    figure, axes = make_panels(down, across, 2.0, sharey=True)
    notes = [_seeds(summary), "dots: all cells with the value", _bars(summary)]
    if _scale_accuracy(list(axes.flat), summary[summary["status"] == "complete"]):
        notes.append("grey: axis compressed")
    for panel in axes.flat[len(settings) :]:
        panel.set_visible(False)
    for name, panel in zip(settings, axes.flat, strict=False):
        _draw_along(panel, summary, name)
    for panel in axes[:, 0]:
        panel.set_ylabel(f"{split_name(protocol)} accuracy")
    legend(figure, axes[0][0])
    title = f"Accuracy by {full_name(settings[0])}" if len(settings) == 1 else "Accuracy by each setting"
    caption(figure, title, protocol, notes)
    return figure


@styled()
def accuracy_heatmap(summary: pd.DataFrame, protocol: Protocol, rows: str, at: float) -> Figure:
    """Accuracy in percent over `rows` and batch size: a panel per model, one colour scale.

    `rows` is lr, and then `at` is the epoch budget shown, or epochs, and then `at` is the lr shown.
    """
    fixed = _named("epochs" if rows == "lr" else "lr", at)
    title = f"Accuracy by {full_name(rows)} and batch size, {fixed}"
    shown = heatmap(thinned(summary, {rows: MOST_ROWS, "batch_size": MOST_ROWS}), rows, at)
    return _heatmap_figure(shown, summary, protocol, title)


@styled()
def pair_heatmap(summary: pd.DataFrame, protocol: Protocol, rows: str, columns: str) -> Figure:
    """Accuracy in percent over any two settings: of each combination that of the best cell."""
    title = f"Accuracy by {full_name(rows)} and {full_name(columns)}"
    shown = heatmap_of_pair(thinned(summary, {rows: MOST_ROWS, columns: MOST_ROWS}), rows, columns)
    return _heatmap_figure(shown, summary, protocol, title, "the best cell of each combination")


def _heatmap_figure(shown: Heatmap, summary: pd.DataFrame, protocol: Protocol, title: str, note: str = "") -> Figure:
    names, whole = list(shown.means), summary
    summary = thinned(summary, {shown.rows: MOST_ROWS, shown.columns: MOST_ROWS})
    norm = Normalize(_foot(shown.accuracies), shown.accuracies.max())
    across = min(len(names), max(1, 12 // summary[shown.columns].nunique()))  # else the numbers are too tight
    down = math.ceil(len(names) / across)
    numbers = max(summary[shown.columns].nunique(), summary[shown.rows].nunique()) <= MOST_NUMBERS
    height = (0.3 if numbers else 0.06) * max(3, summary[shown.rows].nunique()) + 0.4
    figure, axes = make_panels(down, math.ceil(len(names) / down), height)
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    for name, panel in zip(names, axes.flat, strict=False):
        _draw_heatmap(panel, shown.means[name], shown.texts(name) if numbers else None, norm)
        panel.set(title=name, xlabel=full_name(shown.columns), ylabel="")
    for panel in axes[:, 0]:
        panel.set_ylabel(full_name(shown.rows))
        panel.tick_params(labelleft=True)
    extend = "min" if shown.accuracies.min() < norm.vmin else "neither"
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=list(axes.flat), extend=extend)
    bar.set_label(f"{split_name(protocol)} accuracy")
    bar.ax.yaxis.set_major_formatter(percent_tick)
    notes = ["numbers: percent"] * numbers + [_seeds(summary), note]
    notes += _marks(shown) if numbers else ["hatched: none"]
    caption(figure, title, protocol, [*notes, *_left_out(whole, summary, (shown.rows, shown.columns))])
    return figure


def _scale_accuracy(panels: Sequence[Axes], table: pd.DataFrame) -> bool:
    """Scale the panels' shared y axis to the table's accuracies; True if those below the `floor` are compressed."""
    accuracy, spread = table["mean"][table["status"] != "diverged"], _spread(table)
    compress = bool(accuracy.count()) and floor(accuracy) > accuracy.min()
    if accuracy.count():
        least, most = max(0.0, float((accuracy - spread).min())), min(1.0, float((accuracy + spread).max()))
        if compress:
            _compress(panels, least, _foot(accuracy), most)
        else:
            margin = 0.06 * (most - least) or 0.01
            panels[0].set_ylim(least - margin, most + margin)
    panels[0].yaxis.set_major_formatter(percent_tick)
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
    scale = np.log if x in ("lr", "batch_size") else np.asarray
    ticks = np.sort(table[x].unique())
    dodge = 0.018 * float(np.ptp(scale(ticks))) if table["ci_low"].notna().any() else 0.0
    colors = sns.color_palette("viridis_r", len(values) + 1)[1:]
    for i, value in enumerate(values):
        cells = table[table[line] == value]
        mean = cells["mean"].where(cells["status"] != "diverged").to_numpy()
        bars = np.abs(cells[["ci_low", "ci_high"]].to_numpy().T - mean)  # (2, cells): below and above the mean
        places = scale(cells[x].to_numpy()) + dodge * (i - (len(values) - 1) / 2)
        panel.errorbar(
            places, mean, bars, capsize=2, elinewidth=0.9, color=colors[i], ecolor=(*colors[i], 0.6),
            marker=MARKERS[i % len(MARKERS)], label=_named(line, value),
        )
        diverged = places[(cells["status"] == "diverged").to_numpy()]
        panel.plot(diverged, np.full(len(diverged), 0.04), "x", color=colors[i], transform=panel.get_xaxis_transform())
    low, high = scale(ticks)[[0, -1]]
    panel.set_xlim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    panel.set_xticks(scale(ticks), [f"{tick:g}" for tick in ticks])
    panel.grid(False, axis="x")


def _draw_along(panel: Axes, summary: pd.DataFrame, setting: str) -> None:
    """Draw what `slices.along` gives, over all cells as dots."""
    summary = thinned(summary, {setting: MOST_TICKS})
    table = along(summary, setting)
    places = np.arange(len(table))
    best, other = sns.color_palette("colorblind")[:2]
    cells = summary[(summary["status"] == "complete") & summary[setting].notna()]
    at = cells[setting].map(dict(zip(table["value"], places, strict=True)))
    panel.plot(at + 0.12, cells["mean"], ".", color=".6", markersize=3, alpha=0.5)
    panel.plot(places, table["middle"], color=other, marker="s", label="median of all cells")
    bars = np.abs(table[["ci_low", "ci_high"]].to_numpy().T - table["mean"].to_numpy())
    panel.errorbar(
        places, table["mean"], bars, capsize=2, elinewidth=0.9, color=best, ecolor=(*best, 0.6), marker="o",
        label="best cell",
    )
    shown = places[:: math.ceil(len(places) / 12)]
    texts = [value_text(table["value"].iloc[place]) for place in shown]
    panel.set_xticks(shown, texts)
    if sum(len(text) + 2 for text in texts) > 30:
        panel.tick_params(axis="x", rotation=30)
        for text in panel.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    panel.set_xlim(-0.5, len(table) - 0.5)
    panel.set_title(full_name(setting))
    panel.grid(False, axis="x")


def _draw_heatmap(panel: Axes, means: pd.DataFrame, texts: pd.DataFrame | None, norm: Normalize) -> None:
    """Draw one panel's heatmap; without `texts` it has no numbers, and labels at some of its rows and columns."""
    sns.heatmap(
        means, mask=means.isna(), annot=texts, fmt="", ax=panel, cmap="viridis", vmin=norm.vmin, vmax=norm.vmax,
        cbar=False, linewidths=0 if texts is None else 0.8, annot_kws={"size": 8},
    )
    panel.patch.set(facecolor=".93", hatch="////", edgecolor=".75")
    if texts is not None:
        for y, x in np.argwhere(means.isna().to_numpy()):
            background = {"fc": ".97", "ec": "none", "pad": 1}
            panel.text(x + 0.5, y + 0.5, texts.iloc[y, x], ha="center", va="center", size=8, bbox=background)
    columns, rows = (every(math.ceil(len(values) / MOST_NUMBERS), values) for values in (means.columns, means.index))
    panel.set_xticks(*columns)
    panel.set_yticks(*rows, rotation=0, va="center")
    panel.tick_params(labelleft=False)


def every(step: int, values: pd.Index) -> tuple[np.ndarray, list[str]]:
    """Where a heatmap has its labels, and what they say: the first value and every so many more."""
    return np.arange(0, len(values), step) + 0.5, [value_text(value) for value in values[::step]]


def _named(name: str, value: float) -> str:
    if name == "epochs":
        return "1 epoch" if value == 1 else f"{value:g} epochs"
    return f"{'batch size' if name == 'batch_size' else name} {value:g}"


def _seeds(summary: pd.DataFrame) -> str:
    least, most = summary["n"][summary["n"] > 0].min(), summary["n"].max()
    return "one seed" if most == 1 else f"mean of {most} seeds" if least == most else f"mean of up to {most} seeds"


def _left_out(whole: pd.DataFrame, shown: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Of which settings not all values are shown."""
    counts = [(name, whole[name].nunique(), shown[name].nunique()) for name in names]
    return [f"{few} of {many} values of {full_name(name)}" for name, many, few in counts if few < many]


def _bars(summary: pd.DataFrame) -> str:
    over = "seeds" if summary["n"].max() > 1 else "pictures"
    return f"bars: 95% interval over {over}" if summary["ci_low"].notna().any() else ""


def _marks(shown: Heatmap) -> list[str]:
    statuses = set(np.concatenate([table.to_numpy().ravel() for table in shown.statuses.values()]))
    notes = [f"{mark}: {status}" for status, mark in MARKS.items() if status in statuses]
    return notes + ["–: no result"] * bool(statuses - {"complete", *MARKS})
