"""How many seeds would tell the leading cells apart, by the study's own noise."""

from __future__ import annotations

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
    means, noise = tables.top3["mean"].tolist(), tables.noise
    pairs = [(*pair, " and ".join(PLACES[place] for place in pair)) for pair in itertools.combinations(range(3), 2)]
    pairs += [(2, 3, "third and next"), (2, len(means) - 1, "third and last tie")]
    rows = []
    for better, worse, name in pairs[: 5 if len(means) > 4 else 4]:
        if worse < len(means) and not math.isnan(noise.variance):
            gap, error = means[better] - means[worse], 1 - means[better]
            alone = seeds_needed(gap, error, noise)
            rows.append((name, gap, alone, seeds_needed(gap, error, noise, cells=len(tables.complete))))
    return pd.DataFrame(rows, columns=["pair", "gap", "alone", "among_all"]).astype(dict.fromkeys(COUNTS, "Int64"))
