"""Writes IDX files and folders from arrays, independently of the reader under test."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.uint8]]

NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """The IDX file that holds `array`."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def random_arrays(train: int = 300, test: int = 60, seed: int = 0, classes: int = 10) -> Arrays:
    """A small data set that can be learned: noise with a bright band whose height tells the class."""
    random = np.random.default_rng(seed)
    arrays: Arrays = {}
    for part, count in {"train": train, "test": test}.items():
        labels = random.permutation(np.arange(count) % classes).astype(np.uint8)
        images = random.integers(0, 100, (count, 28, 28), dtype=np.uint8)
        bands = (2 * labels[:, None] + np.arange(4)) % 28
        images[np.arange(count)[:, None], bands] = 255
        arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    return arrays


def write_folder(folder: Path, arrays: Mapping[str, NDArray[np.uint8]], *, compress: bool = False) -> Path:
    """Write the four files, plain or .gz, into `folder`, made if need be, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, array in arrays.items():
        content = idx_bytes(array)
        if compress:
            (folder / f"{NAMES[part]}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / NAMES[part]).write_bytes(content)
    return folder
