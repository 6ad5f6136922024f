"""What the report page says, in plain values for its template: rows chosen, colours too, commands spelled."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Normalize, to_hex
from numpy.typing import NDArray

from tune_mnist.reporting.checklist import checklist
from tune_mnist.reporting.judge import Judgement, json_of, judge
from tune_mnist.reporting.predictions import Predictions
from tune_mnist.reporting.summary import summary
from tune_mnist.reporting.verdicts import ABOUT, RULE
from tune_mnist.reporting.verdicts import TITLES as COLUMNS
from tune_mnist.spec.training import PREFIX, SETTINGS, settings_of_model
from tune_mnist.spec.words.command_line import command_line
from tune_mnist.spec.words.naming import BASE, cell_name, full_name, setting_text, short_name, value_text
from tune_mnist.study.rounds import in_words
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.anova import Anova, anovas
from tune_mnist.tables.of_study import test_set_uses
from tune_mnist.tables.optimism import optimism
from tune_mnist.tables.planning import seeds_to_tell
from tune_mnist.tables.slices import Heatmap, costs, floor, heatmap, heatmap_of_pair, thinned
from tune_mnist.tables.standings import BEST
from tune_mnist.tables.views import pairs_to_show, reports_slices

SHOWN_CELLS = 500
"""How many rows a table of the page has at most; the CSV files have them all."""
MOST_ROWS = 24
"""Of a heatmap, and columns."""
TITLES = {
    "accuracy_by_lr": "Accuracy by learning rate",
    "accuracy_by_epochs": "Accuracy by number of epochs",
    "accuracy_by_batch_size": "Accuracy by batch size",
    "accuracy_by_setting": "Accuracy along each setting that varies",
    "training_curves": "Training and held-out loss by epoch, the overfitting gap marked",
    "fully_connected_and_cnn": "Training loss by epoch of the fully connected best and of the CNN",
    "confusion_matrix": "Confusion matrix of the winner on the test set",
    "reliability": "How often the winner is right, by the probability that it gives its answer",
    "worst_confused": "Test digits that the winner gets wrong with the most confidence",
    "cost": "Seconds of training against accuracy",
}

MOST_SHARES = 12
"""Shares of variance, up to which all are shown: those of four settings, their pairs, the rest and the seed."""
SEARCH_TITLES = {
    "history": "The trials in order, and the best so far",
    "intermediate_values": "Each trial's course by epoch, and where it was stopped early",
    "importances": "How much each setting matters to the search",
    "slice": "The trials along each setting",
    "parallel_coordinate": "Each trial as a line through its settings",
    "contour": "The trials over pairs of settings",
    "edf": "The share of trials that are no better",
    "pareto_front": "The trials that no other beats in every objective",
}
"""Optuna's figures of a search; of several objectives each has its own, named after it."""


