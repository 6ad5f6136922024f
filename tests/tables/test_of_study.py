"""A study's tables read from its folder, the trainings behind a cell, and the winners to score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from support.studies import made_study
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.of_study import load_study, tables_of, trainings_of_cell, winners_to_score

FOUR = StudySpec(models=("SimpleNN",), lr=(1e-4, 2e-4, 3e-4, 4e-4), batch_size=(16,), epochs=(1,))


def alike(config: TrainingConfig, epoch: int) -> float:
    """All near 98%, with a little noise from seed to seed."""
    return 0.98 + 0.0005 * ((config.seed * 7 + round(config.lr * 1e5)) % 5 - 2)


def test_a_study_is_loaded_by_its_folder(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", FOUR, alike)
    loaded = load_study(str(tmp_path / "study"))
    pd.testing.assert_frame_equal(loaded.summary, tables_of(study).summary)
    assert len(loaded.summary) == 4 and loaded.complete.equals(loaded.summary)
    with pytest.raises(UserError, match="is not a study"):
        load_study(tmp_path)


@pytest.mark.parametrize("independent", [False, True])
def test_a_cell_s_trainings_are_its_config_with_each_seed(independent: bool, tmp_path: Path) -> None:
    spec = replace(FOUR, epochs=(1, 2), seeds=3, independent_epochs=independent)
    study = made_study(tmp_path / "study", spec, alike)
    tables = tables_of(study)
    for _, row in tables.summary.iterrows():
        trainings = trainings_of_cell(study, tables, row)
        assert [(config.lr, config.seed, epochs) for config, epochs in trainings] == [
            (row["lr"], seed, row["epochs"]) for seed in range(3)
        ]
        assert {config.budget for config, _ in trainings} == {row["epochs"] if independent else None}


def test_the_test_set_is_for_the_three_alone(tmp_path: Path) -> None:
    study = made_study(tmp_path / "study", FOUR, alike)
    winners = winners_to_score(study)
    assert len(tables_of(study).top3) == 4
    assert {config.lr for config, _ in winners} == set(tables_of(study).top3["lr"].head(3))
    scored = made_study(tmp_path / "scored", FOUR, alike, scored=3)
    assert winners_to_score(scored) == []
    top3 = tables_of(scored).top3
    assert top3["test_accuracy"].notna().tolist() == [True, True, True, False]
    assert (top3["test_ci_low"] < top3["test_accuracy"]).head(3).all()


def test_under_the_report_s_protocol_the_winner_alone_is_scored_for_what_it_predicts(tmp_path: Path) -> None:
    spec = replace(FOUR, protocol="report", seeds=2)
    study = made_study(tmp_path / "study", spec, alike)
    best = tables_of(study).top3.iloc[0]
    assert [(config.lr, config.seed, epochs) for config, epochs in winners_to_score(study)] == [
        (best["lr"], 0, 1), (best["lr"], 1, 1),
    ]
    assert "test_accuracy" not in tables_of(made_study(tmp_path / "scored", spec, alike, scored=2)).top3
