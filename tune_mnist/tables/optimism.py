"""How much a choice flatters: the best cell chosen on one half of the pictures and scored on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.standings import of_rows

SPLITS = 400


@dataclass(frozen=True)
class Optimism:
    """By how much, in accuracy, a choice among `cells` made on `pictures` of them overrates what it chose."""

    cells: int
    pictures: int
    mean: float
    low: float
    """The 2.5% quantile over random halves; `high` is the 97.5% one."""
    high: float


def optimism(tables: Tables, splits: int = SPLITS) -> Optimism | None:
    """Estimate by random halves, with a fixed seed, from the predictions; None if fewer than two cells have them.

    A network's accuracies on two random halves differ by 0 on average; that of the chosen one does not.
    """
    complete = tables.summary[tables.summary["status"] == "complete"]
    shares: list[np.ndarray] = []
    for sample in of_rows(complete[tables.cell_columns], tables.samples):
        flags = [score.correct for score in sample.values() if score.correct is not None]
        if flags and len(flags) == len(sample):
            shares.append(np.stack(flags).mean(axis=0, dtype=np.float32))
    lengths = {len(share) for share in shares}
    if len(shares) < 2 or len(lengths) != 1:
        return None
    (pictures,) = lengths
    half = pictures // 2
    order = np.random.default_rng(0).random((splits, pictures)).argsort(axis=1)
    chosen_on = np.zeros((splits, pictures), np.float32)
    np.put_along_axis(chosen_on, order[:, :half], 1.0, axis=1)
    right = np.stack(shares)
    inside = right @ chosen_on.T
    outside = (right.sum(axis=1, keepdims=True) - inside) / (pictures - half)
    best = inside.argmax(axis=0)
    at = np.arange(splits)
    flattered = inside[best, at] / half - outside[best, at]
    low, high = np.quantile(flattered, [0.025, 0.975])
    return Optimism(len(shares), half, float(flattered.mean()), float(low), float(high))
