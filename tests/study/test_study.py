"""Tests of a study: its specs, its plan and its records."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.specs import changed
from support.stored import CONFIG, CONTEXT, KEY, OTHER, SPEC, begun, damage, train, tree
from tune_mnist.shell.about import without_password
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig, training_key
from tune_mnist.study.study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path / "study")
    made.folder.mkdir()
    made.create()
    return made


def cells(study: Study) -> list[tuple[TrainingConfig, int]]:
    return [(plan.config, budget) for plan in study.planned() for budget in plan.budgets]


def cells_of(*specs: StudySpec) -> set[tuple[TrainingConfig, int]]:
    return {(plan.config, budget) for spec in specs for plan in spec.trainings() for budget in plan.budgets}


@pytest.mark.parametrize(
    "word, kept",
    [
        ("postgresql://me:se:cr/et@host/db", "postgresql://me:***@host/db"),
        ("--mlflow=http://me:secret@host:5000", "--mlflow=http://me:***@host:5000"),
        ("mysql://host/db?user=me&password=secret&ssl=1", "mysql://host/db?user=me&password=***&ssl=1"),
        ("sqlite:////tmp/a@b:c.db", "sqlite:////tmp/a@b:c.db"),
        ("http://host:5000/a", "http://host:5000/a"),
        ("host:6379", "host:6379"),
    ],
)
def test_a_recorded_command_has_no_password(word: str, kept: str) -> None:
    assert without_password(word) == kept


def test_a_study_remembers_its_specs_context_and_runs(study: Study) -> None:
    study.add(SPEC, CONTEXT, {"commit": "a"})
    study.add(SPEC, CONTEXT, {"commit": "b"})
    assert study.describe()["runs"] == [{"commit": "a"}, {"commit": "b"}] and len(study.describe()["specs"]) == 1
    assert study.context() == CONTEXT and study.name == "study"
    assert len(cells(study)) == len(set(cells(study))) and set(cells(study)) == cells_of(SPEC)


def test_specs_merge_into_the_union_of_their_cells(study: Study) -> None:
    for spec in (SPEC, OTHER, SPEC):
        study.add(spec, CONTEXT, {})
    assert set(cells(study)) == cells_of(SPEC, OTHER) and len(cells(study)) == len(cells_of(SPEC, OTHER))
    shared = next(plan for plan in study.planned() if plan.config == CONFIG)
    assert shared.budgets == (1, 2, 3) and shared.epochs == 3


def test_the_plan_does_not_depend_on_the_order_in_which_specs_came(tmp_path: Path) -> None:
    cosine = changed(SPEC, schedule="cosine")
    seeded = dataclasses.replace(SPEC, seeds=3, lr=(1e-2, 5e-1, 1e-3))
    plans = []
    for number, specs in enumerate(itertools.permutations([SPEC, OTHER, cosine, seeded])):
        study = Study(tmp_path / str(number))
        study.folder.mkdir()
        for spec in specs:
            study.add(spec, CONTEXT, {})
        plans.append(study.planned())
    assert all(plan == plans[0] for plan in plans)
    assert len({training_key(plan.config, CONTEXT) for plan in plans[0]}) == len(plans[0])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"protocol": "report"}, "study study has protocol holdout, but this run has report: choose another --name"),
        ({"data_sha256": "cd" * 32}, "study study has data_sha256 (ab){32}, but this run has (cd){32}"),
    ],
)
def test_another_protocol_or_other_data_are_refused(changes: dict[str, Any], problem: str, study: Study) -> None:
    study.add(SPEC, CONTEXT, {})
    before = tree(study.folder)
    with pytest.raises(UserError, match=problem):
        study.add(OTHER, dataclasses.replace(CONTEXT, **changes), {})
    assert tree(study.folder) == before


def test_a_damaged_study_json_is_refused_by_readers_and_replaced_by_the_next_run(study: Study) -> None:
    study.add(SPEC, CONTEXT, {})
    train(study.training(KEY), 3)
    damage(study.folder / "study.json")
    with pytest.raises(UserError, match=r"study\.json does not match its checksum: restore it, or run"):
        study.planned()
    assert (study.folder / "study.json").exists()
    with pytest.warns(UserWarning, match=r"study\.json does not match its checksum; kept as study\.json\.aside-1"):
        study.add(SPEC, CONTEXT, {})
    assert (study.folder / "study.json.aside-1").exists()
    statuses = {record.key: record.status for record in study.records(study.planned(), study.context())}
    assert statuses[KEY] == "complete" and list(statuses.values()).count("unfinished") == 1


def test_a_study_written_from_python_with_numpy_numbers_can_be_read(study: Study) -> None:
    import numpy as np

    study.add(StudySpec(lr=tuple(np.logspace(-3, -1, 3)), batch_size=tuple(2 ** np.arange(4, 6))), CONTEXT, {})
    assert len(study.planned()) == 18


@pytest.mark.parametrize("content", [None, "file"])
def test_what_is_no_study_is_told_in_one_line(content: str | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / "study").write_text(content)
    with pytest.raises(UserError, match=r"study is not a study: name a folder that holds a study\.json"):
        Study(tmp_path / "study").describe()


def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file.*: Not a directory: "):
        Study(tmp_path / "file").create()
    with pytest.raises(UserError, match="cannot write .*: Not a directory: "):
        Study(tmp_path / "file" / "study").create()


def test_a_moved_study_reads_the_same(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study.add(SPEC, CONTEXT, {"commit": "a"})
    rows = train(study.training(KEY), 3)
    before = list(study.records(study.planned(), study.context()))
    shutil.move(study.folder, tmp_path / "elsewhere" / "renamed")
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = Study(Path("renamed"))
    assert moved.folder == tmp_path / "elsewhere" / "renamed" and moved.name == "renamed"
    assert list(moved.records(moved.planned(), moved.context())) == before
    content = tree(moved.folder)
    assert train(moved.training(KEY), 3) == rows and tree(moved.folder) == content
    assert str(study.folder).encode() not in b"".join(content.values())


def test_records_come_in_the_order_of_the_plan(study: Study) -> None:
    study.add(OTHER, CONTEXT, {})
    planned = study.planned()
    begun(study.training(training_key(planned[1].config, CONTEXT)), 2)
    records = list(study.records(planned, CONTEXT))
    assert [record.config for record in records] == [plan.config for plan in planned]
    assert [record.key for record in records] == [training_key(plan.config, CONTEXT) for plan in planned]
    assert [len(record.epochs) for record in records] == [0, 2] + [0] * (len(planned) - 2)


@pytest.mark.parametrize("name", ["eased", "cnn", "report"])
def test_a_study_made_before_every_setting_could_vary_is_asked_for_again_without_a_second_entry(
    name: str, tmp_path: Path
) -> None:
    curated = Path(__file__).parents[2] / "ray_results" / name
    study = Study(tmp_path / name)
    study.folder.mkdir()
    study.create()
    shutil.copy(curated / "study.json", study.folder)
    specs, before = study.specs(), study.describe()["specs"]
    for spec in specs:
        study.add(spec, study.context())
    assert study.describe()["specs"] == before and study.specs() == specs
    assert {training_key(plan.config, study.context()) for plan in study.planned()} == {
        path.parent.name for path in curated.glob("trainings/**/config.json")
    }
