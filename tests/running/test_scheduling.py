"""Test that Tune's workers all get trials, however short these are."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search import Searcher
from rich.console import Console

from support.slices import evaluation_slice, train_slice
from tune_mnist.running.resources import Resources
from tune_mnist.running.scheduling import InOrder, starting_together
from tune_mnist.running.session import ray_session
from tune_mnist.running.trial_data import TrialData
from tune_mnist.shell.garbage import NEW_OBJECTS
from tune_mnist.shell.process_state import process_state_kept


class Numbered(Searcher):
    """Hands out numbers from 0 on."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.numbers = iter(range(count))

    def suggest(self, trial_id: str) -> Any:
        number = next(self.numbers, None)
        return Searcher.FINISHED if number is None else {"number": number}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing to learn."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep."""


@pytest.fixture(scope="module")
def cpus() -> Iterator[int]:
    with process_state_kept(), ray_session(Resources(), Console(quiet=True)):
        yield int(ray.cluster_resources()["CPU"])


def run(folder: Path, trial: Callable[..., None], trials: int, share: float, at_once: int) -> pd.DataFrame:
    """What `trials` numbered trials reported, each with `share` CPUs, `at_once` of them starting together."""
    with starting_together(at_once):
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": share}),
            tune_config=tune.TuneConfig(
                search_alg=Numbered(trials), scheduler=InOrder(),
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


@pytest.mark.slow
def test_a_workers_garbage_collector_is_seldom_at_work(cpus: int, tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        tune.report({"new_objects": gc.get_threshold()[0]})

    assert set(run(tmp_path, trial, 1, cpus, 1)["new_objects"]) == {NEW_OBJECTS}


@pytest.mark.slow
def test_all_trials_see_the_same_pictures_in_shared_memory(cpus: int, tmp_path: Path) -> None:
    """MNIST is on a node once, however many workers it has."""
    def trial(config: dict[str, Any], data: TrialData) -> None:
        def mapped(array: np.ndarray) -> str:
            """The file that lies mapped where the array does, with its device and inode."""
            address = array.__array_interface__["data"][0]
            for line in Path("/proc/self/maps").read_text().splitlines():
                span, _, _, device, inode, *file = line.split(maxsplit=5)
                first, last = (int(end, 16) for end in span.split("-"))
                if first <= address < last:
                    return f"{''.join(file)} {device} {inode}"
            raise AssertionError("no mapping holds the array")

        found = set()
        for part in (data.train, data.evaluation):
            assert part.nonzero is not None
            found |= {mapped(a) for a in (part.pixels, part.labels, part.nonzero.data, part.nonzero.indices)}
        time.sleep(0.2)
        tune.report({"worker": os.getpid(), "places": "; ".join(sorted(found))})

    data = TrialData(train_slice(2000), evaluation_slice(2000))
    seen = run(tmp_path, tune.with_parameters(trial, data=data), 8, cpus / 2, 2)
    assert seen["worker"].nunique() == 2
    (place,) = set(seen["places"])
    assert "/plasma" in place and ";" not in place


@pytest.mark.slow
def test_rays_agent_takes_a_free_port_so_that_a_second_ray_neither_waits_for_one_nor_does_without(cpus: int) -> None:
    (node,) = ray.nodes()
    assert node["DashboardAgentListenPort"] > 0
    assert node["DashboardAgentListenPort"] != ray._private.ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
