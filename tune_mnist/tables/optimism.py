"""How much a choice flatters: the best cell chosen on one half of the pictures and scored on the other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.cells import complete
from tune_mnist.tables.statistics.significance import Right, ones

SPLITS = 400
BLOCK = 256  # cells whose bits are unpacked at a time
UNLIKELY = 8  # standard deviations, beyond which a normal variable lies with a probability of 6e-16


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
    samples = complete(tables).samples()
    shared = sorted(set.intersection(*map(set, samples))) if samples else []
    right: list[list[Right]] = []  # of each cell: which pictures each seed has right
    for sample in samples:
        correct = [sample[seed].correct for seed in shared]
        known = [each for each in correct if each is not None]
        if known and len(known) == len(correct):
            right.append(known)
    counts = {tuple(each.pictures for each in known) for known in right}
    if len(right) < 2 or len(counts) != 1 or len(set(*counts)) != 1:
        return None
    seeds, pictures = len(shared), right[0][0].pictures
    half = pictures // 2
    chance = np.random.default_rng(0)
    chosen = np.argpartition(chance.random((splits, pictures)), half, axis=1)[:, :half]
    in_half = np.zeros((splits, pictures), np.float32)
    np.put_along_axis(in_half, chosen, 1.0, axis=1)
    choosing = chance.random((splits, seeds)).argsort(axis=1) < max(1, seeds // 2)  # (splits, seeds)
    scoring = ~choosing if seeds > 1 else choosing
    best = np.full(splits, -1.0)  # the chosen cell's accuracy on the half that chose it, and on the other
    other = np.zeros(splits)
    candidates = [right[cell] for cell in _candidates(right)]
    missed = _missed(candidates)  # the only pictures that tell the candidates apart
    in_half = in_half[:, missed]
    for start in range(0, len(candidates), BLOCK):
        block = candidates[start : start + BLOCK]
        wrong = np.stack([~each.flags[missed] for known in block for each in known]).astype(np.float32)
        wrong_in_half = wrong @ in_half.T
        in_each = (half - wrong_in_half).reshape(len(block), seeds, splits)
        out_each = (pictures - half) - (wrong.sum(axis=1, keepdims=True) - wrong_in_half).reshape(in_each.shape)
        inside = np.einsum("cks,sk->cs", in_each, choosing) / choosing.sum(axis=1) / half  # (cells, splits)
        outside = np.einsum("cks,sk->cs", out_each, scoring) / scoring.sum(axis=1) / (pictures - half)
        first = inside.argmax(axis=0), np.arange(splits)
        better = inside[first] > best
        best, other = np.where(better, inside[first], best), np.where(better, outside[first], other)
    flattered = best - other
    low, high = np.quantile(flattered, [0.025, 0.975])
    return Optimism(len(right), seeds, half, float(flattered.mean()), float(low), float(high))


def _missed(candidates: Sequence[Sequence[Right]]) -> np.ndarray:
    """The pictures, by number and rising, that some network of the candidates has wrong, int (k,)."""
    by_all = functools.reduce(np.bitwise_and, (each.bits for known in candidates for each in known))
    return np.flatnonzero(np.unpackbits(by_all, count=candidates[0][0].pictures) == 0)


def _candidates(right: Sequence[Sequence[Right]]) -> np.ndarray:
    """The cells, by number and rising, that some half of the pictures and seeds might choose, int (k,).

    Not one that with every seed is so much worse than the best cell that it would have to be better on half of the
    pictures by `UNLIKELY` standard deviations: of a difference in accuracy on half of n pictures, drawn without
    replacement, the variance is at most d / n where two networks differ on a share d of them.
    """
    pictures = right[0][0].pictures
    leader = max(right, key=lambda known: sum(each.hits for each in known))
    best = np.stack([each.bits for each in leader])  # uint8 (seeds, bytes)
    found = []
    for start in range(0, len(right), BLOCK):
        bits = np.stack([[each.bits for each in known] for known in right[start : start + BLOCK]])
        gap = (ones(best) - ones(bits)).min(axis=1) / pictures  # (cells,)
        deviation = np.sqrt(ones(bits ^ best).max(axis=1)) / pictures
        found.append(start + np.flatnonzero(gap <= UNLIKELY * deviation))
    return np.concatenate(found)
