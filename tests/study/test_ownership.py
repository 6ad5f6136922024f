"""What is not ours is refused before anything is written; what a killed run of ours left is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_mnist.spec.errors import UserError
from tune_mnist.study.ownership import refuse_foreign_model, refuse_foreign_study


def fill(folder: Path, *names: str) -> Path:
    """Put files, and folders where a name ends in /, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text("")
    return folder


@pytest.mark.parametrize(
    "names",
    [
        (), ("lock",), ("trainings/",), ("lock", "trainings/", ".probe.tmp"), ("study.json", "results.csv", "mine"),
        (".study.json.0123abcd.tmp",), ("lock", ".nfs0001"), (".DS_Store",),
        ("best/retrain.json", "lock"), ("best/checkpoints/", "best-1/retrain.json"),
    ],
)
def test_what_our_runs_leave_at_any_moment_is_a_study_of_ours(names: tuple[str, ...], tmp_path: Path) -> None:
    refuse_foreign_study(fill(tmp_path / "grid", *names))
    refuse_foreign_study(tmp_path / "none")


@pytest.mark.parametrize(
    "names", [("results.csv",), ("thesis.txt", "lock"), ("best/model.pt",), ("ray/x",), ("figures/",)]
)
def test_anything_else_is_refused_and_left_as_it_is(names: tuple[str, ...], tmp_path: Path) -> None:
    folder = fill(tmp_path / "ray_results", *names)
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=f"^{folder} is not empty and not a study: choose another --name$"):
        refuse_foreign_study(folder)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("names", [(), ("checkpoints/",), ("retrain.json", "model.pt"), (".model.pt.0123abcd.tmp",)])
def test_a_model_of_ours_may_be_trained_on(names: tuple[str, ...], tmp_path: Path) -> None:
    refuse_foreign_model(fill(tmp_path / "best", *names))
    refuse_foreign_model(tmp_path / "rank-2")


@pytest.mark.parametrize("names", [("model.pt",), ("notes.txt", "plain/retrain.json")])
def test_a_folder_best_of_someone_elses_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="best is not empty and no retrained model: move it away"):
        refuse_foreign_model(fill(tmp_path / "best", *names))
