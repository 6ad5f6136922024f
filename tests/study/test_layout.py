"""Tests of where trainings' folders lie: split by the key's first two digits, or as an earlier version left them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from support.stored import CONFIG, CONTEXT, KEY, SPEC, begun, damage, states
from support.studies import made_study
from tune_mnist.grid_experiment import missing_trainings
from tune_mnist.reporting.verification import problems
from tune_mnist.study.layout import entries, training_path
from tune_mnist.study.look import Look
from tune_mnist.study.study import Study
from tune_mnist.tables.of_study import tables_of


def made_flat(study: Study) -> None:
    """Move a study's trainings to where earlier versions had them."""
    for folder in list(entries(study.folder / "trainings")):
        folder.rename(study.folder / "trainings" / folder.name)
        folder.parent.rmdir()


def test_a_training_lies_under_the_first_two_digits_of_its_key(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", SPEC)
    keys = sorted(folder.name for folder in entries(study.folder / "trainings"))
    assert sorted((study.folder / "trainings").rglob("history.json")) == [
        study.folder / "trainings" / key[:2] / key / "history.json" for key in keys
    ]
    assert len(keys) == 2


def test_a_study_of_an_earlier_version_is_read_and_gone_on_with_as_it_is(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", SPEC)
    tables, status = tables_of(study), Look(study)().trainings
    made_flat(study)
    assert tables_of(study).results.equals(tables.results) and Look(study)().trainings == status
    assert missing_trainings(study, study.planned(), study.context(), Console(quiet=True)) == []
    assert all(folder.parent == study.folder / "trainings" for folder in entries(study.folder / "trainings"))
    one = next(entries(study.folder / "trainings"))
    assert study.training(one.name).folder == one == training_path(study.folder / "trainings", one.name)
    damage(one / "history.json")
    assert [line.partition(":")[0] for line in problems(study)] == [f"trainings/{one.name}"]


def test_what_is_asked_for_later_lies_beside_what_an_earlier_version_left(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", SPEC)
    made_flat(study)
    begun(study.training(KEY), 1)
    assert study.training(KEY).folder == study.folder / "trainings" / KEY[:2] / KEY
    assert len(list(entries(study.folder / "trainings"))) == 3


def test_a_study_that_is_gone_is_not_made_anew_by_what_is_saved_in_it(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    with pytest.raises(OSError, match=r"cannot write .*trainings/..: No such file"):
        study.training(KEY).begin(CONFIG, CONTEXT)
    assert not study.folder.exists()


def test_a_start_reads_no_state_and_who_goes_on_with_one_verifies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = made_study(tmp_path / "study", SPEC)
    folder = begun(study.training(KEY), 3)
    damage(states(folder)[3])
    read, read_bytes = set(), Path.read_bytes

    def seen(path: Path) -> bytes:
        read.add(path.suffix)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", seen)
    plan = SPEC.trainings()[0]
    assert missing_trainings(study, [plan], CONTEXT, Console(quiet=True)) == []
    assert read == {".json"}
    with pytest.warns(match="state-00003.* does not match its checksum; kept as"):
        assert folder.begin(CONFIG, CONTEXT).state_epoch == 2
