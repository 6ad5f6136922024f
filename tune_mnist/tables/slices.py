"""Parts of a study's tables as figures and pages show them: heatmaps, series, curves and costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tune_mnist.spec.training import FULLY_CONNECTED, MODEL_NAMES, PREFIX
from tune_mnist.tables.analyse import Tables, split_name


@dataclass(frozen=True)
class Heatmap:
    """Accuracy over `rows`, lr or epochs, and batch size: of each model a row per value and a column per batch size.

    Values ascend; models are in the order of `MODEL_NAMES`.
    """

    rows: str
    means: Mapping[str, pd.DataFrame]
    """Mean accuracies; NaN where the cell diverged or has no result."""
    statuses: Mapping[str, pd.DataFrame]

    @property
    def accuracies(self) -> pd.Series:
        """All the models' accuracies, for one scale of colours."""
        return pd.concat([means.melt()["value"] for means in self.means.values()])

    def texts(self, model: str) -> pd.DataFrame:
        """What a model's cells say: the accuracy in percent, or how they have none."""
        marks = self.statuses[model].map(lambda status: "div." if status == "diverged" else "–")
        return self.means[model].map(lambda mean: f"{100 * mean:.2f}").where(self.means[model].notna(), marks)


def heatmap(summary: pd.DataFrame, rows: str, at: float) -> Heatmap:
    """The heatmap over lr, `at` an epoch budget, or over epochs, `at` an lr. Where further settings vary, the best."""
    shown = summary[summary["epochs" if rows == "lr" else "lr"] == at]
    means, statuses = {}, {}
    for model in models_in(summary):
        cells = shown[shown["model"] == model].drop_duplicates([rows, "batch_size"])  # ranked: the best comes first
        statuses[model] = cells.pivot(index=rows, columns="batch_size", values="status")
        accuracies = cells.pivot(index=rows, columns="batch_size", values="mean")
        means[model] = accuracies.where(statuses[model] != "diverged")
    return Heatmap(rows, means, statuses)


def models_in(table: pd.DataFrame) -> list[str]:
    """The models in a table, in the order of `MODEL_NAMES`."""
    return [model for model in MODEL_NAMES if (table["model"] == model).any()]


def series(summary: pd.DataFrame, x: str, line: str, **fixed: float) -> pd.DataFrame:
    """Accuracy against `x`, a line per value of `line`, at the `fixed` rest of model, lr, batch_size and epochs.

    Returns columns model, line, x, mean, std, ci_low, ci_high, n, status, in that sort order. Where further
    settings vary, the best of them.
    """
    for name, value in fixed.items():
        summary = summary[summary[name] == value]
    best = summary.drop_duplicates(["model", line, x])  # ranked: the best comes first
    order = best.assign(model=best["model"].map(MODEL_NAMES.index)).sort_values(["model", line, x]).index
    columns = ["model", line, x, "mean", "std", "ci_low", "ci_high", "n", "status"]
    return best.loc[order, columns].reset_index(drop=True)


def nearest(values: Iterable[Any], target: float) -> Any:
    """The positive value nearest to `target` by ratio; the larger of two equally near."""
    return min(values, key=lambda value: (abs(math.log(value / target)), -value))


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

    Returns columns model, lr, batch_size, epochs (the cell), seed, epoch, split (training, and validation or
    test) and loss, models in `MODEL_NAMES` order.
    """
    rows = epochs_of(tables, tables.complete.drop_duplicates("model"))
    losses = {"train_loss": "training", f"{PREFIX[tables.protocol]}_loss": split_name(tables.protocol)}
    cell = ["model", "lr", "batch_size", "epochs", "seed", "epoch"]
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


def floor(accuracies: pd.Series) -> float:
    """The least accuracy that a scale should resolve, of some that are not all empty.

    That is the least of all, unless outliers would take more than two thirds of the scale: accuracies over 0.2
    below the best, or under the others' first quartile by more than 1.5 interquartile ranges (Tukey's fence).
    """
    best = accuracies.max()
    near = accuracies[accuracies >= best - 0.2]
    low, high = near.quantile([0.25, 0.75])
    least = near[near >= low - 1.5 * (high - low)].min()
    return float(least if best - accuracies.min() > 3 * (best - least) > 0 else accuracies.min())


def costs(tables: Tables) -> pd.DataFrame:
    """What each complete cell costs and gives: columns model, lr, batch_size, epochs, seconds and mean accuracy.

    Seconds of training to the cell's epochs, the mean over its seeds, from its training's mean seconds per epoch;
    cells whose training has no timings are left out.
    """
    columns = ["model", "lr", "batch_size", "epochs", "seconds", "mean"]
    timings = tables.timings[tables.timings["train_seconds"] > 0]
    if timings.empty:
        return pd.DataFrame(columns=columns)
    timings = timings.assign(seconds_per_epoch=timings["train_seconds"] / timings["epochs"])
    shared = [name for name in tables.cell_columns if name in timings and name != "epochs"]
    pace = timings.groupby(shared, dropna=False)["seconds_per_epoch"].mean().reset_index()
    rows = tables.complete.merge(pace, on=shared)
    rows["seconds"] = rows["seconds_per_epoch"] * rows["epochs"]
    return rows[columns]
