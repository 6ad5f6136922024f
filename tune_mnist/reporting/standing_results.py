"""Whether a study's tables, figures and page on disk are what would be written now, so that nothing need be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from tune_mnist.shell.about import PACKAGE
from tune_mnist.study.files import Corrupt, checksum, read_json, write_json
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import WRITTEN, Tables

NOTE = "made.json"
CODE = ("py", "html", "css")  # what the package's code is in


def note_results(study: Study, tables: Tables, paths: Iterable[Path]) -> None:
    """Note beside the study what the files at these `paths` in its folder hold, and of what they were made."""
    made = {path.relative_to(study.folder).as_posix(): checksum(path.read_bytes()) for path in paths}
    write_json(study.folder / NOTE, {"files": made, "made_of": _fingerprint(study, tables)})


def results_stand(study: Study, tables: Tables) -> bool:
    """Whether all that was written beside the study is as it was written, and was made of what there is now."""
    try:
        noted = read_json(study.folder / NOTE)
        if noted.get("made_of") != _fingerprint(study, tables):  # of other code, too, whose note may have another form
            return False
        return all(checksum((study.folder / name).read_bytes()) == seal for name, seal in noted["files"].items())
    except (OSError, Corrupt):
        return False


def _fingerprint(study: Study, tables: Tables) -> str:
    """SHA-256, in hexadecimal, of the tables, what the study was asked for, and the package's code; not of its runs."""
    asked = {name: value for name, value in study.describe().items() if name != "runs"}
    about = [asked, tables.method, {name: repr(value) for name, value in tables.settings.items()}]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in WRITTEN:
        frame = getattr(tables, name)
        digest.update(repr([*frame.columns]).encode())
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    for path in sorted(path for kind in CODE for path in PACKAGE.rglob(f"*.{kind}")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
