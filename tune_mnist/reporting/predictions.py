"""What a study's winner predicts on the test set: its confusion matrix and its surest mistakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.training import training_key
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables
from tune_mnist.tables.of_study import trainings_of_cell
from tune_mnist.tables.statistics.calibration import Calibration, calibration
from tune_mnist.training.dataset import DIGITS, Dataset, load_dataset
from tune_mnist.training.packing import unpack_bytes


@dataclass(frozen=True)
class Predictions:
    """One network's predictions of the test set: pictures uint8 (n, 28, 28), classes int (n,), sureness in [0, 1]."""

    pictures: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    sureness: np.ndarray
    classes: tuple[str, ...] = DIGITS

    def confusion(self) -> np.ndarray:
        """Counts of true class (rows) by predicted class (columns), int (n, n)."""
        count = len(self.classes)
        pairs = self.labels.astype(int) * count + self.predicted
        return np.bincount(pairs, minlength=count**2).reshape(count, count)

    def calibration(self) -> Calibration:
        """How far the sureness is what it says; kept in steps of 1/255, it is known to 0.2 points."""
        return calibration(self.sureness, self.labels == self.predicted)

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
    score = _first_score(study, tables)
    if score is None or "test_predicted" not in score:
        return None
    dataset = dataset or _dataset(study)
    predicted, sureness = unpack_bytes(score["test_predicted"]), unpack_bytes(score["test_confidence"]) / 255
    if dataset is None or len(dataset.test_labels) != len(predicted):
        return None
    return Predictions(dataset.test_images, dataset.test_labels, predicted, sureness, dataset.classes)


def _first_score(study: Study, tables: Tables) -> dict[str, str] | None:
    """The test score of the best cell's first seed that has one."""
    context = study.context()
    for config, epochs in trainings_of_cell(study, tables, tables.top3.iloc[0]):
        score = study.training(training_key(config, context)).score(epochs)
        if score is not None:
            return score
    return None


def _dataset(study: Study) -> Dataset | None:
    spec = study.specs()[0]
    try:
        return load_dataset(spec.dataset, spec.data)
    except UserError:
        return None
