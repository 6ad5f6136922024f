"""Whether a study's tables, figures and page on disk are what would be written now, so that nothing need be."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.reporting.outcome import Outcome, outcome_of
from tune_mnist.shell.about import PACKAGE
from tune_mnist.study.files import Corrupt, checksum, read_json, write_json
from tune_mnist.study.layout import entries
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder

if TYPE_CHECKING:
    from tune_mnist.tables.analyse import Tables

NOTE = "made.json"
CODE = ("py", "html", "css")  # what the package's code is in


def note_results(study: Study, tables: Tables, paths: Iterable[Path]) -> None:
    """Note beside the study what the files at `paths` in its folder hold, what they were made of, and the outcome."""
    from tune_mnist.tables.of_study import winners_to_score

    outcome = json.dumps(dataclasses.asdict(outcome_of(tables)))  # as text, in which columns keep their order
    write_json(study.folder / NOTE, {
        "files": {path.relative_to(study.folder).as_posix(): checksum(path.read_bytes()) for path in paths},
        "made_of": _fingerprint(study), "outcome": outcome, "scored": not winners_to_score(study, tables),
    })


def standing_outcome(study: Study) -> Outcome | None:
    """What the study came to, if its winners are scored and its results are as they were written, of what there is now.

    It costs a look at the trainings' files, none of the tables being made.
    """
    try:
        noted = read_json(study.folder / NOTE)
        if noted.get("made_of") != _fingerprint(study):  # of other code, too, whose note may have another form
            return None
        changed = any(checksum((study.folder / name).read_bytes()) != seal for name, seal in noted["files"].items())
        return Outcome(**json.loads(noted["outcome"])) if noted["scored"] and not changed else None
    except (OSError, Corrupt):
        return None


def _fingerprint(study: Study) -> str:
    """SHA-256, in hexadecimal, of what the study was asked for, its trainings' results and the package's code."""
    asked = {name: value for name, value in study.describe().items() if name != "runs"}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for part in _parts(study):
        digest.update(part)
    return digest.hexdigest()


def _parts(study: Study) -> Iterator[bytes]:
    for folder in sorted(entries(study.folder / "trainings")):
        yield TrainingFolder(folder).results_digest()
    for path in sorted(path for kind in CODE for path in PACKAGE.rglob(f"*.{kind}")):
        yield path.read_bytes()
