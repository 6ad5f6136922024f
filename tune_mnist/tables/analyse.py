"""Trainings to tables: epochs, results, summary, top three and timings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tune_mnist.spec.training import FIELDS, PREFIX, PlannedTraining, Protocol, TrainingConfig
from tune_mnist.spec.words.naming import BASE, cell_name, differing, in_common, varying
from tune_mnist.study.training_folder import TrainingRecord
from tune_mnist.tables.courses import SECONDS, status_and_row
from tune_mnist.tables.csv_text import csv_of
from tune_mnist.tables.standings import (
    BEST,
    CellKey,
    Samples,
    cell_keys,
    leaders,
    of_rows,
    ranked,
    samples_of,
    summarise,
    training_keys,
)
from tune_mnist.tables.statistics.difference import LEVEL
from tune_mnist.tables.statistics.intervals import interval_of
from tune_mnist.tables.statistics.leaders import gap_seen
from tune_mnist.tables.statistics.noise import Estimates, Noise, estimate, learn_noise
from tune_mnist.tables.statistics.significance import accuracies_of, score
from tune_mnist.tables.trainings import SWEPT, Training, trainings_of

METRICS = ("loss", "accuracy", "precision", "recall", "f1")
TEST_COLUMNS = [*(f"test_{metric}" for metric in METRICS), "test_ci_low", "test_ci_high"]

WRITTEN = ("epochs", "results", "summary", "top3", "timings")
"""The tables that are written, each as a CSV file of its name."""

TestScores = Callable[[tuple[TrainingConfig, int]], Mapping[str, Any] | None]
"""Gives the test score of a training after so many epochs, if it was ever taken."""


@dataclass(frozen=True)
class Tables:
    """What a study found. Accuracies, precisions, recalls and F1 are shares in [0, 1]; empty means not reached.

    Wherever rows are ranked, complete ones come before those stopped early, diverged ones and the others (failed,
    unfinished, missing), in this order; then the higher accuracy wins, then the lower loss, then fewer epochs, then
    the model that `place_of` has first, then the smaller lr, batch_size, seed and further settings.
    """

    epochs: pd.DataFrame
    """One row per training and epoch."""
    results: pd.DataFrame
    """One ranked row per cell and seed."""
    summary: pd.DataFrame
    """One ranked row per cell over its `seeds` planned seeds, `n` of them complete: over these, the mean, standard
    deviation and 95% interval of accuracy, and mean losses. Its status is complete if every seed's is. Of what a
    search stopped early the means are of its last epoch."""
    top3: pd.DataFrame
    """The three best complete cells and, after them, all not distinguishable from the third: see `standing`; under
    holdout with the three's test scores and interval, empty until they are given."""
    timings: pd.DataFrame
    """One row per training begun: seconds in all, which vary from run to run."""
    failed: pd.DataFrame
    """One row per training that diverged or failed: how, after how many epochs, and the error."""
    protocol: Protocol
    method: str = ""
    """How the intervals and the comparisons with the third were made, and what they can tell."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings that all trainings share."""
    varying: tuple[str, ...] = ()
    """What tells cells apart to a reader: the settings that vary, but those that the model alone determines."""
    samples: Samples = field(default_factory=dict, repr=False)
    """The accuracies and predictions of each complete cell by seed; a cell is its row of `cell_columns`."""
    data_sha256: str = ""
    """The SHA-256 of the pictures trained and evaluated on."""
    level: float = LEVEL
    """At which cells are held against the third: less than 5% where seeds are added by looks."""

    @property
    def cell_columns(self) -> list[str]:
        """The columns that tell cells apart."""
        return list(self.summary.columns[1 : self.summary.columns.get_loc("seeds")])

    @property
    def told(self) -> list[str]:
        """The columns by which a table tells cells apart: what varies, or where nothing does what a cell is called."""
        return list(self.varying or BASE)

    @property
    def further(self) -> list[str]:
        """What varies besides model, lr, batch size and epochs."""
        return [name for name in self.varying if name not in BASE]

    def name_of(self, cell: Mapping[str, Any]) -> str:
        """A cell, a row of one of the tables, in words: the model, lr, batch size and epochs, and what else varies."""
        return cell_name(cell, [*BASE, *self.further])

    def title_of(self, cell: Mapping[str, Any]) -> str:
        """A cell in fewer words: its model and what varies."""
        return cell_name(cell, self.told)

    @property
    def complete(self) -> pd.DataFrame:
        """The summary's complete cells, best first."""
        return self.summary[self.summary["status"] == "complete"]

    @cached_property
    def noise(self) -> Noise:
        """The seeds' noise, learnt from the cells near the leaders."""
        return learn_noise(*self._accuracies) if len(self.complete) else Noise()

    @cached_property
    def estimates(self) -> Estimates:
        """What the seeds say of the accuracy of each of the `complete` cells."""
        return estimate(*self._accuracies, self.noise)

    @property
    def gap_seen(self) -> float:
        """How much less accurate than the third a cell must be to be told from it in 4 of 5 studies; NaN: unknown."""
        return gap_seen(self._accuracies[0], self.noise, len(self.top3), self.level)

    @property
    def _accuracies(self) -> tuple[np.ndarray, list[CellKey]]:
        """The complete cells' accuracies, float (cells, seeds), and their trainings."""
        samples = of_rows(self.complete[self.cell_columns], self.samples)
        return accuracies_of(samples), training_keys(self.complete, self.cell_columns)


