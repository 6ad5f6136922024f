"""Figures that explain a result: losses over the epochs, cost against accuracy, and the winner's mistakes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from tune_mnist.figures.canvas import caption, legend, make_panels, percent_tick, styled
from tune_mnist.spec.training import Protocol
from tune_mnist.spec.words.naming import BASE, setting_text
from tune_mnist.tables.analyse import split_name
from tune_mnist.tables.slices import floor, models_in
from tune_mnist.tables.statistics.calibration import BINS, Calibration
from tune_mnist.training.dataset import DIGITS

MOST_POINTS, PLACES = 5000, 200
"""How many points are drawn as they are; else how many places an axis has."""
NAME_LETTERS = 60  # in a line of the best cell's name
GAP = ".45"  # grey of the overfitting gap
MOST_COUNTED = 15  # classes whose confusions are drawn in the usual size


@styled()
def training_curves(
    curves: pd.DataFrame, protocol: Protocol | None, title: str = "Loss by epoch of each model's best cell"
) -> Figure:
    """Training and, if there, held-out loss over the epochs, as `best_curves` gives them; bands span the seeds.

    The gap between the two at the end, by which a model overfits, is marked.
    """
    models = models_in(curves)
    tables = [curves[curves["model"] == model] for model in models]
    figure, axes = make_panels(1, len(models), 2.4)
    gaps = False
    for table, panel in zip(tables, axes[0], strict=True):
        splits = table["split"].nunique()
        sns.lineplot(
            table, x="epoch", y="loss", hue="split", style="split", markers=["o", "s"][:splits], dashes=False, ax=panel,
            palette=sns.color_palette("colorblind", splits), errorbar=("pi", 100),
        )
        if curves["loss"].max() > 5 * curves["loss"].min() > 0:
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.set(title=_cell_title(table.iloc[0], 84 // len(models)), xlabel="epoch", ylabel="")
        panel.get_legend().remove()
        gaps |= _mark_gap(panel, table)
    axes[0][0].set_ylabel("cross entropy (nats)")
    legend(figure, axes[0][0])
    notes = [_seeds_note(tables)]
    if gaps:
        notes.append("grey bar: overfitting gap, held-out loss over training loss")
    if protocol is None and "protocol" in curves:
        notes += [f"{table['model'].iloc[0]}: protocol {table['protocol'].iloc[0]}" for table in tables]
    caption(figure, title, protocol, notes)
    return figure


def _seeds_note(tables: Sequence[pd.DataFrame]) -> str:
    """How many seeds the curves are of, a table a model: of each where they differ, as two studies' may."""
    counts = {str(table["model"].iloc[0]): table["seed"].nunique() for table in tables}
    if len({*counts.values()}) > 1:
        return f"mean and range of {' and '.join(f'{count} ({model})' for model, count in counts.items())} seeds"
    count = max(counts.values())
    return f"mean and range of {count} seeds" if count > 1 else "one seed"


def _cell_title(cell: pd.Series, width: int) -> str:
    """A cell's model on a line of its own, then its settings but for the epochs, in lines of so many letters."""
    further = [name for name in cell.index if name not in (*BASE, "seed", "epoch", "split", "loss", "protocol")]
    first, *rest = (setting_text(name, cell[name]) for name in (*BASE[:3], *further) if pd.notna(cell[name]))
    return "\n".join([first, *textwrap.wrap(", ".join(rest), max(20, width))])


