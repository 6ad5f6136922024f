"""How many seeds would tell the leading cells apart, by those cells' own noise."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pandas as pd

from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.statistics.leaders import seeds_needed

PLACES = ("best", "second", "third")
COUNTS = ("alone", "among_all")


def seeds_to_tell(tables: Tables) -> pd.DataFrame:
    """The seeds of each cell that would tell two of the leaders apart in 4 of 5 studies, if the gap seen is the true.

    A row per pair of the best three, and for the third with the nearest and the furthest cell not told from it: `pair`
    in words, `gap` in accuracy, `alone` the seeds if only the two are compared, and `among_all` if each complete cell
    is with each; missing where 1,000 would not do. Empty where the noise of seeds is not known.
    """
    rows = [] if math.isnan(tables.noise.variance) else _rows(tables)
    return pd.DataFrame(rows, columns=["pair", "gap", "alone", "among_all"]).astype(dict.fromkeys(COUNTS, "Int64"))


def _rows(tables: Tables) -> list[tuple[str, float, int | None, int | None]]:
    leaders, known = tables.top3[["rank", "mean"]], tables.estimates
    variances = (known.relative_error**2 * tables.complete["n"]).to_numpy()[leaders["rank"] - 1]
    means = leaders["mean"].tolist()
    pairs = [(*pair, " and ".join(PLACES[place] for place in pair)) for pair in itertools.combinations(range(3), 2)]
    pairs += [(2, 3, "third and next"), (2, len(means) - 1, "third and last tie")]
    rows = []
    for better, worse, name in pairs[: 5 if len(means) > 4 else 4]:
        if worse < len(means):
            noise = dataclasses.replace(tables.noise, variance=(variances[better] + variances[worse]) / 2)
            gap, error = means[better] - means[worse], 1 - means[better]
            alone = seeds_needed(gap, error, noise)
            rows.append((name, gap, alone, seeds_needed(gap, error, noise, cells=len(tables.complete))))
    return rows
