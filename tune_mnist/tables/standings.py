"""Cells to standings: the ranking, the summary over seeds, and the top three with all that may be as good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.tables.significance import LEVEL, Noise, Sample, Score, adjusted, alike, estimate_noise, interval_of

STANDING = {"complete": 0, "diverged": 1}  # any other status stands last
BEST = "best three"
TIED = "not distinguishable from the third"

CellKey = tuple[Any, ...]
"""A cell's model, lr, batch_size, epochs and varying settings; a missing value is None, as NaN equals nothing."""
Samples = Mapping[CellKey, Sample]
"""Each cell's scores by seed, complete ones only."""


def ranked(frame: pd.DataFrame, accuracy: str, loss: str) -> pd.DataFrame:
    """Best first, with a `rank` from 1. The frame's own order breaks the last ties."""
    order = pd.DataFrame(
        {
            "standing": frame["status"].map(STANDING).fillna(len(STANDING)),
            "error": -frame[accuracy].round(12),  # equal means may differ in their last bit
            "loss": frame[loss],
            "epochs": frame["epochs"],
        }
    )
    best_first = frame.loc[order.sort_values(list(order), kind="stable").index].reset_index(drop=True)
    best_first.insert(0, "rank", range(1, len(best_first) + 1))
    return best_first


def summarise(cells: pd.DataFrame, by: list[str], prefix: str, samples: Samples) -> pd.DataFrame:
    """One ranked row per cell: over its complete seeds the mean, standard deviation and 95% interval of accuracy.

    `prefix` is that of the evaluation's columns, such as val.
    """
    loss, accuracy = f"{prefix}_loss", f"{prefix}_accuracy"
    values = cells[["train_loss", loss, accuracy]].where(cells["status"] == "complete")
    groups = cells.assign(**values).groupby(by, sort=False, dropna=False)
    summary = groups.agg(
        seeds=("seed", "size"),
        n=(accuracy, "count"),
        mean=(accuracy, "mean"),
        std=(accuracy, "std"),
        train_loss=("train_loss", "mean"),
        **{loss: (loss, "mean")},
        status=("status", _worst),
    ).reset_index()
    intervals = np.array([interval_of(sample) for sample in of_rows(summary[by], samples)], float).reshape(-1, 2)
    after_std = summary.columns.get_loc("std") + 1
    summary.insert(after_std, "ci_low", intervals[:, 0])
    summary.insert(after_std + 1, "ci_high", intervals[:, 1])
    return ranked(summary, "mean", loss)


def leaders(summary: pd.DataFrame, by: list[str], samples: Samples) -> tuple[pd.DataFrame, str]:
    """The three best complete cells, then all that are not distinguishable from the third; and by what method.

    Distinguishable is, over seeds, a cell of another mean or of a larger spread than the seeds usually give.

    Adds `standing`, `difference` (from the third, in accuracy) and `p_adjusted`, empty where nothing was compared.
    """
    complete = summary[summary["status"] == "complete"].reset_index(drop=True)
    ordered = of_rows(complete[by], samples)
    noise = estimate_noise(ordered)
    compared = adjusted([alike(sample, ordered[2], noise) for sample in ordered[3:]])[["difference", "p_adjusted"]]
    compared.index += 3
    best = complete.join(compared, how="left").assign(standing=BEST).astype({"difference": float, "p_adjusted": float})
    best.loc[3:, "standing"] = TIED
    tied = best["p_adjusted"] > LEVEL
    return best[tied | (best.index < 3)].reset_index(drop=True), method(ordered, noise)


def method(samples: Sequence[Sample], noise: Noise) -> str:
    """How the intervals and comparisons of these cells were made, and what they can tell."""
    seeds = max((len(sample) for sample in samples), default=0)
    if seeds < 2:
        return (
            "One seed: intervals are Wilson's over the pictures (95%), comparisons exact McNemar tests on the same "
            "pictures with Holm's correction at 5%. They tell these networks apart; whether another seed would rank "
            "the configurations the same way, one seed cannot tell."
        )
    known, spread = "each cell's own variance alone", ""
    if noise.df:
        worth = "" if math.isinf(noise.df) else f", worth {noise.df:.1f} degrees of freedom"
        points = 100 * math.sqrt(noise.variance)
        known = f"a seed-to-seed deviation of {points:.2f} points shared by the better half of the cells{worth}"
        spread = ", and F tests of their spread against that"
    return (
        f"{seeds} seeds: intervals are Student's t over seeds (95%), comparisons paired t tests over the same seeds, "
        f"moderated by {known} (Smyth 2004){spread}, with Holm's correction at 5%."
    )


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
    return list(cells.astype(object).where(cells.notna(), None).itertuples(index=False, name=None))


def _worst(statuses: pd.Series) -> str:
    """What a cell's seeds come to: complete only if all are, and diverged if any is."""
    seen = set(statuses)
    return next(status for status in ("diverged", "failed", "unfinished", "missing", "complete") if status in seen)
