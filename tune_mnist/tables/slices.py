"""Parts of a study's tables as figures and pages show them: heatmaps, series, curves and costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.spec.models import place_of
from tune_mnist.spec.training import FULLY_CONNECTED, PREFIX
from tune_mnist.spec.words.naming import BASE, ordered
from tune_mnist.study.training_folder import STOPPED_EARLY
from tune_mnist.tables.analyse import Tables, split_name

MARKS = {"diverged": "div.", STOPPED_EARLY: "stop."}
"""What a heatmap says of cells that ended before their epochs."""


@dataclass(frozen=True)
class Heatmap:
    """Accuracy over two settings, `rows` and `columns`, in panels: of each a row and a column per value, ascending.

    A panel is a model's, in the order of `place_of`, or the only one, without a name.
    """

    rows: str
    columns: str
    means: Mapping[str, pd.DataFrame]
    """Mean accuracies; NaN where the cell diverged, was stopped early or has no result."""
    statuses: Mapping[str, pd.DataFrame]

    @property
    def accuracies(self) -> pd.Series:
        """All the models' accuracies, for one scale of colours."""
        return pd.concat([means.melt()["value"] for means in self.means.values()])

    def texts(self, panel: str) -> pd.DataFrame:
        """What a panel's cells say: the accuracy in percent, or how they have none."""
        marks = self.statuses[panel].map(lambda status: MARKS.get(status, "–"))
        return self.means[panel].map(lambda mean: f"{100 * mean:.2f}").where(self.means[panel].notna(), marks)


def heatmap(summary: pd.DataFrame, rows: str, at: float) -> Heatmap:
    """The heatmap over lr, `at` an epoch budget, or over epochs, `at` an lr. Where further settings vary, the best."""
    shown = summary[summary["epochs" if rows == "lr" else "lr"] == at]
    return _heatmap({model: shown[shown["model"] == model] for model in models_in(summary)}, rows, "batch_size")


def heatmap_of_pair(summary: pd.DataFrame, rows: str, columns: str) -> Heatmap:
    """The heatmap of any two settings: of each combination the best cell, whatever its other settings."""
    return _heatmap({"": summary[summary[rows].notna() & summary[columns].notna()]}, rows, columns)


def _heatmap(panels: Mapping[str, pd.DataFrame], rows: str, columns: str) -> Heatmap:
    means, statuses = {}, {}
    for name, cells in panels.items():
        best = cells.drop_duplicates([rows, columns])  # ranked: the best comes first
        order = {"index": ordered(rows, best[rows]), "columns": ordered(columns, best[columns])}
        statuses[name] = best.pivot(index=rows, columns=columns, values="status").reindex(**order)
        accuracies = best.pivot(index=rows, columns=columns, values="mean").reindex(**order)
        means[name] = accuracies.where(~statuses[name].isin(list(MARKS)))
    return Heatmap(rows, columns, means, statuses)


def along(summary: pd.DataFrame, setting: str) -> pd.DataFrame:
    """The accuracy of the complete cells along a setting: a row per value, in order, those without one left out.

    Returns columns value, cells, low, middle and high (the quartiles of their means), and of the best of
    them mean, ci_low and ci_high.
    """
    cells = summary[(summary["status"] == "complete") & summary[setting].notna()]
    rows = []
    for value in ordered(setting, cells[setting]):
        own = cells[cells[setting] == value]  # ranked: the best comes first
        low, middle, high = own["mean"].quantile([0.25, 0.5, 0.75])
        best = own.iloc[0]
        rows.append((value, len(own), low, middle, high, best["mean"], best["ci_low"], best["ci_high"]))
    columns = ["value", "cells", "low", "middle", "high", "mean", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=columns)


def sliceable(tables: Tables, setting: str) -> bool:
    """Whether there is something to look at along a setting: it has values as a grid has them, and not as a search
    draws them, which has each in a cell of its own though other settings vary, too."""
    values, cells = tables.summary[setting].nunique(), len(tables.summary)
    return values > 1 and (2 * values <= cells or len(tables.varying) == 1)


def filled(summary: pd.DataFrame, pair: Sequence[str]) -> bool:
    """Whether at least half of the combinations of two settings' values were asked for."""
    combinations = math.prod(summary[name].nunique() for name in pair)
    return 2 * len(summary[[*pair]].dropna().drop_duplicates()) >= combinations


def thinned(table: pd.DataFrame, most: Mapping[str, int]) -> pd.DataFrame:
    """The rows of a table with at most so many values in the columns named: these evenly spaced, both ends kept."""
    for name, count in most.items():
        values = ordered(name, table[name].dropna())
        if len(values) > count:
            places = np.linspace(0, len(values) - 1, count).round().astype(int)
            table = table[table[name].isin([values[place] for place in places])]
    return table


def models_in(table: pd.DataFrame) -> list[str]:
    """The models in a table, in the order of `place_of`."""
    return sorted(table["model"].unique(), key=place_of)