def analyse(
    planned: Sequence[PlannedTraining],
    records: Iterable[TrainingRecord],
    protocol: Protocol,
    test_scores: TestScores = lambda cell: None,
    data_sha256: str = "",
    level: float = LEVEL,
) -> Tables:
    """Tabulate what the `records` say about the `planned` cells; neither's order matters.

    A setting besides model, lr, batch_size and seed is a column only where it differs between trainings.
    `test_scores` gives test_loss, test_accuracy, … of (config, budget) under holdout, and is asked for those of the
    three best cells alone; unused under report.
    `level` is what this look may spend of the 5% by which cells are told from the third, if seeds are added by looks.
    """
    loss, accuracy, correct = (f"{PREFIX[protocol]}_{name}" for name in ("loss", "accuracy", "correct"))
    metrics = ["train_loss", *(f"{PREFIX[protocol]}_{metric}" for metric in METRICS)]
    trainings = trainings_of(planned, records, metrics, correct)
    settings = [training.settings for training in trainings]
    further = [name for name in differing(settings) if name not in SWEPT]
    cells = _cells(trainings, further, metrics, correct)
    by = [*BASE, *further]
    without_budget = [name for name in by if name != "budget"]
    if not cells.duplicated([*without_budget, "seed"]).any():  # a cell's epochs say its training's budget
        cells = cells.drop(columns="budget", errors="ignore")
        by = without_budget
    scores = [score(share, bits) for share, bits in zip(cells[accuracy].tolist(), cells.pop(correct), strict=True)]
    samples = samples_of(cells, by, scores)
    summary = summarise(cells, by, PREFIX[protocol], samples)
    for name in by:
        if cells[name].dtype == object and summary[name].dtype == float:  # whole numbers where some have none
            values = [None if pd.isna(value) else int(value) for value in summary[name]]
            summary[name] = pd.Series(values, dtype=object)
    best, method = leaders(summary, by, samples, level)
    return Tables(
        epochs=_epochs(trainings, further, metrics),
        results=ranked(cells, accuracy, loss),
        summary=summary,
        top3=_top3(best, by, _mean_scores(trainings, best, by, test_scores) if protocol == "holdout" else None),
        timings=_timings(trainings, further),
        failed=_failed(trainings, further),
        protocol=protocol,
        method=method,
        settings={name: value for name, value in in_common(settings).items() if name not in SWEPT},
        varying=_told(settings, cells["epochs"].nunique() > 1),
        samples=samples,
        data_sha256=data_sha256,
        level=level,
    )


def write_tables(tables: Tables, folder: Path, write: Callable[[Path, bytes], None]) -> list[Path]:
    """Hand each table's CSV bytes to `write`, and return the paths under `folder`.

    A float is written as the shortest decimal that reads back as the very same.
    """
    paths = []
    for name in WRITTEN:
        paths.append(folder / f"{name}.csv")
        write(paths[-1], csv_of(getattr(tables, name)).encode())
    return paths


def split_name(protocol: Protocol) -> str:
    """The pictures that the metrics are measured on, in words: validation or test."""
    return {"holdout": "validation", "report": "test"}[protocol]


def _told(settings: list[dict[str, Any]], several_budgets: bool) -> tuple[str, ...]:
    """`Tables.varying`, in the order of the tables' columns."""
    names = [name for name in varying(settings) if name != "seed"]
    swept = sum(name in BASE for name in names)
    return tuple([*names[:swept], *["epochs"] * several_budgets, *names[swept:]])