def content(
    study: Study, tables: Tables, figures: Mapping[str, bytes], others: Sequence[tuple[str, Tables]],
    predictions: Predictions | None,
) -> dict[str, Any]:
    """All that the template shows of a study; `figures` are PNGs by name, `others` further studies by name."""
    specs, search = study.specs(), study.search()
    shown = {name: _figure(title, figures[name]) for name, title in TITLES.items() if name in figures}
    leaders = tables.top3.head(SHOWN_CELLS).to_dict("records")
    failed = tables.failed.head(SHOWN_CELLS).to_dict("records")
    uses = test_set_uses(study, tables)
    grids, judgements = anovas(tables), judge(tables, [other for _, other in others])
    shares = _shares(grids)
    return {
        "name": study.name, "protocol": tables.protocol, "split": split_name(tables.protocol), "method": tables.method,
        "cells": len(tables.summary), "seeds": int(tables.summary["seeds"].max()),
        "least_seeds": int(tables.summary["seeds"].min()),
        "rounds": [in_words(spec, rounds) for spec, rounds in study.rounds()],
        "counts": tables.summary["status"].value_counts().to_dict(),
        "told": tables.told, "in_common": _in_common(tables),
        "best": leaders[0] if leaders else None, "leaders": leaders,
        "ties": int((tables.top3["standing"] != BEST).sum()), "known": not math.isnan(tables.noise.variance),
        "scored": [row for row in leaders[:3] if pd.notna(row.get("test_accuracy"))], "optimism": optimism(tables),
        "rivals": _rivals([(study.name, tables), *others]),
        "test_set": uses,
        "summary": summary(tables, grids, judgements), "grids": grids,
        "shares": shares, "shares_left_out": len({name for grid in grids for name in grid.shares} - {*shares}),
        "to_tell": seeds_to_tell(tables).to_dict("records"),
        "calibration": predictions and predictions.calibration(), "checklist": checklist(study, tables, uses),
        "claims": _claims(judgements), "about": ABOUT, "rule": RULE,
        "search": search and _search_figures(figures), "heatmaps": _heatmaps(tables),
        "cost": shown.pop("cost", None), "figures": shown,
        "rows": tables.summary.head(SHOWN_CELLS).to_dict("records"), "held_out_loss": f"{PREFIX[tables.protocol]}_loss",
        "failed": [{**row, "training": cell_name(row, [*BASE[:3], *tables.further])} for row in failed],
        "failures": len(tables.failed), "leaders_left_out": len(tables.top3) - len(leaders),
        "commands": [search["command"]] if search else [command_line(spec, study.name) for spec in specs],
        "datasets": sorted({str(spec.data or spec.dataset) for spec in specs}), "others": [name for name, _ in others],
        "trainings": len(tables.timings), "model_epochs": len(tables.epochs),
        "seconds": _seconds(tables), "total_seconds": float(tables.timings["train_seconds"].sum()),
    }


def _shares(grids: Sequence[Anova]) -> list[str]:
    """The rows of the table of shares, the largest first: all, or if they are many, no pairs of next to no weight."""
    most = {name: max(grid.shares.get(name, 0.0) for grid in grids) for grid in grids for name in grid.shares}
    ordered = sorted(most, key=lambda name: -most[name])
    return [name for name in ordered if most[name] >= 0.005 or " × " not in name or len(most) <= MOST_SHARES]


def _in_common(tables: Tables) -> str:
    """What all cells have in common and no table tells: lr, batch size, epochs, and what is not at its default."""
    row = {**tables.settings, **tables.summary.iloc[0].to_dict()}
    settings = [SETTINGS, *(settings_of_model(model) for model in tables.summary["model"].unique())]
    plain = {name: setting.default for each in settings for name, setting in each.items()} | {"head": "logits"}
    own = [name for name, value in tables.settings.items() if name != "budget" and value != plain.get(name)]
    return ", ".join(setting_text(name, row[name]) for name in [*BASE[1:], *own] if name not in tables.told)


