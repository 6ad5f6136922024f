"""A search's trials as tables: all of them, and the Pareto front of several objectives."""

from __future__ import annotations

import pandas as pd

from tune_mnist.searching.suggesting import distributions
from tune_mnist.searching.trials import ENDED, FROM, KEY, WARM, Trials


def trials_table(trials: Trials) -> pd.DataFrame:
    """One row per trial in order: number, state (complete, stopped early, failed, …), objectives, parameters, training.

    The objective of one stopped early is its last epoch's. `epochs` is how many the trial was seen for (of a search
    with several objectives only of complete ones); `from` says whence: trained, store, or a warm-start study's name.
    `training` is the folder's name under trainings/.
    """
    goals = trials.spec.goals
    params = list(distributions(trials.spec.space))
    rows = []
    for trial in trials.all():
        values = trial.values or [None] * len(goals)
        state, attributes = trial.state.name.lower(), trial.user_attrs
        rows.append({
            "number": trial.number, "state": ENDED.get(state, state), **dict(zip(goals, values, strict=False)),
            **{name: trial.params.get(name) for name in params},
            "epochs": trials.spec.epochs if trial.state.name == "COMPLETE" else trial.last_step,
            "from": attributes.get(WARM) or attributes.get(FROM, "trained"), "training": attributes.get(KEY),
        })
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
