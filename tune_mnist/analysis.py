"""Trainings to tables: epochs, results, summary, top three and timings, and the slices that figures show."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tyro.conf import Positional

from tune_mnist.cli import parse, run
from tune_mnist.config import MODEL_NAMES, PREFIX, PlannedTraining, Protocol, TrainingConfig
from tune_mnist.store import TrainingRecord

METRICS = ("loss", "accuracy", "precision", "recall", "f1")
SWEPT = ("model", "lr", "batch_size", "seed")
SETTINGS = [field.name for field in dataclasses.fields(TrainingConfig) if field.name not in SWEPT]
STANDING = {"complete": 0, "diverged": 1}  # any other status stands last

TestScores = Mapping[tuple[TrainingConfig, int], Mapping[str, float]]


@dataclass(frozen=True)
class Tables:
    """What a study found. Accuracies, precisions, recalls and F1 are shares in [0, 1]; empty means not reached.

    Wherever rows are ranked, complete ones come before diverged ones and those before the others (failed,
    unfinished, missing); then the higher accuracy wins, then the lower loss, then fewer epochs, then the model
    named earlier in `MODEL_NAMES`, then the smaller lr, batch_size, seed and further settings.
    """

    epochs: pd.DataFrame
    """One row per training and epoch."""
    results: pd.DataFrame
    """One ranked row per cell and seed."""
    summary: pd.DataFrame
    """One ranked row per cell over its `seeds` planned seeds, `n` of them complete: over these, the mean, standard
    deviation and 95% t interval of accuracy, and mean losses. Its status is complete if every seed's is."""
    top3: pd.DataFrame
    """The three best complete cells; under holdout with their test scores, empty until they are given."""
    timings: pd.DataFrame
    """One row per training begun: seconds in all, which vary from run to run."""
    failed: pd.DataFrame
    """One row per training that diverged or failed: how, after how many epochs, and the error."""
    protocol: Protocol


def analyse(
    planned: Sequence[PlannedTraining],
    records: Iterable[TrainingRecord],
    protocol: Protocol,
    test_scores: TestScores | None = None,
) -> Tables:
    """Tabulate what the `records` say about the `planned` cells; neither's order matters.

    A setting besides model, lr, batch_size and seed is a column only where it differs between trainings.
    `test_scores` gives test_loss, test_accuracy, … of (config, budget) under holdout; unused under report.
    """
    trainings = _trainings(planned, records)
    metrics = ["train_loss", *(f"{PREFIX[protocol]}_{metric}" for metric in METRICS)]
    varying = [name for name in SETTINGS if len({getattr(training.config, name) for training in trainings}) > 1]
    cells = _cells(trainings, varying, metrics)
    by = ["model", "lr", "batch_size", "epochs", *varying]
    plain = [name for name in by if name != "budget"]
    if not cells.duplicated([*plain, "seed"]).any():  # a cell's epochs say its training's budget
        cells, by = cells.drop(columns="budget", errors="ignore"), plain
    summary = _summary(cells, by, metrics)
    return Tables(
        epochs=_epochs(trainings, varying, metrics),
        results=_ranked(cells, metrics[2], metrics[1]),
        summary=summary,
        top3=_top3(summary, _scores(trainings, test_scores or {}) if protocol == "holdout" else None),
        timings=_timings(trainings, varying),
        failed=_failed(trainings, varying),
        protocol=protocol,
    )


def write_tables(tables: Tables, folder: Path, write: Callable[[Path, bytes], None]) -> list[Path]:
    """Hand each table's CSV bytes to `write`, and return the paths under `folder`.

    A float is written as the shortest decimal that reads back as the very same.
    """
    paths = []
    for name in ("epochs", "results", "summary", "top3", "timings"):
        paths.append(folder / f"{name}.csv")
        write(paths[-1], getattr(tables, name).to_csv(index=False, lineterminator="\n").encode())
    return paths


def lr_by_batch(summary: pd.DataFrame, model: str, epochs: int, values: str = "mean") -> pd.DataFrame:
    """A model's `values` after `epochs`: a row per lr, a column per batch size, both ascending."""
    return _pivot(summary, "lr", values, model=model, epochs=epochs)


def epochs_by_batch(summary: pd.DataFrame, model: str, lr: float, values: str = "mean") -> pd.DataFrame:
    """A model's `values` at `lr`: a row per epoch budget, a column per batch size, both ascending."""
    return _pivot(summary, "epochs", values, model=model, lr=lr)


def series(summary: pd.DataFrame, x: str, line: str, **fixed: float) -> pd.DataFrame:
    """Accuracy against `x`, a line per value of `line`, at the `fixed` rest of model, lr, batch_size and epochs.

    Returns columns model, line, x, mean, std, ci_low, ci_high, n, status, in that sort order. Where further
    settings vary, the best of them.
    """
    part = _where(summary, fixed).drop_duplicates(["model", line, x])  # ranked: the best comes first
    order = part.assign(model=part["model"].map(MODEL_NAMES.index)).sort_values(["model", line, x]).index
    columns = ["model", line, x, "mean", "std", "ci_low", "ci_high", "n", "status"]
    return part.loc[order, columns].reset_index(drop=True)


