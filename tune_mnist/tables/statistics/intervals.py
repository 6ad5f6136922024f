"""Intervals of an accuracy: for other pictures, other seeds, or both."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, norm, t

from tune_mnist.tables.statistics.difference import LEVEL
from tune_mnist.tables.statistics.significance import Sample, Score, share_right


def wilson(sample: Score) -> tuple[float, float]:
    """95% Wilson interval of one network's accuracy, over pictures; NaN if its predictions are not known."""
    if sample.correct is None:
        return math.nan, math.nan
    return _wilson(sample.correct.hits, sample.correct.pictures)


@functools.cache  # of many networks' counts most are alike
def _wilson(right: int, pictures: int) -> tuple[float, float]:
    interval = binomtest(right, pictures).proportion_ci(1 - LEVEL, "wilson")
    return float(interval.low), float(interval.high)


def interval_of(sample: Sample) -> tuple[float, float]:
    """95% interval of a sample's accuracy: `accuracy_interval`'s, or with one seed `wilson`'s; NaN for an empty one."""
    if len(sample) < 2:
        return wilson(next(iter(sample.values()), Score(math.nan, None)))
    return accuracy_interval([score.accuracy for score in sample.values()], share_right(sample))


def accuracy_interval(
    accuracies: Sequence[float], shares: np.ndarray | None, level: float = LEVEL
) -> tuple[float, float]:
    """Interval of the accuracy that a configuration has over all seeds and all pictures like these (95%).

    `accuracies` are those of its seeds, `shares` float (pictures,) of the seeds that got each picture right. Both are
    drawn at random, and crossed, each with its component of variance (two-way analysis of variance, Cornfield and
    Tukey 1956). The standard error of both counts by the mean of Student's quantile, for the seeds, and the normal
    one, for the pictures, weighted by their variances (Cochran and Cox, Experimental Designs, 1950).
    Without shares it is Student's over seeds, for these pictures alone. There are at least two seeds.
    """
    seeds = len(accuracies)
    of_seeds = float(np.var(accuracies, ddof=1)) / seeds
    of_pictures = 0.0 if shares is None else picture_variance(accuracies, shares)
    student, normal = _critical(level, seeds - 1)
    variance = of_seeds + of_pictures
    half = (of_seeds * student + of_pictures * normal) / math.sqrt(variance) if variance else 0.0
    mean = float(np.mean(accuracies))
    return max(0.0, mean - half), min(1.0, mean + half)


@functools.cache
def _critical(level: float, df: int) -> tuple[float, float]:
    """What Student's t and the normal distribution exceed in size with probability `level`."""
    return float(t.ppf(1 - level / 2, df)), float(norm.ppf(1 - level / 2))


def picture_variance(accuracies: Sequence[float], shares: np.ndarray) -> float:
    """What the choice of pictures adds to the variance of the mean of two or more seeds' accuracies.

    That between the pictures' `shares`, float (pictures,), less what varies from seed to seed within a picture.
    """
    seeds = len(accuracies)
    within = float(np.mean(shares * (1 - shares))) * seeds / (seeds - 1)
    both = max(0.0, within - float(np.var(accuracies, ddof=1))) / seeds
    return max(0.0, float(np.var(shares, ddof=1)) - both) / len(shares)
