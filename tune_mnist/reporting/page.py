"""What the report page says, in plain values for its template: numbers formatted, colours chosen, commands spelled."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.reporting.judge import judge
from tune_mnist.spec.errors import flag_of
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Protocol, Recipe
from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.optimism import optimism
from tune_mnist.tables.slices import costs, epochs_by_batch, floor, lr_by_batch, nearest
from tune_mnist.tables.standings import BEST
from tune_mnist.tables.text import cell_name, interval, p_value, percent

TITLES = {
    "accuracy_by_lr": "Accuracy by learning rate",
    "accuracy_by_epochs": "Accuracy by number of epochs",
    "accuracy_by_batch_size": "Accuracy by batch size",
    "training_curves": "Training and held-out loss by epoch, the overfitting gap marked",
    "fully_connected_and_cnn": "Training loss by epoch of the fully connected best and of the CNN",
    "confusion_matrix": "Confusion matrix of the winner on the test set",
    "worst_confused": "Test digits that the winner gets wrong with the most confidence",
    "cost": "Seconds of training against accuracy",
}


def content(
    name: str, described: Mapping[str, Any], specs: Sequence[StudySpec], tables: Tables,
    figures: Mapping[str, bytes], others: Sequence[tuple[str, Tables]],
) -> dict[str, Any]:
    """All that the template shows of the study `name`; `figures` are PNGs by name, `others` further studies."""
    shown = {key: _figure(key, figures[key]) for key in TITLES if key in figures}
    cost = shown.pop("cost", None)
    return {
        "name": name, "protocol": tables.protocol, "split": split_name(tables.protocol), "method": tables.method,
        "cells": len(tables.summary), "seeds": int(tables.summary["seeds"].max()),
        "counts": tables.summary["status"].value_counts().to_dict(),
        "varying": [column for column in tables.cell_columns if column not in ("model", "lr", "batch_size", "epochs")],
        "best": _best(tables), "leaders": [_row(row, tables) for row in tables.top3.to_dict("records")],
        "scored": _scored(tables), "optimism": _optimism(tables), "rivals": _rivals(name, tables, others),
        "claims": [_claim(verdict) for verdict in judge(tables, [other for _, other in others])],
        "heatmaps": _heatmaps(tables.summary), "figures": shown,
        "rows": [_row(row, tables) for row in tables.summary.to_dict("records")],
        "failed": tables.failed.to_dict("records"), "commands": [command(spec, name) for spec in specs],
        "datasets": sorted({str(spec.data or spec.dataset) for spec in specs}), "others": [one for one, _ in others],
        "trainings": len(tables.timings), "model_epochs": len(tables.epochs), "runs": described["runs"], "cost": cost,
        "seconds": _seconds(tables), "total_seconds": float(tables.timings["train_seconds"].sum()),
    }


def command(spec: StudySpec, name: str) -> str:
    """The command line that asks for `spec` again, flags only where it differs from the default."""
    words = ["python -m tune_mnist.grid"]
    for given, default in ((spec, StudySpec()), (spec.recipe, Recipe())):
        for field in dataclasses.fields(given):
            value = getattr(given, field.name)
            if field.name == "recipe" or value == getattr(default, field.name):
                continue
            flag = flag_of(field.name)
            if isinstance(value, bool):
                words.append(flag)
            else:
                values = value if isinstance(value, tuple) else (value,)
                words.append(" ".join([flag, *(f"{v:g}" if isinstance(v, float) else str(v) for v in values)]))
    return " ".join([*words, f"--name {name}"])


def _figure(name: str, png: bytes) -> dict[str, Any]:
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    uri = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return {"title": TITLES[name], "uri": uri, "width": width, "height": height}


def _best(tables: Tables) -> dict[str, Any] | None:
    if tables.top3.empty:
        return None
    row = tables.top3.iloc[0].to_dict()
    return {**_row(row, tables), "ties": int((tables.top3["standing"] != BEST).sum())}


def _row(row: Mapping[Any, Any], tables: Tables) -> dict[str, Any]:
    """A cell's values as text, with the raw accuracy to sort by."""
    held_out = f"{'test' if tables.protocol == 'report' else 'val'}_loss"
    return {
        **row, "name": cell_name(row), "lr_text": f"{row['lr']:g}", "accuracy": _percent(row["mean"]),
        "interval": interval(row["ci_low"], row["ci_high"]), "spread": _points(row["std"]),
        "train": _loss(row["train_loss"]), "held_out": _loss(row[held_out]), "held_out_value": row[held_out],
        "p": p_value(row["p_adjusted"]) if row.get("p_adjusted", np.nan) == row.get("p_adjusted") else "",
        "off": f"{100 * row['difference']:+.2f}" if row.get("difference", np.nan) == row.get("difference") else "",
    }


def _percent(share: float) -> str:
    return percent(share) if share == share else "–"


def _points(share: float) -> str:
    return f"{100 * share:.2f}" if share == share else ""


