"""Which folders are ours to write into: those that are new, empty, or were begun by a run of ours."""

from __future__ import annotations

import os
from pathlib import Path

from tune_mnist.spec.errors import UserError

STUDY, RETRAINED = ("study.json", "trainings"), ("retrain.json", "checkpoints")
"""What is made first in the folder of a study and of a retrained model: any of these marks it as ours."""


def refuse_foreign_study(folder: Path) -> None:
    """Raise `UserError` if `folder` holds something, and that is no study: its files would be written over."""
    names = _names(folder)
    unknown = {name for name in names - {"lock"} if not is_retrained(folder / name)}
    if unknown and not names & set(STUDY):
        raise UserError(f"{folder} is not empty and not a study: choose another --name")


def refuse_foreign_model(folder: Path) -> None:
    """Raise `UserError` if `folder` holds something, and that is no model that a retraining keeps."""
    if _names(folder) and not is_retrained(folder):
        raise UserError(f"{folder} is not empty and no retrained model: move it away, or choose another folder")


def is_retrained(folder: Path) -> bool:
    """Whether `folder` is a retraining's, begun or done."""
    return bool(_names(folder) & set(RETRAINED))


def _names(folder: Path) -> set[str]:
    """What lies in `folder`, hidden files apart: temporary ones of a killed run, or of a file system or viewer."""
    try:
        return {name for name in os.listdir(folder) if not name.startswith(".")}
    except OSError:
        return set()
