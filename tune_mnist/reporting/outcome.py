"""What a run came to, printed for people or as plain JSON values."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PREFIX
from tune_mnist.spec.words.naming import BASE, cell_name, setting_text, short_name, value_text
from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.standings import cell_keys
from tune_mnist.tables.text import percent, print_table

SHOWN_FAILURES = 20


def print_grid(folder: Path, tables: Tables, spec: StudySpec, *, as_json: bool = False) -> None:
    """Print a grid's outcome to stdout: the top three, what failed and where everything is, or one JSON object.

    Where the study has more cells than `spec` asks for, the best of these is told, too.
    """
    asked = _asked(tables.results, spec)
    if not as_json:
        _print_tables(folder, tables)
        if len(asked) < len(tables.results):
            line = f"{len(asked)} of the study's {len(tables.results)} cells were asked for now"
            print_table(_told(tables, asked.head(1)), f"{line}; the best of these")
        return
    cells = tables.results["status"].value_counts().to_dict()
    print(json.dumps({
        "folder": shown(folder), "cells": cells, "asked": len(asked), "top3": _records(tables.top3),
        "failed": _records(tables.failed),
    }))


def _asked(results: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """The rows of a study's results that `spec` asks for."""
    if sum(len(plan.budgets) for plan in spec.trainings()) == len(results):
        return results  # the study holds all that was asked for, so here nothing else
    plans = [(plan.config.row(), plan.budgets) for plan in spec.trainings()]
    names = [name for name in dict.fromkeys(name for values, _ in plans for name in values) if name in results]
    wanted = {(*map(values.get, names), epochs) for values, budgets in plans for epochs in budgets}
    return results[[cell in wanted for cell in cell_keys(results[[*names, "epochs"]])]]


def print_search(
    folder: Path, tables: Tables, trials: pd.DataFrame, pareto: pd.DataFrame | None, *, as_json: bool = False
) -> None:
    """Print a search's outcome to stdout: its trials by state, its Pareto front, if any, and what `print_grid` does."""
    states = trials["state"].value_counts().to_dict()
    if as_json:
        print(json.dumps({
            "folder": shown(folder), "trials": states, "top3": _records(tables.top3),
            "pareto": None if pareto is None else _records(pareto), "failed": _records(tables.failed),
        }))
        return
    print(f"{len(trials)} trials: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    if pareto is not None:
        print_table(pareto.drop(columns=["state", "from", "training"], errors="ignore"), "Pareto front")
    _print_tables(folder, tables)


def in_short(folder: Path, tables: Tables) -> str:
    """A line for a notebook: where a study is, how many cells it has, and its best."""
    best = tables.complete.head(1).to_dict("records")
    found = [f"best {tables.title_of(row)}: {percent(row['mean'])}" for row in best] or ["no result"]
    return f"{folder}: {len(tables.summary)} cells, {found[0]}"


def as_html(folder: Path, tables: Tables) -> str:
    """The line of `in_short` and the three best cells, as HTML."""
    best = _told(tables, tables.top3.head(3))
    return f"<p>{html.escape(in_short(folder, tables))}</p>" + best.to_html(index=False, border=0)


def some_failed(tables: Tables) -> bool:
    """Whether a training failed; one that diverged has not."""
    return bool((tables.failed["status"] == "failed").any())


def _print_tables(folder: Path, tables: Tables) -> None:
    best = tables.top3.head(3)
    if best.empty:
        print(f"No cell of {len(tables.results)} has a result: no training came through")
    else:
        title = f"Top three of {len(tables.results)} cells, by {split_name(tables.protocol)} accuracy"
        print_table(_told(tables, best), title)
    if len(tables.top3) > 3:
        ties = len(tables.top3) - 3
        print(f"{ties} more cells are not distinguishable from the third: see top3.csv. {tables.method}")
    for line in _failures(tables):
        print(line)
    print(f"Tables and figures are in {shown(folder)}; read {shown(folder / 'report.html')}")
    if some_failed(tables) and (tracebacks := sorted(folder.glob("trainings/**/failure.json"))):
        others = f", and of {len(tracebacks) - 1} more beside it" if len(tracebacks) > 1 else ""
        print(f"The whole traceback of what failed is in {tracebacks[0]}{others}")


def _told(tables: Tables, cells: pd.DataFrame) -> pd.DataFrame:
    """Cells, rows of the tables, as a terminal shows them: rank, what varies, and the accuracies, as texts."""
    told = pd.DataFrame({"rank": cells["rank"]})
    for name in [*tables.told, *(["seed"] if "seed" in cells and tables.results["seed"].any() else [])]:
        told[short_name(name)] = cells[name].map(value_text)
    mean = "mean" if "mean" in cells else f"{PREFIX[tables.protocol]}_accuracy"
    told[split_name(tables.protocol)] = cells[mean].map(percent)
    if "mean" in cells and "test_accuracy" in cells:
        told["test"] = cells["test_accuracy"].map(percent)
    return told


def _failures(tables: Tables) -> Iterator[str]:
    """The trainings that diverged or failed, a line each, as many as one wants to read."""
    for row in tables.failed.head(SHOWN_FAILURES).to_dict("records"):
        name, epochs = cell_name(row, [*BASE[:3], *tables.further]), setting_text("epochs", row["epochs"])
        error = f": {row['error']}" if row["error"] else ""
        yield f"{row['status']}: {name}, seed {row['seed']}, after {epochs}{error}"
    if len(tables.failed) > SHOWN_FAILURES:
        yield f"… and {len(tables.failed) - SHOWN_FAILURES} more trainings that diverged or failed: see the page"


def _records(frame: pd.DataFrame) -> Any:
    """The rows as plain JSON values; a number that is not finite is None."""
    return json.loads(frame.to_json(orient="records"))
