"""How much a seed moves an accuracy: a relative deviation of the error, learnt from the cells near the leaders."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

NEAR = 2.0  # cells with at most this many times the third's error teach the noise
CAUTION = 0.5  # of a standard error is added to what trainings' noises seem to differ: few seem alike by chance alone
LEAST_ERROR = 5e-5  # half a picture of 10,000, so that a perfect accuracy has a logarithm


@dataclass(frozen=True)
class Noise:
    """The variance from seed to seed of log(1 - accuracy), which is that of the error relative to itself.

    Trainings differ in it: their variances follow a scaled inverse χ² distribution about `variance`, worth `prior_df`
    degrees of freedom (infinite: they are taken to be alike), as learnt from `df` degrees of freedom of the trainings
    near the leaders. `by_training` has each of these trainings' own variance, moderated by the others', and its
    degrees of freedom. A variance of NaN: nothing is known, as with one seed.
    """

    variance: float = math.nan
    prior_df: float = 0.0
    df: float = 0.0
    by_training: Mapping[Hashable, tuple[float, float]] = field(default_factory=dict)

    @property
    def upper(self) -> float:
        """The variance's upper limit, two of its standard errors above it."""
        return self.variance * (1 + 2 * math.sqrt(2 / self.df)) if self.df else self.variance

    @property
    def leaders(self) -> tuple[float, float]:
        """Variance and degrees of freedom of a training that is like the leaders and not one of them."""
        return self.variance, min(self.df, max(self.prior_df, 1.0))

    def of_another(self, own: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances and degrees of freedom of other trainings, whose `own` are these, each float (n,).

        The leaders' variance, until the training's own seeds tell more about it than the leaders do (`df` is more than
        `prior_df`): then its own, moderated by theirs.
        """
        variances, dfs = (np.full(len(own), number) for number in self.leaders)
        tells = df > self.prior_df
        share = df[tells] / (self.prior_df + df[tells])
        variances[tells] = share * own[tells] + (1 - share) * variances[tells]
        dfs[tells] = self.prior_df + df[tells]
        return variances, dfs


@dataclass(frozen=True)
class Estimates:
    """Cells' accuracies over all seeds there could be, each (cells,): mean, standard error, and its df.

    `near` says which are near the leaders.
    """

    mean: np.ndarray
    error: np.ndarray
    df: np.ndarray
    near: np.ndarray

    @property
    def log_error(self) -> np.ndarray:
        """log(1 - mean)."""
        return log_error(self.mean)

    @property
    def relative_error(self) -> np.ndarray:
        """Standard error of `log_error`."""
        return self.error / np.maximum(1 - self.mean, LEAST_ERROR)


def log_error(accuracy: np.ndarray) -> np.ndarray:
    """log(1 - accuracy), any shape."""
    return np.log(np.maximum(1 - accuracy, LEAST_ERROR))


def near_leaders(accuracies: np.ndarray) -> np.ndarray:
    """Which cells have at most twice the third's error, bool (cells,), of accuracies float (cells, seeds)."""
    error = 1 - np.nanmean(accuracies, axis=1)
    third = np.sort(error)[: 3][-1]
    return error <= NEAR * max(third, LEAST_ERROR)


def learn_noise(accuracies: np.ndarray, trainings: Sequence[Hashable]) -> Noise:
    """Learn the noise from the cells near the leaders.

    Accuracies are float (cells, seeds), NaN where a cell lacks a seed; `trainings` says which training each cell is of.
    A training's cells, at several epochs, are one witness of its noise: their variances are averaged, and count for
    as many degrees of freedom as their correlation leaves. Trainings are moderated by empirical Bayes (Smyth 2004,
    doi:10.2202/1544-6115.1027); with fewer than three of them they are taken to be alike.
    """
    seeds_of = np.isfinite(accuracies).sum(axis=1)
    members: dict[Hashable, list[int]] = {}
    for cell in np.flatnonzero(near_leaders(accuracies) & (seeds_of > 1)).tolist():
        members.setdefault(trainings[cell], []).append(cell)
    if not members:
        return Noise()
    logs = log_error(accuracies)
    correlation = _correlation(logs, list(members.values()))
    variances = _variances(logs)
    own = np.array([variances[cells].mean() for cells in members.values()])
    count = np.array([len(cells) for cells in members.values()])
    seeds = np.array([seeds_of[cells].mean() for cells in members.values()])
    df = (seeds - 1) * count / (1 + (count - 1) * correlation**2)
    variance, prior_df = _prior(own, df)
    whole = float(df.sum())
    weight = 1.0 if math.isinf(prior_df) else prior_df / (prior_df + df)
    moderated = weight * variance + (1 - weight) * own
    moderated_df = np.minimum(prior_df + df, whole)
    by_training = dict(zip(members, zip(moderated.tolist(), moderated_df.tolist(), strict=True), strict=True))
    # A training not among them is any of them: its variance is their mean.
    return Noise(float(np.average(own, weights=df)), prior_df, whole, by_training)


def estimate(accuracies: np.ndarray, trainings: Sequence[Hashable], noise: Noise, *, alike: bool = False) -> Estimates:
    """Each cell's mean accuracy and what it is worth; accuracies and trainings as `learn_noise` takes them.

    A cell near the leaders has its training's moderated noise. One further off has its own variance, or where all are
    to be compared as if they were `alike` that of `Noise.of_another`: a cell as good as the leaders would have theirs.
    """
    seeds = np.isfinite(accuracies).sum(axis=1)
    mean = np.nanmean(accuracies, axis=1)
    near = near_leaders(accuracies)
    variance, df = _variances(accuracies), (seeds - 1).astype(float)
    squared_error = np.maximum(1 - mean, LEAST_ERROR) ** 2
    if alike:
        variance, df = noise.of_another(_variances(log_error(accuracies)), df)
        variance *= squared_error
    for cell in np.flatnonzero(near).tolist():
        relative, df[cell] = noise.by_training.get(trainings[cell], noise.leaders)
        variance[cell] = relative * squared_error[cell]
    return Estimates(mean, np.sqrt(variance / seeds), df, near)


def _variances(values: np.ndarray) -> np.ndarray:
    """Variance over seeds, float (cells,), of float (cells, seeds); NaN of cells with one seed."""
    several = np.isfinite(values).sum(axis=1) > 1
    variances = np.full(len(values), np.nan)
    if several.any():
        variances[several] = np.nanvar(values[several], axis=1, ddof=1)
    return variances


def _correlation(logs: np.ndarray, members: Sequence[Sequence[int]]) -> float:
    """Mean correlation over seeds between the cells of one training, at least 0."""
    together, apart, pairs, cells_in_all = 0.0, 0.0, 0, 0
    for cells in members:
        if len(cells) > 1:
            off = logs[cells] - np.nanmean(logs[cells], axis=1, keepdims=True)
            products = np.nan_to_num(off) @ np.nan_to_num(off).T
            apart += float(np.trace(products))
            together += float(products.sum() - np.trace(products))
            pairs += len(cells) * (len(cells) - 1)
            cells_in_all += len(cells)
    return min(1.0, max(0.0, (together / pairs) / (apart / cells_in_all))) if pairs and apart else 0.0


def _prior(variances: np.ndarray, df: np.ndarray) -> tuple[float, float]:
    """Centre and degrees of freedom of the distribution that variances, each with its df, come from.

    By the moments of their logarithms (Smyth 2004), but for `CAUTION`.
    """
    known = variances > 0
    if known.sum() < 3:
        return float(np.average(variances, weights=df)), math.inf
    logs = np.log(variances[known]) - digamma(df[known] / 2) + np.log(df[known] / 2)
    by_chance = float(polygamma(1, df[known] / 2).mean())  # the variance that alike ones' logarithms would have
    standard_error = by_chance * math.sqrt(2 / (len(logs) - 1))
    excess = max(0.0, float(np.var(logs, ddof=1)) - by_chance) + CAUTION * standard_error
    prior_df = 2 * _inverse_trigamma(excess)
    centre = math.exp(float(logs.mean()) + float(digamma(prior_df / 2)) - math.log(prior_df / 2))
    return centre, prior_df


def _inverse_trigamma(value: float) -> float:
    return float(brentq(lambda x: polygamma(1, x) - value, 1e-6, 1e6))
