"""The grid command end to end: real Ray, real MNIST."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from chaos.harness import Lab, tables
from support.idx import random_arrays, write_folder
from support.plain import plain_study
from tune_mnist.grid_experiment import run_grid
from tune_mnist.running.result_grid import records_from_results
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import analyse

SMALL = ["--models", "SimpleNN", "MediumNN", "--lr", "1e-3", "1e-1", "--batch-size", "64", "--epochs", "1", "2"]


def grid(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in `folder`."""
    command = [sys.executable, "-m", "tune_mnist.grid", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, env={**os.environ})


@pytest.mark.slow
def test_each_cell_once_well_trained_and_running_twice_changes_no_byte(tmp_path: Path) -> None:
    first = grid(tmp_path, *SMALL, "--json")
    assert first.returncode == 0, first.stderr
    outcome = json.loads(first.stdout)
    assert outcome["cells"] == {"complete": 8}
    assert outcome["top3"][0]["mean"] > 0.95 and outcome["top3"][0]["test_accuracy"] > 0.95
    study = tmp_path / "ray_results" / "grid"
    results = pd.read_csv(study / "results.csv")
    cells = results[["model", "lr", "batch_size", "epochs", "seed"]]
    assert len(cells) == 8 and not cells.duplicated().any()
    assert results["val_accuracy"].is_monotonic_decreasing
    assert len(list(study.glob("trainings/**/state-*.pt"))) == 4  # those of epoch 1 have served
    before = {path.name: path.read_bytes() for path in study.rglob("*") if path.suffix in (".csv", ".png")}
    again = grid(tmp_path, *SMALL, "--json")
    assert again.returncode == 0 and again.stdout == first.stdout, again.stderr
    assert "4 done" in again.stderr and "dashboard" not in again.stderr  # Ray was not even started
    assert "nothing has changed: tables, figures and page stand" in again.stderr
    assert before == {path.name: path.read_bytes() for path in study.rglob("*") if path.suffix in (".csv", ".png")}


@pytest.mark.slow
def test_a_larger_grid_runs_only_what_is_missing_and_agrees_with_independent_runs(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", random_arrays(train=1200, test=200))
    spec = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(32,), epochs=(1, 3), data=folder)
    run_grid(spec, storage=tmp_path, console=Console(quiet=True))
    larger, told = replace(spec, batch_size=(32, 50), epochs=(1, 3, 4)), StringIO()
    shared = run_grid(larger, storage=tmp_path, console=Console(file=told))
    assert "4 trainings: 0 done, 2 to go on with, 2 to start" in told.getvalue()
    independent = replace(larger, independent_epochs=True)
    alone = run_grid(independent, name="alone", storage=tmp_path, console=Console(quiet=True))
    assert len(shared.tables.results) == 12
    pd.testing.assert_frame_equal(shared.tables.results, alone.tables.results, check_exact=True)


@pytest.mark.slow
def test_from_python_tables_and_result_grid_agree(tmp_path: Path) -> None:
    arrays = random_arrays(train=600, test=100)
    spec = StudySpec(
        models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(64,), epochs=(1, 2), seeds=2, protocol="report",
        data=write_folder(tmp_path / "data", arrays),
    )
    result = run_grid(spec, storage=tmp_path, console=Console(quiet=True))
    assert result.result_grid is not None and len(result.result_grid) == 4
    from_ray = analyse(spec.trainings(), records_from_results(result.result_grid), "report")
    pd.testing.assert_frame_equal(from_ray.results, result.tables.results, check_exact=True)
    assert set(result.tables.summary["n"]) == {2}
    again = run_grid(spec, storage=tmp_path, console=Console(quiet=True))
    assert again.result_grid is None and again.outcome == result.outcome
    pd.testing.assert_frame_equal(again.tables.results, result.tables.results, check_exact=True)


@pytest.mark.slow
def test_added_seeds_killed_and_resumed_are_those_of_plain_loops(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    words = ("--models", "SimpleNN", "--lr", "1e-3", "1e-2", "1.0", "--batch-size", "32", "64", "--seeds", "auto:5")
    run = lab.start("killed", *words)
    study = Study(lab.study("killed"))
    run.wait_for(lambda: (study.folder / "study.json").exists() and "rounds" in study.describe())
    run.kill()
    ((_, before),) = study.rounds()
    assert 0 < len(before) < 3
    done = lab.run("killed", *words)
    plain = Study(lab.expected("plain", *words))
    (_, rounds), (_, expected) = *study.rounds(), *plain.rounds()
    assert rounds[: len(before)] == before and rounds == expected
    assert tables(study.folder) == tables(plain.folder)
    assert {path.parent.name for path in study.folder.glob("trainings/**/history.json")} == {
        path.parent.name for path in plain.folder.glob("trainings/**/history.json")
    }
    assert len(rounds) > 1 and "cells are in contention" in done.stderr


@pytest.mark.slow
def test_short_trainings_share_trials_and_come_out_as_those_of_plain_loops(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", random_arrays(train=1200, test=200))
    spec = StudySpec(models=("SimpleNN",), lr=(1e-3,), batch_size=(32,), epochs=(1, 2), seeds=60, data=folder)
    result = run_grid(spec, name="shared", storage=tmp_path, console=Console(quiet=True))
    assert result.result_grid is not None and len(result.result_grid) <= 40  # of 60, whose first ones tell the seconds
    assert set(result.tables.results["status"]) == {"complete"} and len(result.tables.results) == 120
    assert tables(result.folder) == tables(plain_study(spec, tmp_path / "plain").folder)
    records = records_from_results(result.result_grid)
    from_ray = analyse(spec.trainings(), records, "holdout").results
    assert from_ray.equals(result.tables.results)


def test_bad_input_writes_nothing_and_starts_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path / "cut", random_arrays())
    images = tmp_path / "cut" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    before = sorted(tmp_path.rglob("*"))
    for words, told in {
        ("--lr", "0"): "0 < lr < inf",
        ("--batch-size", "50001"): "batch_size <= 50000",
        ("--cpus-per-trial", "1000"): "cpus_per_trial <=",
        ("--gpus-per-trial", "1000"): "gpus_per_trial <=",
        ("--data", "cut"): "train-images-idx3-ubyte",
        ("--data", "nowhere"): "nowhere",
        ("--name", "../up"): "name matches",
        ("--max-failures", "-1"): "max_failures >= 0",
        ("none.toml",): "none.toml",
    }.items():
        done = grid(tmp_path, *words)
        assert done.returncode == 2, (words, done.stderr)
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
        assert told in done.stderr and done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before
