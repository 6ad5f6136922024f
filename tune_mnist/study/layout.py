"""Where the folders of a study's trainings lie: in 256 folders by the key's first two digits, or as they once did."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SPLIT_DIGITS = 2
"""Of a key, what names the folder above its training's: a folder of 100,000 is slow to list and to keep apart."""


def training_path(trainings: Path, key: str) -> Path:
    """The folder of the training with this key, existing or not, under a study's folder `trainings`.

    One that an earlier version made, right under `trainings`, stays there.
    """
    is_flat = os.path.isdir(f"{trainings}/{key}")  # in half of the time that a Path takes: it is asked of each training
    return trainings / (key if is_flat else f"{key[:SPLIT_DIGITS]}/{key}")


def entries(trainings: Path) -> Iterator[Path]:
    """All that lies where trainings' folders do: these, and what strayed in between them."""
    for path in trainings.iterdir() if trainings.is_dir() else ():
        if len(path.name) == SPLIT_DIGITS and path.is_dir():
            yield from path.iterdir()
        else:
            yield path
