"""Ray Tune's ResultGrid to the records that the analysis reads."""

from __future__ import annotations

import re
import traceback
from typing import Any

import pandas as pd

from tune_mnist.running.chains import groups_of
from tune_mnist.spec.training import PlannedTraining
from tune_mnist.study.training_folder import Status, TrainingRecord
from tune_mnist.training.packing import finite_or_none


def records_from_results(result_grid: Any) -> list[TrainingRecord]:
    """The trainings of a Ray Tune `ResultGrid`, one record per trial, those that never reported included.

    Each trial's config holds the fields of `TrainingConfig` and `epochs`, the budget to run to. Of an epoch that
    was reported twice, after a retry, the last report counts. The key is empty where nothing was reported.
    """
    results = [result_grid[i] for i in range(len(result_grid))]
    return [
        _record(result, k, plan) for result in results
        for k, plan in enumerate(plan for group in groups_of(result.config) for plan in group)
    ]


def _record(result: Any, k: int, plan: PlannedTraining) -> TrainingRecord:
    frame = result.metrics_dataframe
    if frame is None or "epoch" not in frame:
        frame = pd.DataFrame(columns=["epoch", "key", "diverged"])
    if "member" in frame:
        frame = frame[frame["member"] == k]
    frame = frame.drop_duplicates("epoch", keep="last").sort_values("epoch")
    metrics = [name for name in frame if name == "train_loss" or str(name).startswith(("val_", "test_"))]
    seconds = [name for name in frame if name in ("train_seconds", "eval_seconds")]
    status = _status(result.error, frame, plan.epochs)
    return TrainingRecord(
        key="" if frame.empty else str(frame["key"].iloc[-1]),
        config=plan.config,
        status=status,
        epochs=_rows(frame[["epoch", *metrics]]),
        timings=_rows(frame[["epoch", *seconds]]),
        error=_one_line(result.error) if status == "failed" else None,
    )


def _status(error: BaseException | None, frame: pd.DataFrame, asked: int) -> Status:
    if not frame.empty and bool(frame["diverged"].iloc[-1]):
        return "diverged"
    if not frame.empty and frame["epoch"].iloc[-1] >= asked:
        return "complete"
    return "failed" if error is not None else "unfinished"


def _rows(frame: pd.DataFrame) -> tuple[dict[str, Any], ...]:
    """Rows as the store has them: epochs are ints, and a number that is not finite is None."""
    rows = frame.astype({"epoch": int}).to_dict("records")
    return tuple({str(name): _plain(value) for name, value in row.items()} for row in rows)


def _plain(value: Any) -> Any:
    return finite_or_none(value) if isinstance(value, float) else value


def _one_line(error: BaseException) -> str:
    """The innermost "SomeError: message" of an exception; Ray's hold the worker's traceback as their message."""
    lines = [line.strip() for line in "".join(traceback.format_exception_only(error)).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception)\S*:", line)), lines[-1])
