"""Which settings matter: a functional analysis of variance of the error over a full grid."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tune_mnist.spec.training import PREFIX
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.statistics.noise import log_error

SEED = "seed"
HIGHER = "three or more together"


@dataclass(frozen=True)
class Anova:
    """Shares of the variance of log(1 - accuracy) over a full grid, the largest first; they add up to 1.

    Keys are settings, pairs of them as "lr × batch_size", `HIGHER` for what more of them do together, and `SEED` for
    all that varies from seed to seed within a cell (not there with one seed).
    """

    shares: dict[str, float]
    cells: int
    largest_lr: float
    """The grid's largest learning rate."""

    @property
    def settings(self) -> dict[str, float]:
        """The shares of the settings alone, the largest first."""
        return {name: share for name, share in self.shares.items() if " × " not in name and name not in (HIGHER, SEED)}


def anovas(tables: Tables) -> list[Anova]:
    """Of all the study's cells, and of those with learning rates up to the largest among the leaders, if fewer.

    A large learning rate that fails explains nearly all differences and hides the others. One that is not a full grid,
    each combination complete with the same seeds, is left out, and so is one in which nothing differs.
    """
    return list(_anovas(tables))


def _anovas(tables: Tables) -> Iterator[Anova]:
    results = tables.results
    largest = {float(lrs.max()) for lrs in (results["lr"], tables.top3["lr"]) if len(tables.top3)}
    for lr in sorted(largest, reverse=True):
        grid = decompose(results[results["lr"] <= lr], tables.varying, PREFIX[tables.protocol])
        if grid is not None:
            yield grid


def decompose(results: pd.DataFrame, settings: Sequence[str], prefix: str) -> Anova | None:
    """The decomposition of rows of the results, `settings` naming the columns that may vary; or None.

    Exact, as the grid is full: the effect of a set of settings is the mean over all the others, less the effects of
    its subsets (Hoeffding 1948; Hutter, Hoos and Leyton-Brown, ICML 2014, for hyperparameters).
    """
    varying = [name for name in settings if results[name].nunique(dropna=False) > 1]
    levels = [results[name].nunique(dropna=False) for name in [*varying, SEED]]
    full = len(results) == np.prod(levels) and (results["status"] == "complete").all()
    error = pd.Series(log_error(results[f"{prefix}_accuracy"].to_numpy(float)), results.index)
    total = float(error.var(ddof=0))
    if not varying or not full or not total > 0:
        return None

    def mean_by(names: list[str]) -> pd.Series:
        return error.groupby([results[name] for name in names], dropna=False).transform("mean")

    effects: dict[tuple[str, ...], pd.Series] = {}
    for names in [*itertools.combinations(varying, 1), *itertools.combinations(varying, 2)]:
        parts = [effects[(name,)] for name in names if len(names) == 2]
        effects[names] = mean_by([*names]) - error.mean() - sum(parts)
    of_cell = mean_by(varying)
    shares = {" × ".join(names): float((effect**2).mean()) / total for names, effect in effects.items()}
    if len(varying) > 2:
        shares[HIGHER] = float(of_cell.var(ddof=0)) / total - sum(shares.values())
    if levels[-1] > 1:
        shares[SEED] = float(((error - of_cell) ** 2).mean()) / total
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Anova(ordered, len(results) // levels[-1], float(results["lr"].max()))


def weights(tables: Tables) -> dict[str, float]:
    """What each setting that varies explains of the variance of log(1 - accuracy), the largest first.

    Its share by the `anovas` of all cells; where the grid is not full, the variance between the means of its values
    among the complete cells, of all that is between these.
    """
    grid = next(_anovas(tables), None)
    if grid is not None:
        return {name: share for name, share in grid.settings.items() if name in tables.varying}
    cells = tables.complete
    error = pd.Series(log_error(cells["mean"].to_numpy(float)), cells.index)
    whole = float(error.var(ddof=0)) or 1.0
    means = {name: error.groupby(cells[name], dropna=False).transform("mean") for name in tables.varying}
    shares = {name: float(each.var(ddof=0)) / whole for name, each in means.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
