"""A small search whose trainings are made up, not trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tune_mnist.searching.trials import BegunTrial, Trials
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Range, Space
from tune_mnist.spec.training import Context, TrainingConfig
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress

CONTEXT = Context(protocol="holdout", data_sha256=f"{'holdout':0<64}")
SPACE = Space(models=("SimpleNN", "MediumNN"), lr=Range(1e-4, 1e-1), batch_size=(16, 32))
SPEC = SearchSpec(space=SPACE, trials=6, epochs=3, sampler="random")
LISTS = SearchSpec(space=replace(SPACE, lr=(1e-3, 1e-2)), trials=20, epochs=2, sampler="grid")


def opened(folder: Path, spec: SearchSpec = SPEC, **options: Any) -> Trials:
    study = Study(folder / "s")
    study.folder.mkdir(parents=True, exist_ok=True)
    study.create()
    return Trials(study, spec, CONTEXT, **options)


def best_at_a_thousandth(config: TrainingConfig) -> float:
    """An accuracy that falls the farther the learning rate is from 1e-3."""
    return 1 / (2 + abs(math.log10(config.lr) + 3))


def train(
    trials: Trials, begun: BegunTrial, epochs: int, accuracy: float | None = None, loss: float | None = 0.5
) -> None:
    """Let the training of a trial reach `epochs`, in the store and before Optuna."""
    value = best_at_a_thousandth(begun.plan.config) if accuracy is None else accuracy
    folder = trials.study.training(begun.key)
    progress = folder.begin(begun.plan.config, CONTEXT)
    for epoch in range(progress.rows[-1]["epoch"] + 1 if progress.rows else 1, epochs + 1):
        metrics = dict.fromkeys(("accuracy", "precision", "recall", "f1"), value * epoch / (epoch + 1))
        row = {"epoch": epoch, "train_loss": loss, "val_loss": 0.5} | {f"val_{n}": v for n, v in metrics.items()}
        progress.rows.append(row | {"val_correct": None})
        progress.timings.append({"epoch": epoch, "train_seconds": 1.0 + begun.plan.config.lr, "eval_seconds": 0.1})
        folder.save(Progress(progress.rows, progress.timings))
        trials.report(begun, epoch, row)


def run_all(trials: Trials, accuracy: Callable[[TrainingConfig], float] = best_at_a_thousandth) -> int:
    """Run what the store cannot answer to its end; how many that were."""
    count = 0
    while (begun := trials.next()) is not None:
        train(trials, begun, trials.spec.epochs, accuracy(begun.plan.config))
        trials.end(begun)
        count += 1
    return count


def states(trials: Trials) -> dict[str, int]:
    return {name: count for name, count in trials.counts().items() if count}
