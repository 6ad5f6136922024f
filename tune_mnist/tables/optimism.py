"""How much a choice flatters: the best cell chosen on one half of the pictures and scored on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import complete

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
    shares: list[np.ndarray] = []  # of each cell, for each picture: the share of its seeds that are right
    for sample in complete(tables).samples():
        correct = [score.correct for score in sample.values() if score.correct is not None]
        if correct and len(correct) == len(sample):
            shares.append(np.stack(correct).mean(axis=0, dtype=np.float32))
    lengths = {len(share) for share in shares}
    if len(shares) < 2 or len(lengths) != 1:
        return None
    (pictures,) = lengths
    half = pictures // 2
    order = np.random.default_rng(0).random((splits, pictures)).argsort(axis=1)
    in_half = np.zeros((splits, pictures), np.float32)
    np.put_along_axis(in_half, order[:, :half], 1.0, axis=1)
    right = np.stack(shares)  # (cells, pictures)
    right_in_half = right @ in_half.T  # (cells, splits)
    accuracy_outside = (right.sum(axis=1, keepdims=True) - right_in_half) / (pictures - half)
    chosen = right_in_half.argmax(axis=0)  # (splits,)
    split = np.arange(splits)
    flattered = right_in_half[chosen, split] / half - accuracy_outside[chosen, split]
    low, high = np.quantile(flattered, [0.025, 0.975])
    return Optimism(len(shares), half, float(flattered.mean()), float(low), float(high))
