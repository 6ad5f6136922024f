"""The pictures that all trials of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tune_mnist.training.dataset import Dataset, TrainingData

# torch is heavy, and imported while Ray starts.
if TYPE_CHECKING:
    from tune_mnist.training.batches import Pictures


@dataclass(frozen=True)
class TrialData:
    """What every trial of a run shares: pictures to train on and to evaluate on. Put into Ray's object store once."""

    train: Pictures
    evaluation: Pictures


def trial_data(data: TrainingData, device: str = "cpu") -> TrialData:
    """The pictures to train on and to evaluate on; those of a GPU have no sparse form, which it has no use for."""
    from tune_mnist.training.batches import make_pictures

    sparse = device == "cpu"
    train = make_pictures(data.train_images, data.train_labels, data.classes, sparse=sparse)
    return TrialData(train, make_pictures(data.eval_images, data.eval_labels, data.classes, sparse=sparse))


def test_pictures(dataset: Dataset, device: str = "cpu") -> Pictures:
    """The data set's test pictures, as `trial_data` makes those to train on."""
    from tune_mnist.training.batches import make_pictures

    pixels = dataset.test_images.reshape(len(dataset.test_images), -1)
    return make_pictures(pixels, dataset.test_labels, len(dataset.classes), sparse=device == "cpu")