def series(summary: pd.DataFrame, x: str, line: str, **fixed: float) -> pd.DataFrame:
    """Accuracy against `x`, a line per value of `line`, at the `fixed` rest of model, lr, batch_size and epochs.

    Returns columns model, line, x, mean, std, ci_low, ci_high, n, status, in that sort order. Where further
    settings vary, the best of them.
    """
    for name, value in fixed.items():
        summary = summary[summary[name] == value]
    best = summary.drop_duplicates(["model", line, x])  # ranked: the best comes first
    order = best.assign(model=best["model"].map(place_of)).sort_values(["model", line, x]).index
    columns = ["model", line, x, "mean", "std", "ci_low", "ci_high", "n", "status"]
    return best.loc[order, columns].reset_index(drop=True)


def nearest(values: Iterable[Any], target: float) -> Any:
    """The positive value nearest to `target` by ratio; the larger of two equally near."""
    return min(dict.fromkeys(values), key=lambda value: (abs(math.log(value / target)), -value))


def epochs_of(tables: Tables, cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of the epochs table that led to `cells`, rows of the summary, of all their seeds up to their budgets.

    The column `epochs` tells which budget that is.
    """
    if tables.epochs.empty:  # its columns have no types to merge on
        return tables.epochs.assign(epochs=[])
    shared = [name for name in tables.cell_columns if name in tables.epochs]
    rows = tables.epochs.merge(cells[[*shared, "epochs"]], on=shared)  # keeps the order of tables.epochs
    rows = rows[rows["epoch"] <= rows["epochs"]]
    if "budget" in rows and "budget" not in shared:
        rows = rows[rows["budget"].isna() | (rows["budget"] == rows["epochs"])]
    return rows


def best_curves(tables: Tables) -> pd.DataFrame:
    """Losses over the epochs of each model's best complete cell, all its seeds.

    Returns columns model, lr, batch_size, epochs and `Tables.further` (the cell), seed, epoch, split (training, and
    validation or test) and loss, models in the order of `place_of`.
    """
    rows = epochs_of(tables, tables.complete.drop_duplicates("model"))
    losses = {"train_loss": "training", f"{PREFIX[tables.protocol]}_loss": split_name(tables.protocol)}
    cell = [*BASE, *tables.further, "seed", "epoch"]
    return rows.rename(columns=losses).melt(cell, list(losses.values()), var_name="split", value_name="loss")


def fully_connected_and_cnn(tables: Tables, others: Sequence[Tables] = ()) -> pd.DataFrame | None:
    """Training losses, as `best_curves` gives them, of the best fully connected cell and of the best CNN's.

    The CNN may be another study's, of the same protocol if there is one: a column tells each one's. None if there is
    no such pair.
    """
    pair = []
    studies = sorted((tables, *others), key=lambda study: study.protocol != tables.protocol)
    for models in (FULLY_CONNECTED, ("CNN",)):
        for study in studies:
            cells = study.complete[study.complete["model"].isin(models)]
            if not cells.empty:
                curves = best_curves(study)
                chosen = curves[(curves["model"] == cells["model"].iloc[0]) & (curves["split"] == "training")]
                pair.append(chosen.assign(protocol=study.protocol))
                break
    return pd.concat(pair, ignore_index=True) if len(pair) == 2 else None


def floor(accuracies: pd.Series, far: float = 0.2) -> float:
    """The least accuracy that a scale should resolve, of some that are not all empty.

    That is the least of all, unless outliers would take more than two thirds of the scale: accuracies `far` or more
    below the best, or under the others' first quartile by more than 1.5 interquartile ranges (Tukey's fence).
    """
    best = accuracies.max()
    near = accuracies[accuracies >= best - far]
    low, high = near.quantile([0.25, 0.75])
    least = near[near >= low - 1.5 * (high - low)].min()
    return float(least if best - accuracies.min() > 3 * (best - least) > 0 else accuracies.min())


def costs(tables: Tables) -> pd.DataFrame:
    """What each complete cell costs and gives: its columns, seconds and mean accuracy.

    Seconds of training to the cell's epochs, the mean over its seeds, from its training's mean seconds per epoch;
    cells whose training has no timings are left out.
    """
    columns = [*tables.cell_columns, "seconds", "mean"]
    timings = tables.timings[tables.timings["train_seconds"] > 0]
    if timings.empty:
        return pd.DataFrame(columns=columns)
    timings = timings.assign(seconds_per_epoch=timings["train_seconds"] / timings["epochs"])
    shared = [name for name in tables.cell_columns if name in timings and name != "epochs"]
    pace = timings.groupby(shared, dropna=False)["seconds_per_epoch"].mean().reset_index()
    rows = tables.complete.merge(pace, on=shared)
    rows["seconds"] = rows["seconds_per_epoch"] * rows["epochs"]
    return rows[columns]
