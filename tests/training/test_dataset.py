"""Tests of the data sets, their folders and the split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

from support.idx import NAMES, idx_bytes, random_arrays, write_folder
from tune_mnist.data import DataArgs
from tune_mnist.spec.choices import DATASETS
from tune_mnist.spec.errors import UserError
from tune_mnist.training.dataset import MNIST_MD5, Dataset, class_counts, draw_held_out, load_dataset, training_data
from tune_mnist.training.idx import read_idx

PARTS = ("train_images", "train_labels", "test_images", "test_labels")


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return load_dataset()


def test_the_embedded_mnist_has_its_known_sizes_and_counts(mnist: Dataset) -> None:
    assert mnist.name == "mnist"
    assert mnist.train_images.shape == (60_000, 28, 28) and mnist.test_images.shape == (10_000, 28, 28)
    assert all(getattr(mnist, part).dtype == np.uint8 for part in PARTS)
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert class_counts(mnist.test_labels) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_loading_and_splitting_again_gives_the_same_bytes(mnist: Dataset) -> None:
    again = load_dataset("mnist")
    assert again.sha256 == mnist.sha256
    first, second = training_data(mnist, "holdout"), training_data(again, "holdout")
    assert first.sha256 == second.sha256
    assert np.array_equal(first.eval_images, second.eval_images)


@pytest.mark.parametrize(
    ("part", "file"), [("test_labels", "t10k-labels-idx1-ubyte"), ("held_out", "held-out-idx1-ubyte")]
)
def test_a_changed_embedded_file_is_noticed(part: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MNIST_MD5, part, "0" * 32)
    with pytest.raises(UserError, match=f"MD5 of the package's {file} is 0{{32}}.*install the package"):
        load_dataset()


def test_the_embedded_split_is_the_one_that_is_drawn(mnist: Dataset) -> None:
    assert mnist.held_out is not None and mnist.held_out.dtype == np.uint8
    assert np.array_equal(mnist.held_out, draw_held_out(mnist.train_labels))
    drawn = training_data(replace(mnist, held_out=None), "holdout")
    assert drawn.sha256 == training_data(mnist, "holdout").sha256


def test_holdout_is_disjoint_stratified_and_covers_the_training_set(mnist: Dataset) -> None:
    data = training_data(mnist, "holdout")
    assert data.train_images.shape == (50_000, 784) and data.eval_images.shape == (10_000, 784)
    rows = np.concatenate([_tagged(data.train_images, data.train_labels), _tagged(data.eval_images, data.eval_labels)])
    everything = _tagged(mnist.train_images.reshape(-1, 784), mnist.train_labels)
    assert sorted(rows.tolist()) == sorted(everything.tolist())
    sixth = np.array(class_counts(mnist.train_labels)) / 6
    assert np.abs(np.array(class_counts(data.eval_labels)) - sixth).max() <= 1
    assert data.train_labels.dtype == np.int64 and data.train_images.flags.c_contiguous


def _tagged(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One hash per picture and label, to compare sets of pictures."""
    weights = np.random.default_rng(0).integers(1, 2**40, 784)
    return images.astype(np.int64) @ weights * 10 + labels


def test_report_trains_on_everything_and_evaluates_on_the_test_set(mnist: Dataset) -> None:
    data = training_data(mnist, "report")
    assert np.array_equal(data.train_images, mnist.train_images.reshape(-1, 784))
    assert np.array_equal(data.eval_labels, mnist.test_labels)
    assert data.sha256 != training_data(mnist, "holdout").sha256


def test_plain_and_gz_folders_are_equal(tmp_path: Path) -> None:
    arrays = random_arrays()
    plain = load_dataset(folder=write_folder(tmp_path / "a" / "mine", arrays))
    zipped = load_dataset(folder=write_folder(tmp_path / "b" / "mine", arrays, compress=True))
    assert plain.name == zipped.name == "mine"
    assert plain.sha256 == zipped.sha256
    for part in PARTS:
        for dataset in (plain, zipped):
            assert np.array_equal(getattr(dataset, part), arrays[part])


def test_the_smallest_allowed_folder_can_be_split(tmp_path: Path) -> None:
    data = training_data(load_dataset(folder=write_folder(tmp_path, random_arrays(60, 10))), "holdout")
    assert len(data.train_images) == 50 and class_counts(data.eval_labels) == [1] * 10


