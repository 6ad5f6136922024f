"""What is written beside a study's trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from support.slices import mnist
from support.studies import made_study, made_tables
from tune_mnist.reporting.outcome import outcome_of
from tune_mnist.reporting.publish import cell_figures, write_results
from tune_mnist.reporting.standing_results import NOTE, standing_outcome
from tune_mnist.shell.about import about_run
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.files import write_json
from tune_mnist.tables.of_study import tables_of

SPEC = StudySpec(models=("SimpleNN",), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2, 4))


def test_tables_figures_and_page_are_written_where_the_paths_say(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", SPEC, scored=3, test_labels=mnist().test_labels)
    tables = tables_of(study)
    drawn = cell_figures(tables)
    paths = write_results(study, tables, drawn=dict(drawn))
    assert all(path.stat().st_size > 0 for path in paths)
    assert {path.name for path in paths if path.parent == study.folder} == {
        "epochs.csv", "results.csv", "summary.csv", "top3.csv", "timings.csv", "report.html",
    }
    figures = {path.stem: path for path in paths if path.parent == study.folder / "figures"}
    assert set(figures) == {*drawn, "confusion_matrix", "reliability", "worst_confused"} and "cost" in drawn
    assert all(figures[name].read_bytes() == png for name, png in drawn.items())


def test_another_study_supplies_the_cnn_s_curve(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", SPEC)
    cnn = made_tables(replace(SPEC, models=("CNN",)))
    alone = write_results(study, tables_of(study))
    both = write_results(study, tables_of(study), [("cnn", cnn)])
    assert {path.stem for path in both} - {path.stem for path in alone} == {"fully_connected_and_cnn"}


def test_results_stand_until_the_study_its_files_or_the_package_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = made_study(tmp_path / "study", SPEC, scored=3, test_labels=mnist().test_labels)
    assert standing_outcome(study) is None
    paths = write_results(study, tables_of(study))
    assert standing_outcome(study) == outcome_of(tables_of(study))
    study.add(None, study.context(), about_run())
    assert standing_outcome(study) is not None
    trainings = [path for path in study.folder.glob("trainings/**/*.json") if path.name != "config.json"]
    assert {path.name for path in trainings} >= {"history.json", "timings.json", "test-00004.json"}
    for path in [*paths, *trainings]:
        path.rename(tmp_path / "moved")
        assert standing_outcome(study) is None, path
        (tmp_path / "moved").rename(path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert standing_outcome(study) is None, path
        path.write_bytes(whole)
    (trainings[0].parent / "failure.json").write_text("")
    assert standing_outcome(study) is None
    (trainings[0].parent / "failure.json").unlink()
    assert standing_outcome(study) is not None
    study.add(replace(SPEC, lr=(1e-4,)), study.context())
    assert standing_outcome(study) is None
    write_results(study, tables_of(study))
    assert standing_outcome(study) is not None
    other = tmp_path / "package"
    other.mkdir()
    (other / "new.py").write_text("")
    monkeypatch.setattr("tune_mnist.reporting.standing_results.PACKAGE", other)
    assert standing_outcome(study) is None
    write_json(study.folder / NOTE, {"files": ["results.csv"]})  # as another version may have noted
    assert standing_outcome(study) is None


def test_results_without_the_winners_test_scores_do_not_stand(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", SPEC)
    write_results(study, tables_of(study))
    assert standing_outcome(study) is None
