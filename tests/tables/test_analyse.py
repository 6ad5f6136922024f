"""Made trainings with known answers against the tables."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.studies import made_records
from tune_mnist.running.result_grid import records_from_results
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PlannedTraining, TrainingConfig
from tune_mnist.study.files import write_atomic
from tune_mnist.study.training_folder import Status, TrainingRecord
from tune_mnist.tables.analyse import Tables, analyse, write_tables
from tune_mnist.tables.slices import best_curves
from tune_mnist.training.packing import pack_bits

CELL = ["model", "lr", "batch_size", "epochs", "seed"]
RIGHT = pack_bits(np.arange(10) > 0)
SPEC = StudySpec(models=("SimpleNN", "ComplexNN"), lr=(1e-3, 1e-1), batch_size=(16, 32), epochs=(1, 3), seeds=2)


def record(
    config: TrainingConfig, accuracies: list[float], status: Status = "complete", **changes: Any
) -> TrainingRecord:
    """A training whose epochs have these accuracies, and as loss one minus them."""
    rows = tuple(
        {"epoch": epoch, "train_loss": 0.5 / epoch, "val_loss": 1 - accuracy, "val_accuracy": accuracy}
        | {"val_precision": accuracy, "val_recall": accuracy, "val_f1": accuracy}
        for epoch, accuracy in enumerate(accuracies, start=1)
    )
    timings = tuple({"epoch": row["epoch"], "train_seconds": 2.0, "eval_seconds": 0.25} for row in rows)
    return replace(TrainingRecord("0" * 16, config, status, rows, timings), **changes)


def records(spec: StudySpec) -> list[TrainingRecord]:
    chance = random.Random(0)
    return [record(plan.config, [chance.random() for _ in range(plan.epochs)]) for plan in spec.trainings()]


def csv_bytes(tables: Tables) -> dict[str, bytes]:
    written: dict[Path, bytes] = {}
    paths = write_tables(tables, Path("there"), written.__setitem__)
    assert paths == list(written)
    return {path.name: content for path, content in written.items()}


def plan(*budgets: int, **changes: Any) -> PlannedTraining:
    return PlannedTraining(replace(TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=16), **changes), budgets)


def test_results_hold_each_of_the_report_s_192_cells_once() -> None:
    spec = StudySpec()
    results = analyse(spec.trainings(), records(spec), "holdout").results
    cells = itertools.product(spec.models, spec.lr, spec.batch_size, spec.epochs, [0])
    assert sorted(results[CELL].itertuples(index=False, name=None)) == sorted(cells)
    assert list(results.columns) == [
        "rank", *CELL, "train_loss", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1", "status",
    ]
    assert list(results["rank"]) == list(range(1, 193))
    assert results["val_accuracy"].is_monotonic_decreasing


def test_no_order_of_plans_or_records_changes_a_byte() -> None:
    plans, made = SPEC.trainings(), records(SPEC)
    # Ties everywhere, so that only the stated rule can order them.
    made = [record(one.config, [0.5, 0.5, 0.5]) if one.config.lr == 1e-1 else one for one in made]
    expected = csv_bytes(analyse(plans, made, "holdout"))
    for seed in range(5):
        random.Random(seed).shuffle(plans)
        random.Random(seed + 9).shuffle(made)
        assert csv_bytes(analyse(plans, made, "holdout")) == expected


def test_a_plan_told_twice_and_strangers_records_count_once_and_not_at_all() -> None:
    known, stranger = plan(1), plan(1, seed=7)
    twice = [record(known.config, [0.5], "unfinished"), record(known.config, [0.5, 0.9]), record(stranger.config, [1])]
    tables = analyse([known, plan(2), known], twice, "holdout")
    assert tables.results[["epochs", "val_accuracy"]].values.tolist() == [[2, 0.9], [1, 0.5]]
    assert len(tables.timings) == 1


def test_ties_go_to_lower_loss_then_fewer_epochs_then_model_lr_batch_size_and_seed() -> None:
    plans = [
        plan(1, 2, model=model, lr=lr, batch_size=batch_size, seed=seed)
        for model, lr, batch_size, seed in itertools.product(["CNN", "SimpleNN"], [0.1, 0.01], [32, 16], [1, 0])
    ]
    made = [record(one.config, [0.5, 0.5]) for one in plans]
    favoured = made[0]
    made[0] = replace(favoured, epochs=tuple(row | {"val_loss": 0.4} for row in favoured.epochs))
    results = analyse(plans, made, "holdout").results
    cells = list(itertools.product([1, 2], ["SimpleNN", "CNN"], [0.01, 0.1], [16, 32], [0, 1]))
    first = [(1, "CNN", 0.1, 32, 1), (2, "CNN", 0.1, 32, 1)]
    ranked = results[["epochs", "model", "lr", "batch_size", "seed"]].itertuples(index=False, name=None)
    assert list(ranked) == first + [cell for cell in cells if cell not in first]


def test_equal_means_tie_though_their_last_bits_differ() -> None:
    plans = [plan(1, lr=lr, seed=seed) for lr in (0.001, 0.01) for seed in range(3)]
    accuracies = [0.1, 0.2, 0.3, 0.2, 0.2, 0.2]
    assert (0.1 + 0.2 + 0.3) / 3 > 0.2
    made = [record(one.config, [a]) for one, a in zip(plans, accuracies, strict=True)]
    made = [replace(one, epochs=(one.epochs[0] | {"val_loss": 0.5 + one.config.lr},)) for one in made]
    assert list(analyse(plans, made, "holdout").summary["lr"]) == [0.001, 0.01]


def test_a_diverged_cell_ranks_after_complete_ones_and_keeps_the_last_epoch_s_metrics() -> None:
    wild, tame = plan(1, 2, 4), plan(4, seed=1)
    diverged = record(wild.config, [0.3, 0.9], "diverged")
    last = diverged.epochs[-1] | {"train_loss": None}
    made = [replace(diverged, epochs=(diverged.epochs[0], last)), record(tame.config, [0.1, 0.1, 0.1, 0.1])]
    results = analyse([wild, tame], made, "holdout").results
    assert list(results["status"]) == ["complete", "complete", "diverged", "diverged"]
    assert list(results["epochs"]) == [1, 4, 2, 4]
    assert list(results["val_accuracy"]) == [0.3, 0.1, 0.9, 0.9]
    assert list(results["train_loss"].isna()) == [False, False, True, True]


@pytest.mark.parametrize(
    ("status", "reached", "expected"),
    [
        ("unfinished", [0.5], ["complete", "unfinished"]),
        ("failed", [0.5], ["complete", "failed"]),
        ("failed", [], ["failed", "failed"]),
        ("diverged", [], ["diverged", "diverged"]),
        ("unfinished", [], ["missing", "missing"]),
        ("complete", [0.5], ["complete", "unfinished"]),  # asked for fewer epochs than are planned now
    ],
)
def test_a_cell_is_complete_once_its_epoch_is_there(status: Status, reached: list[float], expected: list[str]) -> None:
    one = plan(1, 2)
    results = analyse([one], [record(one.config, reached, status)], "holdout").results.sort_values("epochs")
    assert list(results["status"]) == expected
    assert list(results["val_accuracy"].notna()) == [status == "complete" for status in expected]


def test_a_study_not_begun_has_every_cell_as_missing() -> None:
    begun = [record(plan.config, [], "unfinished") for plan in SPEC.trainings()[::2]]  # planned by a store
    tables = analyse(SPEC.trainings(), begun, "holdout")
    assert set(tables.results["status"]) == set(tables.summary["status"]) == {"missing"}
    assert len(tables.results) == 32 and len(tables.summary) == 16
    assert tables.epochs.empty and tables.timings.empty and tables.top3.empty
    assert best_curves(tables).empty


def test_epochs_beyond_the_plan_do_not_show() -> None:
    shorter, longer = plan(1, 2), record(plan(3).config, [0.1, 0.2, 0.3])
    tables = analyse([shorter], [longer], "holdout")
    assert list(tables.epochs["epoch"]) == [1, 2]
    assert tables.timings.to_dict("records") == [
        {"model": "SimpleNN", "lr": 1e-3, "batch_size": 16, "seed": 0, "epochs": 2, "train_seconds": 4.0,
         "eval_seconds": 0.5},
    ]


def test_epochs_are_in_the_order_of_the_grid_without_the_predictions() -> None:
    epochs = analyse(SPEC.trainings(), records(SPEC), "holdout").epochs
    keys = itertools.product(SPEC.models, SPEC.lr, SPEC.batch_size, range(2), (1, 2, 3))
    assert list(epochs[["model", "lr", "batch_size", "seed", "epoch"]].itertuples(index=False, name=None)) == list(keys)
    assert list(epochs.columns[5:]) == [
        "train_loss", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1",
    ]


def test_summary_over_two_seeds() -> None:
    plans = [plan(1, seed=0), plan(1, seed=1)]
    row = analyse(plans, [record(plans[0].config, [0.5]), record(plans[1].config, [0.6])], "holdout").summary.iloc[0]
    assert (row["seeds"], row["n"], row["status"]) == (2, 2, "complete")
    assert row["mean"] == pytest.approx(0.55)
    assert row["val_loss"] == pytest.approx(0.45)
    assert row["std"] == pytest.approx(0.1 / math.sqrt(2))
    # Student's t at 97.5% with one degree of freedom is tan(0.475 π) = 12.706; cut to [0, 1].
    half = math.tan(0.475 * math.pi) * 0.05
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((max(0, 0.55 - half), min(1, 0.55 + half)))


def test_summary_of_close_seeds_has_the_t_interval() -> None:
    plans = [plan(1, seed=seed) for seed in range(3)]
    made = [record(one.config, [a]) for one, a in zip(plans, (0.97, 0.98, 0.99), strict=True)]
    row = analyse(plans, made, "holdout").summary.iloc[0]
    half = 4.302652729911275 * 0.01 / math.sqrt(3)  # the table's t(0.975; 2) = 4.3027
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.98 - half, min(1, 0.98 + half)))


def test_one_seed_has_no_spread_and_without_predictions_no_interval() -> None:
    one = plan(1)
    row = analyse([one], [record(one.config, [0.5])], "holdout").summary.iloc[0]
    assert row["n"] == 1 and row["mean"] == 0.5
    assert row[["std", "ci_low", "ci_high"]].isna().all()


def test_a_cell_with_a_seed_short_is_not_complete_and_one_diverged_makes_it_diverged() -> None:
    plans = [plan(1, lr=lr, seed=seed) for lr in (0.1, 0.2, 0.3) for seed in (0, 1)]
    states: list[Status | None] = ["complete", "diverged", "complete", None, "complete", "complete"]
    accuracies = [0.9, 0.9, 0.9, 0.9, 0.2, 0.2]
    made = [
        record(one.config, [accuracy], status)
        for one, status, accuracy in zip(plans, states, accuracies, strict=True)
        if status
    ]
    tables = analyse(plans, made, "holdout")
    rows = tables.summary[["lr", "status", "n", "mean"]].values.tolist()
    assert rows == [[0.3, "complete", 2, 0.2], [0.1, "diverged", 1, 0.9], [0.2, "missing", 1, 0.9]]
    assert list(tables.top3["lr"]) == [0.3]


def test_top_three_take_test_scores_meaned_over_seeds_only_where_every_seed_has_them() -> None:
    plans = [plan(1, lr=lr, seed=seed) for lr in (0.1, 0.2, 0.3, 0.4) for seed in (0, 1)]
    made = [record(one.config, [one.config.lr]) for one in plans]
    names = ("test_loss", "test_accuracy", "test_precision", "test_recall", "test_f1")
    scores = {(one.config, 1): dict.fromkeys(names, one.config.lr + 0.1 * one.config.seed) for one in plans}
    del scores[plans[3].config, 1]
    top3 = analyse(plans, made, "holdout", scores.get).top3
    assert list(top3["rank"]) == [1, 2, 3]
    assert list(top3["lr"]) == [0.4, 0.3, 0.2]
    assert list(top3["test_f1"])[:2] == pytest.approx([0.45, 0.35])
    assert math.isnan(top3["test_f1"].iloc[2])
    assert tuple(top3.columns[-7:]) == (*names, "test_ci_low", "test_ci_high")
    low, high = top3[["test_ci_low", "test_ci_high"]].iloc[0]  # of 0.4 and 0.5: t(0.975; 1) = 12.7 standard errors
    assert (low, high) == (0, 1)
    assert analyse(plans, made, "holdout").top3["test_f1"].isna().all()


def test_under_report_the_metrics_are_test_metrics_and_top_three_have_no_second_ones() -> None:
    one = plan(1)
    row = {"epoch": 1, "train_loss": 1.5, "test_loss": 1.6} | {f"test_{m}": 0.5 for m in ("accuracy", "precision")}
    tables = analyse([one], [record(one.config, [], epochs=(row,), timings=())], "report")
    assert tables.results["test_accuracy"].tolist() == [0.5]
    assert list(tables.top3) == ["rank", "model", "lr", "batch_size", "epochs", "n", "mean", "std", "ci_low", "ci_high",
                                 "train_loss", "test_loss", "standing", "difference", "p_adjusted",
                                 "p_equivalent"]


def test_settings_are_columns_only_where_they_differ() -> None:
    plans = [plan(1, 2, dropout=dropout) for dropout in (0.5, 0.0)]
    tables = analyse(plans, [record(one.config, [0.1, 0.2]) for one in plans], "holdout")
    assert list(tables.results[["dropout", "epochs"]].itertuples(index=False, name=None)) == [
        (0.0, 2), (0.5, 2), (0.0, 1), (0.5, 1),
    ]
    for table in (tables.epochs, tables.summary, tables.top3, tables.timings):
        assert "dropout" in table and "weight_decay" not in table and "head" not in table


def test_independent_epochs_give_the_same_results_as_shared_ones() -> None:
    apart = replace(SPEC, independent_epochs=True)
    long = {one.config: one.epochs for one in records(SPEC)}
    made = [record(p.config, [], epochs=long[replace(p.config, budget=None)][: p.epochs]) for p in apart.trainings()]
    shared, separate = analyse(SPEC.trainings(), records(SPEC), "holdout"), analyse(apart.trainings(), made, "holdout")
    for name in ("results", "summary", "top3"):
        pd.testing.assert_frame_equal(getattr(separate, name), getattr(shared, name))
    assert set(separate.epochs["budget"]) == {1, 3}
    pd.testing.assert_frame_equal(best_curves(separate), best_curves(shared))


def test_shared_and_independent_trainings_in_one_study_stay_apart() -> None:
    plans = [plan(1, 2), plan(2, budget=2)]
    made = [record(plans[0].config, [0.1, 0.2]), record(plans[1].config, [0.1, 0.2])]
    tables = analyse(plans, made, "holdout")
    assert tables.results[["epochs", "budget"]].fillna(0).values.tolist() == [[2, 0], [2, 2], [1, 0]]
    assert list(tables.summary["n"]) == [1, 1, 1]
    assert best_curves(tables)["epoch"].tolist() == [1, 2, 1, 2]


def test_a_cosine_schedule_s_cells_are_its_budgets() -> None:
    spec = StudySpec(models=("SimpleNN",), lr=(1e-3,), batch_size=(16,), schedule="cosine")
    results = analyse(spec.trainings(), records(spec), "holdout").results
    assert sorted(results["epochs"]) == [2, 5, 10, 15]
    assert "budget" not in results


def test_tables_read_back_as_they_were(tmp_path: Path) -> None:
    made = records(SPEC)
    made = [replace(one, status="failed", epochs=one.epochs[:2]) if one.config.seed else one for one in made[:-1]]
    tables = analyse(SPEC.trainings(), made, "holdout")
    for path in write_tables(tables, tmp_path, write_atomic):
        assert b"\r" not in path.read_bytes()
        table = getattr(tables, path.stem)
        assert path.read_bytes() == table.to_csv(index=False, lineterminator="\n").encode()
        read = pd.read_csv(path, dtype=str).astype(table.dtypes)  # not by pandas' parser, which older ones round
        pd.testing.assert_frame_equal(read, table, check_exact=True, check_index_type=False)
    assert len(list(tmp_path.iterdir())) == 5


def trial(frame: pd.DataFrame | None, error: Exception | None = None, epochs: int = 3) -> SimpleNamespace:
    config = {"model": "CNN", "lr": 0.01, "batch_size": 64, "seed": 3, "dropout": 0.25, "epochs": epochs}
    return SimpleNamespace(config=config, metrics_dataframe=frame, error=error)


def reports(*losses: float, first: int = 1, diverged: bool = False) -> pd.DataFrame:
    rows = [
        {"epoch": epoch, "train_loss": loss, "val_loss": 0.2, "val_accuracy": 0.9, "val_correct": RIGHT}
        | {"key": "ab" * 8, "train_seconds": 1.5, "eval_seconds": 0.5, "diverged": False}
        | {"training_iteration": epoch, "pid": 7}
        for epoch, loss in enumerate(losses, start=first)
    ]
    rows[-1]["diverged"] = diverged
    return pd.DataFrame(rows)


def test_a_trial_becomes_a_record_in_plain_python() -> None:
    (one,) = records_from_results([trial(reports(0.5, 0.4, 0.3))])
    config = TrainingConfig(model="CNN", lr=0.01, batch_size=64, seed=3, dropout=0.25)
    assert (one.config, one.key, one.status, one.error) == (config, "ab" * 8, "complete", None)
    assert one.epochs[1] == {"epoch": 2, "train_loss": 0.4, "val_loss": 0.2, "val_accuracy": 0.9, "val_correct": RIGHT}
    assert one.timings[2] == {"epoch": 3, "train_seconds": 1.5, "eval_seconds": 0.5}
    assert {type(value) for row in one.epochs for value in row.values()} == {int, float, str}


def test_an_epoch_reported_again_after_a_retry_counts_once_as_it_was_last() -> None:
    frame = pd.concat([reports(0.5, 0.4), reports(0.45, 0.3, first=2)])
    (one,) = records_from_results([trial(frame)])
    assert [(row["epoch"], row["train_loss"]) for row in one.epochs] == [(1, 0.5), (2, 0.45), (3, 0.3)]


def test_a_trial_s_status() -> None:
    got = records_from_results(
        [
            trial(reports(0.5, 0.4)),
            trial(reports(0.5, math.nan, diverged=True)),
            trial(reports(0.5), RuntimeError("no memory\nno hope")),
            trial(None, ValueError("bad lr")),
            trial(None),
            trial(pd.DataFrame()),
        ]
    )
    assert [one.status for one in got] == ["unfinished", "diverged", "failed", "failed", "unfinished", "unfinished"]
    assert got[1].epochs[1]["train_loss"] is None
    assert [one.error for one in got[2:5]] == ["RuntimeError: no memory", "ValueError: bad lr", None]
    assert (got[3].key, got[3].epochs, got[3].timings) == ("", (), ())


def test_records_of_trials_fill_the_tables() -> None:
    got = records_from_results([trial(reports(0.5, 0.4, 0.3))])
    results = analyse([PlannedTraining(got[0].config, (3,))], got, "holdout").results
    assert results[["status", "val_accuracy"]].values.tolist() == [["complete", 0.9]]


def test_settings_that_one_model_has_are_columns_where_they_vary_within_it() -> None:
    own = {"MLP": {"hidden": ("64", "256-128", "8")}, "CNN": {"width": (16, 8)}}
    spec = StudySpec(models=("CNN", "MLP"), lr=1e-3, batch_size=64, epochs=1, optimizer=("adam", "sgd"), own=own)
    plans = spec.trainings()
    tables = analyse(plans, made_records(spec, pictures=20), "holdout")
    assert tables.cell_columns == ["model", "lr", "batch_size", "epochs", "optimizer", "width", "hidden"]
    assert tables.settings["activation"] == "relu" and tables.settings["batch_norm"] is False
    for frame in (tables.results, tables.summary, tables.top3):
        widths = frame["width"].dropna()
        assert {type(width) for width in widths} == {int} or frame is tables.top3
    cells = tables.summary.astype(object).where(tables.summary.notna(), None)
    found = set(cells[["model", "optimizer", "width", "hidden"]].itertuples(index=False, name=None))
    names = ("model", "optimizer", "width", "hidden")
    assert found == {tuple(plan.config.value(name) for name in names) for plan in plans} and len(found) == len(plans)
    csv = tables.summary.to_csv(index=False)
    assert ",16,," in csv and ",256-128," in csv and "16.0" not in csv
