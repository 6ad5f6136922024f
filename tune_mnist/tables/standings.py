"""Cells to standings: the ranking, the summary over seeds, and the top three with all that may be as good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.study.training_folder import STOPPED_EARLY
from tune_mnist.tables.statistics.difference import LEVEL
from tune_mnist.tables.statistics.intervals import interval_of
from tune_mnist.tables.statistics.leaders import MARGIN, RANKS_SEEDS, against_third, gap_seen
from tune_mnist.tables.statistics.noise import NEAR, Noise, learn_noise
from tune_mnist.tables.statistics.significance import Sample, Score, accuracies_of, adjusted, from_one
from tune_mnist.tables.text import percent

STANDING = {"complete": 0, STOPPED_EARLY: 1, "diverged": 2}  # any other status stands last
WORST_FIRST = ("diverged", "failed", "unfinished", "missing", STOPPED_EARLY, "complete")
"""What a cell's seeds come to: the first of these that one of them is."""
BEST = "best three"
TIED = "not distinguishable from the third"
EQUIVALENT = f"within {100 * MARGIN:g} points of the third"

CellKey = tuple[Any, ...]
"""A cell's model, lr, batch_size, epochs and varying settings; a missing value is None, as NaN equals nothing."""
Samples = Mapping[CellKey, Sample]
"""Each cell's scores by seed, complete ones only."""


def ranked(frame: pd.DataFrame, accuracy: str, loss: str) -> pd.DataFrame:
    """Best first, with a `rank` from 1. The frame's own order breaks the last ties."""
    order = frame.assign(
        standing=frame["status"].map(STANDING).fillna(len(STANDING)),
        error=-frame[accuracy].round(12),  # equal means may differ in their last bit
    ).sort_values(["standing", "error", loss, "epochs"], kind="stable")
    best_first = frame.loc[order.index].reset_index(drop=True)
    best_first.insert(0, "rank", range(1, len(best_first) + 1))
    return best_first


def summarise(cells: pd.DataFrame, by: list[str], prefix: str, samples: Samples) -> pd.DataFrame:
    """One ranked row per cell: over its complete seeds the mean, standard deviation and 95% interval of accuracy.

    `prefix` is that of the evaluation's columns, such as val.
    """
    loss, accuracy = f"{prefix}_loss", f"{prefix}_accuracy"
    values = cells[["train_loss", loss, accuracy]].where(cells["status"].isin(["complete", STOPPED_EARLY]))
    badness = cells["status"].map(WORST_FIRST.index).astype(int)
    complete = cells["status"] == "complete"
    groups = cells.assign(**values, complete=complete, badness=badness).groupby(by, sort=False, dropna=False)
    summary = groups.agg(
        seeds=("seed", "size"),
        n=("complete", "sum"),
        mean=(accuracy, "mean"),
        std=(accuracy, "std"),
        train_loss=("train_loss", "mean"),
        **{loss: (loss, "mean")},
        status=("badness", "min"),
    ).reset_index()
    summary["status"] = summary["status"].map(dict(enumerate(WORST_FIRST)))
    intervals = np.array([interval_of(sample) for sample in of_rows(summary[by], samples)], float).reshape(-1, 2)
    after_std = summary.columns.get_loc("std") + 1
    summary.insert(after_std, "ci_low", intervals[:, 0])
    summary.insert(after_std + 1, "ci_high", intervals[:, 1])
    return ranked(summary, "mean", loss)


def leaders(summary: pd.DataFrame, by: list[str], samples: Samples, level: float = LEVEL) -> tuple[pd.DataFrame, str]:
    """The three best complete cells, then all that are not distinguishable from the third; and by what method.

    Adds `standing`, `difference` (from the third, in accuracy), `p_adjusted` (that of a cell as good as the third, any
    of the study's being looked at) and `p_equivalent` (that of a cell `MARGIN` off), empty where nothing was compared.
    Where this look may spend but a part of the 5%, its `level`, both are raised by as much, to be held against 5%.
    """
    complete = summary[summary["status"] == "complete"].reset_index(drop=True)
    ordered = of_rows(complete[by], samples)
    accuracies = accuracies_of(ordered)
    noise = learn_noise(accuracies, training_keys(complete, by)) if len(complete) else Noise()
    if math.isnan(noise.variance):
        compared = adjusted(from_one(ordered[3:], ordered[2]) if len(ordered) > 3 else ())
        compared["p_equivalent"] = np.nan
        compared.index += 3
    else:
        ties = against_third(accuracies, training_keys(complete, by), noise, level=level)
        values = {"difference": ties.difference, "p_adjusted": ties.p, "p_equivalent": ties.equivalent_p}
        compared = pd.DataFrame(values).iloc[3:]
    added = ["difference", "p_adjusted", "p_equivalent"]
    compared[added[1:]] = (compared[added[1:]] * (LEVEL / level)).clip(upper=1)
    best = complete.join(compared[added], how="left").assign(standing=BEST).astype(dict.fromkeys(added, float))
    best.loc[3:, "standing"] = TIED
    best.loc[best["p_equivalent"] < LEVEL, "standing"] = EQUIVALENT
    kept = (best["p_adjusted"] > LEVEL) | (best.index < 3)
    return best[kept].reset_index(drop=True), method(accuracies, noise, int(kept.sum()), level)


