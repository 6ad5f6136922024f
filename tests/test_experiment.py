"""Tests of what grid and search do before, between and after Ray: the study opened, and what of it is missing."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from support.idx import random_arrays, write_folder
from support.plain import plain_study
from support.stored import damage
from support.studies import made_study
from tune_mnist import experiment, grid_experiment
from tune_mnist.experiment import check_experiment, open_study
from tune_mnist.grid_experiment import missing_trainings, run_grid
from tune_mnist.running import runner
from tune_mnist.running.resources import Resources
from tune_mnist.spec.errors import Damaged, UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import training_key
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import Progress

SPEC = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2, 1e-1, 1.0), batch_size=(16,), epochs=(1, 3))


def missing(study: Study, spec: StudySpec) -> tuple[list[float], str]:
    """The learning rates of the trainings that are missing, and what is said of it."""
    out = io.StringIO()
    plans = missing_trainings(study, spec.trainings(), study.context(), Console(file=out, width=200))
    return [plan.config.lr for plan in plans], out.getvalue()


def test_only_what_is_complete_or_diverged_is_not_missing(tmp_path: Path) -> None:
    study = made_study(tmp_path / "made", SPEC, pictures=100)
    assert missing(study, SPEC) == ([], "made: 4 trainings: 4 done, 0 to go on with, 0 to start\n")
    folders = {
        plan.config.lr: study.training(training_key(plan.config, study.context())) for plan in SPEC.trainings()
    }
    rows = {lr: folder.progress().rows for lr, folder in folders.items()}
    folders[1e-2].save(Progress([rows[1e-2][0], {**rows[1e-2][1], "train_loss": None}]))  # diverged
    folders[1e-1].save(Progress(rows[1e-1][:2]))
    (folders[1.0].folder / "history.json").unlink()
    folders[1.0].fail("ValueError: bad", "ValueError: bad")
    assert missing(study, SPEC) == ([1e-1, 1.0], "made: 4 trainings: 2 done, 1 to go on with, 1 to start\n")
    folders[1e-1].fail("ValueError: bad", "ValueError: bad")  # failed trainings are tried again
    assert missing(study, SPEC)[0] == [1e-1, 1.0]
    longer = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2, 5.0), batch_size=(16,), epochs=(4,))
    assert missing(study, longer) == ([1e-3, 5.0], "made: 3 trainings: 1 done, 1 to go on with, 1 to start\n")


def test_a_damaged_history_makes_its_training_missing_and_is_told(tmp_path: Path) -> None:
    study = made_study(tmp_path / "made", SPEC, pictures=100)
    damage(next(study.folder.glob("trainings/**/history.json")))
    with pytest.warns(Damaged, match="history.json"):
        found, _ = missing(study, SPEC)
    assert len(found) == 1


def test_a_study_that_is_open_is_refused_to_others_and_left_as_it_is(tmp_path: Path) -> None:
    with open_study(tmp_path / "s") as study:
        (study.folder / "study.json").write_text("{}")
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        for fresh in (False, True):
            with pytest.raises(UserError, match="is in use by"), open_study(tmp_path / "s", fresh=fresh):
                pass
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with open_study(tmp_path / "s") as study:
        assert (study.folder / "study.json").read_text() == "{}"


def test_a_fresh_study_moves_the_old_one_aside(tmp_path: Path) -> None:
    with open_study(tmp_path / "s") as study:
        (study.folder / "mine").write_text("kept")
    with open_study(tmp_path / "s", fresh=True) as study:
        assert not (study.folder / "mine").exists()
    (aside,) = (path for path in tmp_path.iterdir() if path.is_dir() and path != study.folder)
    assert (aside / "mine").read_text() == "kept"


def test_a_stopped_run_says_how_to_go_on_and_lets_go_of_its_study(tmp_path: Path) -> None:
    how = r"^stopped; every finished epoch is in .*/s: the same command goes on from there$"
    with pytest.raises(KeyboardInterrupt, match=how), open_study(tmp_path / "s"):
        raise KeyboardInterrupt
    with open_study(tmp_path / "s"):
        pass


@pytest.fixture
def small(tmp_path: Path) -> StudySpec:
    data = write_folder(tmp_path / "data", random_arrays(train=600, test=100))
    return StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(64,), epochs=(1, 2), data=data)


def test_a_batch_larger_than_the_training_set_is_refused(small: StudySpec) -> None:
    assert len(check_experiment(small, Resources()).data.train_labels) == 500
    small = StudySpec(batch_size=(500, 501), data=small.data)
    with pytest.raises(UserError, match="batch_size <= 500.*501.*lower --batch-size"):
        check_experiment(small, Resources())


def test_a_grid_starts_ray_for_what_is_missing_alone(
    small: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = plain_study(small, tmp_path / "grid")
    begun: list[str] = []

    @contextlib.contextmanager
    def session(*_: Any, **__: Any) -> Iterator[None]:
        begun.append("session")
        yield

    def run_trainings(plans: Any, *args: Any) -> Any:
        begun.extend(plan.config.label for plan in plans)
        return "Ray's results"

    monkeypatch.setattr(grid_experiment, "session", session)
    monkeypatch.setattr(runner, "run_trainings", run_trainings)
    monkeypatch.setattr(experiment, "test_pictures", lambda *_: None)
    monkeypatch.setattr(runner, "score_winners", lambda winners, *args: begun.append(f"{len(winners)} scored"))
    quiet = Console(quiet=True)
    result = run_grid(small, storage=tmp_path, console=quiet)
    assert begun == [] and result.result_grid is None and (study.folder / "report.html").exists()
    assert set(result.tables.results["status"]) == {"complete"}
    for path in study.folder.glob("trainings/**/test-*.json"):
        path.unlink()
    assert run_grid(small, storage=tmp_path, console=quiet).result_grid is None
    assert begun == ["session", "3 scored"]
    begun.clear()
    history = next(study.folder.glob("trainings/**/history.json"))
    history.unlink()
    (label,) = (
        plan.config.label for plan in small.trainings()
        if training_key(plan.config, study.context()) == history.parent.name
    )
    found: Any = run_grid(small, storage=tmp_path, console=quiet).result_grid
    assert found == "Ray's results" and begun[:2] == ["session", label]
