"""Cells of one or more studies, chosen by their columns, and contrasts between them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.spec.training import Recipe
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.significance import Noise, Sample, by_picture, compare, estimate_noise, paired_t, untested
from tune_mnist.tables.slices import epochs_of
from tune_mnist.tables.standings import of_rows
from tune_mnist.tables.text import cell_name


@dataclass(frozen=True)
class Cells:
    """Complete cells of one study: rows of its summary, best first."""

    tables: Tables
    rows: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, **fixed: Any) -> Cells:
        """Those whose columns have these values; a list stands for any of its values."""
        rows = self.rows
        for name, value in fixed.items():
            rows = rows[rows[name].isin(value if isinstance(value, list) else [value])]
        return Cells(self.tables, rows)

    def without(self, other: Cells) -> Cells:
        """Those that are not in `other`."""
        return Cells(self.tables, self.rows[~self.rows.index.isin(other.rows.index)])

    def first(self) -> Cells:
        """The best one."""
        return Cells(self.tables, self.rows.head(1))

    def __getitem__(self, name: str) -> Any:
        """The best one's value in this column."""
        return self.rows[name].iloc[0]

    def samples(self) -> list[Sample]:
        """Their scores by seed."""
        return of_rows(self.rows[self.tables.cell_columns], self.tables.samples)

    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(cell_name(row) for row in self.rows.to_dict("records"))

    def epochs(self) -> pd.DataFrame:
        """The best one's rows of the epochs table, of all its seeds, up to its budget."""
        return epochs_of(self.tables, self.rows.head(1))

    def by_epoch(self, column: str) -> pd.Series:
        """The best one's `column` of the epochs table, averaged over its seeds, by epoch up to its budget."""
        return self.epochs().groupby("epoch")[column].mean()


def complete(tables: Tables) -> Cells:
    """A study's complete cells."""
    return Cells(tables, tables.complete)


def plain(tables: Tables) -> Cells:
    """A study's complete cells of the report's recipe: no dropout, no augmentation, nothing added."""
    return Cells(tables, _plain_rows(tables, tables.complete))


def plain_epochs(tables: Tables) -> pd.DataFrame:
    """The rows of a study's epochs table that are of the report's recipe, each training's longest run."""
    rows = _plain_rows(tables, tables.epochs)
    if "budget" in rows:
        same = [name for name in rows if name in (*tables.cell_columns, "seed") and name != "budget"]
        rows = rows.sort_values("budget", kind="stable").drop_duplicates([*same, "epoch"], keep="last")
    return rows


def _plain_rows(tables: Tables, rows: pd.DataFrame) -> pd.DataFrame:
    for setting in fields(Recipe):
        default = setting.default
        if setting.name in rows:
            rows = rows[rows[setting.name] == default]
        elif tables.settings.get(setting.name, default) != default:
            rows = rows.head(0)
    return rows


def noise_of(tables: Tables) -> Noise:
    """The seeds' noise among the study's better cells."""
    return estimate_noise(complete(tables).samples())


def versus(first: Cells, second: Cells) -> dict[str, Any]:
    """Compare the best of `first` with the best of `second`, of whatever studies: see `significance.compare`."""
    same = first.tables.protocol == second.tables.protocol
    return compare(first.samples()[0], second.samples()[0], noise_of(first.tables), same_pictures=same)


def contrast(plus: Cells, minus: Cells) -> dict[str, float]:
    """Mean accuracy of the cells of `plus` less that of those of `minus`, of one study: difference, ci, p.

    Tested over the seeds they share, or with one seed over pictures. Cells of one training count as one for the noise.
    """
    plus_samples, minus_samples = plus.samples(), minus.samples()
    seeds = sorted(set.intersection(*(set(sample) for sample in [*plus_samples, *minus_samples])))
    if not seeds:
        return untested()
    differences = _mean_accuracies(plus_samples, seeds) - _mean_accuracies(minus_samples, seeds)
    if len(seeds) > 1:
        noise = noise_of(plus.tables)
        scale = (1 / _trainings(plus) + 1 / _trainings(minus)) / 2
        return paired_t(differences, Noise(noise.variance * scale, noise.df, noise.pairs_df))
    plus_right, minus_right = _share_right(plus_samples, seeds[0]), _share_right(minus_samples, seeds[0])
    if plus_right is None or minus_right is None:
        return untested(float(differences[0]))
    return by_picture(plus_right - minus_right)


def _mean_accuracies(samples: list[Sample], seeds: list[int]) -> np.ndarray:
    """The mean accuracy of the samples at each seed, float (seeds,)."""
    return np.mean([[sample[seed].accuracy for seed in seeds] for sample in samples], axis=0)


def _share_right(samples: list[Sample], seed: int) -> np.ndarray | None:
    """For each picture the share of the samples that have it right, float (pictures,); None if one does not know."""
    correct = [flags for sample in samples if (flags := sample[seed].correct) is not None]
    return np.mean(np.stack(correct), axis=0) if len(correct) == len(samples) else None


def _trainings(cells: Cells) -> int:
    return len(cells.rows.drop_duplicates([name for name in cells.tables.cell_columns if name != "epochs"]))
