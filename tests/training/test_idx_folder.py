"""Data sets are found as MNIST's page, Kaggle and torchvision lay them out, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.training.dataset import FILES
from tune_mnist.training.idx_folder import find_files

Place = Callable[[str], list[str]]
LAYOUTS: dict[str, Place] = {
    "as MNIST's": lambda name: [name],
    "packed": lambda name: [f"{name}.gz"],
    "Kaggle's dots": lambda name: [name.replace("-idx", ".idx")],
    "capitals": lambda name: [name.upper()],
    "each in a folder of its name": lambda name: [f"{name}/{name}"],
    "each in a folder of its dotted name": lambda name: [f"{name.replace('-idx', '.idx')}/{name}"],
    "both, as Kaggle's download has them": lambda name: [name.replace("-idx", ".idx"), f"{name}/{name}"],
    "torchvision's root": lambda name: [f"MNIST/raw/{name}.gz", f"MNIST/raw/{name}"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_four_files_are_found(layout: str, tmp_path: Path) -> None:
    for name in FILES.values():
        for place in LAYOUTS[layout](name):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_text("")
    wanted = {part: tmp_path / LAYOUTS[layout](name)[0] for part, name in FILES.items()}
    if layout == "torchvision's root":  # the unpacked one is read, which is faster
        wanted = {part: path.with_suffix("") for part, path in wanted.items()}
    assert find_files(tmp_path, FILES) == wanted


def test_of_several_the_topmost_is_taken(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "old"):
        place.mkdir(exist_ok=True)
        for name in FILES.values():
            (place / name).write_text("")
    assert {path.parent for path in find_files(tmp_path, FILES).values()} == {tmp_path}


def test_two_data_sets_in_one_folder_are_told_apart_by_the_user(tmp_path: Path) -> None:
    for place in (tmp_path / "MNIST" / "raw", tmp_path / "FashionMNIST" / "raw"):
        place.mkdir(parents=True)
        for name in FILES.values():
            (place / name).write_text("")
    places = f"those in {tmp_path}/FashionMNIST/raw, {tmp_path}/MNIST/raw: name one of these folders"
    with pytest.raises(UserError, match=places):
        find_files(tmp_path, FILES)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    for name in list(FILES.values())[:3]:
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match="has t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz.*but got neither"):
        find_files(tmp_path, FILES)
    with pytest.raises(UserError, match="cannot read .*none: No such file or directory: name a folder of IDX files"):
        find_files(tmp_path / "none", FILES)
