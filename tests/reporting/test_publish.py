"""What is written beside a study's trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from support.slices import mnist
from support.studies import made_study, made_tables
from tune_mnist.reporting.publish import cell_figures, write_results
from tune_mnist.reporting.standing_results import NOTE, results_stand
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
    study = made_study(tmp_path / "study", SPEC)
    assert not results_stand(study, tables_of(study))
    paths = write_results(study, tables_of(study))
    assert results_stand(study, tables_of(study))
    study.add(None, study.context(), about_run())
    assert results_stand(study, tables_of(study))
    for path in paths:
        path.rename(tmp_path / "moved")
        assert not results_stand(study, tables_of(study)), path
        (tmp_path / "moved").rename(path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert not results_stand(study, tables_of(study)), path
        path.write_bytes(whole)
    tables = tables_of(study)
    for name in ("epochs", "results", "summary", "top3", "timings"):
        less = getattr(tables, name).iloc[1:]
        assert not results_stand(study, replace(tables, **{name: less})), name
    study.add(replace(SPEC, lr=(1e-4,)), study.context())
    assert not results_stand(study, tables)
    write_results(study, tables)
    assert results_stand(study, tables)
    other = tmp_path / "package"
    other.mkdir()
    (other / "new.py").write_text("")
    monkeypatch.setattr("tune_mnist.reporting.standing_results.PACKAGE", other)
    assert not results_stand(study, tables)
    write_json(study.folder / NOTE, {"files": ["results.csv"]})  # as another version may have noted
    assert not results_stand(study, tables)
