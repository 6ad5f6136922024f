"""Tests of the live page's curves: which are drawn, what passes the filters, and what counts as changed."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from support.studies import made_records
from tune_mnist.running.watching.curves import CHOICES, DRAWN, LISTED, POINTS, RUNNING_DRAWN, Curves
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PlannedTraining, TrainingConfig
from tune_mnist.study.training_folder import TrainingRecord

SPEC = StudySpec(models=("SimpleNN", "CNN"), lr=(1e-3, 1e-2), batch_size=(32,), epochs=(1, 4), seeds=2)
MANY = 1000


def curves_of(records: list[TrainingRecord]) -> Curves:
    curves = Curves()
    curves.plan([PlannedTraining(record.config, (4,)) for record in records])
    for record in records:
        curves.take(record)
    return curves


def made(number: int, accuracies: list[float], status: Any = "complete", loss: float | None = 0.5) -> TrainingRecord:
    """A training with a seed of its own, and these accuracies."""
    config = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=64, seed=number)
    losses = {"train_loss": 0.25, "val_loss": loss}
    rows = tuple({"epoch": epoch, **losses, "val_accuracy": share} for epoch, share in enumerate(accuracies, 1))
    return TrainingRecord("", config, status, rows)


def drawn(curves: Curves, **filters: Any) -> list[int]:
    return [number for number, _ in curves.shown(filters)["drawn"]]


@pytest.mark.parametrize("protocol", ["holdout", "report"])
def test_a_curves_points_are_its_records_numbers(protocol: Any) -> None:
    records = made_records(dataclasses.replace(SPEC, protocol=protocol))
    curves = curves_of(records)
    prefix = "val" if protocol == "holdout" else "test"
    for record, points in zip(records, curves.points(range(len(records))), strict=True):
        assert points["epochs"] == [1, 2, 3, 4]
        for name, column in (("train_loss",) * 2, (f"{prefix}_loss", "loss"), (f"{prefix}_accuracy", "accuracy")):
            assert points[column] == pytest.approx([row[name] for row in record.epochs], rel=1e-4)
    assert [one["name"] for one in curves.shown({})["settings"]][:3] == ["model", "lr", "seed"]
    assert points["values"][:3] == ["CNN", "0.01", "1"]


def test_a_loss_that_is_not_finite_ends_a_curve_as_none() -> None:
    curves = curves_of([made(0, [0.5, 0.1], "diverged", loss=None)])
    (points,) = curves.points([0])
    assert points["loss"] == [None, None] and points["accuracy"] == [0.5, 0.1]
    assert curves.shown({})["listed"][0] | {"values": []} == {
        "number": 0, "values": [], "status": "diverged", "epochs": 2, "planned": 4, "best": 0.5, "best_epoch": 1,
        "train_loss": 0.25, "loss": None,
    }


def test_a_long_curve_is_thinned_and_keeps_its_first_and_last_epoch() -> None:
    for epochs in (1, POINTS, POINTS + 1, 10 * POINTS + 7):
        (points,) = curves_of([made(0, [0.5] * epochs)]).points([0])
        assert points["epochs"][0] == 1 and points["epochs"][-1] == epochs
        assert min(epochs, POINTS // 2) <= len(points["epochs"]) <= POINTS + 1
        assert len(points["accuracy"]) == len(points["epochs"])


def test_of_many_curves_the_best_and_those_that_run_are_drawn_and_few_are_listed() -> None:
    records = [made(number, [(number * 7919 % MANY) / MANY]) for number in range(MANY)]
    curves = curves_of(records)
    ranks = sorted(range(MANY), key=lambda number: -records[number].epochs[0]["val_accuracy"])
    assert drawn(curves) == ranks[:DRAWN]
    assert [row["number"] for row in curves.shown({})["listed"]] == ranks[:LISTED]
    slow = ranks[-3:]
    for number in slow:
        curves.take(dataclasses.replace(records[number], status="unfinished"))
    curves.run([records[number].config for number in slow])
    assert drawn(curves) == ranks[: DRAWN - 3] + slow and curves.shown({})["passing"] == MANY
    curves.run([records[ranks[0]].config])
    assert drawn(curves) == ranks[:DRAWN]  # one that runs and is among the best takes one place
    curves.run([record.config for record in records])
    assert len(drawn(curves)) == DRAWN and {*ranks[: DRAWN - RUNNING_DRAWN]} <= {*drawn(curves)}


def test_filters_leave_what_has_one_of_the_values_of_each_setting() -> None:
    records = made_records(SPEC)
    curves = curves_of(records)

    def passing(**filters: Any) -> list[TrainingConfig]:
        return [records[number].config for number in sorted(drawn(curves, **filters))]

    everything = [record.config for record in records]
    assert passing() == everything and passing(lr=[]) == []
    assert passing(model=["CNN"]) == [config for config in everything if config.model == "CNN"]
    assert passing(model=["CNN"], lr=["0.01"], seed=["0", "1"]) == [
        config for config in everything if config.model == "CNN" and config.lr == 1e-2
    ]
    assert passing(lr={"least": 0.005}) == [config for config in everything if config.lr == 1e-2]
    assert passing(lr={"least": 1e-3, "most": 1e-3}, budget=["–"]) == [c for c in everything if c.lr == 1e-3]
    assert passing(model={"least": 0}) == []
    curves.take(dataclasses.replace(records[3], status="failed"))
    assert passing(status=["failed", "running"]) == [records[3].config]
    assert curves.shown({})["statuses"] == ["complete", "failed"]


@pytest.mark.parametrize(("filters", "told"), [
    ({"colour": ["red"]}, "`a filter is of a setting` must hold, but got 'colour'"),
    ({"lr": 0.1}, "`a filter is a list of texts, or limits` must hold, but got 0.1"),
    ({"lr": [0.1]}, "`a filter is a list of texts, or limits` must hold"),
    ({"lr": {"least": "x"}}, "`limits are numbers, least and most` must hold"),
    ({"status": {"around": 1}}, "`limits are numbers, least and most` must hold"),
])
def test_a_filter_that_is_none_is_refused(filters: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        curves_of([made(0, [0.5])]).shown(filters)


def test_settings_are_those_that_vary_with_limits_if_their_values_are_many() -> None:
    few, many = CHOICES, CHOICES + 1
    for count in (few, many):
        (setting,) = curves_of([made(number, [0.5]) for number in range(count)]).shown({})["settings"]
        assert setting == ({"name": "seed", "values": [str(number) for number in range(few)]} if count == few else
                           {"name": "seed", "least": 0, "most": many - 1})
    alone = curves_of([made(0, [0.5])]).shown({})["settings"]
    assert [one["name"] for one in alone] == ["model", "lr", "batch_size"]
    common: dict[str, Any] = {"lr": 1e-3, "batch_size": 64}
    own = [TrainingConfig(model="MLP", model_settings={"hidden": widths}, **common) for widths in ("64", "32")]
    own.append(TrainingConfig(model="CNN", **common))
    mixed = curves_of([TrainingRecord("", config, "complete", made(0, [0.5]).epochs) for config in reversed(own)])
    shown = {one["name"]: one.get("values") for one in mixed.shown({})["settings"]}
    assert shown == {"model": ["CNN", "MLP"], "hidden": ["32", "64", "–"]}
    assert mixed.shown({"hidden": ["–", "32"]})["passing"] == 2
    models = curves_of(made_records(dataclasses.replace(SPEC, models=("CNN", "ComplexNN", "SimpleNN"))))
    assert models.shown({})["settings"][0]["values"] == ["SimpleNN", "ComplexNN", "CNN"]  # from small to large


def test_only_what_changed_has_a_new_change() -> None:
    records = [made(number, [0.1 * number], "unfinished") for number in range(4)]
    curves = curves_of(records)
    before, version = dict(curves.shown({})["drawn"]), curves.version
    curves.run([])
    assert curves.version == version
    curves.run([records[2].config])
    curves.take(made(1, [0.1, 0.2], "unfinished"))
    after = dict(curves.shown({})["drawn"])
    assert {number for number in after if after[number] != before[number]} == {1, 2}
    assert all(old < new for old, new in itertools.pairwise([version, after[2], after[1]]))


def test_statuses_follow_the_record_and_who_runs() -> None:
    record = made(0, [0.5], "unfinished")
    curves = curves_of([record])

    def status() -> str:
        return str(curves.shown({})["listed"][0]["status"])

    assert status() == "begun"
    curves.run([record.config])
    assert status() == "running"
    curves.take(made(0, [0.5, 0.6], "unfinished"))
    curves.run([record.config])
    assert status() == "running"
    curves.run([])
    assert status() == "begun"
    curves.take(made(0, [0.5, 0.6], "complete"))
    curves.run([])
    assert status() == "complete" and curves.begun == 1
    curves.take(made(0, [], "unfinished"))  # its files went away
    assert curves.shown({})["passing"] == 0 and curves.begun == 0
