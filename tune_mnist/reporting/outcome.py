"""What a run came to, printed for people or as plain JSON values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.text import print_table


def print_grid(folder: Path, tables: Tables, *, as_json: bool = False) -> None:
    """Print a grid's outcome to stdout: the top three, what failed and where everything is, or one JSON object."""
    if not as_json:
        _print_tables(folder, tables)
        return
    cells = tables.results["status"].value_counts().to_dict()
    print(json.dumps({
        "folder": str(folder), "cells": cells, "top3": _records(tables.top3), "failed": _records(tables.failed),
    }))


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


def some_failed(tables: Tables) -> bool:
    """Whether a training failed; one that diverged has not."""
    return bool((tables.failed["status"] == "failed").any())


def _print_tables(folder: Path, tables: Tables) -> None:
    best = tables.top3.head(3).drop(columns=["standing", "difference", "p_adjusted", "p_equivalent"], errors="ignore")
    print_table(best, f"Top three of {len(tables.results)} cells, by {split_name(tables.protocol)} accuracy")
    if len(tables.top3) > 3:
        ties = len(tables.top3) - 3
        print(f"{ties} more cells are not distinguishable from the third: see top3.csv. {tables.method}")
    if len(tables.failed):
        print_table(tables.failed, "Trainings that diverged or failed")
    print(f"Tables and figures are in {folder}; read {folder / 'report.html'}")


def _records(frame: pd.DataFrame) -> Any:
    """The rows as plain JSON values; a number that is not finite is None."""
    return json.loads(frame.to_json(orient="records"))
