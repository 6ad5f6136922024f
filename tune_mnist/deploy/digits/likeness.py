"""How like MNIST's own digits a view is: a network is sure of a letter too."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tune_mnist.training.dataset import load_dataset
from tune_mnist.training.idx import Bytes

ONE_IN = 6  # of the training pictures is compared with
NEAREST = 3


def likenesses(views: Bytes, digits: NDArray[np.intp]) -> NDArray[np.float32]:
    """The mean cosine, 0…1, between each view (n, 28, 28) and the nearest training pictures of its digit (n,)."""
    known, labels = _training_pictures()
    cosines = np.where(labels == digits[:, None], _blurred(views) @ known.T, np.float32(0))  # (n, pictures)
    return np.partition(cosines, -NEAREST, axis=1)[:, -NEAREST:].mean(1)


@functools.cache
def _training_pictures() -> tuple[NDArray[np.float32], Bytes]:
    dataset = load_dataset()
    return _blurred(dataset.train_images[::ONE_IN]), dataset.train_labels[::ONE_IN]


def _blurred(pictures: Bytes) -> NDArray[np.float32]:
    """Pictures (n, 28, 28) blurred, halved and of length 1, (n, 196)."""
    blurred = ndimage.uniform_filter(pictures.astype(np.float32), (0, 3, 3), mode="constant")
    halved = blurred.reshape(len(pictures), 14, 2, 14, 2).mean((2, 4)).reshape(len(pictures), -1)
    return halved / np.maximum(np.linalg.norm(halved, axis=1, keepdims=True), 1e-6)