def _without(part: str) -> Callable[[Path], None]:
    return lambda folder: (folder / NAMES[part]).unlink()


def _with(part: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: void((folder / NAMES[part]).write_bytes(idx_bytes(array)))


def void(_: object) -> None:
    """Drop a value."""


GOOD = random_arrays(120, 20)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_without("test_images"), "has t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz` .* got neither"),
        (_with("train_images", GOOD["train_images"][:, 1:]), "train-images.* holds pictures of 28×28.* 120×27×28"),
        (_with("test_images", GOOD["test_labels"]), "t10k-images.* holds pictures of 28×28.* got 20"),
        (_with("test_labels", GOOD["test_labels"][1:]), "t10k-labels.* a label for each of 20 pictures.* got 19"),
        (_with("train_labels", GOOD["train_labels"] // 2),
         "t10k-labels.* has classes that train-labels.* has.* 5, 6, 7, 8, 9: give training pictures of these"),
        (_with("train_labels", GOOD["train_labels"] * 0), "train-labels.* has two classes or more.* got 1"),
        (_with("train_labels", (np.arange(120) % 10).astype(np.uint8) * (np.arange(120) < 10)),
         "6 times or more.* got 1 of 1: give more pictures"),
        (lambda folder: void(write_folder(folder, random_arrays(50, 10))), "6 times or more.* got 5 of 0"),
        (_with("test_labels", np.zeros(0, np.uint8)), "a label for each of 20 pictures"),
    ],
)
def test_a_folder_that_is_no_data_set_is_told(tmp_path: Path, spoil: Callable[[Path], None], problem: str) -> None:
    spoil(write_folder(tmp_path, GOOD))
    with pytest.raises(UserError, match=problem):
        load_dataset(folder=tmp_path)


def test_a_missing_folder_or_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read .*nowhere: No such file or directory"):
        load_dataset(folder=tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot read .*nothing: No such file or directory"):
        read_idx(tmp_path / "nothing")
    with pytest.raises(UserError, match="cannot read .*: Is a directory"):
        read_idx(tmp_path)


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(UserError, match="dataset is one of mnist, .*'cifar'"):
        load_dataset("cifar")
    assert get_args(get_type_hints(DataArgs)["dataset"]) == DATASETS


@pytest.mark.parametrize("name", DATASETS[1:])
def test_named_sets_come_from_the_cache_and_download_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TUNE_MNIST_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=f"{name} is in the cache folder .*: pass --download"):
        load_dataset(name)
    assert not list(tmp_path.iterdir())

    folder = {"fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}.get(name, "EMNIST")
    count = {"emnist-letters": 26, "emnist-balanced": 47}.get(name, 10)
    arrays = random_arrays(600, 100, classes=count)
    files = arrays | {}
    if name == "emnist-letters":  # whose labels begin with 1
        files |= {part: arrays[part] + np.uint8(1) for part in ("train_labels", "test_labels")}
    raw = write_folder(tmp_path / folder / "raw", files)
    if folder == "EMNIST":
        for file in NAMES.values():
            (raw / file).rename(raw / f"{name}-{file.replace('t10k', 'test')}")
        arrays |= {part: arrays[part].transpose(0, 2, 1) for part in ("train_images", "test_images")}
    dataset = load_dataset(name)
    assert dataset.name == name and len(dataset.classes) == count == training_data(dataset, "holdout").classes
    assert all(np.array_equal(getattr(dataset, part), arrays[part]) for part in PARTS)


def test_the_classes_are_those_of_the_labels_under_their_names(tmp_path: Path) -> None:
    arrays = random_arrays(120, 20, classes=3)
    other = arrays | {part: arrays[part] * np.uint8(5) + np.uint8(2) for part in ("train_labels", "test_labels")}
    folder = write_folder(tmp_path, other)
    dataset = load_dataset(folder=folder)
    assert dataset.classes == ("2", "7", "12") and np.array_equal(dataset.train_labels, arrays["train_labels"])
    (folder / "classes.txt").write_text("one\ntwo\nthree\n")
    assert load_dataset(folder=folder).classes == ("one", "two", "three")
    (folder / "classes.txt").write_text("one\n")
    with pytest.raises(UserError, match="classes.txt names 3 classes.* got 1: write one a line"):
        load_dataset(folder=folder)
