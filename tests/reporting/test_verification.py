"""Tests of verification: a whole study is right, each kind of damage is one line, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from support.idx import random_arrays, write_folder
from support.plain import plain_study
from support.stored import damage, tree
from support.studies import made_study
from tune_mnist.reporting.verification import problems, replay
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.files import read_json, write_atomic, write_json
from tune_mnist.study.layout import entries
from tune_mnist.study.lock import study_lock
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import write_tables
from tune_mnist.tables.of_study import tables_of
from tune_mnist.training.packing import pack_bits, unpack_bits
from tune_mnist.verify import main

SPEC = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(64,), epochs=(1, 3))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of two trainings of three epochs, each with a state, and its tables."""
    made = made_study(tmp_path / "mine", SPEC, pictures=50)
    for folder in folders(made):
        made.training(folder.name).states.write(3, folder.name.encode())
    write_tables(tables_of(made), made.folder, write_atomic)
    return made


def folders(study: Study) -> list[Path]:
    """The folders of the study's trainings."""
    return sorted(entries(study.folder / "trainings"), key=lambda folder: folder.name)


def change_history(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Let `change` alter the rows of a training's history, which then has a right checksum again."""
    history = read_json(folder / "history.json")
    change(history["epochs"])
    write_json(folder / "history.json", history)


def append_line(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"one,more,row\n")


def state_of(folder: Path) -> Path:
    (path,) = folder.glob("state-*.pt")
    return path


def test_in_a_whole_study_nothing_is_wrong(study: Study) -> None:
    before = tree(study.folder)
    assert list(problems(study)) == []
    assert tree(study.folder) == before


DAMAGE: dict[str, tuple[Callable[[Path, Path, Path], object], list[str]]] = {
    "a history's byte": (
        lambda study, first, second: damage(first / "history.json"),
        ["trainings/{first}: history.json does not match its checksum"],
    ),
    "a config's byte": (
        lambda study, first, second: damage(first / "config.json"),
        ["trainings/{first}: config.json does not match its checksum",
         "trainings/{first}: config.json is missing or damaged"],
    ),
    "a state's byte": (
        lambda study, first, second: damage(state_of(second)),
        ["trainings/{second}: {state} does not match its checksum"],
    ),
    "another training's state": (
        lambda study, first, second: shutil.copy(state_of(first), state_of(second)),
        ["trainings/{second}: {state} does not match its checksum"],
    ),
    "a missing config": (
        lambda study, first, second: (first / "config.json").unlink(),
        ["trainings/{first}: config.json is missing or damaged"],
    ),
    "another training's config": (
        lambda study, first, second: shutil.copy(first / "config.json", second),
        ["trainings/{second}: config.json is that of training {first_key}"],
    ),
    "another training's history": (
        lambda study, first, second: shutil.copy(first / "history.json", second),
        ["trainings/{second}: history.json belongs to training {first_key}"],
    ),
    "a missing epoch": (
        lambda study, first, second: change_history(first, lambda rows: rows.pop(1)),
        ["trainings/{first}: history.json has epochs 1, 3, not 1 to 2"],
    ),
    "an epoch after a diverged one": (
        lambda study, first, second: change_history(first, lambda rows: rows[1].update(train_loss=None)),
        ["trainings/{first}: history.json goes on after an epoch that diverged"],
    ),
    "a file beside the trainings": (
        lambda study, first, second: (first.parent / "stray").touch(),
        ["trainings/{part}/stray: is not a training's folder"],
    ),
    "an edited table": (
        lambda study, first, second: append_line(study / "results.csv"),
        ["results.csv is not what the trainings say, from line 6 on"],
    ),
    "an empty table": (
        lambda study, first, second: (study / "summary.csv").write_bytes(b""),
        ["summary.csv is not what the trainings say, from line 1 on"],
    ),
    "a missing table": (
        lambda study, first, second: (study / "top3.csv").unlink(),
        ["top3.csv is missing"],
    ),
    "study.json's byte": (
        lambda study, first, second: damage(study / "study.json"),
        ["study.json does not match its checksum"],
    ),
    "no study.json": (
        lambda study, first, second: (study / "study.json").unlink(),
        ["study.json is missing"],
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_kind_of_damage_is_named_and_left_as_it_is(kind: str, study: Study) -> None:
    inflict, expected = DAMAGE[kind]
    first, second = folders(study)
    inflict(study.folder, first, second)
    before = tree(study.folder)
    pair = (("first", first), ("second", second))
    names: dict[str, object] = {name: folder.relative_to(study.folder / "trainings") for name, folder in pair}
    names |= {"first_key": first.name, "part": first.parent.name, "state": state_of(second).name}
    assert list(problems(study)) == [line.format(**names) for line in expected]
    assert tree(study.folder) == before


def test_a_changed_metric_is_found_where_the_tables_differ(study: Study) -> None:
    first = folders(study)[0]
    change_history(first, lambda rows: rows[2].update(train_loss=0.123))
    table = pd.read_csv(study.folder / "epochs.csv")
    lr = read_json(first / "config.json")["config"]["lr"]
    (row,) = table.index[(table["lr"] == lr) & (table["epoch"] == 3)]
    found = list(problems(study))
    assert found[0] == f"epochs.csv is not what the trainings say, from line {row + 2} on"
    assert [line.split()[0] for line in found] == ["epochs.csv", "results.csv", "summary.csv", "top3.csv"]


@pytest.mark.parametrize("path", ["nowhere", "a file", "empty"])
def test_what_is_no_study_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{path} is not a study: name a folder that holds a study.json"):
        list(problems(Study(tmp_path / path)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study that was really trained: one training of two epochs, on data of its own."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_folder(folder / "data", random_arrays(train=130, test=40))
    spec = StudySpec(models=("SimpleNN",), lr=(1e-3,), batch_size=(16,), epochs=(2,), data=data)
    return plain_study(spec, folder / "study")


@pytest.fixture
def copied(trained: Study, tmp_path: Path) -> Study:
    """A copy of `trained`, free to be changed."""
    return Study(Path(shutil.copytree(trained.folder, tmp_path / "study")))


def test_a_training_replayed_gives_the_stored_numbers(trained: Study) -> None:
    before = tree(trained.folder)
    assert list(problems(trained)) == []
    assert replay(trained, folders(trained)[0].name) == []
    assert tree(trained.folder) == before


def test_a_replay_finds_a_changed_number(copied: Study) -> None:
    (folder,) = folders(copied)
    loss = read_json(folder / "history.json")["epochs"][1]["val_loss"]
    change_history(folder, lambda rows: rows[1].update(val_loss=0.125))
    (line,) = replay(copied, folder.name)
    assert line == f"trainings/{folder.name}: epoch 2: val_loss is 0.125, but {loss} when trained again"


@pytest.mark.parametrize(
    ("key", "problem"),
    [("../study.json", "replay is 16 hex digits"), ("0" * 16, "cannot replay 0{16} .*: name a folder in study/train")],
)
def test_a_key_that_no_training_has_is_refused(key: str, problem: str, trained: Study) -> None:
    with pytest.raises(UserError, match=problem):
        replay(trained, key)


def test_a_damaged_history_cannot_be_replayed(copied: Study) -> None:
    (folder,) = folders(copied)
    damage(folder / "history.json")
    with pytest.raises(UserError, match=rf"cannot replay {folder.name} \(history.json does not match its checksum\)"):
        replay(copied, folder.name)


def test_a_replay_takes_the_trainings_own_data_alone(trained: Study, tmp_path: Path) -> None:
    key = folders(trained)[0].name
    moved = write_folder(tmp_path / "moved", random_arrays(train=130, test=40))
    assert replay(trained, key, moved) == []
    other = write_folder(tmp_path / "other", random_arrays(train=130, test=40, seed=1))
    with pytest.raises(UserError, match="the training's data has SHA-256 .*: give it by --data"):
        replay(trained, key, other)


def test_a_gpus_training_is_not_replayed_without_one(copied: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder,) = folders(copied)
    content = read_json(folder / "config.json")
    content["context"]["device"] = "cuda"
    write_json(folder / "config.json", content)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="the training ran on a GPU, and there is none here"):
        replay(copied, folder.name)


def test_the_command_tells_and_its_status_says_whether_all_is_right(
    copied: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = folders(copied)
    assert main([str(copied.folder), "--replay", folder.name]) == 0
    right = f"study: nothing is wrong: 1 trainings and the tables, {folder.name} trained again\n"
    assert capsys.readouterr() == (right, "")
    (copied.folder / "top3.csv").unlink()
    assert main([str(copied.folder)]) == 1
    assert capsys.readouterr() == ("top3.csv is missing\n", "")
    assert main([str(copied.folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {"folder": str(copied.folder), "trainings": 1, "problems": ["top3.csv is missing"]}


def test_a_study_in_use_is_not_verified(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    with study_lock(study.folder):
        assert main([str(study.folder)]) == 2
    assert "study mine is in use by process" in capsys.readouterr().err


def test_a_replay_tells_pictures_by_their_number(copied: Study) -> None:
    (folder,) = folders(copied)
    right = unpack_bits(read_json(folder / "history.json")["epochs"][0]["val_correct"])
    right[:3] = ~right[:3]
    change_history(folder, lambda rows: rows[0].update(val_correct=pack_bits(right)))
    (line,) = replay(copied, folder.name)
    assert ": epoch 1: 3 pictures are told otherwise when trained again: " in line
    assert f" {right.sum()} are right, then " in line and len(line) < 150
