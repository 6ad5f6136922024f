"""Made studies on disk, with predictions, whose answers are known."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tune_mnist.grid_experiment import missing_by_rounds
from tune_mnist.spec.models import place_of
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PREFIX, Context, PlannedTraining, TrainingConfig, training_key
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress, TrainingRecord
from tune_mnist.tables.analyse import Tables, analyse
from tune_mnist.training.packing import pack_bits

ABOUT: dict[str, Any] = {
    "started": "2026-01-01T00:00:00+00:00", "command": ["tune_mnist/grid.py"], "python": "3.11.0",
    "versions": {"torch": "2.0"}, "git": None, "machine": {"platform": "Linux", "cpu": "a CPU", "cpus": 2},
}
FLOOR = math.log(math.e + 9) - 1  # of a softmax that is softmaxed again
Accuracy = Callable[[TrainingConfig, int], float]
TrainLoss = Callable[[TrainingConfig, int], float]


def plausible(config: TrainingConfig, epoch: int) -> float:
    """What a real study looks like: chance at lr 0.1, best at 1e-4 and small batches, seeds 0.1 points apart."""
    if config.lr >= 0.1:
        return 0.1
    depth = place_of(config.model)[0]
    ceiling = [0.978, 0.981, 0.9805, 0.991, 0.98, 0.985][depth] - 0.3 * config.lr * (1 + depth)
    slowness = 0.08 * (config.batch_size / 16) ** 0.5 * (1e-4 / config.lr) ** 0.3
    chance = np.random.default_rng([config.seed, depth, config.batch_size, round(1e5 * config.lr), epoch])
    return ceiling - slowness * float(np.exp(-epoch / 4)) + 0.001 * float(chance.normal())


def falling(config: TrainingConfig, epoch: int) -> float:
    """A training loss that falls with the epochs, to the floor of a softmax under a softmax for that head."""
    return (FLOOR if config.head == "softmax" else 0.0) + 0.4 / epoch


def made_records(
    spec: StudySpec, accuracy: Accuracy = plausible, train_loss: TrainLoss = falling, *, pictures: int = 2000,
    seconds: float = 1.0, plans: Sequence[PlannedTraining] | None = None,
) -> list[TrainingRecord]:
    """The complete records of `spec`, or of `plans` of it; the held-out loss is twice the error, over the floor."""
    prefix, plans = PREFIX[spec.protocol], spec.trainings() if plans is None else plans
    return [_record(plan, prefix, accuracy, train_loss, pictures, seconds) for plan in plans]


def _record(
    plan: PlannedTraining, prefix: str, accuracy: Accuracy, train_loss: TrainLoss, pictures: int, seconds: float
) -> TrainingRecord:
    rows, timings = [], []
    for epoch in range(1, plan.epochs + 1):
        share = round(accuracy(plan.config, epoch) * pictures) / pictures
        loss = 2 * (1 - share) + (FLOOR if plan.config.head == "softmax" else 0)
        metrics = {"loss": loss, "accuracy": share, "precision": share, "recall": share, "f1": share}
        row: dict[str, Any] = {"epoch": epoch, "train_loss": train_loss(plan.config, epoch)}
        row |= {f"{prefix}_{name}": value for name, value in metrics.items()}
        row[f"{prefix}_correct"] = pack_bits(_flags(share, pictures, plan.config, epoch))
        rows.append(row)
        timings.append({"epoch": epoch, "train_seconds": 16 * seconds / plan.config.batch_size, "eval_seconds": 0.01})
    return TrainingRecord("", plan.config, "complete", tuple(rows), tuple(timings))


def made_tables(spec: StudySpec, *args: Any, **kwargs: Any) -> Tables:
    """The tables of `made_records`."""
    return analyse(spec.trainings(), made_records(spec, *args, **kwargs), spec.protocol)


def made_study(
    folder: Path, spec: StudySpec, accuracy: Accuracy = plausible, train_loss: TrainLoss = falling,
    *, context: Context | None = None, scored: int = 0, test_labels: np.ndarray | None = None,
    about: dict[str, Any] = ABOUT, **kwargs: Any,
) -> Study:
    """Write a complete study of `spec`; `scored` trainings of its best cells get test scores with what they predict."""
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(folder)
    study.create()
    context = context or Context(protocol=spec.protocol, data_sha256=f"{spec.protocol:0<64}")
    study.add(spec, context, about)
    parts = missing_by_rounds(study, spec, context, Console(quiet=True)) if spec.adds_seeds else [spec.trainings()]
    for plans in parts:
        for record in made_records(spec, accuracy, train_loss, plans=plans, **kwargs):
            training = study.training(training_key(record.config, context))
            training.begin(record.config, context)
            training.save(Progress(list(record.epochs), list(record.timings)))
    if scored:
        _score(study, scored, np.arange(1000) % 10 if test_labels is None else test_labels)
    return study


def _flags(share: float, pictures: int, config: TrainingConfig, epoch: int) -> np.ndarray:
    """Which pictures are right: the hard ones, the same for every network, are wrong first."""
    chance = np.random.default_rng([config.seed, config.batch_size, round(1e5 * config.lr), epoch, len(config.model)])
    hardness = np.linspace(0, 1, pictures) ** 40 + 0.02 * chance.exponential(size=pictures)
    flags = np.ones(pictures, bool)
    flags[np.argsort(-hardness)[: pictures - round(share * pictures)]] = False
    return np.random.default_rng(0).permutation(flags)


def _score(study: Study, count: int, labels: np.ndarray) -> None:
    from tune_mnist.tables.of_study import winners_to_score

    for config, epochs in winners_to_score(study)[:count]:
        wrong = np.random.default_rng(epochs).random(len(labels)) < 0.02
        predicted = np.where(wrong, (labels + 1 + np.arange(len(labels)) % 3) % 10, labels).astype(np.uint8)
        share = float((~wrong).mean())
        score: dict[str, Any] = {f"test_{name}": share for name in ("accuracy", "precision", "recall", "f1")}
        sureness = np.where(wrong, np.arange(len(labels)) % 128 + 127, 255).astype(np.uint8)
        score |= {"test_loss": 0.07, "test_correct": pack_bits(~wrong)}
        score |= {"test_predicted": packed(predicted), "test_confidence": packed(sureness)}
        study.training(training_key(config, study.context())).save_score(epochs, score)


def packed(values: np.ndarray) -> str:
    """uint8 (n,) as base64 of their zlib-compressed bytes."""
    return base64.b64encode(zlib.compress(values.astype(np.uint8).tobytes(), 9)).decode()
