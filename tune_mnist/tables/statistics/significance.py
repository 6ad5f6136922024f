"""Scores by seed and by picture, and what tells two networks apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest, fisher_exact, norm

from tune_mnist.tables.statistics.difference import LEVEL
from tune_mnist.tables.statistics.multiplicity import holm
from tune_mnist.training.packing import unpack_bits


class Score(NamedTuple):
    """One cell's accuracy at one seed, and if known picture by picture whether it was right, bool (pictures,)."""

    accuracy: float
    correct: np.ndarray | None


Sample = Mapping[int, Score]
"""A cell's scores by seed."""


def score(accuracy: float, packed: object) -> Score:
    """A `Score` from a row's accuracy and bits, if it has any; the number of pictures follows from both."""
    if not isinstance(packed, str) or not accuracy > 0:
        return Score(accuracy, None)
    correct = unpack_bits(packed)
    return Score(accuracy, correct[: round(correct.sum() / accuracy)])


def share_right(sample: Sample) -> np.ndarray | None:
    """Of each picture the share of the seeds that have it right, float (pictures,); None if one does not know."""
    correct = [score.correct for score in sample.values() if score.correct is not None]
    alike = len(correct) == len(sample) > 0 and len({len(flags) for flags in correct}) == 1
    return np.stack(correct).mean(axis=0, dtype=np.float32) if alike else None


def accuracies_of(samples: Sequence[Sample]) -> np.ndarray:
    """The samples' accuracies, float (samples, seeds), NaN where one lacks a seed that another has."""
    seeds = sorted(set().union(*samples))
    rows = [[sample[seed].accuracy if seed in sample else math.nan for seed in seeds] for sample in samples]
    return np.array(rows, float).reshape(len(samples), len(seeds))


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided McNemar p of two networks' right and wrong predictions of the same pictures, bool (n,)."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def compare_networks(first: Sample, second: Sample, *, same_pictures: bool = True) -> dict[str, Any]:
    """Compare two networks, one seed of each: difference (first less second), 95% interval, p and the test's name.

    They are told apart for other pictures, not for other seeds: on the `same_pictures` by McNemar's exact test, the
    networks being of the first seed that both have, on others by Fisher's. NaN without predictions.
    """
    shared = sorted(first.keys() & second.keys()) if same_pictures else []
    one, other = (sample[shared[0] if shared else min(sample)] for sample in (first, second))
    difference = one.accuracy - other.accuracy
    if one.correct is None or other.correct is None:
        return {"difference": difference, "ci_low": math.nan, "ci_high": math.nan, "p": math.nan, "test": ""}
    if shared and len(one.correct) == len(other.correct):
        per_picture = one.correct * 1.0 - other.correct
        half = norm.ppf(1 - LEVEL / 2) * float(np.std(per_picture, ddof=1)) / math.sqrt(len(per_picture))
        p, test = mcnemar(one.correct, other.correct), "McNemar"
    else:
        right, sizes = np.array([[flags.sum(), len(flags)] for flags in (one.correct, other.correct)]).T
        shares = right / sizes
        half = norm.ppf(1 - LEVEL / 2) * math.sqrt(float((shares * (1 - shares) / sizes).sum()))
        p, test = float(fisher_exact(np.stack([right, sizes - right])).pvalue), "Fisher"
    return {"difference": difference, "ci_low": difference - half, "ci_high": difference + half, "p": p, "test": test}


def adjusted(comparisons: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row per comparison, with `p_adjusted` by Holm over those that have a p."""
    frame = pd.DataFrame(list(comparisons), columns=["difference", "ci_low", "ci_high", "p", "test"])
    tested = frame["p"].notna()
    frame["p_adjusted"] = np.nan
    frame.loc[tested, "p_adjusted"] = holm(frame.loc[tested, "p"].to_numpy(float))
    return frame
