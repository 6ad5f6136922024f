"""Optuna's own figures of a search, in this project's files and sizes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial
from optuna.visualization import matplotlib as plots

from tune_mnist.figures.canvas import png, styled
from tune_mnist.searching.storage import quiet
from tune_mnist.searching.suggesting import distributions
from tune_mnist.searching.trials import Trials

MOST_PARAMS = 5  # in a contour plot, which has a panel for every two of them


def search_figures(trials: Trials) -> Iterator[tuple[str, bytes]]:
    """Each figure's name and PNG: history, importances, slice, parallel_coordinate, contour, edf, intermediate_values.

    With several objectives all but the last for each of them, its name appended, and pareto_front for two or three.
    A figure that has nothing to show yet is left out.
    """
    plt.switch_backend("agg")
    several = len(trials.spec.goals) > 1
    for number, goal in enumerate(trials.spec.goals):
        yield from _of_objective(trials, number, goal, f"_{goal}" if several else "")
    if trials.spec.by_epoch and any(trial.intermediate_values for trial in trials.all()):
        yield "intermediate_values", _drawn(lambda: plots.plot_intermediate_values(trials.optuna), _without_legend)
    if len(trials.spec.goals) in (2, 3) and _complete(trials.optuna):
        names = list(trials.spec.goals)
        yield "pareto_front", _drawn(lambda: plots.plot_pareto_front(trials.optuna, target_names=names))


def _of_objective(trials: Trials, number: int, goal: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """The figures of one objective."""
    study = of_one_goal(trials, number)
    title: dict[str, Any] = {"target_name": goal}
    complete = _complete(study)
    if not complete:
        return
    yield f"history{suffix}", _drawn(lambda: plots.plot_optimization_history(study, **title))
    yield f"edf{suffix}", _drawn(lambda: plots.plot_edf(study, **title))
    params = [
        name for name in distributions(trials.spec.space)
        if any(name in trial.params for trial in complete) and len({trial.params.get(name) for trial in complete}) > 1
    ]
    if not params:
        return
    yield f"slice{suffix}", _drawn(lambda: plots.plot_slice(study, params=params, **title), _wide)
    if len({trial.value for trial in complete}) < 2:
        return
    shared = [name for name in params if all(name in trial.params for trial in complete)]
    if len(shared) > 1:
        yield (
            f"parallel_coordinate{suffix}",
            _drawn(lambda: plots.plot_parallel_coordinate(study, params=shared, **title), _with_level_names),
        )
        yield (
            f"contour{suffix}",
            _drawn(lambda: plots.plot_contour(study, params=shared[:MOST_PARAMS], **title), _wide),
        )
    if shared:
        yield f"importances{suffix}", _drawn(lambda: plots.plot_param_importances(study, **title))


def of_one_goal(trials: Trials, number: int) -> optuna.Study:
    """The search as a study of this goal alone: only of such a one does Optuna draw the better the darker."""
    with quiet():
        study = optuna.create_study(direction=trials.spec.directions[number])
    for trial in trials.all():
        alone = copy.copy(trial)
        alone.values = None if trial.values is None else [trial.values[number]]
        study.add_trial(alone)
    return study


def _complete(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]


@styled()
def _drawn(draw: Callable[[], Any], finish: Callable[[Figure], None] | None = None) -> bytes:
    """The PNG of what Optuna draws: on axes, or an array of them, of pyplot's current figure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Optuna's matplotlib figures are experimental, and of crowded layouts
        axes = draw()
        figure: Figure = np.ravel(axes)[0].figure
        if finish is not None:
            finish(figure)
        figure.set_layout_engine("constrained")
        try:
            return png(figure)
        except ZeroDivisionError:  # a row of panels of no height, as parallel coordinates have, defeats the layout
            figure.set_layout_engine("none")
            return png(figure)
        finally:
            plt.close("all")


def _wide(figure: Figure) -> None:
    figure.set_size_inches(11, max(4.5, figure.get_figheight()))


def _with_level_names(figure: Figure) -> None:
    """Aslant, the names under parallel coordinates would be cut off."""
    _wide(figure)
    for axes in figure.axes:
        axes.grid(False)  # the lines of one axis mean nothing to the others
        axes.tick_params(axis="x", labelrotation=0)


def _without_legend(figure: Figure) -> None:
    """A legend that names every trial would hide them."""
    for axes in figure.axes:
        if (legend := axes.get_legend()) is not None:
            legend.remove()
