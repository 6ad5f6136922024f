"""What a study's winner predicts, from the predictions that were kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix

from support.slices import mnist
from support.studies import made_study
from tune_mnist.reporting.predictions import winner_predictions
from tune_mnist.spec.study import StudySpec
from tune_mnist.tables.of_study import tables_of

SPEC = StudySpec(models=("SimpleNN", "ComplexNN"), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2, 4))


def test_the_winner_s_mistakes_are_those_of_its_kept_predictions(tmp_path: Path) -> None:
    labels = mnist().test_labels
    study = made_study(tmp_path / "study", SPEC, scored=3, test_labels=labels)
    predictions = winner_predictions(study, tables_of(study))
    assert predictions is not None
    np.testing.assert_array_equal(predictions.confusion(), confusion_matrix(labels, predictions.predicted))
    worst = predictions.surest_mistakes(5)
    assert (predictions.labels[worst] != predictions.predicted[worst]).all()
    assert (np.diff(predictions.sureness[worst]) <= 0).all()


def test_without_kept_predictions_there_is_no_confusion(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", SPEC)
    assert winner_predictions(study, tables_of(study)) is None