def nearest(values: Iterable[Any], target: float) -> Any:
    """The positive value nearest to `target` by ratio; the larger of two equally near."""
    return min(values, key=lambda value: (abs(math.log(value / target)), -value))


def best_curves(tables: Tables) -> pd.DataFrame:
    """Losses over the epochs of each model's best complete cell, all its seeds.

    Returns columns model, lr, batch_size, epochs (the cell), seed, epoch, split (training, and validation or
    test) and loss, models in `MODEL_NAMES` order.
    """
    shared = [name for name in tables.summary if name in tables.epochs and not name.endswith("_loss")]
    best = tables.summary[tables.summary["status"] == "complete"].drop_duplicates("model")[[*shared, "epochs"]]
    cell = ["model", "lr", "batch_size", "epochs", "seed", "epoch"]
    if best.empty:
        return pd.DataFrame(columns=[*cell, "split", "loss"])
    rows = tables.epochs.merge(best, on=shared)  # keeps the order of tables.epochs
    rows = rows[rows["epoch"] <= rows["epochs"]]
    if "budget" in rows and "budget" not in shared:
        rows = rows[rows["budget"].isna() | (rows["budget"] == rows["epochs"])]
    held_out = f"{PREFIX[tables.protocol]}_loss"
    names = {"train_loss": "training", held_out: split_name(tables.protocol)}
    return rows.rename(columns=names).melt(cell, list(names.values()), var_name="split", value_name="loss")


def split_name(protocol: Protocol) -> str:
    """The pictures that the metrics are measured on, in words: validation or test."""
    return {"holdout": "validation", "report": "test"}[protocol]


class _Training(NamedTuple):
    config: TrainingConfig
    budgets: list[int]
    record: TrainingRecord | None

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The record's `kind` of rows (epochs or timings) as far as planned, in order of epoch."""
        rows = sorted(getattr(self.record, kind, ()), key=lambda row: row["epoch"])
        return [row for row in rows if row["epoch"] <= self.budgets[-1]]


def _trainings(planned: Sequence[PlannedTraining], records: Iterable[TrainingRecord]) -> list[_Training]:
    """Each planned config once, with all its budgets and its record, in the order that breaks ties."""
    budgets: dict[TrainingConfig, set[int]] = {}
    for training in planned:
        budgets.setdefault(training.config, set()).update(training.budgets)
    # Of several records of one config, the one that got furthest comes last and stays.
    records = sorted(records, key=lambda record: (len(record.epochs), record.status == "complete", record.key))
    found = {record.config: record for record in records}
    return [_Training(config, sorted(budgets[config]), found.get(config)) for config in sorted(budgets, key=_place)]


def _place(config: TrainingConfig) -> tuple[Any, ...]:
    settings = [getattr(config, name) or 0 if name == "budget" else getattr(config, name) for name in SETTINGS]
    return MODEL_NAMES.index(config.model), config.lr, config.batch_size, config.seed, *settings


def _cells(trainings: list[_Training], varying: list[str], metrics: list[str]) -> pd.DataFrame:
    rows = []
    for training in trainings:
        for budget in training.budgets:
            status, reached = _cell(training.record, budget)
            values = {name: reached.get(name) for name in metrics}
            rows.append({**dataclasses.asdict(training.config), "epochs": budget, **values, "status": status})
    return _frame(rows, ["model", "lr", "batch_size", "epochs", "seed", *varying, *metrics, "status"], metrics)


def _cell(record: TrainingRecord | None, budget: int) -> tuple[str, dict[str, Any]]:
    """A cell's status, and the epoch that has its metrics: empty if not reached."""
    if record is None or (record.status == "unfinished" and not record.epochs):
        return "missing", {}
    epochs = {row["epoch"]: row for row in record.epochs}
    last = max(epochs, default=0)
    if record.status == "diverged" and budget >= last:
        return "diverged", epochs.get(last, {})
    if budget in epochs:
        return "complete", epochs[budget]
    return "failed" if record.status == "failed" else "unfinished", {}


def _frame(rows: list[dict[str, Any]], columns: list[str], floats: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(floats, float))


def _ranked(frame: pd.DataFrame, accuracy: str, loss: str) -> pd.DataFrame:
    """Best first, with a `rank` from 1. The frame's own order breaks the last ties, so it must be `_place`'s."""
    keys = pd.DataFrame(
        {
            "standing": frame["status"].map(STANDING).fillna(len(STANDING)),
            "error": -frame[accuracy].round(12),  # equal means may differ in their last bit
            "loss": frame[loss],
            "epochs": frame["epochs"],
        }
    )
    ranked = frame.loc[keys.sort_values(list(keys), kind="stable").index].reset_index(drop=True)
    ranked.insert(0, "rank", range(1, len(ranked) + 1))
    return ranked


