"""Tests of the IDX reader, the data sets, the split and `python -m tune_mnist.data`."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import json
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

from support.idx import NAMES, idx_bytes, random_arrays, write_folder
from tune_mnist.data import DataArgs, main
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import DATASETS
from tune_mnist.training.dataset import MNIST_MD5, Dataset, class_counts, describe, load_dataset, training_data
from tune_mnist.training.idx import read_idx

PARTS = ("train_images", "train_labels", "test_images", "test_labels")
PLAIN = idx_bytes(np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28))


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


def test_a_changed_embedded_file_is_noticed(mnist: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MNIST_MD5, "test_labels", "0" * 32)
    with pytest.raises(UserError, match=r"MD5 of the package's t10k-labels-idx1-ubyte is 0{32}.*install the package"):
        load_dataset()


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


def test_a_plain_file_named_gz_is_read_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(PLAIN)
    assert read_idx(tmp_path / "a.gz").shape == (2, 28, 28)


def _flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (PLAIN[:-1], "holds the 2×28×28 bytes its header states` must hold, but got 1567 bytes"),
        (PLAIN + b"x", "more than 1568 bytes"),
        (gzip.compress(PLAIN + b"x", mtime=0), "more than 1568 bytes"),
        (gzip.compress(PLAIN[:-1], mtime=0), "1567 bytes"),
        (PLAIN[:10], "has its whole header` must hold, but got 10 bytes"),
        (b"", "an empty file"),
        (b"not an IDX file", "is an IDX file of bytes .* got 6e 6f 74 20"),
        (b"\x01" + PLAIN[1:], "starting 00 00 08 01"),
        (PLAIN[:2] + b"\x0d" + PLAIN[3:], "got 00 00 0d 03"),
        (PLAIN[:3] + b"\x00", "got 00 00 08 00"),
        (gzip.compress(PLAIN, mtime=0)[:-20], "is a damaged gzip file"),
        (_flip(gzip.compress(PLAIN, mtime=0), -6), "is a damaged gzip file .*CRC"),
        (_flip(gzip.compress(PLAIN, mtime=0), 2), "is a damaged gzip file"),
        (gzip.compress(PLAIN, mtime=0)[:10] + b"\xff" * 50, "is a damaged gzip file"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 28, 28), "at most 2147483648 bytes.* got 2147483648×28×28"),
    ],
)
def test_a_malformed_file_is_told_in_one_line_naming_it(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "some-file.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        read_idx(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_memory_follows_the_file_not_its_header(tmp_path: Path) -> None:
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, 2**20, 28, 28)  # states 784 MiB
    bomb = struct.pack(">BBBB1I", 0, 0, 8, 1, 1000) + bytes(200 * 2**20)  # 200 MiB of zeros behind 1,000 stated
    for content, problem in ((header + b"x", "got 1 bytes"), (gzip.compress(bomb, 1), "more than 1000 bytes")):
        (tmp_path / "file").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(UserError, match=problem):
            read_idx(tmp_path / "file")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * 2**20


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
        (_with("train_labels", GOOD["train_labels"] + np.uint8(1)), "train-labels.* labels 0 to 9.* got 1 to 10"),
        (_with("test_labels", GOOD["test_labels"][1:]), "t10k-labels.* a label for each of 20 pictures.* got 19"),
        (_with("train_labels", GOOD["train_labels"] // 2),
         "train-labels.* all of the classes 0 to 9.* none of 5, 6, 7, 8, 9: take a data set of ten classes"),
        (_with("train_labels", (np.arange(120) % 10).astype(np.uint8) * (np.arange(120) < 10)),
         "6 times or more.* got 1 of one: give more pictures"),
        (lambda folder: void(write_folder(folder, random_arrays(50, 10))), "at least 60 labels.* got 50"),
        (lambda folder: void(write_folder(folder, random_arrays(60, 9))), "at least 10 labels.* got 9"),
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

    arrays = random_arrays()
    folder = {"fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "emnist-digits": "EMNIST"}[name]
    raw = write_folder(tmp_path / folder / "raw", arrays)
    if name == "emnist-digits":
        for file in NAMES.values():
            (raw / file).rename(raw / f"emnist-digits-{file.replace('t10k', 'test')}")
        arrays |= {part: arrays[part].transpose(0, 2, 1) for part in ("train_images", "test_images")}
    dataset = load_dataset(name)
    assert dataset.name == name
    assert all(np.array_equal(getattr(dataset, part), arrays[part]) for part in PARTS)


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let urllib, which keeps the proxies it first saw, go straight to this machine's addresses."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    monkeypatch.setattr(urllib.request, "_opener", opener)


@pytest.mark.usefixtures("no_proxy")
def test_a_download_lands_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import KMNIST

    arrays = random_arrays()
    site = write_folder(tmp_path / "site", arrays, compress=True)
    files = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in site.iterdir()]
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(KMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(KMNIST, "resources", files)
        monkeypatch.setenv("TUNE_MNIST_CACHE", str(tmp_path / "cache"))
        fetched = load_dataset("kmnist", download=True)
        server.shutdown()
    assert all(np.array_equal(getattr(fetched, part), arrays[part]) for part in PARTS)
    assert load_dataset("kmnist").sha256 == fetched.sha256


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.mark.usefixtures("no_proxy")
def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import KMNIST

    monkeypatch.setattr(KMNIST, "mirrors", ["http://127.0.0.1:9/"])  # no one listens there
    monkeypatch.setenv("TUNE_MNIST_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot download kmnist \(.*refused.*\): check the network") as caught:
        load_dataset("kmnist", download=True)
    assert "\n" not in str(caught.value)


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, figure = write_folder(tmp_path / "fake", random_arrays()), tmp_path / "ten.png"
    assert main(["--data", str(folder), "--figure", str(figure), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == describe(load_dataset(folder=folder)) | {"figure": str(figure)}
    assert facts["class_counts"]["training"] == [25] * 10 and facts["class_counts"]["validation"] == [5] * 10
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert main(["--data", str(folder), "--figure", str(figure)]) == 0
    table = capsys.readouterr().out
    assert facts["sha256"]["holdout"] in table and re.search(r"total\W+250\W+50\W+300\W+60\b", table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fake", "ten.png"]


@pytest.mark.parametrize(
    ("figure", "problem"),
    [("ten.xyz", "figure ends in one of"), ("no/ten.png", "No such file or directory"), ("fake", "figure ends in one")],
)
def test_a_figure_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: str, problem: str
) -> None:
    folder = write_folder(tmp_path / "fake", random_arrays())
    assert main(["--data", str(folder), "--figure", str(tmp_path / figure)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and problem in err
    assert [path.name for path in tmp_path.iterdir()] == ["fake"]


def test_importing_the_data_needs_no_torch() -> None:
    code = "import sys, tune_mnist.data; print({'torch', 'ray', 'sklearn', 'matplotlib', 'tyro'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
