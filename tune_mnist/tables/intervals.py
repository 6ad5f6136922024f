"""Intervals of an accuracy: for other pictures, other seeds, or both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, norm, t

LEVEL = 0.05


def wilson(right: int, pictures: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of one network's accuracy on pictures like these, of `right` of `pictures` (95%)."""
    interval = binomtest(right, pictures).proportion_ci(1 - level, "wilson")
    return float(interval.low), float(interval.high)


def accuracy_interval(
    accuracies: Sequence[float], shares: np.ndarray | None, level: float = LEVEL
) -> tuple[float, float]:
    """Interval of the accuracy that a configuration has over all seeds and all pictures like these (95%).

    `accuracies` are those of its seeds, `shares` float (pictures,) of the seeds that got each picture right. Both are
    drawn at random, and crossed: Student's half width over seeds and the normal one over pictures are added in
    quadrature, each from its component of variance (two-way analysis of variance, Cornfield and Tukey 1956).
    Without shares it is Student's over seeds, for these pictures alone; with one seed Wilson's, for other pictures
    alone. NaN where nothing is known.
    """
    seeds = len(accuracies)
    if seeds < 2:
        known = seeds == 1 and shares is not None
        return wilson(round(float(shares.sum())), len(shares), level) if known else (math.nan, math.nan)
    mean = float(np.mean(accuracies))
    between = float(np.var(accuracies, ddof=1))
    half = float(t.ppf(1 - level / 2, seeds - 1)) * math.sqrt(between / seeds)
    if shares is not None:
        within = float(np.mean(shares * (1 - shares))) * seeds / (seeds - 1)  # of one picture, from seed to seed
        both = max(0.0, within - between) / seeds
        pictures = max(0.0, float(np.var(shares, ddof=1)) - both) / len(shares)
        half = math.hypot(half, float(norm.ppf(1 - level / 2)) * math.sqrt(pictures))
    return max(0.0, mean - half), min(1.0, mean + half)
