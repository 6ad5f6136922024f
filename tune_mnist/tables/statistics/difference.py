"""A difference with its standard error: its interval, its p-values, and what it is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """An estimate that is normal about the truth; an `error` of NaN says that it cannot be tested."""

    value: float
    error: float = math.nan
    df: float = math.nan
    test: str = ""
    """The test that decides about it, in words."""

    def p(self, bar: float = 0.0) -> float:
        """Two-sided p that the truth is `bar`; NaN if it cannot be tested."""
        if not self.error > 0:
            return float(self.value == bar) if self.error == 0 else math.nan
        return float(2 * t.sf(abs(self.value - bar) / self.error, self.df))

    def less(self, other: Difference, test: str) -> Difference:
        """This less another, independent of it, by a t test with Satterthwaite's degrees of freedom."""
        error, df = joint(*(np.array(number) for number in (self.error, self.df, other.error, other.df)))
        return Difference(self.value - other.value, float(error), float(df), test)

    def times_the_seeds(self, bar: float = 0.0, power: float = 0.8) -> float:
        """How many times as many seeds would tell a true difference of this size from the bar with this power."""
        needed = t.ppf(1 - LEVEL / 2, self.df) + t.ppf(power, self.df)
        return float((needed * self.error / (self.value - bar)) ** 2) if self.value != bar else math.inf

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The interval that holds the truth with a probability of 1 - `level`."""
        half = float(t.ppf(1 - level / 2, self.df)) * self.error if self.error else 0.0
        return self.value - half, self.value + half


def joint(
    first: np.ndarray, first_df: np.ndarray, second: np.ndarray, second_df: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Standard error and degrees of freedom (Satterthwaite 1946) of a difference of estimates with these; any shapes.

    0 and 0 have infinite degrees of freedom.
    """
    error = np.hypot(first, second)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = error**4 / (first**4 / first_df + second**4 / second_df)
    return error, np.where(error == 0, np.inf, df)


def over_seeds(values: np.ndarray, test: str = "t test over seeds") -> Difference:
    """The mean of independent values, float (n,), one a seed; not to be tested if n is 1."""
    count = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Difference(float(np.mean(values)), error, count - 1, test)


def combined(weights: Sequence[float], groups: Sequence[np.ndarray], test: str) -> Difference:
    """The sum of weights times the means of independent groups of values, each float (n,), one value a seed.

    A contrast in a one-way layout, the groups' variances their own (Welch 1947, Satterthwaite 1946).
    """
    means = [over_seeds(values) for values in groups]
    parts = np.array([weight**2 * mean.error**2 for weight, mean in zip(weights, means, strict=True)])
    df = np.array([mean.df for mean in means])
    value = math.fsum(weight * mean.value for weight, mean in zip(weights, means, strict=True))
    variance = float(parts.sum())
    if not variance > 0:
        return Difference(value, math.sqrt(variance), math.inf, test)
    return Difference(value, math.sqrt(variance), variance**2 / float((parts**2 / df).sum()), test)
