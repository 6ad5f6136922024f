"""A made study whose figures are known, and what a figure says."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tune_mnist.spec.study import StudySpec
from tune_mnist.study.training_folder import Status, TrainingRecord
from tune_mnist.tables.analyse import Tables, analyse

SPEC = StudySpec(models=("SimpleNN", "MediumNN"), lr=(1e-4, 1e-3, 1e-1), batch_size=(16, 64), epochs=(2, 10), seeds=2)


def made(spec: StudySpec, status: Status = "complete", only_lr: float | None = None) -> Tables:
    """A study whose lr 0.1 sits at chance while the rest is near 97%; `status` is that of lr 0.1."""
    records = []
    for plan in spec.trainings():
        config = plan.config
        chance = np.random.default_rng([config.seed, config.batch_size, int(config.lr * 1e5)])
        rows = [
            {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 0.1, "val_precision": 0.5, "val_recall": 0.5}
            | {"val_f1": 0.5, "val_accuracy": round((0.1 if config.lr == 0.1 else 0.97) + chance.normal() / 1e3, 4)}
            for epoch in range(1, plan.epochs + 1)
        ]
        if status == "diverged" and config.lr == 0.1:
            rows = rows[:1]
        if only_lr in (None, config.lr):
            records.append(TrainingRecord("", config, status if config.lr == 0.1 else "complete", tuple(rows)))
    return analyse(spec.trainings(), records, spec.protocol)


def raw_caption(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def caption(figure: Figure) -> str:
    return raw_caption(figure).replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ")