def _mark_gap(panel: Axes, curves: pd.DataFrame) -> bool:
    """Mark, after the last epoch, how far the held-out loss is above the training loss; False if it is not."""
    last = curves["epoch"].max()
    losses = curves[curves["epoch"] == last].groupby("split", sort=False)["loss"].mean().to_list()
    if len(losses) < 2 or losses[1] <= losses[0] or curves["epoch"].nunique() < 2:
        return False
    train, held_out = losses
    low, high = panel.get_xlim()
    panel.set_xlim(low, high + 0.13 * (high - low))
    x = last + 0.07 * (high - low)
    bar = "|-|,widthA=0.25,widthB=0.25"
    arrow: dict[str, Any] = {"arrowstyle": bar, "color": GAP, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    panel.annotate("", (x, held_out), (x, train), arrowprops=arrow)
    # At the upper right, as losses fall: no curve is there.
    text = f"gap {held_out - train:.2g}"
    panel.text(0.97, 0.96, text, size=8, color=".25", transform=panel.transAxes, ha="right", va="top")
    return True


@styled()
def cost_figure(costs: pd.DataFrame, protocol: Protocol, name_of: Callable[[Mapping[str, Any]], str]) -> Figure:
    """Accuracy against seconds of training, as `slices.costs` gives them, with the line of cells that nothing beats.

    `name_of` calls a cell by its settings.
    """
    figure, axes = make_panels(1, 1, 2.7)
    panel = axes[0][0]
    least = floor(costs["mean"])
    shown = costs[costs["mean"] >= least]
    sns.scatterplot(
        told_apart(shown), x="seconds", y="mean", hue="model", style="model", hue_order=models_in(shown),
        style_order=models_in(shown), palette="colorblind", ax=panel, s=26, alpha=0.8, linewidth=0.3,
    )
    front = frontier(shown)
    panel.step(front["seconds"], front["mean"], where="post", color=GAP, lw=1, zorder=0, label="best for the time")
    best = front.iloc[-1]
    fastest, slowest = shown["seconds"].min(), shown["seconds"].max()
    is_right = best["seconds"] > math.sqrt(fastest * slowest)
    panel.annotate(
        textwrap.fill(name_of(best.to_dict()), NAME_LETTERS), (best["seconds"], best["mean"]),
        (4 if is_right else -4, 7), textcoords="offset points", ha="right" if is_right else "left", va="bottom",
        size=7.5, color=".25",
    )
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if slowest > 10 * fastest else MaxNLocator(6))
    panel.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_formatter(percent_tick)
    panel.set(xlabel="seconds of training", ylabel=f"{split_name(protocol)} accuracy")
    panel.margins(y=0.18)
    panel.get_legend().remove()
    legend(figure, panel)
    left_out = len(costs) - len(shown)
    notes = [f"{left_out} cells under {percent_tick(round(least, 3))} not shown" if left_out else ""]
    caption(figure, "Cost against accuracy", protocol, ["times vary from run to run", *notes])
    return figure


def told_apart(costs: pd.DataFrame) -> pd.DataFrame:
    """The cells, or where they are many one of each model at each place that an eye can tell from the next."""
    if len(costs) <= MOST_POINTS:
        return costs
    places = {"x": np.log10(costs["seconds"]), "y": costs["mean"]}
    binned = {name: ((each - each.min()) / (np.ptp(each) or 1) * PLACES).round() for name, each in places.items()}
    return costs[~costs.assign(**binned).duplicated(["model", "x", "y"])]


def frontier(costs: pd.DataFrame) -> pd.DataFrame:
    """The cells that are more accurate than every cheaper one, cheapest first."""
    ordered = costs.sort_values(["seconds", "mean"], ascending=[True, False], kind="stable")
    return ordered[ordered["mean"] > ordered["mean"].cummax().shift(fill_value=-1.0)]


@styled()
def confusion_matrix(confusion: np.ndarray, title: str, classes: Sequence[str] = DIGITS) -> Figure:
    """Counts of true class (rows) by predicted class (columns), int (n, n); colour is for the mistakes alone."""
    many = len(classes) > MOST_COUNTED
    figure, axes = make_panels(1, 1, 6.5 if many else 3.6)
    if not many:
        figure.set_figwidth(figure.get_figwidth() * 0.75)
    panel = axes[0][0]
    mistakes = confusion.astype(float)
    np.fill_diagonal(mistakes, np.nan)
    texts = np.where((confusion == 0) & ~np.eye(len(confusion), dtype=bool), "", confusion.astype(str))
    sns.heatmap(
        np.nan_to_num(mistakes), annot=texts, fmt="", cmap="Reds", cbar=False, ax=panel, linewidths=0.8,
        xticklabels=classes, yticklabels=classes,
        annot_kws={"size": 8 if not many else 4}, vmax=max(1.0, float(np.nanmax(mistakes)) * 1.15),
    )
    for text in panel.texts[:: len(confusion) + 1]:  # the diagonal
        text.set(color=".45")
    what = "digit" if tuple(classes) == DIGITS else "class"
    panel.set(xlabel=f"predicted {what}", ylabel=f"true {what}")
    panel.tick_params(axis="y", rotation=0)
    panel.tick_params(axis="x", rotation=90 if max(map(len, classes)) > 2 else 0)
    right = int(confusion.trace())
    caption(figure, title, None, [f"test set: {right:,} of {int(confusion.sum()):,} right", "colour: mistakes"])
    return figure


