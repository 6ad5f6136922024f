"""Slices of the real MNIST as trainings see them."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import scipy.sparse

from tune_mnist.training.batches import Pictures, make_pictures
from tune_mnist.training.dataset import Dataset, load_dataset

mnist = functools.cache(load_dataset)


@functools.cache
def train_slice(n: int) -> Pictures:
    """The first `n` training pictures, with their sparse form."""
    dataset: Dataset = mnist()
    return make_pictures(dataset.train_images[:n].reshape(n, -1), dataset.train_labels[:n])


@functools.cache
def evaluation_slice(n: int) -> Pictures:
    """The first `n` test pictures, with their sparse form."""
    dataset: Dataset = mnist()
    return make_pictures(dataset.test_images[:n].reshape(n, -1), dataset.test_labels[:n])


def dense(pictures: Pictures) -> Pictures:
    """The same pictures without their sparse form."""
    return dataclasses.replace(pictures, nonzero=None)


def exact(pictures: Pictures) -> Pictures:
    """The same pictures with the heights of the sparse form in float64, for comparisons in float64."""
    heights = scipy.sparse.csr_matrix(pictures.pixels.astype(np.float64))
    heights.data /= 127.5
    return dataclasses.replace(pictures, nonzero=heights)
