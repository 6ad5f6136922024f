"""The Ray trainable: a config to `fit` to `tune.report`, every epoch saved in the study first."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from tune_mnist.batches import Pictures
from tune_mnist.config import PREFIX, Context, TrainingConfig, training_key
from tune_mnist.store import TrainingFolder, diverged, finite_or_none
from tune_mnist.training import EpochMetrics, Training, evaluate, fit


@dataclass(frozen=True)
class TrialData:
    """What every trial of a run shares; put into Ray's object store once."""

    train: Pictures
    evaluation: Pictures


def run_trial(config: dict[str, Any], *, data: TrialData, context: Context, trainings: str) -> None:
    """Train one config to `config["epochs"]`, resuming from and saving to its folder under `trainings`.

    Reports one row per epoch: those of the store first, so that Ray sees every trial whole.
    """
    config = dict(config)
    epochs = config.pop("epochs")
    training_config = TrainingConfig(**config)
    key = training_key(training_config, context)
    folder = TrainingFolder(Path(trainings) / key)
    try:
        for row in run_training(training_config, epochs, data, context, folder):
            tune.report({"key": key, "diverged": diverged([row]), **_metrics(row)})
    except Exception as error:
        with contextlib.suppress(OSError):
            folder.fail(one_line(error), traceback.format_exc())
        raise


def run_training(
    config: TrainingConfig, epochs: int, data: TrialData, context: Context, folder: TrainingFolder
) -> Iterator[dict[str, Any]]:
    """Run a training to `epochs`, saving each epoch in `folder` before yielding its row and timings."""
    progress = folder.begin(config, context)
    seconds = {timing["epoch"]: timing for timing in progress.timings}
    for row in progress.rows[: progress.state_epoch]:
        yield {**row, **seconds.get(row["epoch"], {})}
    if diverged(progress.rows):
        return
    training = Training(config, data.train, data.evaluation, device=context.device, threads=context.threads)
    if progress.state is not None:
        training.load(progress.state)
    for metrics in fit(training, epochs):
        row, timing = rows_of(metrics, PREFIX[context.protocol])
        progress.add(row, timing, training.state())
        folder.save(progress)
        yield {**row, **timing}
    folder.finish()


def score_training(
    config: TrainingConfig, epoch: int, data: TrialData, test: Pictures, context: Context, trainings: str
) -> None:
    """Score a training's model after `epoch` on the test set and keep the score in its folder.

    The model comes from the training's saved state if that is of this epoch, else from training anew.
    """
    folder = TrainingFolder(Path(trainings) / training_key(config, context))
    progress = folder.begin(config, context)
    training = Training(config, data.train, data.evaluation, device=context.device, threads=context.threads)
    if progress.state is not None and progress.state_epoch == epoch:
        training.load(progress.state)
    for _ in fit(training, epoch):
        pass
    evaluation = evaluate(training.steps.outputs(test), test.labels)
    folder.save_score(epoch, {f"test_{name}": value for name, value in dataclasses.asdict(evaluation).items()})


def _metrics(row: dict[str, Any]) -> dict[str, Any]:
    """A row as Ray gets it: without the long bit string, and NaN for a loss that is not finite."""
    kept = {name: value for name, value in row.items() if not name.endswith("_correct")}
    return {name: math.nan if value is None else value for name, value in kept.items()}


def rows_of(metrics: EpochMetrics, prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An epoch's history row, which is reproducible, and its timing row, which is not."""
    evaluation = {f"{prefix}_{name}": value for name, value in dataclasses.asdict(metrics.evaluation).items()}
    evaluation[f"{prefix}_loss"] = finite_or_none(metrics.evaluation.loss)
    row = {"epoch": metrics.epoch, "train_loss": finite_or_none(metrics.train_loss), **evaluation}
    timing = {"train_seconds": metrics.train_seconds, "eval_seconds": metrics.eval_seconds}
    return row, {"epoch": metrics.epoch, **timing}


def one_line(error: BaseException) -> str:
    """The error's type and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
