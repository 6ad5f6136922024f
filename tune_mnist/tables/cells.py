"""Cells of one or more studies, chosen by their columns, and contrasts between them."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.spec.training import Recipe
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.slices import epochs_of
from tune_mnist.tables.standings import of_rows, training_keys
from tune_mnist.tables.statistics.difference import Difference, combined, over_seeds
from tune_mnist.tables.statistics.intervals import picture_variance
from tune_mnist.tables.statistics.leaders import may_be_best
from tune_mnist.tables.statistics.significance import Sample, accuracies_of, share_right

RECIPE = tuple(setting.name for setting in fields(Recipe))


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

    def setting(self, name: str) -> Any:
        """The value of a setting that all have in common, or their values if they differ."""
        if name not in self.rows:
            return self.tables.settings.get(name)
        values = sorted(self.rows[name].unique(), key=str)
        return values[0] if len(values) == 1 else tuple(values)

    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(self.tables.name_of(row) for row in self.rows.to_dict("records"))

    def epochs(self) -> pd.DataFrame:
        """The best one's rows of the epochs table, of all its seeds, up to its budget."""
        return epochs_of(self.tables, self.rows.head(1))

    def by_epoch(self, column: str) -> pd.DataFrame:
        """The best one's `column` of the epochs table: a row per seed, a column per epoch up to its budget."""
        return self.epochs().pivot_table(index="seed", columns="epoch", values=column)

    def at_end(self, column: str) -> np.ndarray:
        """The best one's `column` of the epochs table at its budget, float (seeds,)."""
        return self.by_epoch(column)[self["epochs"]].to_numpy(float)


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


def versus(first: Cells, second: Cells, *, compared: Collection[str] = ()) -> Difference:
    """The accuracy of the best of `first` less that of the best of `second`, as other seeds would have it.

    Welch's t test; two cells of one training, which share their seeds' luck, are paired by seed unless both are near
    the leaders, whose noise is known better: taking them for independent then errs on the side of caution.

    Raises:
        ValueError: they are not alike in protocol, data, head or recipe but for the settings `compared`.
    """
    check_alike(first, second, compared)
    one, other = (on_these_pictures(cells.first())[0] for cells in (first, second))
    if _one_training(first, second) and not (_near(first) and _near(second)):
        ours, theirs = first.samples()[0], second.samples()[0]
        paired = [ours[seed].accuracy - theirs[seed].accuracy for seed in sorted(ours.keys() & theirs.keys())]
        return over_seeds(np.array(paired), "paired t test over the seeds of one training")
    return one.less(other, "Welch's t test over seeds, their noise moderated by that of the leaders")


def contrast(groups: Sequence[tuple[float, Cells]], *, compared: Collection[str] = ()) -> Difference:
    """The sum of weights times the mean accuracies of groups of cells, as other seeds would have it.

    Each training counts once, with the weighted mean over its cells at several epochs, and is independent of the
    others.

    Raises:
        ValueError: the groups are not alike in protocol, data, head or recipe but for the settings `compared`.
    """
    by_training: dict[Hashable, list[tuple[float, Sample]]] = {}
    for weight, cells in groups:
        check_alike(groups[0][1], cells, compared)
        columns = cells.tables.cell_columns
        for training, sample in zip(training_keys(cells.rows[columns], columns), cells.samples(), strict=True):
            by_training.setdefault((id(cells.tables), training), []).append((weight / len(cells), sample))
    sums = []  # of each training: the weighted sum of its cells' accuracies, float (seeds,)
    for members in by_training.values():
        seeds = sorted(set.intersection(*(set(sample) for _, sample in members)))
        sums.append(np.array([sum(weight * sample[seed].accuracy for weight, sample in members) for seed in seeds]))
    return combined([1.0] * len(sums), sums, "contrast of trainings over seeds (Welch)")


def on_these_pictures(cells: Cells) -> list[Difference]:
    """Each cell's accuracy on the pictures it was measured on, as other seeds would have it."""
    estimates = cells.tables.estimates
    return [
        Difference(float(estimates.mean[place]), float(estimates.error[place]), float(estimates.df[place]))
        for place in _places(cells)
    ]


def on_other_pictures(cells: Cells) -> list[Difference]:
    """Each cell's accuracy as other seeds and other pictures would have it."""
    accuracies = []
    for accuracy, sample in zip(on_these_pictures(cells), cells.samples(), strict=True):
        shares = share_right(sample)
        pictures = 0.0
        if shares is not None and len(sample) > 1:
            pictures = picture_variance([score.accuracy for score in sample.values()], shares)
        of_pictures = Difference(0.0, math.sqrt(pictures), math.inf)
        accuracies.append(accuracy.less(of_pictures, "t test over seeds and pictures"))
    return accuracies


def best_p_of(groups: Sequence[Cells], *, compared: Collection[str] = ()) -> list[np.ndarray]:
    """For each of the groups' cells p, float (cells,), that it is the best of all: see `leaders.may_be_best`.

    Raises:
        ValueError: the groups are not alike in protocol, data, head or recipe but for the settings `compared`.
    """
    samples: list[Sample] = []
    trainings: list[Hashable] = []
    for cells in groups:
        check_alike(groups[0], cells, compared)
        columns = cells.tables.cell_columns
        samples += cells.samples()
        trainings += [(id(cells.tables), training) for training in training_keys(cells.rows[columns], columns)]
    p = may_be_best(accuracies_of(samples), trainings)
    return np.split(p, np.cumsum([len(cells) for cells in groups])[:-1])


def check_alike(first: Cells, second: Cells, compared: Collection[str] = ()) -> None:
    """Refuse to compare cells that differ in more than the grid's axes and the settings `compared`.

    Raises:
        ValueError: naming what differs, and both values.
    """
    for name, one, other in (
        ("protocol", first.tables.protocol, second.tables.protocol),
        ("data", first.tables.data_sha256, second.tables.data_sha256),
        *((name, first.setting(name), second.setting(name)) for name in ("head", *RECIPE)),
    ):
        if name not in compared and one != other:
            raise ValueError(f"cells that differ in {name} cannot be compared: {one} and {other}")


def _one_training(first: Cells, second: Cells) -> bool:
    if first.tables is not second.tables:
        return False
    columns = first.tables.cell_columns
    return training_keys(first.rows[columns].head(1), columns) == training_keys(second.rows[columns].head(1), columns)


def _near(cells: Cells) -> bool:
    """Whether the best of the cells is near the leaders."""
    return bool(cells.tables.estimates.near[_places(cells.first())[0]])


def _places(cells: Cells) -> np.ndarray:
    return cells.tables.complete.index.get_indexer(cells.rows.index)
