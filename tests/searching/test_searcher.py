"""Tests of what stops a search's trials early, and what these are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from support.searches import SPEC, opened, train
from tune_mnist.searching.searcher import Past, SearchState, make_scheduler


def test_a_resumed_stopping_stops_what_the_uncut_one_would(tmp_path: Path) -> None:
    spec = replace(SPEC, epochs=5, trials=9)
    trials = opened(tmp_path, spec)
    for accuracy in (0.9, 0.8, 0.7, 0.6):
        begun = trials.next()
        assert begun is not None
        train(trials, begun, 5, accuracy)
        trials.end(begun)
    for name in ("asha", "median"):
        scheduler: Any = make_scheduler(replace(spec, scheduler=name), trials.courses())
        poor, good = Past("poor"), Past("good")
        for past, value, decision in ((poor, 0.1, "STOP"), (good, 0.95, "CONTINUE")):
            scheduler.on_trial_add(None, past)
            assert scheduler.on_trial_result(None, past, {"epoch": 1, "val_accuracy": value}) == decision


def test_a_training_that_its_scheduler_stopped_has_not_ended_as_complete(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    state = SearchState([], "val_accuracy", trials=trials, varying=("model", "lr"))
    row = {"train_loss": 0.5, "val_accuracy": 0.9}
    for last in (1, 3):
        begun = trials.next()
        assert begun is not None
        state.plan(begun.plan)
        state.start(begun.plan.config)
        for epoch in range(1, last + 1):
            state.epoch(begun.plan.config, {"epoch": epoch, **row})
        state.end(begun.plan.config, "complete")  # as Tune has it of any trial without an error
        assert state.label(begun.plan.config) in state.summary() or last > 1
    assert state.counts == {"stopped early": 1, "complete": 1}
