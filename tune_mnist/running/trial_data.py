"""The pictures that all trials of a run share, made while Ray starts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.training.dataset import Dataset, TrainingData

# What is heavy, torch and Ray, is imported while Ray starts.
if TYPE_CHECKING:
    from rich.console import Console

    from tune_mnist.running.resources import Resources
    from tune_mnist.training.batches import Pictures


@dataclass(frozen=True)
class TrialData:
    """What every trial of a run shares: pictures to train on and to evaluate on. Put into Ray's object store once."""

    train: Pictures
    evaluation: Pictures


@contextlib.contextmanager
def session_with_data(
    data: TrainingData, resources: Resources, console: Console, folder: Path
) -> Iterator[TrialData]:
    """A `ray_session` with the pictures that every trial needs, which are made while Ray starts."""
    from tune_mnist.running.session import ray_session

    with ThreadPoolExecutor(1) as beside:
        making = beside.submit(trial_data, data)
        with ray_session(resources, console, folder):
            yield making.result()


def trial_data(data: TrainingData) -> TrialData:
    """The pictures to train on and to evaluate on."""
    from tune_mnist.training.batches import make_pictures

    train = make_pictures(data.train_images, data.train_labels)
    return TrialData(train, make_pictures(data.eval_images, data.eval_labels))


def test_pictures(dataset: Dataset) -> Pictures:
    """The data set's test pictures."""
    from tune_mnist.training.batches import make_pictures

    return make_pictures(dataset.test_images.reshape(len(dataset.test_images), -1), dataset.test_labels)