@styled()
def reliability(calibration: Calibration, title: str) -> Figure:
    """The share of predictions that are right against the probability the network gave them, and how many they are."""
    figure, axes = make_panels(2, 1, 2.2, sharey=False)
    figure.set_figwidth(figure.get_figwidth() * 0.75)
    shares, counts = axes[:, 0]
    shares.plot([0, 1], [0, 1], color=GAP, lw=1, ls="--", label="as sure as it is right")
    color = sns.color_palette("colorblind")[0]
    shares.plot(calibration.sureness, calibration.right, color=color, marker="o", label="the network")
    counts.bar(calibration.sureness, calibration.count, 0.5 / BINS, color=color)
    counts.set_yscale("log")
    counts.set_ylim(bottom=0.7)
    counts.set(xlabel="probability of the predicted class", ylabel="predictions")
    shares.set(ylabel="share that is right")
    for panel in axes.flat:
        panel.set_xlim(0, 1.02)
        panel.xaxis.set_major_formatter(percent_tick)
    shares.yaxis.set_major_formatter(percent_tick)
    legend(figure, shares)
    error = f"expected calibration error {100 * calibration.ece:.2f} points, {BINS} bins"
    caption(figure, title, None, [f"test set: {calibration.count.sum():,} predictions", error])
    return figure


@styled()
def worst_digits(
    pictures: np.ndarray, labels: np.ndarray, predicted: np.ndarray, sureness: np.ndarray, title: str,
    classes: Sequence[str] = DIGITS,
) -> Figure:
    """Pictures, uint8 (n, 28, 28), n up to 20, with their true and predicted class and how sure the model was."""
    across = 10
    down = max(1, -(-len(pictures) // across))
    figure, axes = make_panels(down, across, 0.85)
    for panel in axes.flat:
        panel.set_axis_off()
    for i, panel in zip(range(len(pictures)), axes.flat, strict=False):
        panel.imshow(255 - pictures[i], cmap="gray", vmin=0, vmax=255)
        panel.set_title(f"{classes[labels[i]]} as {classes[predicted[i]]}\n{100 * sureness[i]:.0f}%", size=7.5, pad=2)
    what = "digit" if tuple(classes) == DIGITS else "class"
    notes = [f"test set: true {what}, as what it was told, and the model's probability of that"]
    caption(figure, title, None, notes)
    return figure


@styled()
def robustness_figure(table: pd.DataFrame) -> Figure:
    """Accuracy against each distortion's level, a line per way of training, as `robustness.measure` gives it."""
    kinds = list(table["distortion"].unique())
    trainings = list(table["training"].unique())
    across = 4
    figure, axes = make_panels(-(-len(kinds) // across), across, 1.9)
    for panel in axes.flat[len(kinds) :]:
        panel.set_visible(False)
    for kind, panel in zip(kinds, axes.flat, strict=False):
        rows = table[table["distortion"] == kind]
        sns.lineplot(
            rows, x="level", y="accuracy", hue="training", style="training", hue_order=trainings, dashes=False,
            style_order=trainings, markers=["o", "s"][: len(trainings)], ax=panel, errorbar=None,
            palette=sns.color_palette("colorblind", len(trainings)),
        )
        levels = sorted(rows["level"].unique())
        panel.set_xticks(levels, [f"{level:g}" for level in levels])
        panel.set(title=kind, ylabel="", xlabel=rows["unit"].iloc[0])
        panel.yaxis.set_major_formatter(percent_tick)
        panel.get_legend().remove()
    for row in axes:
        row[0].set_ylabel("test accuracy")
    legend(figure, axes[0][0])
    caption(figure, "Accuracy on distorted test pictures", None, [f"{table['n'].iloc[0]:,} pictures each"])
    return figure
