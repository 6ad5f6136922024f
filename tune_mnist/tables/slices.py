"""Parts of a study's tables as figures and pages show them: pivots, series and the best cells' curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from tune_mnist.spec.training import FULLY_CONNECTED, MODEL_NAMES, PREFIX
from tune_mnist.tables.analyse import Tables, split_name


def lr_by_batch(summary: pd.DataFrame, model: str, epochs: int, values: str = "mean") -> pd.DataFrame:
    """A model's `values` after `epochs`: a row per lr, a column per batch size, both ascending."""
    return _pivot(summary, "lr", values, model=model, epochs=epochs)


def epochs_by_batch(summary: pd.DataFrame, model: str, lr: float, values: str = "mean") -> pd.DataFrame:
    """A model's `values` at `lr`: a row per epoch budget, a column per batch size, both ascending."""
    return _pivot(summary, "epochs", values, model=model, lr=lr)


def series(summary: pd.DataFrame, x: str, line: str, **fixed: float) -> pd.DataFrame:
    """Accuracy against `x`, a line per value of `line`, at the `fixed` rest of model, lr, batch_size and epochs.

    Returns columns model, line, x, mean, std, ci_low, ci_high, n, status, in that sort order. Where further
    settings vary, the best of them.
    """
    part = _where(summary, fixed).drop_duplicates(["model", line, x])  # ranked: the best comes first
    order = part.assign(model=part["model"].map(MODEL_NAMES.index)).sort_values(["model", line, x]).index
    columns = ["model", line, x, "mean", "std", "ci_low", "ci_high", "n", "status"]
    return part.loc[order, columns].reset_index(drop=True)


def nearest(values: Iterable[Any], target: float) -> Any:
    """The positive value nearest to `target` by ratio; the larger of two equally near."""
    return min(values, key=lambda value: (abs(math.log(value / target)), -value))


def best_curves(tables: Tables) -> pd.DataFrame:
    """Losses over the epochs of each model's best complete cell, all its seeds.

    Returns columns model, lr, batch_size, epochs (the cell), seed, epoch, split (training, and validation or
    test) and loss, models in `MODEL_NAMES` order.
    """
    shared = [name for name in tables.summary if name in tables.epochs and not name.endswith("_loss")]
    best = tables.summary[tables.summary["status"] == "complete"].drop_duplicates("model")[[*shared, "epochs"]]
    cell = ["model", "lr", "batch_size", "epochs", "seed", "epoch"]
    if best.empty:
        return pd.DataFrame(columns=[*cell, "split", "loss"])
    rows = tables.epochs.merge(best, on=shared)  # keeps the order of tables.epochs
    rows = rows[rows["epoch"] <= rows["epochs"]]
    if "budget" in rows and "budget" not in shared:
        rows = rows[rows["budget"].isna() | (rows["budget"] == rows["epochs"])]
    held_out = f"{PREFIX[tables.protocol]}_loss"
    names = {"train_loss": "training", held_out: split_name(tables.protocol)}
    return rows.rename(columns=names).melt(cell, list(names.values()), var_name="split", value_name="loss")


def fully_connected_and_cnn(tables: Tables, others: Sequence[Tables] = ()) -> pd.DataFrame | None:
    """Training losses, as `best_curves` gives them, of the best fully connected cell and of the best CNN's.

    The CNN may be another study's: a column tells each one's protocol. None if there is no such pair.
    """
    found = []
    for models in (FULLY_CONNECTED, ("CNN",)):
        for one in (tables, *others):
            ranked = one.summary[one.summary["model"].isin(models) & (one.summary["status"] == "complete")]
            if not ranked.empty:
                curves = best_curves(one)
                chosen = curves[(curves["model"] == ranked["model"].iloc[0]) & (curves["split"] == "training")]
                found.append(chosen.assign(protocol=one.protocol))
                break
    return pd.concat(found, ignore_index=True) if len(found) == 2 else None


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
    if tables.timings.empty:
        return pd.DataFrame(columns=columns)
    timings = tables.timings.assign(pace=tables.timings["train_seconds"] / tables.timings["epochs"])
    shared = [name for name in tables.cell_columns if name in timings and name != "epochs"]
    pace = timings[timings["train_seconds"] > 0].groupby(shared, dropna=False)["pace"].mean().reset_index()
    rows = tables.summary[tables.summary["status"] == "complete"].merge(pace, on=shared)
    rows["seconds"] = rows["pace"] * rows["epochs"]
    return rows[columns]


def _where(summary: pd.DataFrame, fixed: Mapping[str, Any]) -> pd.DataFrame:
    keep = pd.Series(True, index=summary.index)
    for name, value in fixed.items():
        keep &= summary[name] == value
    return summary[keep]


def _pivot(summary: pd.DataFrame, rows: str, values: str, **fixed: Any) -> pd.DataFrame:
    part = _where(summary, fixed).drop_duplicates([rows, "batch_size"])  # ranked: the best comes first
    return part.pivot(index=rows, columns="batch_size", values=values)


