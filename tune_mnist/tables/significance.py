"""Which accuracies differ beyond noise: intervals, paired tests between cells, and their correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import binomtest, f, fisher_exact, norm, sem, t

from tune_mnist.training.packing import unpack_bits

LEVEL = 0.05


class Score(NamedTuple):
    """One cell's accuracy at one seed, and if known picture by picture whether it was right, bool (pictures,)."""

    accuracy: float
    correct: np.ndarray | None


Sample = Mapping[int, Score]
"""A cell's scores by seed."""


@dataclass(frozen=True)
class Noise:
    """How much an accuracy difference of two cells varies from seed to seed, as learnt from many pairs of cells.

    `variance` is that of a difference at one seed, `df` how many degrees of freedom this knowledge is worth: 0 if
    nothing is known. `pairs_df` is what the pairs hold together.
    """

    variance: float = 0.0
    df: float = 0.0
    pairs_df: float = math.inf


def score(accuracy: float, packed: object) -> Score:
    """A `Score` from a row's accuracy and bits, if it has any; the number of pictures follows from both."""
    if not isinstance(packed, str) or not accuracy > 0:
        return Score(accuracy, None)
    correct = unpack_bits(packed)
    return Score(accuracy, correct[: round(correct.sum() / accuracy)])


def wilson(sample: Score) -> tuple[float, float]:
    """95% Wilson interval of one network's accuracy, over pictures; NaN if its predictions are not known."""
    if sample.correct is None:
        return math.nan, math.nan
    interval = binomtest(int(sample.correct.sum()), len(sample.correct)).proportion_ci(1 - LEVEL, "wilson")
    return float(interval.low), float(interval.high)