def _loss(loss: float) -> str:
    return f"{loss:.4f}" if loss == loss else "–"


def _scored(tables: Tables) -> list[dict[str, Any]]:
    """Under holdout: the three best on validation and on test, and the gap in points."""
    if "test_accuracy" not in tables.top3:
        return []
    return [
        {
            "name": cell_name(row), "accuracy": percent(row["mean"]), "test": percent(row["test_accuracy"]),
            "interval": interval(row["test_ci_low"], row["test_ci_high"]),
            "gap": f"{100 * (row['mean'] - row['test_accuracy']):+.2f}",
        }
        for row in tables.top3.head(3).to_dict("records") if row["test_accuracy"] == row["test_accuracy"]
    ]


def _optimism(tables: Tables) -> dict[str, Any] | None:
    found = optimism(tables)
    if found is None:
        return None
    numbers = {key: f"{100 * getattr(found, key):+.2f}" for key in ("mean", "low", "high")}
    return {**numbers, "cells": found.cells, "pictures": f"{found.pictures:,}"}


def _rivals(name: str, tables: Tables, others: Sequence[tuple[str, Tables]]) -> list[dict[str, Any]]:
    """The winners of studies of both protocols on the test set, if there are both."""
    rows = [_on_test(label, one) for label, one in ((name, tables), *others) if not one.top3.empty]
    known = [row for row in rows if row is not None]
    return known if len({row["protocol"] for row in known}) > 1 else []


def _on_test(label: str, tables: Tables) -> dict[str, Any] | None:
    row = tables.top3.iloc[0]
    names = ("test_accuracy", "test_ci_low", "test_ci_high")
    accuracy, low, high = row[["mean", "ci_low", "ci_high"]] if tables.protocol == "report" else row.reindex(names)
    if accuracy != accuracy:
        return None
    how: dict[Protocol, str] = {"report": "chosen on the test set", "holdout": "chosen on validation, tested once"}
    return {
        "study": label, "protocol": tables.protocol, "how": how[tables.protocol], "name": cell_name(row.to_dict()),
        "test": percent(accuracy), "interval": interval(low, high),
    }


def _claim(verdict: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(verdict), "verdict": verdict.verdict, "why": verdict.why.strip()}


def _heatmaps(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """The report's two families of heatmaps: a title and, per model, a table of values with their colours."""
    reached = summary[summary["n"] > 0]
    if reached.empty:
        return []
    epochs, lr = nearest(reached["epochs"], 10), nearest(reached["lr"], 1e-3)
    families = []
    for title, rows, pivot, at in (
        (f"Learning rate by batch size, {epochs} epochs", "lr", lr_by_batch, epochs),
        (f"Epochs by batch size, lr {lr:g}", "epochs", epochs_by_batch, lr),
    ):
        means = {model: pivot(summary, model, at) for model in summary["model"].drop_duplicates().sort_values()}
        states = {model: pivot(summary, model, at, "status") for model in means}
        pooled = pd.concat([mean.melt()["value"] for mean in means.values()]).dropna()
        if len(pooled) > 1:
            low, high = floor(pooled), float(pooled.max())
            panels = [_panel(model, means[model], states[model], low, high) for model in _ordered(means)]
            families.append({"title": title, "rows": rows, "panels": panels})
    return families


def _ordered(models: Mapping[str, Any]) -> list[str]:
    from tune_mnist.spec.training import MODEL_NAMES

    return [model for model in MODEL_NAMES if model in models]


def _panel(model: str, means: pd.DataFrame, states: pd.DataFrame, low: float, high: float) -> dict[str, Any]:
    rows = []
    for value in means.index:
        cells = [_shade(means.loc[value, size], str(states.loc[value, size]), low, high) for size in means.columns]
        rows.append({"label": f"{value:g}", "cells": cells})
    return {"model": model, "columns": list(means.columns), "rows": rows}


def _shade(mean: float, state: str, low: float, high: float) -> dict[str, str]:
    """A heatmap cell's text and its background on viridis, as CSS, with an ink that is legible on it."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if mean != mean or state == "diverged":
        return {"text": "div." if state == "diverged" else "–", "back": "transparent", "ink": "inherit"}
    color = colormaps["viridis"](float(np.clip((mean - low) / (high - low or 1), 0, 1)))
    light = float(np.dot(color[:3], (0.299, 0.587, 0.114)))
    return {"text": f"{100 * mean:.2f}", "back": to_hex(color), "ink": "#000" if light > 0.5 else "#fff"}


def _seconds(tables: Tables) -> float | None:
    """Seconds of training of the best cell, one seed."""
    priced = costs(tables)
    if tables.top3.empty:
        return None
    for name in ("model", "lr", "batch_size", "epochs"):
        priced = priced[priced[name] == tables.top3[name].iloc[0]]
    return None if priced.empty else float(priced["seconds"].iloc[0])
