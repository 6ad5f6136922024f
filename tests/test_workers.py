"""Test that Tune's workers all get trials, however short these are."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from rich.console import Console

from tune_mnist.cluster import ray_session
from tune_mnist.resources import Resources
from tune_mnist.runner import Listed
from tune_mnist.workers import InOrder, starting_together


@pytest.fixture(scope="module")
def cpus() -> Iterator[int]:
    with ray_session(Resources(), Console(quiet=True)):
        yield int(ray.cluster_resources()["CPU"])


def run(folder: Path, trial: Callable[[dict[str, Any]], None], trials: int, share: float, at_once: int) -> pd.DataFrame:
    """What `trials` numbered trials reported, each with `share` CPUs, `at_once` of them starting together."""
    with starting_together(at_once):
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": share}),
            tune_config=tune.TuneConfig(
                search_alg=Listed([{"number": number} for number in range(trials)]), scheduler=InOrder(),
                num_samples=trials, reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[JsonLoggerCallback()]),
        ).fit()
    assert len(results) == trials and not results.errors
    return results.get_dataframe()


@pytest.mark.slow
def test_trials_shorter_than_a_workers_start_run_on_every_slot(cpus: int, tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        time.sleep(0.2)
        tune.report({"worker": os.getpid()})

    share = cpus / 4 if cpus <= 4 else cpus // 4
    slots = int(cpus / share)
    assert run(tmp_path, trial, 40 * slots, share, slots)["worker"].nunique() == slots


@pytest.mark.slow
def test_trials_run_in_their_order_however_many_wait_for_a_slot(cpus: int, tmp_path: Path) -> None:
    """The longest come first, so that no slot idles at the end."""
    def trial(config: dict[str, Any]) -> None:
        tune.report({"began": time.time()})

    table = run(tmp_path, trial, 9, cpus, 3)
    assert table.sort_values("began")["config/number"].tolist() == list(range(9))