def method(accuracies: np.ndarray, noise: Noise, kept: int, level: float = LEVEL) -> str:
    """How the intervals and comparisons of these cells, best first, were made, and what they can tell.

    `kept` counts the best three and those not told from the third.
    """
    if math.isnan(noise.variance):
        return (
            "One seed: intervals (95%) are Wilson's, for these networks on other pictures. Which configuration is the "
            "better, one seed cannot tell: another seed may differ as much as another configuration. Named beside the "
            "three are only those whose very networks McNemar's exact test on the same pictures, with Holm's "
            "correction at 5%, does not tell from the third's; more may be as good. Ask for --seeds 3."
        )
    counts = np.isfinite(accuracies).sum(axis=1)
    seeds = f"{counts.min()} to {counts.max()}" if counts.min() < counts.max() else f"{counts.max()}"
    trainings = len(noise.by_training)
    text = (
        f"{seeds} seeds: intervals (95%) are for other seeds and other pictures alike. Another seed changes an error "
        f"rate by {percent(math.sqrt(noise.variance))} of itself (standard deviation), as learnt from the {trainings} "
        f"{'training' if trainings == 1 else 'trainings'} with at most {NEAR:g} times the third's error; a training's "
        "cells, at several epochs, are not independent and count as one witness. "
    )
    gap = gap_seen(accuracies, noise, kept, level)
    if math.isnan(gap):
        return text.strip()
    if level < LEVEL:
        text += (
            f"Seeds were added by looks at the cells: each look is held to its share of the 5%, this one to "
            f"{percent(level)} (Kim and DeMets 1987), and each p is raised to be held against 5%. "
        )
    ranks = ""
    if counts[2] >= RANKS_SEEDS:
        ranks = ", and by its seeds' ranks (Mann and Whitney 1947), in which one seed that fell weighs little"
    return text + (
        "Each cell is held against the third by the range of as many equal cells (Tukey and Kramer), of all "
        f"{len(accuracies)} first, then of those not told apart (Romano and Wolf 2005), the third taken to be as noisy "
        f"as the leaders may be{ranks}; the chance of any wrong exclusion is 5% at most. A cell "
        f"{100 * gap:.2f} points worse than the third would be told from it in 4 of 5 such studies; what is not told "
        "apart may differ by less than that. Equivalent means "
        f"within {100 * MARGIN:g} points by two one-sided tests (Schuirmann 1987), with Holm's correction at 5%."
    )


def training_keys(cells: pd.DataFrame, by: list[str]) -> list[CellKey]:
    """The training of each cell: its key but for the epochs; `by` names the columns that tell cells apart."""
    return cell_keys(cells[[name for name in by if name not in ("epochs", "budget")]])


def samples_of(cells: pd.DataFrame, by: list[str], scores: Sequence[Score]) -> Samples:
    """Each cell's scores by seed, where complete; `scores` go with the rows of `cells`."""
    samples: dict[CellKey, dict[int, Score]] = {}
    for cell, seed, status, score in zip(cell_keys(cells[by]), cells["seed"], cells["status"], scores, strict=True):
        if status == "complete":
            samples.setdefault(cell, {})[int(seed)] = score
    return samples


def of_rows(cells: pd.DataFrame, samples: Samples) -> list[Sample]:
    """The sample of each row of `cells`, whose columns are those that tell cells apart; empty where there is none."""
    return [samples.get(cell, {}) for cell in cell_keys(cells)]


def cell_keys(cells: pd.DataFrame) -> list[CellKey]:
    """Each row as a key of `Samples`."""
    columns = []
    for name in cells:
        values, missing = cells[name].tolist(), cells[name].isna()
        columns.append([None if gap else value for value, gap in zip(values, missing, strict=True)]
                       if missing.any() else values)
    return list(zip(*columns, strict=True)) if columns else [()] * len(cells)
