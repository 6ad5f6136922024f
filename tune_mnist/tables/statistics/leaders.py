"""The cells that lead: which may be as good as the third, which as the best, and what a study could have seen."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu
from scipy.stats import t as student

from tune_mnist.tables.statistics.difference import LEVEL, joint
from tune_mnist.tables.statistics.multiplicity import holm, range_p, range_p_in_steps
from tune_mnist.tables.statistics.noise import Estimates, Noise, estimate, learn_noise

POWER = 0.8
MARGIN = 0.005  # accuracies less than half a point apart are as good as equal
RANKS_SEEDS = 8  # from so many on, ranks can tell cells apart
RANKS_SHARE = 0.2  # of the error allowed, which is theirs from then on


@dataclass(frozen=True)
class Ties:
    """Cells ranked best first against the third; arrays are float (cells,), NaN where nothing can be compared."""

    difference: np.ndarray
    """A cell's accuracy less the third's."""
    p: np.ndarray
    """That so large a difference arises among as many equal cells, or so much lower ranks do."""
    equivalent_p: np.ndarray
    """That the difference seems to be within `MARGIN` where it is not, by Holm over the cells with `p` above 5%."""


def against_third(
    accuracies: np.ndarray, trainings: Sequence[Hashable], noise: Noise | None = None, *, level: float = LEVEL
) -> Ties:
    """Compare each cell after the third with the third, by Tukey and Kramer's studentised range, and by ranks.

    Accuracies are float (cells, seeds), the best cell first, NaN where it lacks a seed; `trainings` says which
    training a cell is of. The third was taken for its rank, and any of the others may be looked at, so that the
    difference of two is held against the range of all that are not told apart: the chance that any cell as good as the
    third is told apart stays at the `level` that p is held to. For its rank, too, the third's noise is taken to be at
    the upper limit of the leaders' at least: of equal cells the noisiest come out first. From `RANKS_SEEDS` seeds on,
    `by_ranks` has a share of the level.
    """
    noise = learn_noise(accuracies, trainings) if noise is None else noise
    found = estimate(accuracies, trainings, noise, alike=True)
    difference = found.mean - found.mean[:3][-1]
    p, equivalent = np.full(len(difference), np.nan), np.full(len(difference), np.nan)
    if math.isnan(noise.variance) or len(accuracies) <= 3:
        return Ties(difference, p, equivalent)
    seeds = int(np.isfinite(accuracies[2]).sum())
    third = np.maximum(found.relative_error[2], math.sqrt(noise.upper / seeds))
    error, df = joint(found.relative_error, found.df, third, found.df[2])
    behind = found.log_error - found.log_error[2]
    q = math.sqrt(2) * np.maximum(_ratio(behind[3:], error[3:]), 0)
    share = _share_of_range(seeds)
    p[3:] = range_p_in_steps(q, df[3:], level * share, others=3) / share
    if share < 1:
        p[3:] = np.minimum(p[3:], by_ranks(accuracies, p > level) / (1 - share)).clip(max=1)
    tied = np.flatnonzero(p > LEVEL)
    points, df = joint(found.error, found.df, found.error[2], found.df[2])
    equivalent[tied] = holm(equivalence_p(difference[tied], points[tied], df[tied]))
    return Ties(difference, p, equivalent)


def _share_of_range(seeds: int) -> float:
    """The range test's share of the error allowed; the rest is the ranks'."""
    return 1 - RANKS_SHARE if seeds >= RANKS_SEEDS else 1.0


def by_ranks(accuracies: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """p, float (cells - 3,), that a tied cell's seeds rank so far behind the third's; 1 of a cell that is not tied.

    One seed that fell leaves a cell's mean unknown, and yet all its seeds may be behind all of the third's: Mann and
    Whitney's exact test (1947) sees it. Its p counts as often as there are pairs among the three and the `tied`, bool
    (cells,): the cells as good as the third are among these, or else the test before has erred, at its own share.
    """
    pairs = math.comb(3 + int(tied.sum()), 2)
    third, p = accuracies[2][np.isfinite(accuracies[2])], np.ones(len(accuracies))
    for cell in np.flatnonzero(tied).tolist():
        values = accuracies[cell][np.isfinite(accuracies[cell])]
        p[cell] = pairs * float(mannwhitneyu(values, third, alternative="less", method="exact").pvalue)
    return p[3:]


def may_be_best(accuracies: np.ndarray, trainings: Sequence[Hashable], noise: Noise | None = None) -> np.ndarray:
    """p, float (cells,), that a cell is the best of all, by comparisons with the best (Hsu 1984); NaN with one seed.

    Those with p above 5% contain the best with a probability of 95% at least. Each cell is held against each other
    by a t test of the two, and the smallest p counts as many times as there are others (Bonferroni): each training's
    noise is estimated by itself, and the quietest by luck would pass Dunnett's law, which has one noise for all, too
    often. Arguments are `against_third`'s, in any order.
    """
    noise = learn_noise(accuracies, trainings) if noise is None else noise
    found = estimate(accuracies, trainings, noise, alike=True)
    if math.isnan(noise.variance) or len(accuracies) < 2:
        return np.full(len(accuracies), np.nan)
    foremost, p = _foremost(found), np.empty(len(found.mean))
    for start in range(0, len(p), 256):
        rows = slice(start, start + 256)
        own, own_df = found.relative_error[rows, None], found.df[rows, None]  # (256, 1), against (foremost,)
        error, df = joint(found.relative_error[foremost], found.df[foremost], own, own_df)
        ahead = _ratio(found.log_error[rows, None] - found.log_error[foremost], error)  # (256, foremost)
        p[rows] = student.sf(ahead, df).min(axis=1)
    return np.minimum((len(p) - 1) * p, 1)


def _foremost(found: Estimates) -> np.ndarray:
    """The cells that may be furthest ahead of some other, int (k,): of those known equally well only the best."""
    known = np.stack([found.relative_error.round(12), found.df])
    order = np.lexsort([found.log_error, *known])
    _, first = np.unique(known[:, order], axis=1, return_index=True)
    return np.sort(order[first])


def equivalence_p(difference: np.ndarray, error: np.ndarray, df: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """p of the two one-sided t tests (Schuirmann 1987) that differences are within ± `margin`; all float (n,)."""
    return student.sf(_ratio(margin - np.abs(difference), error), df)


def smallest_gap(
    error: float, noise: Noise, *, seeds: int, cells: int, level: float = LEVEL, better_taken_for: float | None = None
) -> float:
    """How far below a cell whose error rate is `error` another must be, in accuracy, to be told apart with 80% power.

    `seeds` of each, among as many `cells`, held to the `level`. `better_taken_for` is the variance that the test takes
    the better's noise for, if not the noise's own, by which both vary.
    """
    variance, df = noise.leaders
    df = max(df, seeds - 1)
    taken_for = variance if better_taken_for is None else better_taken_for
    bar = _critical_range(cells, 2 * df, level) * math.sqrt((variance + taken_for) / 2 / seeds)
    return error * math.expm1(bar + float(student.ppf(POWER, 2 * df)) * math.sqrt(2 * variance / seeds))


@functools.cache
def _critical_range(cells: int, df: float, level: float) -> float:
    """The studentised range that as many equal cells exceed with probability `level`."""
    return float(brentq(lambda q: float(range_p(np.array([q]), cells, np.array([df]))[0]) - level, 0.1, 1000))


def gap_seen(accuracies: np.ndarray, noise: Noise, cells: int, level: float = LEVEL) -> float:
    """The `smallest_gap` of a study with these accuracies, float (cells, seeds), best first; NaN if not known.

    `cells` counts the best three and those not told from the third.
    """
    if len(accuracies) < 4 or math.isnan(noise.variance):
        return math.nan
    third = accuracies[2][np.isfinite(accuracies[2])]
    level *= _share_of_range(len(third))
    error, cells = 1 - float(third.mean()), max(cells, 4)
    return smallest_gap(error, noise, seeds=len(third), cells=cells, level=level, better_taken_for=noise.upper)


def seeds_needed(gap: float, error: float, noise: Noise, *, cells: int = 2, most: int = 1000) -> int | None:
    """How many seeds of each cell see a `gap` in accuracy, from one whose error rate is `error`, with 80% power.

    Among as many `cells`. None if `most` do not.
    """
    seeds = range(2, most + 1)
    at = bisect.bisect_left(seeds, -gap, key=lambda n: -smallest_gap(error, noise, seeds=n, cells=cells))
    return seeds[at] if at < len(seeds) else None


def _ratio(difference: np.ndarray, error: np.ndarray) -> np.ndarray:
    """A difference in standard errors, where these are 0 very many or none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(difference / error, nan=0.0, posinf=1e9, neginf=-1e9)
