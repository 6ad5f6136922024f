"""A user's program around runs of ours: python notebook.py own|none DATA FOLDER; it fails where they leave a trace."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from rich.console import Console

import tune_mnist as tm
from support.process_state import state


@ray.remote(num_cpus=0.5)
class Counter:
    """An actor of the user's own."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


def train(config: dict[str, Any]) -> None:
    """The user's own trainable."""
    tune.report({"accuracy": 1.0})


def interrupted(spec: tm.StudySpec, folder: Path) -> None:
    """Start a long run, and interrupt it once it has begun to train, as the button of a notebook does."""
    def interrupt() -> None:
        while not list(folder.glob("long/trainings/**/history.json")):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        tm.run_grid(spec, name="long", storage=folder, console=Console(quiet=True))
    except KeyboardInterrupt as stop:
        assert "the same command goes on from there" in str(stop), stop
    else:
        raise AssertionError("it was not interrupted")


def main(kind: str, data: Path, folder: Path) -> None:
    """Run twice, and once interrupted, with a session of the user's `own` or with none; look at all that was there."""
    own = kind == "own"
    if own:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        counter = Counter.remote()  # type: ignore[attr-defined]
        assert ray.get(counter.add.remote()) == 1
    spec = tm.StudySpec(models=("SimpleNN",), lr=(1e-3,), batch_size=(64,), epochs=(1, 2), data=data)
    long = tm.StudySpec(models=("SimpleNN",), lr=(1e-3,), batch_size=(1,), epochs=(5000,), data=data)
    before, sessions = state(), set()
    for name in ("first", "second"):
        result = tm.run_grid(spec, name=name, storage=folder, console=Console(quiet=True))
        assert set(result.tables.results["status"]) == {"complete"}
        assert state() == before, [key for key, value in state().items() if value != before[key]]
        assert ray.is_initialized()  # what was started is kept for the next run
        node: Any = ray._private.worker._global_node
        sessions.add(node.session_name)
    assert len(sessions) == 1
    interrupted(long, folder)
    assert state() == before, [key for key, value in state().items() if value != before[key]]
    assert ray.is_initialized() is own
    if own:
        assert ray.get(counter.add.remote()) == 2
        deadline = time.monotonic() + 30
        while ray.available_resources().get("CPU") != 1.5:  # all but the counter's
            assert time.monotonic() < deadline, ray.available_resources()
            time.sleep(0.1)
    else:
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(train, run_config=tune.RunConfig(storage_path=str(folder / "theirs"), verbose=0))
    files = set(os.listdir(tuner.fit()[0].path))
    assert {"result.json", "progress.csv", "params.json"} <= files, files
    print("no trace")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
