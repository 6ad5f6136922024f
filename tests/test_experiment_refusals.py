"""Tests of the conductor without Ray: what it refuses before anything is written, and a study that is complete."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from support.idx import random_arrays, write_folder
from support.studies import made_study
from tune_mnist.experiment import check_experiment, open_study
from tune_mnist.grid_experiment import run_grid
from tune_mnist.running.resources import Resources
from tune_mnist.search_experiment import run_search
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.search import SearchSpec
from tune_mnist.spec.space import Space
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.lock import study_lock

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any, **__: Any) -> None:
        pytest.fail("Ray was about to start")

    monkeypatch.setattr("tune_mnist.running.session.ray_session", start)


@pytest.mark.parametrize(("spec", "options", "problem"), [
    (StudySpec(batch_size=(16, 50_001)), {}, "`batch_size <= 50000` must hold, but got 50001: lower --batch-size"),
    (StudySpec(batch_size=(60_001,), protocol="report"), {}, "`batch_size <= 60000` must hold, but got 60001"),
    (StudySpec(data=Path("nowhere")), {}, "cannot read nowhere: .*: name a folder of IDX files"),
    (StudySpec(), {"resources": Resources(cpus_per_trial=1000)}, "`cpus_per_trial <= .*1000"),
    (StudySpec(), {"resources": Resources(gpus_per_trial=1000)}, "`gpus_per_trial <= .*1000"),
    (SearchSpec(space=Space(batch_size=(16, 50_001))), {}, "`batch_size <= 50000` must hold, but got 50001"),
    (SearchSpec(), {"warm_start": [Path("nowhere")]}, "nowhere is not a study"),
    (SearchSpec(), {"optuna_storage": "nonsense"}, "check --optuna-storage"),
])
def test_what_cannot_run_is_refused_before_anything_is_written(
    spec: StudySpec | SearchSpec, options: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    run: Any = run_grid if isinstance(spec, StudySpec) else run_search
    with pytest.raises(UserError, match=problem):
        run(spec, storage=tmp_path / "studies", console=QUIET, **options)
    assert not list(tmp_path.iterdir())


def test_a_storage_that_is_a_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write .*/file/grid: Not a directory"):
        run_grid(storage=tmp_path / "file", console=QUIET)
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("run", ["run_grid", "run_search"])
def test_a_held_study_is_refused_before_the_heavy_imports(run: str, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from tune_mnist import UserError, {run}
try:
    {run}(name="held", storage=Path({str(tmp_path)!r}))
except UserError as error:
    print(error)
print({{"torch", "ray", "pandas", "optuna"}} & {{*sys.modules}})
"""
    (tmp_path / "held").mkdir()
    with study_lock(tmp_path / "held"):
        before = sorted(tmp_path.rglob("*"))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    told, loaded = done.stdout.splitlines()
    assert "study held is in use" in told and loaded == "set()"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_fresh_start_moves_the_old_study_aside_unless_it_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with open_study(folder):
        (folder / "trainings" / "old").touch()
        with pytest.raises(UserError, match="study s is in use"), open_study(folder, fresh=True):
            pass
    with open_study(folder, fresh=True) as study:
        assert not list((study.folder / "trainings").iterdir())
    assert (tmp_path / "s.aside-1" / "trainings" / "old").exists()


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    told = f"{tmp_path}/s: the same command goes on from there$"
    for fresh in (True, False):  # a fresh start where nothing was is a start
        with pytest.raises(KeyboardInterrupt, match=told), open_study(tmp_path / "s", fresh=fresh):
            raise KeyboardInterrupt


def test_an_interrupted_fresh_start_says_how_not_to_start_anew_and_where_the_old_study_is(tmp_path: Path) -> None:
    with open_study(tmp_path / "s"):
        pass
    told = f"the same command without --fresh goes on from there; the old study is in {tmp_path}/s.aside-1$"
    with pytest.raises(KeyboardInterrupt, match=told), open_study(tmp_path / "s", fresh=True):
        raise KeyboardInterrupt


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("run", [run_grid, run_search])
def test_a_folder_that_is_not_ours_is_refused_and_left_as_it_is(run: Any, fresh: bool, tmp_path: Path) -> None:
    """Ray Tune's own default folder has the name of ours, ray_results."""
    folder = tmp_path / "ray_results" / "thesis"
    folder.mkdir(parents=True)
    (folder / "results.csv").write_text("my own results")
    told = f"^{folder} is not empty and not a study: choose another --name$"
    with pytest.raises(UserError, match=told):
        run(name="thesis", storage=folder.parent, fresh=fresh, console=QUIET)
    with pytest.raises(UserError, match=told), open_study(folder, fresh=fresh):
        pass
    assert (folder / "results.csv").read_text() == "my own results" and len(list(tmp_path.rglob("*"))) == 3


def test_a_complete_study_is_written_again_without_ray(tmp_path: Path) -> None:
    spec = StudySpec(
        models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(16,), epochs=(1, 2), protocol="report",
        data=write_folder(tmp_path / "data", random_arrays()),
    )
    loaded = check_experiment(spec, Resources())
    labels = loaded.dataset.test_labels
    folder = tmp_path / "grid"
    made_study(folder, spec, context=loaded.context, pictures=len(labels), scored=4, test_labels=labels)
    result = run_grid(spec, storage=tmp_path, console=QUIET)
    assert result.result_grid is None and (result.folder / "report.html").exists()
    assert set(result.tables.results["status"]) == {"complete"} and len(result.tables.results) == 4
    with pytest.raises(pytest.fail.Exception, match="Ray was about to start"):
        run_grid(replace(spec, seeds=2), storage=tmp_path, console=QUIET)
