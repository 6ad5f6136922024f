"""Scores by seed and by picture, and what tells two networks apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom, fisher_exact, norm

from tune_mnist.tables.statistics.difference import LEVEL
from tune_mnist.tables.statistics.multiplicity import holm
from tune_mnist.training.packing import unpack_bytes

BLOCK = 4096  # samples whose bits are compared at a time


class Right(NamedTuple):
    """Picture by picture whether a network was right, as bits: an eighth of the memory of booleans."""

    bits: np.ndarray
    """uint8 (pictures / 8, rounded up,), as `numpy.packbits` packs them; those after the last picture are 0."""
    pictures: int
    hits: int
    """How many of them are right."""

    @property
    def flags(self) -> np.ndarray:
        """One for each picture, bool (pictures,)."""
        return np.unpackbits(self.bits, count=self.pictures).astype(bool)


def right_of(flags: np.ndarray) -> Right:
    """The flags, bool (pictures,), as bits."""
    return Right(np.packbits(flags), len(flags), int(np.count_nonzero(flags)))


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
_ones_of = np.bitwise_count if hasattr(np, "bitwise_count") else _ONES.__getitem__  # NumPy 2's, several times as fast


def ones(bits: np.ndarray) -> np.ndarray:
    """How many bits are set along the last axis of uint8 (…, bytes), int (…)."""
    return _ones_of(bits).sum(axis=-1, dtype=np.int64)


class Score(NamedTuple):
    """One cell's accuracy at one seed, and if known which pictures were right."""

    accuracy: float
    correct: Right | None


Sample = Mapping[int, Score]
"""A cell's scores by seed."""


def score(accuracy: float, packed: object) -> Score:
    """A `Score` from a row's accuracy and bits, if it has any; the number of pictures follows from both.

    The bits are packed as `pack_bits` does, or not.
    """
    if not isinstance(packed, (str, np.ndarray)) or not accuracy > 0:
        return Score(accuracy, None)
    bits = unpack_bytes(packed) if isinstance(packed, str) else packed
    hits = int(ones(bits))
    pictures = round(hits / accuracy)
    return Score(accuracy, Right(bits[: (pictures + 7) // 8], pictures, hits))


def share_right(sample: Sample) -> np.ndarray | None:
    """Of each picture the share of the seeds that have it right, float (pictures,); None if one does not know."""
    correct = [score.correct for score in sample.values() if score.correct is not None]
    alike = len(correct) == len(sample) > 0 and len({right.pictures for right in correct}) == 1
    return np.stack([right.flags for right in correct]).mean(axis=0, dtype=np.float32) if alike else None


def accuracies_of(samples: Sequence[Sample]) -> np.ndarray:
    """The samples' accuracies, float (samples, seeds), NaN where one lacks a seed that another has."""
    seeds = sorted(set().union(*samples))
    rows = [[sample[seed].accuracy if seed in sample else math.nan for seed in seeds] for sample in samples]
    return np.array(rows, float).reshape(len(samples), len(seeds))


def mcnemar_p(only_first: np.ndarray, only_second: np.ndarray) -> np.ndarray:
    """Exact two-sided McNemar p, float (n,), of how many pictures only the first and only the second has right.

    As scipy.stats.binomtest with p = 1/2, whose distribution is symmetric, for many at once.
    """
    fewer, both = np.minimum(only_first, only_second), only_first + only_second
    p = binom.cdf(fewer, both, 0.5) + binom.sf(both - fewer - 1, both, 0.5)
    return np.where(2 * fewer == both, 1.0, np.minimum(p, 1.0))


def mcnemar(first: Right, second: Right) -> float:
    """Exact two-sided McNemar p of two networks' right and wrong predictions of the same pictures."""
    only_first, only_second = ones(first.bits & ~second.bits), ones(second.bits & ~first.bits)
    return float(mcnemar_p(np.array([only_first]), np.array([only_second]))[0])


def from_one(samples: Sequence[Sample], one: Sample) -> pd.DataFrame:
    """Columns difference (in accuracy, sample less `one`) and p of each sample, as `compare_networks` has them.

    Those of the same seed and pictures are compared all at once.
    """
    seed = min(one)
    base = one[seed].correct
    table = pd.DataFrame({"difference": np.full(len(samples), np.nan), "p": np.full(len(samples), np.nan)})
    alike = []
    for place, sample in enumerate(samples):
        right = sample[seed].correct if seed in sample else None
        if base is not None and right is not None and right.pictures == base.pictures:
            alike.append(place)
        else:
            table.loc[place, ["difference", "p"]] = _difference_and_p(sample, one)
    if alike and base is not None:
        # The sets of pictures that differ, uint8 (blocks of samples, bytes)
        only: list[np.ndarray] = []
        for start in range(0, len(alike), BLOCK):
            bits = np.stack([_bits(samples[place], seed) for place in alike[start : start + BLOCK]])
            only.append(np.stack([ones(bits & ~base.bits), ones(base.bits & ~bits)]))
        table.loc[alike, "p"] = mcnemar_p(*np.concatenate(only, axis=1))
        table.loc[alike, "difference"] = [samples[place][seed].accuracy - one[seed].accuracy for place in alike]
    return table


def _difference_and_p(first: Sample, second: Sample) -> tuple[float, float]:
    compared = compare_networks(first, second)
    return compared["difference"], compared["p"]


def _bits(sample: Sample, seed: int) -> np.ndarray:
    right = sample[seed].correct
    assert right is not None
    return right.bits


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
    if shared and one.correct.pictures == other.correct.pictures:
        per_picture = one.correct.flags * 1.0 - other.correct.flags
        half = norm.ppf(1 - LEVEL / 2) * float(np.std(per_picture, ddof=1)) / math.sqrt(len(per_picture))
        p, test = mcnemar(one.correct, other.correct), "McNemar"
    else:
        right, sizes = np.array([[known.hits, known.pictures] for known in (one.correct, other.correct)]).T
        shares = right / sizes
        half = norm.ppf(1 - LEVEL / 2) * math.sqrt(float((shares * (1 - shares) / sizes).sum()))
        p, test = float(fisher_exact(np.stack([right, sizes - right])).pvalue), "Fisher"
    return {"difference": difference, "ci_low": difference - half, "ci_high": difference + half, "p": p, "test": test}


def adjusted(comparisons: Sequence[Mapping[str, Any]] | pd.DataFrame) -> pd.DataFrame:
    """A row per comparison, with `p_adjusted` by Holm over those that have a p."""
    rows = comparisons if isinstance(comparisons, pd.DataFrame) else list(comparisons)
    frame = pd.DataFrame(rows, columns=["difference", "ci_low", "ci_high", "p", "test"])
    tested = frame["p"].notna()
    frame["p_adjusted"] = np.nan
    frame.loc[tested, "p_adjusted"] = holm(frame.loc[tested, "p"].to_numpy(float))
    return frame
