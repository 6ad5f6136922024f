"""How much a choice flatters: the best cell chosen on one half of the pictures and scored on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import complete

SPLITS = 400


@dataclass(frozen=True)
class Optimism:
    """By how much, in accuracy, a choice among `cells` by half of the `seeds` on `pictures` overrates what it chose."""

    cells: int
    seeds: int
    pictures: int
    mean: float
    low: float
    """The 2.5% quantile over random halves; `high` is the 97.5% one."""
    high: float


def optimism(tables: Tables, splits: int = SPLITS) -> Optimism | None:
    """Estimate by random halves, with a fixed seed, from the predictions; None if fewer than two cells have them.

    In each, half of the pictures and, with two seeds or more, half of the seeds choose the best cell; the other seeds
    score it on the other pictures. A cell's accuracies on the two differ by 0 on average; that of the chosen one does
    not. One seed leaves out what luck with the seed adds; where some cells have more than others, those of all count.
    """
    right: list[np.ndarray] = []  # of each cell: which pictures each seed has right, (seeds, pictures)
    samples = complete(tables).samples()
    shared = sorted(set.intersection(*map(set, samples))) if samples else []
    for sample in samples:
        correct = [sample[seed].correct for seed in shared]
        known = [flags for flags in correct if flags is not None]
        if known and len(known) == len(correct):
            right.append(np.stack(known))
    if len(right) < 2 or len({flags.shape for flags in right}) != 1:
        return None
    seeds, pictures = right[0].shape
    half = pictures // 2
    chance = np.random.default_rng(0)
    order = chance.random((splits, pictures)).argsort(axis=1)
    in_half = np.zeros((splits, pictures), np.float32)
    np.put_along_axis(in_half, order[:, :half], 1.0, axis=1)
    choosing = chance.random((splits, seeds)).argsort(axis=1) < max(1, seeds // 2)  # (splits, seeds)
    scoring = ~choosing if seeds > 1 else choosing
    inside = np.empty((len(right), splits))  # each cell's accuracy to choose by
    outside = np.empty((len(right), splits))
    for cell, flags in enumerate(right):
        in_each = flags.astype(np.float32) @ in_half.T  # (seeds, splits)
        out_each = flags.sum(axis=1, keepdims=True) - in_each
        inside[cell] = (in_each.T * choosing).sum(axis=1) / choosing.sum(axis=1) / half
        outside[cell] = (out_each.T * scoring).sum(axis=1) / scoring.sum(axis=1) / (pictures - half)
    chosen = inside.argmax(axis=0)  # (splits,)
    split = np.arange(splits)
    flattered = inside[chosen, split] - outside[chosen, split]
    low, high = np.quantile(flattered, [0.025, 0.975])
    return Optimism(len(right), seeds, half, float(flattered.mean()), float(low), float(high))
