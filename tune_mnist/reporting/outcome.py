"""What a run came to, printed for people or as plain JSON values."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pandas as pd

from tune_mnist.spec.study import StudySpec
from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.text import cell_name, percent, print_table


def print_grid(folder: Path, tables: Tables, spec: StudySpec, *, as_json: bool = False) -> None:
    """Print a grid's outcome to stdout: the top three, what failed and where everything is, or one JSON object.

    Where the study has more cells than `spec` asks for, the best of these is told, too.
    """
    asked = _asked(tables.results, spec)
    if not as_json:
        _print_tables(folder, tables)
        if len(asked) < len(tables.results):
            line = f"{len(asked)} of the study's {len(tables.results)} cells were asked for now"
            print_table(asked.head(1), f"{line}; the best of these")
        return
    cells = tables.results["status"].value_counts().to_dict()
    print(json.dumps({
        "folder": str(folder), "cells": cells, "asked": len(asked), "top3": _records(tables.top3),
        "failed": _records(tables.failed),
    }))


def _asked(results: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """The rows of a study's results that `spec` asks for."""
    plans = spec.trainings()
    names = [name for name in results if any(plan.config.value(str(name)) is not None for plan in plans)]
    wanted = {
        (*(plan.config.value(name) for name in names), epochs) for plan in plans for epochs in plan.budgets
    }
    cells = results[[*names, "epochs"]].astype(object).where(results[[*names, "epochs"]].notna(), None)
    cells = cells.itertuples(index=False, name=None)
    return results[[cell in wanted for cell in cells]]


def print_search(
    folder: Path, tables: Tables, trials: pd.DataFrame, pareto: pd.DataFrame | None, *, as_json: bool = False
) -> None:
    """Print a search's outcome to stdout: its trials by state, its Pareto front, if any, and what `print_grid` does."""
    states = trials["state"].value_counts().to_dict()
    if as_json:
        print(json.dumps({
            "folder": str(folder), "trials": states, "top3": _records(tables.top3),
            "pareto": None if pareto is None else _records(pareto), "failed": _records(tables.failed),
        }))
        return
    print(f"{len(trials)} trials: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    if pareto is not None:
        print_table(pareto.drop(columns=["state", "training"]), "Pareto front")
    _print_tables(folder, tables)


def in_short(folder: Path, tables: Tables) -> str:
    """A line for a notebook: where a study is, how many cells it has, and its best."""
    best = tables.complete
    found = f"best {cell_name(best.iloc[0].to_dict())}: {percent(best['mean'].iloc[0])}" if len(best) else "no result"
    return f"{folder}: {len(tables.summary)} cells, {found}"


def as_html(folder: Path, tables: Tables) -> str:
    """The line of `in_short` and the three best cells, as HTML."""
    columns = ["rank", *tables.cell_columns, "mean", *(["test_accuracy"] if "test_accuracy" in tables.top3 else [])]
    best = tables.top3.head(3)[columns]
    shares = {name: percent for name in ("mean", "test_accuracy") if name in columns}
    return f"<p>{html.escape(in_short(folder, tables))}</p>" + best.to_html(index=False, formatters=shares, border=0)


def some_failed(tables: Tables) -> bool:
    """Whether a training failed; one that diverged has not."""
    return bool((tables.failed["status"] == "failed").any())


def _print_tables(folder: Path, tables: Tables) -> None:
    best = tables.top3.head(3).drop(columns=["standing", "difference", "p_adjusted", "p_equivalent"], errors="ignore")
    if best.empty:
        print(f"No cell of {len(tables.results)} has a result: no training came through")
    else:
        print_table(best, f"Top three of {len(tables.results)} cells, by {split_name(tables.protocol)} accuracy")
    if len(tables.top3) > 3:
        ties = len(tables.top3) - 3
        print(f"{ties} more cells are not distinguishable from the third: see top3.csv. {tables.method}")
    if len(tables.failed):
        print_table(tables.failed, "Trainings that diverged or failed")
    print(f"Tables and figures are in {folder}; read {folder / 'report.html'}")
    tracebacks = sorted(folder.glob("trainings/*/failure.json"))
    if tracebacks and (tables.failed["status"] == "failed").any():
        others = f", and of {len(tracebacks) - 1} more beside it" if len(tracebacks) > 1 else ""
        print(f"The whole traceback of what failed is in {tracebacks[0]}{others}")


def _records(frame: pd.DataFrame) -> Any:
    """The rows as plain JSON values; a number that is not finite is None."""
    return json.loads(frame.to_json(orient="records"))
