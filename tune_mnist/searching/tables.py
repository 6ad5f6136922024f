"""A search's trials as tables: all of them, and the Pareto front of several objectives."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tune_mnist.searching.trials import FROM, KEY, WARM, Trials


def trials_table(trials: Trials) -> pd.DataFrame:
    """One row per trial in order: number, state (complete, pruned, fail, …), objectives, parameters, training.

    `epochs` is how many the trial was seen for (of a search with several objectives only of complete ones); `from`
    says whence: trained, store, or a warm-start study's name. `training` is the folder's name under trainings/.
    """
    goals = trials.spec.goals
    params = list(trials.spec.space.distributions())
    rows = []
    for trial in trials.all():
        complete = trial.state.name == "COMPLETE"
        row: dict[str, Any] = {"number": trial.number, "state": trial.state.name.lower()}
        values = trial.values or [None] * len(goals)
        row |= dict(zip(goals, values, strict=False)) | {name: trial.params.get(name) for name in params}
        attributes = trial.user_attrs
        row["epochs"] = trials.spec.epochs if complete else trial.last_step
        row["from"] = attributes.get(WARM) or attributes.get(FROM, "trained")
        row["training"] = attributes.get(KEY)
        rows.append(row)
    columns = ["number", "state", *goals, *params, "epochs", "from", "training"]
    return pd.DataFrame(rows, columns=columns).astype({"epochs": "Int64"})


def pareto_table(trials: Trials, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `trials_table` that no other complete one beats in every objective, best first in the first one."""
    if not (table["state"] == "complete").any():
        return table.head(0)
    front = {trial.number for trial in trials.optuna.best_trials}
    up = trials.spec.directions[0] == "maximize"
    rows = table[table["number"].isin(front)].sort_values(trials.spec.goals[0], ascending=not up, kind="stable")
    return rows.drop_duplicates("training")
