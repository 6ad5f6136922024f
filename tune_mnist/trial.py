"""The Ray trainable: a config to `fit` to `tune.report`, every epoch saved in the study first."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from tune_mnist.batches import Pictures
from tune_mnist.config import PREFIX, Context, TrainingConfig, training_key
from tune_mnist.store import Damaged, Progress, TrainingFolder, diverged, finite_or_none
from tune_mnist.training import EpochMetrics, Training, evaluate, fit, pack_bytes


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
    for row in run_training(training_config, epochs, data, context, TrainingFolder(Path(trainings) / key)):
        tune.report({"key": key, "diverged": diverged([row]), **_metrics(row)})


def run_training(
    config: TrainingConfig, epochs: int, data: TrialData, context: Context, folder: TrainingFolder
) -> Iterator[dict[str, Any]]:
    """Run a training to `epochs`, saving each epoch in `folder` before yielding its row and timings.

    The first row also lists as `damage`, if there is any, what was found damaged and set aside.
    """
    with noting_damage() as damage:
        training, progress = resumed(config, data, context, folder)
    notes = {"damage": damage} if damage else {}
    seconds = {timing["epoch"]: timing for timing in progress.timings}
    ended = diverged(progress.rows)
    for row in progress.rows if ended else progress.rows[: progress.state_epoch]:
        yield {**row, **seconds.get(row["epoch"], {}), **notes}
        notes = {}
    if ended:
        return
    for metrics in fit(training, epochs):
        row, timing = rows_of(metrics, PREFIX[context.protocol])
        progress.add(row, timing, training.state())
        folder.save(progress)
        yield {**row, **timing, **notes}
        notes = {}
    folder.finish()


def resumed(
    config: TrainingConfig, data: TrialData, context: Context, folder: TrainingFolder
) -> tuple[Training, Progress]:
    """The training at its newest state that can be loaded, or at its start, with what is known of it."""
    progress = folder.begin(config, context)
    while True:
        training = Training(config, data.train, data.evaluation, device=context.device, threads=context.threads)
        if progress.state is None:
            return training, progress
        try:
            training.load(progress.state)
            return training, progress
        except Exception:  # torch raises many kinds; what else is wrong comes back in training
            progress = folder.reject(progress)


@contextlib.contextmanager
def noting_damage() -> Iterator[list[str]]:
    """Collect the block's warnings of damaged files, which nobody would see on a worker's stderr."""
    damage: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Damaged)
        yield damage
    damage += [str(warning.message) for warning in caught if issubclass(warning.category, Damaged)]


def score_training(
    config: TrainingConfig, epoch: int, data: TrialData, test: Pictures, context: Context, trainings: str
) -> None:
    """Score a training's model after `epoch` on the test set and keep the score in its folder.

    The model comes from the training's saved state unless that is of a later epoch, then from training
    anew. Besides the metrics, the score has for each picture the predicted class and 255 times its
    probability, each packed by `pack_bytes`.
    """
    folder = TrainingFolder(Path(trainings) / training_key(config, context))
    training, progress = resumed(config, data, context, folder)
    if progress.state_epoch > epoch:
        training = Training(config, data.train, data.evaluation, device=context.device, threads=context.threads)
    for _ in fit(training, epoch):
        pass
    outputs = training.steps.outputs(test)
    confidence, predicted = (outputs if config.head == "softmax" else outputs.softmax(1)).max(1)
    score = dataclasses.asdict(evaluate(outputs, test.labels))
    score |= {"predicted": pack_bytes(predicted.numpy()), "confidence": pack_bytes((confidence * 255).round().numpy())}
    folder.save_score(epoch, {f"test_{name}": value for name, value in score.items()})


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