def _search_figures(figures: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """A search's figures, in the order of their titles."""
    found = []
    for start, title in SEARCH_TITLES.items():
        for name in sorted(figures):
            if name == start or name.startswith(f"{start}_"):
                goal = name[len(start) + 1 :]
                found.append(_figure(title + (f": {full_name(goal)}" if goal else ""), figures[name]))
    return found


def _figure(title: str, png: bytes) -> dict[str, Any]:
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    uri = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return {"title": title, "uri": uri, "width": width, "height": height}


def _claims(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """The judgements on claims of which studies hold the cells, of each column its title and how many claims came to
    each verdict, and which claims are left out."""
    shown = [judgement for judgement in judgements if judgement.judged]
    counts = {
        title: Counter(judgement.columns[column].verdict for judgement in shown) for column, title in COLUMNS.items()
    }
    return {
        "judgements": [json_of(judgement) for judgement in shown], "columns": COLUMNS, "counts": counts,
        "left_out": [judgement.claim for judgement in judgements if not judgement.judged],
    }


def _rivals(studies: Sequence[tuple[str, Tables]]) -> list[dict[str, Any]]:
    """The winners of studies of both protocols on the test set, if there are both."""
    columns = {"report": ("mean", "ci_low", "ci_high"), "holdout": ("test_accuracy", "test_ci_low", "test_ci_high")}
    rivals = []
    for name, tables in studies:
        for winner in tables.top3.head(1).to_dict("records"):
            accuracy, low, high = (winner.get(column) for column in columns[tables.protocol])
            rival = {"study": name, "protocol": tables.protocol, "winner": tables.name_of(winner)}
            rivals.append({**rival, "accuracy": accuracy, "low": low, "high": high})
    tested = [rival for rival in rivals if pd.notna(rival["accuracy"])]
    return tested if len({rival["protocol"] for rival in tested}) > 1 else []


def _heatmaps(tables: Tables) -> list[dict[str, Any]]:
    """The report's two families of heatmaps, or those of the pairs of settings that matter most.

    Families of panels; of the pairs one, without a title.
    """
    summary, slices = tables.summary, reports_slices(tables)
    if slices is not None:
        families = {
            f"Learning rate by batch size, {slices.epochs} epochs": _heatmap(summary, "lr", slices.epochs),
            f"Epochs by batch size, lr {slices.middle:g}": _heatmap(summary, "epochs", slices.middle),
        }
        return [_family(title, shown) for title, shown in families.items() if shown.accuracies.count() > 1]
    maps = [heatmap_of_pair(thinned(summary, dict.fromkeys(pair, MOST_ROWS)), *pair) for pair in pairs_to_show(tables)]
    panels = [
        _panel("", shown, f"{full_name(shown.rows)}, down, by {full_name(shown.columns)}, across")
        for shown in maps if shown.accuracies.count() > 1
    ]
    return [{"title": "", "panels": panels}] if panels else []


def _heatmap(summary: pd.DataFrame, rows: str, at: float) -> Heatmap:
    return heatmap(thinned(summary, {rows: MOST_ROWS, "batch_size": MOST_ROWS}), rows, at)


def _family(title: str, shown: Heatmap) -> dict[str, Any]:
    """A title, and per panel a table of values with their colours."""
    return {"title": title, "panels": [_panel(name, shown, name) for name in shown.means]}


def _panel(name: str, shown: Heatmap, caption: str) -> dict[str, Any]:
    norm = Normalize(floor(shown.accuracies), shown.accuracies.max(), clip=True)
    means, texts = shown.means[name], shown.texts(name)
    values = means.to_numpy(float)  # (rows, columns)
    colours = colormaps["viridis"](norm(values))[..., :3]  # (rows, columns, red, green and blue)
    rows = [
        {"label": value_text(value), "cells": [_cell(*each) for each in zip(words, accuracies, backs, strict=True)]}
        for value, words, accuracies, backs in zip(means.index, texts.to_numpy(), values, colours, strict=True)
    ]
    columns = [value_text(value) for value in means]
    return {"name": caption, "rows_are": short_name(shown.rows), "columns": columns, "rows": rows}


def _cell(text: str, accuracy: float, colour: NDArray[np.float64]) -> dict[str, str]:
    """A heatmap's cell: its text, its background, as CSS, and an ink that is legible on it."""
    if pd.isna(accuracy):
        return {"text": text, "back": "transparent", "ink": "inherit"}
    light = float(np.dot(colour, (0.299, 0.587, 0.114)))
    return {"text": text, "back": to_hex(tuple(colour)), "ink": "#000" if light > 0.5 else "#fff"}


def _seconds(tables: Tables) -> float | None:
    """Seconds of training of the best cell, one seed."""
    cells = costs(tables)
    if not cells.empty:
        cells = cells.merge(tables.top3[tables.cell_columns].head(1), on=tables.cell_columns)
    return None if cells.empty else float(cells["seconds"].iloc[0])
