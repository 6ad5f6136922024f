"""Complete studies of many trainings made without training: through the study's own store, rows as large as real ones.

A training has four budgets, and so four cells. What was made before is left alone, so that making can be interrupted.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tune_mnist.experiment import check_experiment
from tune_mnist.running.resources import Resources
from tune_mnist.shell.about import about_run
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig, training_key
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress
from tune_mnist.training.packing import pack_bits

PICTURES = 10_000
MODELS = ("SimpleNN", "MediumNN")
EPOCHS = (2, 5, 10, 15)


def spec_of(trainings: int) -> StudySpec:
    """A grid of so many trainings, one seed each: models by learning rates by 50 batch sizes."""
    sizes = tuple(range(16, 216, 4))
    rates = np.geomspace(1e-5, 1e-1, max(2, trainings // (len(MODELS) * len(sizes))))
    lr = tuple(sorted({float(f"{rate:.6g}") for rate in rates}))
    return StudySpec(models=MODELS, lr=lr, batch_size=sizes, epochs=EPOCHS)


def make_study(folder: Path, trainings: int) -> Study:
    """The study in `folder`, complete and its winners scored, of the data and the context that a run here has."""
    os.fsync = lambda descriptor: None  # how long making takes is not what is measured
    spec = spec_of(trainings)
    context = check_experiment(spec, Resources()).context
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(folder)
    study.create()
    study.add(spec, context, about_run())
    packs = Packs()
    for plan in spec.trainings():
        training = study.training(training_key(plan.config, context))
        if not (training.folder / "history.json").exists():
            rows = list(rows_of(plan.config, packs))
            timings = [{"epoch": row["epoch"], "train_seconds": 1.0, "eval_seconds": 0.01} for row in rows]
            training.begin(plan.config, context)
            training.save(Progress(rows, timings, b"x" * 1000, len(rows)))
    score_winners(study, packs)
    return study


class Packs:
    """Which of the pictures a network has right, packed, by how many it has wrong: the hard ones first."""

    def __init__(self) -> None:
        self.chance, self.hard = np.random.default_rng(0), np.linspace(0, 1, PICTURES) ** 40
        self.order = self.chance.permutation(PICTURES)
        self.known: dict[int, str] = {}

    def __call__(self, wrong: int) -> str:
        if wrong not in self.known:
            flags = np.ones(PICTURES, bool)
            flags[np.argsort(-(self.hard + 0.02 * self.chance.exponential(size=PICTURES)))[:wrong]] = False
            self.known[wrong] = pack_bits(flags[self.order])
        return self.known[wrong]


def rows_of(config: TrainingConfig, packs: Packs) -> Iterator[dict[str, Any]]:
    """A training's rows: best at a learning rate of 0.001, the better the more epochs, with a seed's luck."""
    chance = random.Random(repr(config))
    top = 0.98 - 3 * config.lr - 0.02 * abs(math.log10(config.lr) + 3)
    for epoch in range(1, max(EPOCHS) + 1):
        accuracy = min(0.995, max(0.1, top - 0.08 * math.exp(-epoch / 4) + 0.001 * chance.gauss(0, 1)))
        wrong = round((1 - accuracy) * PICTURES / 10) * 10
        share = 1 - wrong / PICTURES
        metrics = {name: share + chance.random() * 1e-4 for name in ("precision", "recall", "f1")}
        metrics |= {"accuracy": share, "loss": 2 * (1 - share) + chance.random() * 1e-3}
        row: dict[str, Any] = {"epoch": epoch, "train_loss": 0.4 / epoch + chance.random() * 1e-3}
        yield row | {f"val_{name}": value for name, value in metrics.items()} | {"val_correct": packs(wrong)}


def score_winners(study: Study, packs: Packs) -> None:
    """Give the three best cells a test score, so that a run has nothing left to do."""
    from tune_mnist.tables.of_study import winners_to_score

    share = 0.98
    for config, epochs in winners_to_score(study):
        score: dict[str, Any] = {f"test_{name}": share for name in ("accuracy", "precision", "recall", "f1")}
        score |= {"test_loss": 0.07, "test_correct": packs(round((1 - share) * PICTURES))}
        study.training(training_key(config, study.context())).save_score(epochs, score)
