"""A data set: its IDX files read and checked, and split into what a training learns from and is scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_mnist.spec.choices import DATASETS
from tune_mnist.spec.errors import require
from tune_mnist.spec.training import Protocol
from tune_mnist.training.download import CLASS_NAMES, EMNIST, downloaded_folder
from tune_mnist.training.idx import Bytes, idx_md5, read_idx, times
from tune_mnist.training.idx_folder import find_files

CLASSES = 10
"""How many classes there are unless labels say otherwise."""
DIGITS = tuple("0123456789")
CLASS_FILE = "classes.txt"
SIDE = 28
PIXELS = SIDE**2
SPLIT_SEED = 0
HELD_OUT = 6
"""One picture in so many of the training set is held out under the holdout protocol."""

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
MNIST_MD5 = {  # of the decompressed files
    "train_images": "6bbc9ace898e44ae57da46a324031adb",
    "train_labels": "a25bea736e30d166cdddb491f175f624",
    "test_images": "2646ac647ad5339dbf082846283269ea",
    "test_labels": "27ae3e4e09519cfbb04c329615203637",
    "held_out": "399ae6abe516e736ce8408212c7ebdf2",
}
HELD_OUT_FILE = "held-out-idx1-ubyte"
"""Beside MNIST's own files in the package: `draw_held_out` of its labels, as scikit-learn takes a second to import."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as its files have it."""

    name: str
    train_images: Bytes
    """(N, 28, 28), 0 background to 255 ink."""
    train_labels: Bytes
    """(N,), numbers of classes."""
    test_images: Bytes
    """(M, 28, 28)."""
    test_labels: Bytes
    """(M,)."""
    sha256: str
    """Hex digest over the four arrays, shapes included."""
    classes: tuple[str, ...] = DIGITS
    """What the classes are called, in the order of their numbers."""
    held_out: Bytes | None = None
    """Of each training picture whether it is held out under the holdout protocol, (N,), 0 or 1; None: to be drawn."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a training sees under a protocol: pictures to learn from and pictures to be scored on."""

    train_images: Bytes
    """(n, 784), C-contiguous."""
    train_labels: NDArray[np.int64]
    """(n,)."""
    eval_images: Bytes
    """(m, 784), C-contiguous."""
    eval_labels: NDArray[np.int64]
    """(m,)."""
    sha256: str
    """Hex digest over the four arrays, so of the data and of its split."""
    classes: int = CLASSES
    """How many classes there are."""


def load_dataset(name: str = "mnist", folder: Path | None = None, *, download: bool = False) -> Dataset:
    """Load a data set by name, or from any `folder` of the four IDX files, laid out in a way that `find_files` knows.

    The classes are the labels that the training pictures have; other than 0, 1, … are numbered anew, in their order,
    and called by their label, or as a file classes.txt beside the others has it, a name a line.

    `mnist` is part of the package; the others are read from the cache folder ($TUNE_MNIST_CACHE or
    ~/.cache/tune_mnist), where `download` first lets torchvision put them.

    Raises:
        UserError: an unknown name, a file that is missing, damaged or does not fit the others, or a
            failed download.
    """
    if folder is not None:
        return _read_folder(folder, folder.resolve().name)
    require(name in DATASETS, f"dataset is one of {', '.join(DATASETS)}", repr(name), "change --dataset")
    return _embedded() if name == "mnist" else _cached(name, download)


def training_data(dataset: Dataset, protocol: Protocol) -> TrainingData:
    """Lay out `dataset` for training under `protocol`.

    holdout: a stratified, seeded sixth of the training set is held out to evaluate on (10,000 of
    MNIST's 60,000); both parts keep the files' order. report: all of the training set, evaluated on
    the test set.
    """
    images, labels = dataset.train_images, dataset.train_labels
    classes = len(dataset.classes)
    if protocol == "report":
        return _training_data(images, labels, dataset.test_images, dataset.test_labels, classes)
    drawn = draw_held_out(labels) if dataset.held_out is None else dataset.held_out
    held_out = drawn.astype(bool)
    return _training_data(images[~held_out], labels[~held_out], images[held_out], labels[held_out], classes)


def draw_held_out(labels: Bytes) -> Bytes:
    """Of each picture with these labels, (N,), whether it is held out, (N,), 0 or 1: a stratified, seeded sixth."""
    from sklearn.model_selection import train_test_split

    _, chosen = train_test_split(
        np.arange(len(labels)), test_size=len(labels) // HELD_OUT, stratify=labels, random_state=SPLIT_SEED
    )
    held_out = np.zeros(len(labels), np.uint8)
    held_out[chosen] = 1
    return held_out


def class_counts(labels: NDArray[Any], classes: int = CLASSES) -> list[int]:
    """How often each of the classes occurs."""
    return np.bincount(labels, minlength=classes).tolist()


