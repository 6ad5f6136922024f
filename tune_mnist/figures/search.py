"""Figures of a search: its trials in order, by epoch, along settings and pairs of them, and against each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from tune_mnist.figures.canvas import caption, legend, make_panels, percent_tick, styled
from tune_mnist.figures.scales import Goal, Scale
from tune_mnist.spec.words.naming import full_name
from tune_mnist.study.training_folder import STOPPED_EARLY

GREY = ".55"
FEW = 4
"""Numeric places that a plane needs to be interpolated between."""


@styled()
def history(trials: pd.DataFrame, goal: Goal) -> Figure:
    """The trials' values in order, with the best so far; of those stopped early the last value."""
    figure, axes = make_panels(1, 1, 2.4)
    panel = axes[0][0]
    hidden = _draw_trials(panel, trials["number"].to_numpy(float), trials, goal)
    complete = trials[trials["state"] == "complete"]
    best = complete["value"].cummax() if goal.maximize else complete["value"].cummin()
    orange = sns.color_palette("colorblind")[1]
    panel.step(complete["number"], best, where="post", color=orange, label="best so far", zorder=1)
    panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    panel.set(xlabel="trial", ylabel=goal.words)
    legend(figure, panel)
    caption(figure, "The trials in order", None, hidden)
    return figure


@styled()
def courses(trials: pd.DataFrame, values: Mapping[int, Mapping[int, float]], goal: Goal) -> Figure:
    """Each trial's value by epoch, `values` by its number and the epoch; of those stopped early in grey."""
    figure, axes = make_panels(1, 1, 2.8)
    panel = axes[0][0]
    seen = pd.Series([value for course in values.values() for value in course.values()], dtype=float)
    low, high = goal.limits(seen)
    shown = trials[trials["number"].isin(values.keys())]
    finals = shown["value"][shown["state"] == "complete"]
    norm = Normalize(*(goal.limits(finals) if len(finals) else (low, high)), clip=True)
    color = sns.color_palette("viridis" if goal.maximize else "viridis_r", as_cmap=True)
    for number, state, value in shown[["number", "state", "value"]].itertuples(index=False):
        epochs, course = zip(*sorted(values[number].items()), strict=True)
        if state == "complete":
            panel.plot(epochs, course, color=color(norm(value)), lw=1, label="complete, the brighter the better")
        else:
            panel.plot(epochs, course, color=GREY, lw=0.8, zorder=1)
            panel.plot(epochs[-1:], course[-1:], "x", color=GREY, label=state, clip_on=True)
    panel.set(xlabel="epoch", ylabel=goal.words, ylim=(low, high))
    panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    panel.yaxis.set_major_formatter(goal.tick)
    handles = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    outside = sum(not any(low <= value <= high for value in course.values()) for course in values.values())
    caption(figure, "The trials by epoch", None, [_outside(outside, goal, low, high)])
    return figure


@styled()
def slices(trials: pd.DataFrame, scales: Sequence[Scale], goal: Goal) -> Figure:
    """The trials' values along each setting, a panel each."""
    across = min(3, len(scales))
    down = math.ceil(len(scales) / across)
    figure, axes = make_panels(down, across, 1.9, sharey=True)
    for panel in axes.flat[len(scales) :]:
        panel.set_visible(False)
    hidden: list[str] = []
    for scale, panel in zip(scales, axes.flat, strict=False):
        places = scale.places(trials[scale.name])
        hidden = _draw_trials(panel, places, trials, goal)
        scale.set_ticks(panel.xaxis, places)
        panel.margins(x=0.12)
        panel.set_title(full_name(scale.name))
        panel.grid(False, axis="x")
    for panel in axes[:, 0]:
        panel.set_ylabel(goal.words)
    legend(figure, axes[0][0])
    caption(figure, "The trials along each setting", None, hidden)
    return figure


