"""Test of the notebook that walks through grid, search, a model of one's own, plots and retraining: run whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.idx import random_arrays, write_folder

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "experiments" / "tour.ipynb"


@pytest.mark.slow
def test_the_tour_runs_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("TUNE_MNIST_CACHE", str(tmp_path / "cache"))
    data = write_folder(tmp_path / "data", random_arrays(train=1200, test=200))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:  # as it stands, but on fewer pictures
        for spec in ("tm.StudySpec(", "tm.SearchSpec("):
            cell.source = cell.source.replace(spec, f"{spec}data={str(data)!r}, ")
    nbclient.NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = {
        kind for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
        for kind in output.get("data", {})
    }
    assert {"text/plain", "text/html", "image/png"} <= outputs
    assert float(notebook.cells[-1].outputs[-1]["data"]["text/plain"]) > 0.5
    assert {path.name for path in (tmp_path / "ray_results").iterdir()} >= {"tour", "tour-search", "tour-mine"}
    assert list((tmp_path / "ray_results" / "tour-mine" / "models").glob("Patches@*/patches.py"))