def _cells(trainings: list[Training], further: list[str], metrics: list[str], correct: str) -> pd.DataFrame:
    """A row per cell and seed, the last column, `correct`, being which pictures are right, as bits, or None."""
    reached = [status_and_row(training.course, budget) for training in trainings for budget in training.budgets]
    courses = [training.course for training in trainings for _ in training.budgets]
    values = np.full((len(reached), len(metrics)), np.nan)
    bits: list[np.ndarray | None] = [None] * len(reached)
    for place, (course, (_, row)) in enumerate(zip(courses, reached, strict=True)):
        if course is not None and row is not None:
            values[place] = course.values[row]
            bits[place] = course.correct.get(int(course.epochs[row]))
    table = _settings(trainings, ["model", "lr", "batch_size", "seed", *further], [len(t.budgets) for t in trainings])
    table.insert(3, "epochs", [budget for training in trainings for budget in training.budgets])
    table[metrics] = values
    table["status"] = [status for status, _ in reached]
    table[correct] = pd.Series(bits, index=table.index, dtype=object)
    return table


def _settings(trainings: list[Training], names: list[str], times: list[int]) -> pd.DataFrame:
    """Of each training so many rows of its settings of these names."""
    rows = [training.settings for training, many in zip(trainings, times, strict=True) if many]
    places = np.repeat(np.arange(len(rows)), [many for many in times if many])
    return _frame(rows, names, []).take(places).reset_index(drop=True)


def _frame(rows: list[dict[str, Any]], columns: list[str], floats: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(floats, float))
    for name in frame.columns.difference([*FIELDS, *floats]):
        values = [row.get(name) for row in rows]
        if None in values and any(type(value) in (int, bool) for value in values):  # else they would be floats
            frame[name] = pd.Series(values, dtype=object)
    return frame


def _mean_scores(
    trainings: list[Training], best: pd.DataFrame, by: list[str], test_scores: TestScores
) -> dict[CellKey, dict[str, float]]:
    """`TEST_COLUMNS` of each of the three best cells that has the test score of every seed: means, and the accuracy's
    95% interval."""
    # Of the others a smaller grid may have scored some, which must not show: the test set is for the three.
    three = best[best["standing"] == BEST]
    scores: dict[CellKey, list[Mapping[str, Any]]] = {cell: [] for cell in cell_keys(three[by])}
    for training in trainings:
        for budget in training.budgets:
            cell = tuple(budget if name == "epochs" else training.settings.get(name) for name in by)
            if cell in scores:
                scores[cell].append(test_scores((training.config, budget)) or {})
    # A mean over some of the seeds would not compare with the others': all of them or none.
    return {
        cell: _mean_score(seeds) for cell, seeds in scores.items()
        if all(pd.notna(seed.get("test_accuracy")) for seed in seeds)
    }


def _mean_score(scores: list[Mapping[str, Any]]) -> dict[str, float]:
    sample = dict(enumerate(score(seed["test_accuracy"], seed.get("test_correct")) for seed in scores))
    means = pd.DataFrame(scores, columns=TEST_COLUMNS[: len(METRICS)], dtype=float).mean()
    return dict(zip(TEST_COLUMNS, [*means, *interval_of(sample)], strict=True))


def _top3(best: pd.DataFrame, by: list[str], scores: dict[CellKey, dict[str, float]] | None) -> pd.DataFrame:
    """The columns of top3.csv, the three best with their mean test `scores`, if there are to be any."""
    columns = ["rank", *by, "n", "mean", "std", "ci_low", "ci_high", *best.filter(like="_loss"), "standing"]
    top3 = best[[*columns, "difference", "p_adjusted", "p_equivalent"]]
    if scores is None:
        return top3
    rows = [scores.get(cell, {}) for cell in cell_keys(top3[by])]
    return top3.join(pd.DataFrame(rows, columns=TEST_COLUMNS, dtype=float))


def _epochs(trainings: list[Training], further: list[str], metrics: list[str]) -> pd.DataFrame:
    shown = [(training.course, training.shown) for training in trainings]
    table = _settings(trainings, [*SWEPT, *further], [many for _, many in shown])
    if table.empty:
        return _frame([], [*table, "epoch", *metrics], metrics)
    begun = [(course, many) for course, many in shown if course is not None and many]
    table["epoch"] = np.concatenate([course.epochs[:many] for course, many in begun])
    table[metrics] = np.concatenate([course.values[:many] for course, many in begun])
    return table


def _timings(trainings: list[Training], further: list[str]) -> pd.DataFrame:
    rows = [
        {**training.settings, "epochs": training.shown, **dict(zip(SECONDS, training.course.seconds, strict=True))}
        for training in trainings if training.course is not None and training.shown
    ]
    return _frame(rows, [*SWEPT, *further, "epochs", *SECONDS], list(SECONDS))


def _failed(trainings: list[Training], further: list[str]) -> pd.DataFrame:
    rows = [
        {**settings, "status": course.status, "epochs": len(course.epochs), "error": course.error}
        for _, settings, _, course in trainings if course is not None and course.status in ("diverged", "failed")
    ]
    return _frame(rows, [*SWEPT, *further, "status", "epochs", "error"], [])
