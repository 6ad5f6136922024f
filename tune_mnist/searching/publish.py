"""A search's trials, Pareto front and Optuna's figures written into its study's folder."""

from __future__ import annotations

import pandas as pd

from tune_mnist.searching.figures import search_figures
from tune_mnist.searching.tables import pareto_table, trials_table
from tune_mnist.searching.trials import Trials
from tune_mnist.study.files import write_atomic
from tune_mnist.study.study import Study


def write_search(study: Study, trials: Trials) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Write trials.csv, with several objectives pareto.csv, and Optuna's figures; return the two tables."""
    table = trials_table(trials)
    pareto = pareto_table(trials, table) if len(trials.spec.goals) > 1 else None
    for name, frame in (("trials", table), ("pareto", pareto)):
        if frame is not None:
            write_atomic(study.folder / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    for name, png in search_figures(trials):
        write_atomic(study.folder / "figures" / f"{name}.png", png)
    return table, pareto
