"""Tests of where a run stands: what is left, and how long that takes."""

from __future__ import annotations

import pytest

from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import FULLY_CONNECTED, PlannedTraining
from tune_mnist.study.progress import RunState

# Seconds of an epoch on one core, in microseconds of a step times its steps, by the benchmark of steps.
STEP_MICROSECONDS = {
    "SimpleNN": (343, 418, 518, 796), "MediumNN": (560, 712, 1020, 1560), "ComplexNN": (1190, 1630, 2540, 4510),
}


def seconds(plan: PlannedTraining) -> float:
    size = plan.config.batch_size
    return STEP_MICROSECONDS[plan.config.model][(16, 32, 64, 128).index(size)] * 1e-6 * 50_000 / size


def test_after_the_first_kind_the_time_left_is_guessed_within_a_factor() -> None:
    plans = StudySpec(models=FULLY_CONNECTED).trainings()
    truth = sum(seconds(plan) * plan.epochs for plan in plans)
    first = next(plan for plan in plans if plan.config.model == "ComplexNN" and plan.config.batch_size == 16)
    state = RunState(plans, "val_accuracy")
    assert state.eta_seconds() is None
    row = {"epoch": 1, "val_accuracy": 0.5, "train_seconds": seconds(first), "eval_seconds": 0.0}
    state.epoch(first.config, row)
    left = state.eta_seconds()
    assert left is not None and truth / 1.5 < left < truth * 1.5


@pytest.mark.parametrize("together", [1, 2, 4])
def test_the_time_left_is_that_of_the_trials_not_of_the_trainings_that_share_them(together: int) -> None:
    plans = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2, 0.1, 1.0), batch_size=(32,), epochs=(5,)).trainings()
    state = RunState(plans, "val_accuracy")
    row = {"epoch": 1, "val_accuracy": 0.5, "train_seconds": 2.0, "eval_seconds": 0.5}
    for plan in plans[:together]:  # one trial, each training with its share of the seconds
        state.start(plan.config, together)
        state.epoch(plan.config, row if together == 1 else row | {"together": together})
    assert state.eta_seconds() == pytest.approx((4 * 5 - together) * 2.5)
    for plan in plans[:together]:  # tried again: nothing was heard of it yet
        state.start(plan.config, together)
    assert state.eta_seconds() == pytest.approx((4 * 5 - together) * 2.5)


def test_a_kind_that_was_seen_is_not_guessed() -> None:
    plan, *_ = StudySpec(models=("SimpleNN",), lr=(1e-3,), batch_size=(32,), epochs=(5,)).trainings()
    state = RunState([plan], "val_accuracy")
    state.start(plan.config)
    state.epoch(plan.config, {"epoch": 2, "val_accuracy": 0.5, "train_seconds": 2.0, "eval_seconds": 0.5})
    assert state.eta_seconds() == pytest.approx(3 * 2.5)