def interval_of(sample: Sample) -> tuple[float, float]:
    """95% interval of a sample's accuracy: Student's t over seeds, cut to [0, 1], or with one seed `wilson`'s.

    NaN for an empty sample.
    """
    if len(sample) == 1:
        return wilson(next(iter(sample.values())))
    if not sample:
        return math.nan, math.nan
    accuracies = [score.accuracy for score in sample.values()]
    mean = float(np.mean(accuracies))
    half = float(t.ppf(1 - LEVEL / 2, len(accuracies) - 1) * sem(accuracies))
    return max(0.0, mean - half), min(1.0, mean + half)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided McNemar p of two networks' right and wrong predictions of the same pictures, bool (n,)."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted by Holm's step-down: rejecting those up to α errs anywhere with probability α at most."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def estimate_noise(samples: Sequence[Sample]) -> Noise:
    """Learn the seeds' noise from the better half of cells ranked best first, in disjoint pairs of neighbours.

    The variances of the pairs' differences give a scaled inverse χ² prior by their log moments (Smyth 2004,
    doi:10.2202/1544-6115.1027): the more alike they are, the more degrees of freedom it is worth. Fewer than
    three pairs with two seeds in common teach nothing.
    """
    half = samples[: max(6, (len(samples) + 1) // 2)]
    pairs = [_differences(*pair) for pair in zip(half[::2], half[1::2], strict=False)]
    spread = [(float(np.var(d, ddof=1)), len(d) - 1) for d in pairs if len(d) > 1 and np.ptp(d) > 0]
    if len(spread) < 3:
        return Noise()
    variances, df = np.array(spread).T
    logs = np.log(variances) - digamma(df / 2) + np.log(df / 2)
    excess = float(np.var(logs, ddof=1) - polygamma(1, df / 2).mean())
    prior = 2 * _inverse_trigamma(excess) if excess > 0 else math.inf
    if math.isinf(prior):
        return Noise(float(np.average(variances, weights=df)), prior, float(df.sum()))
    center = math.exp(float(logs.mean()) + float(digamma(prior / 2)) - math.log(prior / 2))
    return Noise(center, prior, float(df.sum()))


def paired_t(differences: np.ndarray, noise: Noise) -> dict[str, float]:
    """Moderated t test that differences over seeds, float (n,) with n at least 2, have mean 0.

    Their own variance is averaged with the `noise`, by degrees of freedom; without any it is the plain paired t test.
    Returns difference, ci_low, ci_high and p.
    """
    own = len(differences) - 1
    variance, df = float(np.var(differences, ddof=1)), float(own)
    if noise.df:
        weight = own / (own + noise.df)
        variance = weight * variance + (1 - weight) * noise.variance
        df = min(own + noise.df, own + noise.pairs_df)
    mean, error = float(np.mean(differences)), math.sqrt(variance / len(differences))
    half = t.ppf(1 - LEVEL / 2, df) * error
    p = 2 * t.sf(abs(mean) / error, df) if error else float(mean == 0)
    return {"difference": mean, "ci_low": float(mean - half), "ci_high": float(mean + half), "p": float(p)}


def compare(first: Sample, second: Sample, noise: Noise, *, same_pictures: bool = True) -> dict[str, Any]:
    """Test whether two cells differ in accuracy: difference (first minus second), 95% interval, p and the test used.

    On the `same_pictures` over the seeds in common if there are two or more, or else by picture on the predictions of
    the only one; on different pictures by the mean numbers that are right. p is NaN where that cannot be done.
    """
    shared = sorted(first.keys() & second.keys())
    if same_pictures and len(shared) > 1:
        return {**paired_t(_differences(first, second), noise), "test": "t"}
    if same_pictures and shared:
        correct, other = first[shared[0]].correct, second[shared[0]].correct
        if correct is not None and other is not None and len(correct) == len(other):
            return {**by_picture(correct * 1.0 - other), "p": mcnemar(correct, other), "test": "McNemar"}
    if all(sample and all(score.correct is not None for score in sample.values()) for sample in (first, second)):
        return {**_unpaired(first, second), "test": "Fisher"}
    means = [float(np.mean([score.accuracy for score in sample.values()])) for sample in (first, second)]
    return {**untested(means[0] - means[1]), "test": ""}


def alike(first: Sample, second: Sample, noise: Noise) -> dict[str, Any]:
    """Test whether two cells behave alike over seeds: as `compare`, but p is of both their mean and their spread.

    A cell that fails with some seeds is unlike a steady one though its mean, being so uncertain, may not be lower
    beyond noise. Under the `noise` a variance of differences is F distributed; p is Bonferroni's of the two tests.
    """
    compared = compare(first, second, noise)
    if compared["test"] != "t" or not noise.df:
        return compared
    differences = _differences(first, second)
    known = min(noise.df, noise.pairs_df)
    p_spread = float(f.sf(np.var(differences, ddof=1) / noise.variance, len(differences) - 1, known))
    return {**compared, "p": min(1.0, 2 * min(compared["p"], p_spread))}


def by_picture(differences: np.ndarray) -> dict[str, float]:
    """t test over pictures that differences, float (pictures,), have mean 0: difference, ci_low, ci_high and p."""
    if not differences.any():
        return {"difference": 0.0, "ci_low": 0.0, "ci_high": 0.0, "p": 1.0}
    return paired_t(differences, Noise())


def untested(difference: float = math.nan) -> dict[str, float]:
    """A difference of which no test can be made: its ci_low, ci_high and p are NaN."""
    return {"difference": difference, "ci_low": math.nan, "ci_high": math.nan, "p": math.nan}


def adjusted(comparisons: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row per comparison, with `p_adjusted` by Holm over those that have a p."""
    frame = pd.DataFrame(list(comparisons), columns=["difference", "ci_low", "ci_high", "p", "test"])
    tested = frame["p"].notna()
    frame["p_adjusted"] = np.nan
    frame.loc[tested, "p_adjusted"] = holm(frame.loc[tested, "p"].to_numpy(float))
    return frame


def _differences(first: Sample, second: Sample) -> np.ndarray:
    return np.array([first[seed].accuracy - second[seed].accuracy for seed in sorted(first.keys() & second.keys())])


def _unpaired(first: Sample, second: Sample) -> dict[str, float]:
    """Fisher's exact test on the number of pictures right, the mean over seeds, as if one network had it."""
    correct = [[score.correct for score in sample.values() if score.correct is not None] for sample in (first, second)]
    sizes = np.array([len(by_seed[0]) for by_seed in correct])
    shares = np.array([np.mean(by_seed) for by_seed in correct])
    hits = np.rint(shares * sizes).astype(int)
    half = norm.ppf(1 - LEVEL / 2) * math.sqrt(float((shares * (1 - shares) / sizes).sum()))
    difference = float(shares[0] - shares[1])
    p = float(fisher_exact(np.stack([hits, sizes - hits])).pvalue)
    return {"difference": difference, "ci_low": difference - half, "ci_high": difference + half, "p": p}


def _inverse_trigamma(value: float) -> float:
    return float(brentq(lambda x: polygamma(1, x) - value, 1e-6, 1e6)) if value > 2e-6 else math.inf
