"""What the report page says, in plain values for its template: rows chosen, colours too, commands spelled."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Normalize, to_hex

from tune_mnist.reporting.checklist import checklist
from tune_mnist.reporting.judge import Judgement, json_of, judge
from tune_mnist.reporting.predictions import Predictions
from tune_mnist.reporting.summary import summary
from tune_mnist.reporting.verdicts import ABOUT, RULE
from tune_mnist.reporting.verdicts import TITLES as COLUMNS
from tune_mnist.spec.errors import flag_of
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PREFIX, Recipe
from tune_mnist.study.rounds import in_words
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.anova import anovas
from tune_mnist.tables.of_study import test_set_uses
from tune_mnist.tables.optimism import optimism
from tune_mnist.tables.planning import seeds_to_tell
from tune_mnist.tables.slices import Heatmap, costs, floor, heatmap, nearest, thinned
from tune_mnist.tables.standings import BEST

SHOWN_CELLS = 500
"""How many rows a table of the page has at most; the CSV files have them all."""
MOST_ROWS = 24
"""Of a heatmap, and columns."""
TITLES = {
    "accuracy_by_lr": "Accuracy by learning rate",
    "accuracy_by_epochs": "Accuracy by number of epochs",
    "accuracy_by_batch_size": "Accuracy by batch size",
    "training_curves": "Training and held-out loss by epoch, the overfitting gap marked",
    "fully_connected_and_cnn": "Training loss by epoch of the fully connected best and of the CNN",
    "confusion_matrix": "Confusion matrix of the winner on the test set",
    "reliability": "How often the winner is right, by the probability that it gives its answer",
    "worst_confused": "Test digits that the winner gets wrong with the most confidence",
    "cost": "Seconds of training against accuracy",
}


def content(
    study: Study, tables: Tables, figures: Mapping[str, bytes], others: Sequence[tuple[str, Tables]],
    predictions: Predictions | None,
) -> dict[str, Any]:
    """All that the template shows of a study; `figures` are PNGs by name, `others` further studies by name."""
    specs = study.specs()
    shown = {name: _figure(name, figures[name]) for name in TITLES if name in figures}
    leaders = tables.top3.head(SHOWN_CELLS).to_dict("records")
    grids, judgements = anovas(tables), judge(tables, [other for _, other in others])
    return {
        "name": study.name, "protocol": tables.protocol, "split": split_name(tables.protocol), "method": tables.method,
        "cells": len(tables.summary), "seeds": int(tables.summary["seeds"].max()),
        "least_seeds": int(tables.summary["seeds"].min()),
        "rounds": [in_words(spec, rounds) for spec, rounds in study.rounds()],
        "counts": tables.summary["status"].value_counts().to_dict(),
        "varying": [column for column in tables.cell_columns if column not in ("model", "lr", "batch_size", "epochs")],
        "best": leaders[0] if leaders else None, "leaders": leaders,
        "ties": int((tables.top3["standing"] != BEST).sum()), "known": not math.isnan(tables.noise.variance),
        "scored": [row for row in leaders[:3] if pd.notna(row.get("test_accuracy"))], "optimism": optimism(tables),
        "rivals": _rivals([(study.name, tables), *others]),
        "test_set": test_set_uses(study, tables),
        "summary": summary(tables, grids, judgements), "grids": grids,
        "to_tell": seeds_to_tell(tables).to_dict("records"),
        "calibration": predictions and predictions.calibration(), "checklist": checklist(study, tables),
        "claims": _claims(judgements), "about": ABOUT, "rule": RULE,
        "heatmaps": _heatmaps(tables.summary), "cost": shown.pop("cost", None), "figures": shown,
        "rows": tables.summary.head(SHOWN_CELLS).to_dict("records"), "held_out_loss": f"{PREFIX[tables.protocol]}_loss",
        "failed": tables.failed.head(SHOWN_CELLS).to_dict("records"), "failures": len(tables.failed),
        "leaders_left_out": len(tables.top3) - len(leaders), "commands": [command(spec, study.name) for spec in specs],
        "datasets": sorted({str(spec.data or spec.dataset) for spec in specs}), "others": [name for name, _ in others],
        "trainings": len(tables.timings), "model_epochs": len(tables.epochs),
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


def _claims(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """The judgements, and of each column its title and how many claims came to each verdict."""
    counts = {
        title: Counter(judgement.columns[column].verdict for judgement in judgements)
        for column, title in COLUMNS.items()
    }
    return {"judgements": [json_of(judgement) for judgement in judgements], "columns": COLUMNS, "counts": counts}


def _rivals(studies: Sequence[tuple[str, Tables]]) -> list[dict[str, Any]]:
    """The winners of studies of both protocols on the test set, if there are both."""
    columns = {"report": ("mean", "ci_low", "ci_high"), "holdout": ("test_accuracy", "test_ci_low", "test_ci_high")}
    rivals = []
    for name, tables in studies:
        for winner in tables.top3.head(1).to_dict("records"):
            accuracy, low, high = (winner.get(column) for column in columns[tables.protocol])
            rival = {"study": name, "protocol": tables.protocol, "winner": winner}
            rivals.append({**rival, "accuracy": accuracy, "low": low, "high": high})
    tested = [rival for rival in rivals if pd.notna(rival["accuracy"])]
    return tested if len({rival["protocol"] for rival in tested}) > 1 else []


def _heatmaps(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """The report's two families of heatmaps: a title and, per model, a table of values with their colours."""
    reached = summary[summary["n"] > 0]
    if reached.empty:
        return []
    epochs, lr = nearest(reached["epochs"], 10), nearest(reached["lr"], 1e-3)
    families = {
        f"Learning rate by batch size, {epochs} epochs": _heatmap(summary, "lr", epochs),
        f"Epochs by batch size, lr {lr:g}": _heatmap(summary, "epochs", lr),
    }
    return [
        {"title": title, "rows": shown.rows, "panels": [_panel(model, shown) for model in shown.means]}
        for title, shown in families.items() if shown.accuracies.count() > 1
    ]


def _heatmap(summary: pd.DataFrame, rows: str, at: float) -> Heatmap:
    return heatmap(thinned(summary, {rows: MOST_ROWS, "batch_size": MOST_ROWS}), rows, at)


def _panel(model: str, shown: Heatmap) -> dict[str, Any]:
    norm = Normalize(floor(shown.accuracies), shown.accuracies.max(), clip=True)
    means, texts = shown.means[model], shown.texts(model)
    rows = [
        {
            "label": f"{value:g}",
            "cells": [{"text": texts.loc[value, size], **_colours(means.loc[value, size], norm)} for size in means],
        }
        for value in means.index
    ]
    return {"model": model, "columns": list(means), "rows": rows}


def _colours(mean: float, norm: Normalize) -> dict[str, str]:
    """A heatmap cell's background on viridis, as CSS, with an ink that is legible on it."""
    if pd.isna(mean):
        return {"back": "transparent", "ink": "inherit"}
    color = colormaps["viridis"](norm(mean))
    light = float(np.dot(color[:3], (0.299, 0.587, 0.114)))
    return {"back": to_hex(color), "ink": "#000" if light > 0.5 else "#fff"}


def _seconds(tables: Tables) -> float | None:
    """Seconds of training of the best cell, one seed."""
    cells = costs(tables)
    if tables.top3.empty:
        return None
    for name in ("model", "lr", "batch_size", "epochs"):
        cells = cells[cells[name] == tables.top3[name].iloc[0]]
    return None if cells.empty else float(cells["seconds"].iloc[0])