@styled()
def parallel(trials: pd.DataFrame, scales: Sequence[Scale], goal: Goal) -> Figure:
    """Each complete trial as a line through its settings to its value, the better the brighter."""
    complete = trials[trials["state"] == "complete"].sort_values("value", ascending=goal.maximize)
    figure, axes = make_panels(1, 1, 3.0)
    panel = axes[0][0]
    low, high = goal.limits(complete["value"])
    norm, color = Normalize(low, high, clip=True), "viridis" if goal.maximize else "viridis_r"
    heights = np.column_stack([
        *(_unit(scale.places(complete[scale.name])) for scale in scales),
        np.clip((complete["value"] - low) / (high - low), 0, 1),
    ])  # (trials, axes)
    shades = sns.color_palette(color, as_cmap=True)(norm(complete["value"]))
    for line, shade in zip(heights, shades, strict=True):
        panel.plot(range(len(line)), line, color=shade, lw=1.1, alpha=0.85)
    for place, scale in enumerate(scales):
        _draw_axis(panel, place, scale, scale.places(complete[scale.name]))
    names = [name.replace(" ", "\n", 1) for name in (*(full_name(scale.name) for scale in scales), goal.words)]
    panel.set_xticks(range(len(names)), names)
    panel.set(yticks=[], ylim=(-0.06, 1.06), xlim=(-0.3, len(scales) + 0.05))
    panel.grid(False)
    sns.despine(ax=panel, left=True, bottom=True)
    bar = figure.colorbar(ScalarMappable(norm, color), ax=[panel], pad=0.01)
    bar.ax.yaxis.set_major_formatter(goal.tick)
    outside = int(((complete["value"] < low) | (complete["value"] > high)).sum())
    note = f"{outside} trials beyond the scale are drawn at its end" if outside else ""
    caption(figure, "Complete trials as lines through their settings", None, [note])
    return figure


@styled()
def pairs(trials: pd.DataFrame, scales: Sequence[Scale], goal: Goal) -> Figure:
    """The complete trials over pairs of settings, a panel each, coloured by value; ranges are interpolated between."""
    complete = trials[trials["state"] == "complete"].sort_values("value", ascending=goal.maximize)
    chosen = list(itertools.combinations(scales, 2))
    across = min(3, len(chosen))
    down = math.ceil(len(chosen) / across)
    figure, axes = make_panels(down, across, 2.0, sharey=False)
    for panel in axes.flat[len(chosen) :]:
        panel.set_visible(False)
    low, high = goal.limits(complete["value"])
    norm, color = Normalize(low, high, clip=True), "viridis" if goal.maximize else "viridis_r"
    for (first, second), panel in zip(chosen, axes.flat, strict=False):
        x, y = first.places(complete[first.name]), second.places(complete[second.name])
        if not first.choices and not second.choices and _spans_a_plane(x, y):
            levels = np.linspace(low, high, 9)
            panel.tricontourf(x, y, np.clip(complete["value"], low, high), levels=levels, cmap=color, alpha=0.45)
        panel.scatter(x, y, c=complete["value"], norm=norm, cmap=color, s=22, edgecolor=".3", linewidth=0.5)
        first.set_ticks(panel.xaxis, x)
        second.set_ticks(panel.yaxis, y)
        panel.tick_params(axis="x", labelsize=7.5, rotation=30)
        panel.margins(0.12)
        panel.set(xlabel=full_name(first.name), ylabel=full_name(second.name))
    bar = figure.colorbar(ScalarMappable(norm, color), ax=list(axes.flat), pad=0.01)
    bar.ax.yaxis.set_major_formatter(goal.tick)
    bar.set_label(goal.words)
    caption(figure, "Complete trials over pairs of settings", None, ["the settings that matter most"])
    return figure


@styled()
def importances(shares: Mapping[str, float], goal: Goal) -> Figure:
    """How much each setting matters, the most first, as bars."""
    figure, axes = make_panels(1, 1, 0.3 + 0.22 * len(shares))
    panel = axes[0][0]
    names, values = zip(*reversed(list(shares.items())), strict=True)
    bars = panel.barh([full_name(name) for name in names], values, color=sns.color_palette("colorblind")[0])
    panel.bar_label(bars, [f" {share:.0%}" for share in values], size=8)
    panel.xaxis.set_major_formatter(percent_tick)
    panel.margins(x=0.08)
    panel.grid(False, axis="y")
    note = f"share of what explains {goal.words} among complete trials, by Optuna"
    caption(figure, "How much each setting matters", None, [note])
    return figure


@styled()
def distribution(trials: pd.DataFrame, goal: Goal) -> Figure:
    """Of each value the share of complete trials that are no better."""
    complete = trials["value"][trials["state"] == "complete"]
    figure, axes = make_panels(1, 1, 2.0)
    panel = axes[0][0]
    sns.ecdfplot(complete, ax=panel, complementary=not goal.maximize, color=sns.color_palette("colorblind")[0])
    low, high = goal.limits(complete)
    panel.set(xlabel=goal.words, ylabel="complete trials no better", xlim=(low, high))
    panel.xaxis.set_major_formatter(goal.tick)
    panel.yaxis.set_major_formatter(percent_tick)
    outside = int(((complete < low) | (complete > high)).sum())
    caption(figure, "The share of trials that are no better", None, [_outside(outside, goal, low, high)])
    return figure


