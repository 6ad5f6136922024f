"""What a study's winner predicts on the test set: its confusion matrix and its surest mistakes."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tune_mnist.analysis import Tables
from tune_mnist.config import StudySpec, UserError, training_key
from tune_mnist.spec_file import from_mapping
from tune_mnist.standings import keys
from tune_mnist.study import Study

if TYPE_CHECKING:
    from tune_mnist.data import Dataset

CLASSES = 10


@dataclass(frozen=True)
class Predictions:
    """One network's predictions of the test set: pictures uint8 (n, 28, 28), classes int (n,), sureness in [0, 1]."""

    pictures: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    sureness: np.ndarray

    def confusion(self) -> np.ndarray:
        """Counts of true class (rows) by predicted class (columns), int (10, 10)."""
        pairs = self.labels.astype(int) * CLASSES + self.predicted
        return np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)

    def surest_mistakes(self, most: int = 20) -> np.ndarray:
        """Indices of up to `most` pictures predicted wrongly, the surest first, int (k,)."""
        wrong = np.flatnonzero(self.labels != self.predicted)
        return wrong[np.argsort(-self.sureness[wrong], kind="stable")][:most]


def winner_predictions(study: Study, tables: Tables, dataset: Dataset | None = None) -> Predictions | None:
    """The best cell's predictions with its first seed, or None if they were not kept or the data is not there.

    `dataset` is the study's, if it is at hand.
    """
    if tables.top3.empty:
        return None
    score = _score(study, tables)
    if score is None or "test_predicted" not in score:
        return None
    dataset = dataset or _dataset(study)
    predicted, sureness = _bytes(score["test_predicted"]), _bytes(score["test_confidence"]) / 255
    if dataset is None or len(dataset.test_labels) != len(predicted):
        return None
    return Predictions(dataset.test_images, dataset.test_labels, predicted, sureness)


def _score(study: Study, tables: Tables) -> dict[str, str] | None:
    columns = tables.cell_columns
    (best,) = keys(tables.top3[columns].head(1))
    wanted = dict(zip(columns, best, strict=True))
    context = study.context()
    for plan in sorted(study.planned(), key=lambda plan: plan.config.seed):
        of_plan = all(getattr(plan.config, name) == value for name, value in wanted.items() if name != "epochs")
        if of_plan and wanted["epochs"] in plan.budgets:
            score = study.training(training_key(plan.config, context)).score(wanted["epochs"])
            if score is not None:
                return score
    return None


def _dataset(study: Study) -> Dataset | None:
    from tune_mnist.data import load_dataset

    spec = from_mapping(StudySpec, study.describe()["specs"][0], study.name)
    try:
        return load_dataset(spec.dataset, spec.data)
    except UserError:
        return None


def _bytes(packed: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)
