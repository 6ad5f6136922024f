"""Test that Tune's workers all get trials, however short these are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from rich.console import Console

from tune_mnist.cluster import ray_session
from tune_mnist.resources import Resources
from tune_mnist.runner import Listed
from tune_mnist.workers import InOrder, starting_together


@pytest.mark.slow
def test_trials_shorter_than_a_workers_start_run_on_every_slot(tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        time.sleep(0.2)
        tune.report({"worker": os.getpid()})

    with ray_session(Resources(), Console(quiet=True)):
        cpus = int(ray.cluster_resources()["CPU"])
        share = cpus / 4 if cpus <= 4 else cpus // 4
        slots = int(cpus / share)
        trials = 40 * slots
        with starting_together(slots):
            results = tune.Tuner(
                tune.with_resources(trial, {"cpu": share}),
                tune_config=tune.TuneConfig(
                    search_alg=Listed([{} for _ in range(trials)]), scheduler=InOrder(), num_samples=trials,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, callbacks=[JsonLoggerCallback()]),
            ).fit()
    assert len(results) == trials and not results.errors
    assert results.get_dataframe()["worker"].nunique() == slots