@styled()
def pareto(table: pd.DataFrame, front: Sequence[int], goals: Sequence[Goal]) -> Figure:
    """Complete trials by pairs of objectives, columns of the table; those of the `front`, by number, stand out."""
    chosen = list(itertools.combinations(goals, 2))
    figure, axes = make_panels(1, len(chosen), 2.6, sharey=False)
    best = table["number"].isin(front)
    colors = sns.color_palette("colorblind")
    for (first, second), panel in zip(chosen, axes[0], strict=True):
        x, y = table[first.name], table[second.name]
        panel.plot(x[~best], y[~best], "o", color=GREY, ms=3.5, label="beaten by others")
        panel.plot(x[best], y[best], "D", color=colors[1], label="beaten by no other")
        for goal, axis in ((first, panel.xaxis), (second, panel.yaxis)):
            values = table[goal.name].astype(float)
            if not goal.is_share and values.min() > 0 and values.max() > 20 * values.min():
                axis.axes.set(**{f"{axis.axis_name}scale": "log"})
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_minor_locator(NullLocator())
            elif goal.is_share:
                axis.axes.set(**{f"{axis.axis_name}lim": goal.limits(values)})
            axis.set_major_formatter(goal.tick)
        panel.set(xlabel=first.words, ylabel=second.words)
    legend(figure, axes[0][0])
    caption(figure, "The trials that no other beats in every objective", None, [])
    return figure


def _draw_trials(panel: Axes, places: np.ndarray, trials: pd.DataFrame, goal: Goal) -> list[str]:
    """Draw trials' values by their state; those beyond the scale are marked at its edge, and counted in the note."""
    low, high = goal.limits(trials["value"])
    blue = sns.color_palette("colorblind")[0]
    looks = {"complete": ("o", blue, blue), STOPPED_EARLY: ("o", "none", GREY)}
    value = trials["value"].to_numpy(float)
    for state, (marker, face, edge) in looks.items():
        own = (trials["state"] == state).to_numpy() & np.isfinite(value)
        inside = own & (value >= low) & (value <= high)
        if own.any():
            panel.plot(
                places[inside], value[inside], marker, mfc=face, mec=edge, ms=4, ls="none", label=state, zorder=2
            )
        beyond = places[own & ~inside]
        edge_at = 0.02 if goal.maximize else 0.98
        mark = "v" if goal.maximize else "^"
        panel.plot(
            beyond, np.full(len(beyond), edge_at), mark, mfc=face, mec=edge, ms=4,
            transform=panel.get_xaxis_transform(),
        )
    panel.set_ylim(low, high)
    panel.yaxis.set_major_formatter(goal.tick)
    outside = int(((value < low) | (value > high)).sum())
    return [_outside(outside, goal, low, high) + (", at the edge" if outside else "")]


def _outside(count: int, goal: Goal, low: float, high: float) -> str:
    if not count:
        return ""
    end = f"under {goal.tick(round(low, 3))}" if goal.maximize else f"over {goal.tick(round(high, 3))}"
    return f"{count} {'trial' if count == 1 else 'trials'} {end}"


def _spans_a_plane(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether there are enough points, and not all on a line, to interpolate between."""
    points = np.unique(np.column_stack([_unit(x), _unit(y)]), axis=0)
    return len(points) >= FEW and bool(np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-3) == 2)


def _unit(places: np.ndarray) -> np.ndarray:
    """Places scaled to [0, 1]."""
    low, high = np.nanmin(places), np.nanmax(places)
    return (places - low) / (high - low) if high > low else np.full(len(places), 0.5)


def _draw_axis(panel: Axes, place: int, scale: Scale, places: np.ndarray) -> None:
    """An upright axis among parallel ones, with its ticks to its left on a ground of their own."""
    panel.axvline(place, color=".4", lw=0.8, ymin=0.05, ymax=0.95, zorder=3)
    ruler = Figure().subplots()
    scale.set_ticks(ruler.yaxis, places)
    low, high = np.nanmin(places), np.nanmax(places)
    ground = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 0.8}
    for tick, text in zip(ruler.get_yticks(), ruler.get_yticklabels(), strict=True):
        if low <= tick <= high:
            height = (tick - low) / (high - low) if high > low else 0.5
            panel.text(place - 0.03, height, text.get_text(), size=7.5, ha="right", va="center", bbox=ground, zorder=4)