def _read_folder(
    folder: Path, name: str, files: Mapping[str, str] = FILES, *, transposed: bool = False,
    names: tuple[str, ...] | None = None,
) -> Dataset:
    paths = find_files(folder, files)
    arrays = {part: read_idx(path) for part, path in paths.items()}
    _check(arrays, paths)
    known = np.unique(arrays["train_labels"])  # the classes, ascending
    if not np.array_equal(known, np.arange(len(known))):
        for part in ("train_labels", "test_labels"):
            arrays[part] = np.searchsorted(known, arrays[part]).astype(np.uint8)
    names = names or _names(paths["train_labels"].with_name(CLASS_FILE), known)
    if transposed:
        arrays |= {part: np.ascontiguousarray(a.transpose(0, 2, 1)) for part, a in arrays.items() if a.ndim == 3}
    values: dict[str, Any] = {**arrays, "classes": names}
    return Dataset(name=name, sha256=_digest(*(arrays[part] for part in FILES)), **values)


def _names(path: Path, known: Bytes) -> tuple[str, ...]:
    """What the classes are called: as the file has it, if there is one, else by their labels."""
    if not path.is_file():
        return tuple(map(str, known.tolist()))
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    require(len(names) == len(known), f"{path} names {len(known)} classes", len(names), "write one a line")
    return names


def _check(arrays: Mapping[str, Bytes], paths: Mapping[str, Path]) -> None:
    """Raise `UserError` unless the four arrays are a data set that can be split and trained on."""
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        images_path, labels_path = paths[f"{part}_images"], paths[f"{part}_labels"]
        fits = images.ndim == 3 and images.shape[1:] == (SIDE, SIDE)
        require(fits, f"{images_path} holds pictures of {SIDE}×{SIDE}", times(images.shape), "replace it")
        fits = labels.shape == images.shape[:1]
        rule = f"{labels_path} has a label for each of {len(images)} pictures"
        require(fits, rule, times(labels.shape), "replace it")
    known, counts = np.unique(arrays["train_labels"], return_counts=True)
    path = paths["train_labels"]
    require(len(known) > 1, f"{path} has two classes or more", len(known), "give pictures of more classes")
    rule = f"{path} has each class {HELD_OUT} times or more, to be split"
    require(counts.min() >= HELD_OUT, rule, f"{counts.min()} of {known[counts.argmin()]}", "give more pictures")
    tested = arrays["test_labels"]
    require(len(tested) > 0, f"{paths['test_labels']} has labels", "none", "give more pictures")
    strange = ", ".join(map(str, np.setdiff1d(tested, known).tolist()))
    remedy = "give training pictures of these, or take them out"
    require(not strange, f"{paths['test_labels']} has classes that {path.name} has", strange, remedy)


def _embedded() -> Dataset:
    with resources.as_file(resources.files("tune_mnist") / "mnist") as folder:
        dataset = replace(_read_folder(folder, "mnist"), held_out=read_idx(folder / f"{HELD_OUT_FILE}.gz"))
    for part, md5 in MNIST_MD5.items():
        actual = idx_md5(getattr(dataset, part))
        file = FILES.get(part, HELD_OUT_FILE)
        require(actual == md5, f"MD5 of the package's {file} is {md5}", actual, "install the package again")
    return dataset


def _cached(name: str, download: bool) -> Dataset:
    split = name.removeprefix(EMNIST)
    emnist = split != name  # its files have other names, and hold every picture transposed
    files = FILES
    if emnist:
        files = {part: f"{name}-{file.replace('t10k', 'test')}" for part, file in FILES.items()}
    folder = downloaded_folder(name, files.values(), download)
    return _read_folder(folder, name, files, transposed=emnist, names=CLASS_NAMES.get(name))


def _training_data(
    train: Bytes, train_labels: Bytes, evaluation: Bytes, eval_labels: Bytes, classes: int
) -> TrainingData:
    arrays = (
        train.reshape(len(train), -1), train_labels.astype(np.int64),
        evaluation.reshape(len(evaluation), -1), eval_labels.astype(np.int64),
    )
    return TrainingData(*arrays, sha256=_digest(*arrays), classes=classes)


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def describe(dataset: Dataset) -> dict[str, Any]:
    """The checksums of `dataset` and its class counts, total last, in each split; fit for JSON."""
    by_protocol: dict[Protocol, TrainingData] = {p: training_data(dataset, p) for p in ("holdout", "report")}
    labels: dict[str, NDArray[Any]] = {
        "training": by_protocol["holdout"].train_labels, "validation": by_protocol["holdout"].eval_labels,
        "all training": dataset.train_labels, "test": dataset.test_labels,
    }
    counts = {split: class_counts(each, len(dataset.classes)) for split, each in labels.items()}
    return {
        "dataset": dataset.name,
        "files": {
            file: {"shape": list(getattr(dataset, part).shape), "md5": idx_md5(getattr(dataset, part))}
            for part, file in FILES.items()
        },
        "sha256": {"dataset": dataset.sha256, **{p: data.sha256 for p, data in by_protocol.items()}},
        "classes": list(dataset.classes),
        "class_counts": counts,
    }
