"""Malformed flags, TOML, data and studies: each told in one line, with exit status 2, and nothing written."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from chaos.harness import NAMES, Lab, Run, random_arrays, write_folder

GRID = ("-m", "tune_mnist.grid", "--data", "data")

FLAGS = """
--lr nan
--lr 0
--lr -0.1
--lr inf
--lr fast
--lr
--lr 0.1 0.1
--batch-size 0
--batch-size 1.5
--batch-size 1000000
--epochs 0
--epochs -1
--epochs 2 2
--models Perceptron
--models
--seeds 0
--seeds many
--protocol cheating
--head sigmoid
--dropout 1
--dropout nan
--rotation 200
--schedule sawtooth
--warmup-epochs -1
--precision fp8
--cpus-per-trial 0
--cpus-per-trial 100000
--gpus-per-trial -1
--gpus-per-trial 1000
--max-failures -1
--trial-timeout 0
--address nonsense
--name ../outside
--name .hidden
--name
--name a/b
--dataset cifar
--learning-rate 0.1
--lrr 0.1
--fresh=maybe
stray
""".strip().splitlines()

SPECS = {
    "not TOML": b"lr = [0.1",
    "no UTF-8": b"lr = [0.1] # \xff\xfe",
    "zeros": bytes(64),
    "unknown key": b"learning_rate = [0.1]",
    "unknown key of the recipe": b"[recipe]\ndropuot = 0.1",
    "text for a number": b'lr = ["0.1"]',
    "number for a list": b"lr = 0.1",
    "a truth for a number": b"seeds = true",
    "empty list": b"models = []",
    "out of range": b"epochs = [0]",
    "nested too deep": b"lr = " + b"[" * 100_000,
    "twice the same key": b"lr = [0.1]\nlr = [0.2]",
}


def data_folders(folder: Path) -> Iterator[Path]:
    """Folders whose data is wrong in one way each."""
    good = random_arrays()
    images, labels = NAMES["train_images"], NAMES["train_labels"]
    changes: dict[str, Callable[[Path], object]] = {
        "missing": lambda path: (path / images).unlink(),
        "empty": lambda path: (path / images).write_bytes(b""),
        "truncated": lambda path: (path / images).write_bytes((path / images).read_bytes()[:-1]),
        "longer": lambda path: (path / images).write_bytes((path / images).read_bytes() + b"x"),
        "no-idx": lambda path: (path / images).write_bytes(b"PNG" * 100),
        "huge": lambda path: (path / images).write_bytes(b"\0\0\x08\x03" + b"\xff" * 12),
        "bad-gzip": lambda path: (path / images).write_bytes(gzip.compress(b"x" * 1000)[:-9]),
        "folder": lambda path: (path / labels).rename(path / "aside").with_name(labels).mkdir(),
    }
    for name, change in changes.items():
        path = write_folder(folder / name, good)
        change(path)
        yield path
    ten = good["train_labels"].copy()
    ten[0] = 10
    yield write_folder(folder / "label-10", {**good, "train_labels": ten})
    yield write_folder(folder / "fewer-labels", {**good, "train_labels": good["train_labels"][:-1]})
    yield write_folder(folder / "shape", {**good, "train_images": np.zeros((300, 14, 14), np.uint8)})
    yield folder / "nowhere"


def studies(lab: Lab, folder: Path) -> Iterator[list[str]]:
    """Commands that are given a study that is none, or another's."""
    study = lab.reference()
    for command in ("analysis", "verify", "report"):
        yield ["-m", f"tune_mnist.{command}", str(folder)]
        damaged = folder / f"damaged-{command}"
        damaged.mkdir(parents=True)
        (damaged / "study.json").write_bytes((study / "study.json").read_bytes()[:-10])
        if command != "verify":  # which says so as its result
            yield ["-m", f"tune_mnist.{command}", str(damaged)]
    yield ["-m", "tune_mnist.verify", str(study), "--replay", "../../data"]
    other = write_folder(folder / "other", random_arrays())
    yield ["-m", "tune_mnist.grid", "--data", str(other), "--name", study.name]
    (folder / "file").write_bytes(b"")
    yield [*GRID, "--storage", str(folder), "--name", "file"]
    yield [*GRID, "--storage", str(folder / "file")]


def cases(lab: Lab) -> list[list[str]]:
    folder = lab.folder / "malformed"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "specs").mkdir(parents=True)
    found = [[*GRID, *line.split(" ")] for line in FLAGS]
    for number, content in enumerate(SPECS.values()):
        path = folder / "specs" / f"{number}.toml"
        path.write_bytes(content)
        found.append([*GRID, str(path)])
    (folder / "specs" / "folder.toml").mkdir()
    for name in ("folder.toml", "none.toml"):
        found.append([*GRID, str(folder / "specs" / name)])
    found.append([*GRID, str(folder / "specs" / "0.toml"), str(folder / "specs" / "1.toml")])
    found += [["-m", "tune_mnist.grid", "--data", str(path)] for path in data_folders(folder / "data")]
    return found + list(studies(lab, folder / "studies"))


def malformed(lab: Lab, count: int) -> str:
    """Give `count` malformed inputs, of all there are, to the commands."""
    given = cases(lab)
    assert count <= len(given)
    for words in lab.random.sample(given, count):
        before = contents(lab)
        run = Run(words, lab.folder, {}, {}).wait(60)
        told = f"{words}: {run.code} {run.stdout}{run.stderr}"
        assert run.code == 2 and run.stdout == "" and "Traceback" not in run.stderr, told
        assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1, told
        assert contents(lab) == before, told
    return f"{count} of {len(given)} inputs: one line each, exit 2, nothing written"


def contents(lab: Lab) -> dict[str, bytes]:
    paths = [path for path in lab.folder.rglob("*") if not path.relative_to(lab.folder).parts[0].startswith("output-")]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in paths}
