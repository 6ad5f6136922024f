"""The checklist says what the files say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from support.studies import ABOUT, made_study
from tune_mnist.reporting.checklist import Item, checklist
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.study import Study
from tune_mnist.tables import of_study
from tune_mnist.tables.of_study import tables_of

SPEC = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-4), batch_size=(16,), epochs=(2, 4), seeds=2)
COMMIT = {"commit": "ab" * 20, "dirty": False}


def checked(study: Study) -> list[Item]:
    tables = tables_of(study)
    return checklist(study, tables, of_study.test_set_uses(study, tables))


def items(folder: Path, spec: StudySpec = SPEC, **kwargs: Any) -> dict[str, Item]:
    study = made_study(folder, spec, **kwargs)
    return {item.name: item for item in checked(study)}


def test_a_study_that_can_be_repeated_has_every_item(tmp_path: Path) -> None:
    told = items(tmp_path / "study", about={**ABOUT, "git": COMMIT, "command": ["grid.py", "--name", "a b"]}, scored=6)
    assert all(item.checked for item in told.values())
    assert told["everything asked for is complete"].values == ["8 of 8 results"]
    assert told["more than one seed"].values == ["0, 1"]
    assert told["one commit, unchanged"].values == ["ab" * 20 + ", unchanged"]
    assert told["data's checksum"].values == [f"SHA-256 {'holdout':0<64}"]
    assert "scored 6 times for the three best" in told["test set kept for the end"].values[0]
    assert told["command lines"].values == ["2026-01-01T00:00:00+00:00: grid.py --name 'a b'"]


def test_what_is_not_so_is_not_checked(tmp_path: Path) -> None:
    spec = replace(SPEC, protocol="report", seeds=1)
    study = made_study(tmp_path / "study", spec, about={**ABOUT, "git": {**COMMIT, "dirty": True}})
    study.add(None, study.context(), {**ABOUT, "git": None, "python": "3.12.0"})
    study.add(replace(spec, lr=(1e-2,)), study.context())
    told = {item.name: item for item in checked(study)}
    assert [name for name, item in told.items() if item.checked] == [
        "data's checksum", "one type of machine", "command lines",
    ]
    assert told["everything asked for is complete"].values == ["4 of 6 results"]
    assert told["one commit, unchanged"].values == ["ab" * 20 + ", changed since", "not known"]
