"""What a run came to, as machines read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from support.studies import made_records, made_tables
from tune_mnist.reporting.outcome import print_grid, print_search, some_failed
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.training_folder import Status
from tune_mnist.tables.analyse import Tables, analyse

SPEC = StudySpec(models=("SimpleNN",), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2, 4))


def with_one(status: Status) -> Tables:
    """The tables of a study whose first training ended so after two epochs."""
    first, *others = made_records(SPEC)
    ended = replace(first, status=status, epochs=first.epochs[:2], error="no memory")
    return analyse(SPEC.trainings(), [ended, *others], "holdout")


def test_a_grid_s_json_counts_its_cells_and_has_the_best_and_the_failed(capsys: pytest.CaptureFixture[str]) -> None:
    tables = with_one("failed")
    print_grid(Path("ray_results/mine"), tables, as_json=True)
    outcome = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert outcome["folder"] == "ray_results/mine"
    assert outcome["cells"] == {"complete": 7, "failed": 1}
    assert [row["mean"] for row in outcome["top3"]] == pytest.approx(list(tables.top3["mean"]))
    assert [(row["status"], row["epochs"], row["error"]) for row in outcome["failed"]] == [("failed", 2, "no memory")]


def test_a_search_s_json_counts_its_trials_and_has_the_front_if_any(capsys: pytest.CaptureFixture[str]) -> None:
    trials = pd.DataFrame({"state": ["COMPLETE", "PRUNED", "COMPLETE"], "training": "00", "val_accuracy": 0.9})
    for front, expected in ((None, None), (trials.head(1), trials.head(1).to_dict("records"))):
        print_search(Path("mine"), made_tables(SPEC), trials, front, as_json=True)
        outcome = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert outcome["trials"] == {"COMPLETE": 2, "PRUNED": 1}
        assert outcome["pareto"] == expected
        assert outcome["failed"] == []


def test_a_training_that_diverged_has_not_failed() -> None:
    assert some_failed(with_one("failed"))
    assert not some_failed(with_one("diverged")) and len(with_one("diverged").failed) == 1
    assert not some_failed(made_tables(SPEC))
