"""What a run came to, printed for people or as plain JSON values."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd

from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.analyse import Tables, split_name
from tune_mnist.tables.text import print_table


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
        "folder": shown(folder), "cells": cells, "asked": len(asked), "top3": _records(tables.top3),
        "failed": _records(tables.failed),
    }))


def _asked(results: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """The rows of a study's results that `spec` asks for."""
    names = [field.name for field in dataclasses.fields(TrainingConfig) if field.name in results]
    wanted = {
        (*(getattr(plan.config, name) for name in names), epochs)
        for plan in spec.trainings() for epochs in plan.budgets
    }
    cells = results[[*names, "epochs"]].itertuples(index=False, name=None)
    return results[[cell in wanted for cell in cells]]


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
        print_table(pareto.drop(columns=["state", "training"]), "Pareto front")
    _print_tables(folder, tables)


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
    print(f"Tables and figures are in {shown(folder)}; read {shown(folder / 'report.html')}")


def _records(frame: pd.DataFrame) -> Any:
    """The rows as plain JSON values; a number that is not finite is None."""
    return json.loads(frame.to_json(orient="records"))
