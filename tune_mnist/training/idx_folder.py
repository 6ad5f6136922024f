"""Where a folder has the files of a data set: named as MNIST's, as Kaggle's, or laid out as torchvision does."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from tune_mnist.spec.errors import UserError, require

DEPTH = 2
"""How many folders deep a file may lie: torchvision's are in MNIST/raw, Kaggle's each in a folder of its own name."""


def find_files(folder: Path, files: Mapping[str, str]) -> dict[str, Path]:
    """The file of each part by its name in `files`, plain or .gz, also with .idx for -idx or in capitals; the topmost.

    Raises:
        UserError: the folder cannot be read, lacks a file, or has it in several places.
    """
    try:
        os.listdir(folder)
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}: name a folder of IDX files") from None
    found: dict[str, list[Path]] = defaultdict(list)
    for depth in range(DEPTH + 1):
        here = [path for path in sorted(folder.glob("*/" * depth + "*")) if path.is_file()]
        for name in set(files.values()) - found.keys():
            if paths := [path for path in here if _common_name(path) == name]:
                found[name] = paths
    for name in files.values():
        require(name in found, f"{folder} has {name} or {name}.gz", "neither", "name a folder of the four IDX files")
    return {part: _only(folder, name, found[name]) for part, name in files.items()}


def _common_name(path: Path) -> str:
    """A file's name as MNIST's page has it: train-images.idx3-ubyte.gz is train-images-idx3-ubyte."""
    return path.name.lower().replace(".idx", "-idx").removesuffix(".gz")


def _only(folder: Path, name: str, paths: Iterable[Path]) -> Path:
    """Of several files of one name those in one folder are the same, plain or packed, and the plain one is taken."""
    best = sorted(paths, key=lambda path: (path.suffix == ".gz", path.name != name))
    places = sorted({str(path.parent) for path in best})
    require(len(places) == 1, f"{folder} has one {name}", f"those in {', '.join(places)}", "name one of these folders")
    return best[0]
