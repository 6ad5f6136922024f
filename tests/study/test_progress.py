"""Tests of where a run stands: what is left, and how long that takes."""

from __future__ import annotations

import random
from collections import Counter

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


def test_a_failed_training_counts_as_far_as_it_came() -> None:
    plans = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2), batch_size=(16,), epochs=(4,)).trainings()
    state = RunState(plans, "val_accuracy")
    for plan in plans:
        state.end(plan.config, "failed")
    assert state.summary() == "  0%  0/8 model-epochs, 2/2 trainings, 0 running, 2 failed"
    state = RunState(plans, "val_accuracy")
    state.epoch(plans[0].config, {"epoch": 1, "val_accuracy": 0.5, "train_seconds": 1.0, "eval_seconds": 0.0})
    state.end(plans[0].config, "failed")
    state.end(plans[1].config, "diverged")
    assert state.done_epochs == 5 and "left" not in state.summary()


def counted_again(state: RunState, plans: list[PlannedTraining]) -> tuple[int, float | None]:
    """Model-epochs done and seconds to go at one training at a time, each training looked at."""
    done = sum(
        plan.epochs if state.ended.get(plan.config, "failed") != "failed" else state.epochs.get(plan.config, 0)
        for plan in plans
    )
    left = sum(plan.epochs - state.epochs.get(plan.config, 0) for plan in plans if plan.config not in state.ended)
    return done, 2.5 * left


def test_the_sums_that_are_kept_are_those_of_looking_at_every_training() -> None:
    plans = StudySpec(models=("SimpleNN",), lr=(1e-3, 1e-2, 0.1), batch_size=(16,), epochs=(4,), seeds=3).trainings()
    state, chance = RunState(list(plans), "val_accuracy"), random.Random(0)
    reached = dict.fromkeys((plan.config for plan in plans), 0)
    for _ in range(200):
        config = chance.choice(plans).config
        if config in state.ended and state.ended[config] != "failed":
            continue
        if chance.random() < 0.1 or reached[config] == 4:  # a failed one may be tried again and come to its end
            state.end(config, "complete" if reached[config] == 4 else "failed")
        else:
            reached[config] += 1
            row = {"epoch": reached[config], "val_accuracy": 0.5, "train_seconds": 2.0, "eval_seconds": 0.5}
            state.start(config)
            state.epoch(config, row)
            state.stop(config)
        done, left = counted_again(state, plans)
        assert state.done_epochs == done and state.reported == sum(reached.values())
        assert state.eta_seconds() in (None, pytest.approx(left))
        assert dict(+state.counts) == dict(Counter(state.ended.values()))
    assert set(state.ended.values()) == {"complete", "failed"} or len(state.ended) == len(plans)
