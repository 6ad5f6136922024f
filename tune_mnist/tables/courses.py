"""What the tables need of each training's record, as numbers in columns: records come one by one and are let go."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tune_mnist.spec.training import PlannedTraining, TrainingConfig
from tune_mnist.study.training_folder import STOPPED_EARLY, Status, TrainingRecord
from tune_mnist.training.packing import unpack_bytes

SECONDS = ("train_seconds", "eval_seconds")


class Course(NamedTuple):
    """A training's record in numbers."""

    status: Status
    error: str | None
    epochs: np.ndarray
    """Their numbers, rising, int (epochs,)."""
    values: np.ndarray
    """Their metrics, float (epochs, metrics), NaN where one is not known."""
    correct: Mapping[int, np.ndarray]
    """By epoch, at the budgets and at the end, which pictures are right: bits, uint8 (pictures / 8, rounded up,)."""
    seconds: tuple[float, float]
    """To train and to evaluate, as far as planned."""

    def up_to(self, epoch: int) -> int:
        """How many of its epochs are at most this one."""
        return int(np.searchsorted(self.epochs, epoch, side="right"))


def courses_of(
    budgets: Mapping[TrainingConfig, Sequence[int]], records: Iterable[TrainingRecord], metrics: Sequence[str],
    correct: str,
) -> dict[TrainingConfig, Course]:
    """The courses of the records, by config; `budgets` are the planned epochs of each, rising.

    Of several records of one config the one that got furthest counts. `metrics` and `correct` name the columns.
    """
    furthest: dict[TrainingConfig, tuple[tuple[Any, ...], Course]] = {}
    for record in records:
        if record.config in budgets:
            reached = len(record.epochs), record.status == "complete", record.key
            if record.config not in furthest or furthest[record.config][0] <= reached:
                furthest[record.config] = reached, _course(record, budgets[record.config], metrics, correct)
    return {config: course for config, (_, course) in furthest.items()}


def _course(record: TrainingRecord, budgets: Sequence[int], metrics: Sequence[str], correct: str) -> Course:
    rows = sorted(record.epochs, key=lambda row: row["epoch"])
    values = [[row.get(name) for name in metrics] for row in rows]
    timings = [timing for timing in record.timings if timing["epoch"] <= budgets[-1]]
    shown = {*budgets, rows[-1]["epoch"]} if rows else set()
    return Course(
        record.status, record.error,
        np.array([row["epoch"] for row in rows], dtype=np.int64),
        np.array(values, dtype=float).reshape(len(rows), len(metrics)),
        {row["epoch"]: unpack_bytes(row[correct]) for row in rows if row["epoch"] in shown and row.get(correct)},
        (math.fsum(timing[SECONDS[0]] for timing in timings), math.fsum(timing[SECONDS[1]] for timing in timings)),
    )


def budgets_of(planned: Iterable[PlannedTraining]) -> dict[TrainingConfig, list[int]]:
    """Each planned config once, with all its budgets, rising."""
    budgets: dict[TrainingConfig, set[int]] = {}
    for training in planned:
        budgets.setdefault(training.config, set()).update(training.budgets)
    return {config: sorted(each) for config, each in budgets.items()}


def status_and_row(course: Course | None, budget: int) -> tuple[str, int | None]:
    """A cell's status, and the number of the row of `values` that has its metrics: None if it was not reached."""
    if course is None or (course.status == "unfinished" and not len(course.epochs)):
        return "missing", None
    last = len(course.epochs) - 1
    if course.status == "diverged" and course.up_to(budget) > last:
        return "diverged", last if last >= 0 else None
    row = course.up_to(budget) - 1
    if row >= 0 and course.epochs[row] == budget:
        return "complete", row
    if course.status == STOPPED_EARLY:
        return STOPPED_EARLY, last
    return "failed" if course.status == "failed" else "unfinished", None
