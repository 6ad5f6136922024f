"""A network's metrics on a set of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tune_mnist.training.batches import as_tensor
from tune_mnist.training.packing import pack_bits


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one set of pictures; precision, recall and F1 are macro averages.

    `loss` is the mean cross entropy of the model's outputs, the others lie in [0, 1]. `correct` tells
    picture by picture whether the prediction was right: base64 of the zlib-compressed bits, in the
    pictures' order, for paired tests between trainings.
    """

    loss: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    correct: str


def evaluate(outputs: Tensor, labels: np.ndarray) -> Evaluation:
    """Metrics of outputs float32 (n, classes), as the model's head gives them, against labels int64 (n,)."""
    targets, classes = as_tensor(labels), outputs.shape[1]
    predictions = outputs.argmax(1)
    correct = predictions == targets
    confusion = torch.bincount(targets * classes + predictions, minlength=classes**2).view(classes, classes)
    precision, recall, f1 = macro_averages(confusion)
    return Evaluation(
        loss=float(F.cross_entropy(outputs, targets)), accuracy=float(correct.double().mean()),
        precision=precision, recall=recall, f1=f1, correct=pack_bits(correct.numpy()),
    )


def macro_averages(confusion: Tensor) -> tuple[float, float, float]:
    """Macro precision, recall and F1 of a confusion matrix, integers (true class, predicted class).

    As scikit-learn's precision_recall_fscore_support with zero_division=0: the means are over the classes that occur,
    as a truth or as a prediction; one that is never predicted has precision 0. Without any picture they are 0.
    """
    occurring = confusion.sum(0) + confusion.sum(1) > 0
    if not occurring.any():
        return 0.0, 0.0, 0.0
    hits = confusion.diagonal().double()
    predicted, actual = confusion.sum(0).double(), confusion.sum(1).double()
    precision = hits / predicted.clamp(min=1)
    recall = hits / actual.clamp(min=1)
    f1 = 2 * hits / (predicted + actual).clamp(min=1)
    return float(precision[occurring].mean()), float(recall[occurring].mean()), float(f1[occurring].mean())
