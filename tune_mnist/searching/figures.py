"""The figures of a search's trials, by name: what Optuna's own show, of data from its storage."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import optuna
import pandas as pd
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution

from tune_mnist.figures import search as draw
from tune_mnist.figures.canvas import pngs
from tune_mnist.figures.scales import Goal, Scale
from tune_mnist.searching.storage import quiet
from tune_mnist.searching.suggesting import distributions
from tune_mnist.searching.tables import trials_table
from tune_mnist.searching.trials import ENDED, Trials

MOST_LINES = 6
"""Settings that lines are drawn through."""
MOST_PLANES = 4
"""Settings of which each pair has a panel."""


def search_figures(trials: Trials) -> dict[str, bytes]:
    """Each figure's PNG by name: history, importances, slice, parallel_coordinate, contour, edf, intermediate_values.

    With several objectives all but the last for each of them, its name appended, and pareto_front for two or three.
    A figure that has nothing to show yet is left out.
    """
    return pngs(_figures(trials))


def _figures(trials: Trials) -> Iterator[tuple[str, Figure]]:
    goals = [
        Goal(name, direction == "maximize")
        for name, direction in zip(trials.spec.goals, trials.spec.directions, strict=True)
    ]
    for number, goal in enumerate(goals):
        yield from _of_objective(trials, number, goal, f"_{goal.name}" if len(goals) > 1 else "")
    courses = {trial.number: trial.intermediate_values for trial in trials.all() if trial.intermediate_values}
    if courses and trials.spec.by_epoch:
        yield "intermediate_values", draw.courses(trials_of_goal(trials, 0), courses, goals[0])
    table = trials_table(trials)
    complete = table[table["state"] == "complete"]
    if len(goals) in (2, 3) and len(complete):
        yield "pareto_front", draw.pareto(complete, [trial.number for trial in trials.optuna.best_trials], goals)


def _of_objective(trials: Trials, number: int, goal: Goal, suffix: str) -> Iterator[tuple[str, Figure]]:
    """The figures of one objective."""
    table = trials_of_goal(trials, number)
    complete = table[table["state"] == "complete"]
    if complete.empty:
        return
    yield f"history{suffix}", draw.history(table, goal)
    yield f"edf{suffix}", draw.distribution(table, goal)
    scales = [scale for scale in scales_of(trials) if complete[scale.name].nunique() > 1]
    if not scales:
        return
    shares = importances_of(trials, number) if complete["value"].nunique() > 1 else {}
    scales.sort(key=lambda scale: -shares.get(scale.name, 0.0))
    yield f"slice{suffix}", draw.slices(table, scales, goal)
    if complete["value"].nunique() < 2:
        return
    shared = [scale for scale in scales if complete[scale.name].notna().all()]
    if len(shared) > 1:
        yield f"parallel_coordinate{suffix}", draw.parallel(table, shared[:MOST_LINES], goal)
        yield f"contour{suffix}", draw.pairs(table, shared[:MOST_PLANES], goal)
    if shares:
        yield f"importances{suffix}", draw.importances(shares, goal)


def trials_of_goal(trials: Trials, number: int) -> pd.DataFrame:
    """One row per trial: its number, state, parameters, and value of one objective, of one stopped early its last."""
    params = list(distributions(trials.spec.space))
    rows = []
    for trial in trials.all():
        state, values = trial.state.name.lower(), trial.values
        value = values[number] if values is not None else math.nan
        if state == "pruned" and values is None and trial.intermediate_values:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        drawn: dict[str, Any] = {name: trial.params.get(name) for name in params}
        rows.append({"number": trial.number, "state": ENDED.get(state, state), "value": value, **drawn})
    return pd.DataFrame(rows, columns=["number", "state", "value", *params]).astype({"value": float})


def scales_of(trials: Trials) -> list[Scale]:
    """The axis of each parameter that varies."""
    return [
        Scale(name, choices=tuple(distribution.choices)) if isinstance(distribution, CategoricalDistribution)
        else Scale(name, log=getattr(distribution, "log", False))
        for name, distribution in distributions(trials.spec.space).items()
    ]


def importances_of(trials: Trials, number: int) -> dict[str, float]:
    """How much each parameter that all complete trials have matters to an objective, by Optuna, the most first."""
    with quiet():
        found = optuna.importance.get_param_importances(of_one_goal(trials, number))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def of_one_goal(trials: Trials, number: int) -> optuna.Study:
    """The search as a study of this goal alone."""
    with quiet():
        study = optuna.create_study(direction=trials.spec.directions[number])
    for trial in trials.all():
        alone = copy.copy(trial)
        alone.values = None if trial.values is None else [trial.values[number]]
        study.add_trial(alone)
    return study
