"""What a run came to, as machines read it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

from support.studies import made_records, made_tables
from tune_mnist.reporting.outcome import Outcome, outcome_of, print_grid, print_search
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.training_folder import Status
from tune_mnist.tables.analyse import Tables, analyse

SPEC = StudySpec(models=("SimpleNN",), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2, 4))


def with_one(status: Status) -> Tables:
    """The tables of a study whose first training ended so after two epochs."""
    first, *others = made_records(SPEC)
    ended = replace(first, status=status, epochs=first.epochs[:2], error="no memory")
    return analyse(SPEC.trainings(), [ended, *others], "holdout")


def told(folder: Path, tables: Tables, spec: StudySpec, *, as_json: bool = False) -> None:
    """Print the outcome of these tables as it is printed after it was kept."""
    kept = Outcome(**json.loads(json.dumps(asdict(outcome_of(tables)))))
    print_grid(folder, kept, spec, lambda: tables, as_json=as_json)


def test_a_grid_s_json_counts_its_cells_and_has_the_best_and_the_failed(capsys: pytest.CaptureFixture[str]) -> None:
    tables = with_one("failed")
    told(Path("ray_results/mine"), tables, SPEC, as_json=True)
    outcome = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert outcome["folder"] == "ray_results/mine"
    assert outcome["cells"] == {"complete": 7, "failed": 1}
    assert [row["mean"] for row in outcome["top3"]] == pytest.approx(list(tables.top3["mean"]))
    assert [(row["status"], row["epochs"], row["error"]) for row in outcome["failed"]] == [("failed", 2, "no memory")]


def test_a_search_s_json_counts_its_trials_and_has_the_front_if_any(capsys: pytest.CaptureFixture[str]) -> None:
    trials = pd.DataFrame({"state": ["COMPLETE", "PRUNED", "COMPLETE"], "training": "00", "val_accuracy": 0.9})
    for front, expected in ((None, None), (trials.head(1), trials.head(1).to_dict("records"))):
        print_search(Path("mine"), outcome_of(made_tables(SPEC)), trials, front, as_json=True)
        outcome = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert outcome["trials"] == {"COMPLETE": 2, "PRUNED": 1}
        assert outcome["pareto"] == expected
        assert outcome["failed"] == []


def test_the_top_three_are_told_by_what_varies_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    spec = StudySpec(
        models=("MLP",), own={"MLP": {"hidden": ("64", "256-128"), "activation": ("relu", "leaky_relu")}},
        optimizer=("adam", "sgd"), lr=(1e-2, 1e-3), dropout=(0.0, 0.2), batch_size=64, epochs=(2, 5),
    )
    tables = made_tables(spec, lambda config, epoch: 0.9 + 0.01 * epoch - config.dropout / 10)
    told(Path("mine"), tables, spec)
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("Top three of 64 cells") and max(map(len, [head, *rows[:3]])) <= 80
    assert head.split() == [
        "rank", "lr", "epochs", "optimizer", "dropout", "activation", "hidden", "validation", "test"
    ]
    first = tables.top3.iloc[0]
    assert rows[0].split()[:2] == ["1", f"{first['lr']:g}"] and rows[0].split()[-2] == f"{first['mean']:.2%}"


def test_a_training_that_diverged_has_not_failed() -> None:
    assert outcome_of(with_one("failed")).some_failed
    assert not outcome_of(with_one("diverged")).some_failed and len(with_one("diverged").failed) == 1
    assert not outcome_of(made_tables(SPEC)).some_failed


def test_where_every_training_failed_there_is_no_top_three(capsys: pytest.CaptureFixture[str]) -> None:
    failed = [replace(record, status="failed", epochs=(), error="no memory") for record in made_records(SPEC)]
    told(Path("mine"), analyse(SPEC.trainings(), failed, "holdout"), SPEC)
    out = capsys.readouterr().out
    assert out.startswith("No cell of 8 has a result") and "Top three" not in out and out.count("no memory") == 4


def test_a_grid_that_extends_a_study_tells_its_own_cells_beside_the_studys(capsys: pytest.CaptureFixture[str]) -> None:
    tables = made_tables(SPEC)
    asked = StudySpec(models=("SimpleNN",), lr=(1e-4,), batch_size=(64,), epochs=(2, 4))
    told(Path("mine"), tables, asked)
    out = capsys.readouterr().out
    best = tables.results[(tables.results["lr"] == 1e-4) & (tables.results["batch_size"] == 64)].iloc[0]
    assert "Top three of 8 cells" in out and "2 of the study's 8 cells were asked for now; the best of these" in out
    assert f"{best['val_accuracy']:.2%}" in out.partition("the best of these")[2]
    told(Path("mine"), tables, asked, as_json=True)
    assert json.loads(capsys.readouterr().out)["asked"] == 2
    told(Path("mine"), tables, SPEC)
    assert "asked for" not in capsys.readouterr().out