def _summary(cells: pd.DataFrame, by: list[str], metrics: list[str]) -> pd.DataFrame:
    from scipy.stats import t

    train_loss, loss, accuracy = metrics[:3]
    values = cells[[train_loss, loss, accuracy]].where(cells["status"] == "complete")
    groups = cells.assign(**values).groupby(by, sort=False, dropna=False)
    summary = groups.agg(
        seeds=("seed", "size"),
        n=(accuracy, "count"),
        mean=(accuracy, "mean"),
        std=(accuracy, "std"),
        **{train_loss: (train_loss, "mean"), loss: (loss, "mean")},
        status=("status", _worst),
    ).reset_index()
    half = t.ppf(0.975, summary["n"] - 1) * summary["std"] / np.sqrt(summary["n"])
    summary.insert(summary.columns.get_loc("std") + 1, "ci_low", (summary["mean"] - half).clip(0, 1))
    summary.insert(summary.columns.get_loc("std") + 2, "ci_high", (summary["mean"] + half).clip(0, 1))
    return _ranked(summary, "mean", loss)


def _worst(statuses: pd.Series) -> str:
    """What a cell's seeds come to: complete only if all are, and diverged if any is."""
    seen = set(statuses)
    return next(status for status in ("diverged", "failed", "unfinished", "missing", "complete") if status in seen)


def _scores(trainings: list[_Training], test_scores: TestScores) -> pd.DataFrame:
    names = [f"test_{metric}" for metric in METRICS]
    cells = [(training.config, budget) for training in trainings for budget in training.budgets]
    rows = [{**dataclasses.asdict(cell[0]), "epochs": cell[1], **test_scores.get(cell, {})} for cell in cells]
    return _frame(rows, [*SWEPT, "epochs", *SETTINGS, *names], names)


def _top3(summary: pd.DataFrame, scores: pd.DataFrame | None) -> pd.DataFrame:
    best = summary[summary["status"] == "complete"].head(3).drop(columns=["seeds", "status"])
    if scores is None:
        return best
    cell = [name for name in best if name in scores]
    names = [name for name in scores if name.startswith("test_")]
    # A mean over some of the seeds would not compare with the others': all of them or none.
    means = scores.groupby(cell, sort=False, dropna=False)[names].agg(lambda column: column.mean(skipna=False))
    return best.merge(means.reset_index(), on=cell, how="left")


def _epochs(trainings: list[_Training], varying: list[str], metrics: list[str]) -> pd.DataFrame:
    rows = [{**dataclasses.asdict(training.config), **row} for training in trainings for row in training.rows("epochs")]
    return _frame(rows, [*SWEPT, *varying, "epoch", *metrics], metrics)


def _timings(trainings: list[_Training], varying: list[str]) -> pd.DataFrame:
    seconds = ("train_seconds", "eval_seconds")
    rows = [
        {
            **dataclasses.asdict(training.config),
            "epochs": len(training.rows("epochs")),
            **{name: math.fsum(row[name] for row in training.rows("timings")) for name in seconds},
        }
        for training in trainings
        if training.rows("epochs")
    ]
    return _frame(rows, [*SWEPT, *varying, "epochs", *seconds], list(seconds))


def _failed(trainings: list[_Training], varying: list[str]) -> pd.DataFrame:
    rows = [
        {**dataclasses.asdict(config), "status": record.status, "epochs": len(record.epochs), "error": record.error}
        for config, _, record in trainings if record is not None and record.status in ("diverged", "failed")
    ]
    return _frame(rows, [*SWEPT, *varying, "status", "epochs", "error"], [])


def _where(summary: pd.DataFrame, fixed: Mapping[str, Any]) -> pd.DataFrame:
    keep = pd.Series(True, index=summary.index)
    for name, value in fixed.items():
        keep &= summary[name] == value
    return summary[keep]


def _pivot(summary: pd.DataFrame, rows: str, values: str, **fixed: Any) -> pd.DataFrame:
    part = _where(summary, fixed).drop_duplicates([rows, "batch_size"])  # ranked: the best comes first
    return part.pivot(index=rows, columns="batch_size", values=values)


@dataclass(frozen=True)
class AnalysisArgs:
    """A study to analyse."""

    study: Positional[Path]
    """The study's folder, such as ray_results/grid."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write a study's tables and figures again, from its trainings alone."""
    return run(lambda: _command(argv))


def _command(argv: Sequence[str] | None) -> int:
    from tune_mnist.results import tables_of, write_results
    from tune_mnist.store import Study

    args = parse(AnalysisArgs, argv, prog="python -m tune_mnist.analysis", description=str(main.__doc__))
    study = Study(args.study)
    for path in write_results(study, tables_of(study)):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
