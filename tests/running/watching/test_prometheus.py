"""Tests of a run's metrics, of the dashboard that draws them, and of what goes to TensorBoard and MLflow."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from support.idx import random_arrays, write_folder
from tune_mnist.grid import main as grid
from tune_mnist.running.resources import Resources
from tune_mnist.running.supervisor import Watch
from tune_mnist.running.watching.display import Display
from tune_mnist.running.watching.prometheus import COUNTERS, GAUGES, STATES, TrainingEvents, counts
from tune_mnist.running.watching.trackers import Tracker, mlflow_tracker, tensorboard_tracker
from tune_mnist.running.watching.tracking import Tracking
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.training import Context, PlannedTraining, TrainingConfig, trial_config
from tune_mnist.study.progress import RunState
from tune_mnist.study.study import Study

MONITORING = Path(__file__).parents[3] / "experiments" / "monitoring"
CONFIG = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=64)
OTHER = TrainingConfig(model="SimpleNN", lr=1e-2, batch_size=64)
PLANS = [PlannedTraining(CONFIG, (3,)), PlannedTraining(OTHER, (3,))]


def row(epoch: int, loss: float = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "train_loss": loss, "val_accuracy": 0.9 + epoch / 100, "diverged": not math.isfinite(loss)}


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    study = Study(tmp_path / "mine")
    study.folder.mkdir()
    study.create()
    context = Context(protocol="holdout", data_sha256="ab" * 32)
    display = Display(RunState(PLANS, "val_accuracy"), Console(file=io.StringIO(), width=300))
    return Watch(display, study, context, Resources())


def queries() -> list[tuple[str, str]]:
    """The Grafana dashboard's expressions with their legends."""
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    return [(target["expr"], target["legendFormat"]) for p in dashboard["panels"] for target in p["targets"]]


def exported_names() -> set[str]:
    """The names under which Prometheus gets the metrics: Ray puts ray_ before and _total after a counter's."""
    return {f"ray_{name}" for name in GAUGES} | {f"ray_{name}_total" for name in COUNTERS}


def test_grafana_draws_every_metric_and_none_that_is_not_there() -> None:
    named = {name for expr, _ in queries() for name in re.findall(r"\bray_\w+", expr)}
    assert named == exported_names()
    tags = {f"ray_{name}": set(told[1]) for name, told in GAUGES.items()}
    tags |= {f"ray_{name}_total": set(told[1]) for name, told in COUNTERS.items()}
    for expr, legend in queries():
        (name,) = re.findall(r"\bray_\w+", expr)
        grouped = [label for labels in re.findall(r"by \(([^)]*)\)", expr) for label in labels.split(", ")]
        used = {*re.findall(r"(\w+)=", expr), *grouped, *re.findall(r"{{(\w+)}}", legend)}
        assert used <= tags[name], expr
        assert set(re.findall(r'state="(\w+)"', expr)) <= set(STATES)
    readme = (MONITORING / "README.md").read_text()
    assert all(name in readme or name.replace("ray_tune_mnist_training", "…") in readme for name in exported_names())


def test_states_count_every_training_once() -> None:
    plans = [PlannedTraining(TrainingConfig(model="CNN", lr=0.1, batch_size=n), (1,)) for n in range(1, 7)]
    state = RunState(plans, "val_accuracy")
    for plan in plans[:4]:
        state.start(plan.config)
    for plan, how in zip(plans, ("complete", "diverged", "failed"), strict=False):
        state.end(plan.config, how)
    state.start(plans[0].config)  # a pack that is tried again starts its finished members too
    told = counts(state)
    ended = {"complete": 1, "diverged": 1, "failed": 1, "stopped early": 0}
    assert told == {"waiting": 2, "running": 1, **ended} and set(told) == set(STATES)


class FakeTrial:
    """As much of a trial of Tune's as is looked at."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config


class Heard(TrainingEvents):
    """Events as they came."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def started(self, config: TrainingConfig) -> None:
        self.told.append(("started", config.lr))

    def epoch(self, config: TrainingConfig, row: dict[str, Any]) -> None:
        self.told.append((config.lr, row["epoch"]))

    def ended(self, config: TrainingConfig, failed: bool) -> None:
        self.told.append(("ended", config.lr, failed))


def test_a_packs_trials_are_told_training_by_training() -> None:
    heard, trial = Heard(), FakeTrial(trial_config(PLANS))
    heard.on_trial_start(0, [], trial)
    for member, epoch in ((0, 1), (1, 1), (0, 2), (0, 3)):
        heard.on_trial_result(0, [], trial, {"member": member, **row(epoch)})
    heard.on_trial_result(0, [], trial, {"done": True})
    heard.on_trial_start(0, [], trial)  # tried again
    heard.on_trial_result(0, [], trial, {"member": 0, **row(3)})
    heard.on_trial_error(0, [], trial)
    one, two = CONFIG.lr, OTHER.lr
    assert heard.told == [
        ("started", one), ("started", two), (one, 1), (two, 1), (one, 2), (one, 3), ("ended", one, False),
        ("started", two), ("ended", two, True),
    ]
    heard = Heard()
    heard.on_trial_result(0, [], trial, {"member": 1, **row(1, math.nan)})
    heard.on_trial_complete(0, [], trial)
    assert heard.told == [
        ("started", two), (two, 1), ("ended", two, False), ("started", one), ("ended", one, False),
    ]


def feed(tracker: Tracker) -> None:
    """A training of three epochs that is tried again after its second."""
    tracker.setup()
    for epochs in ((1, 2), (1, 2, 3)):
        tracker.started(CONFIG)
        for epoch in epochs:
            tracker.epoch(CONFIG, row(epoch))
    tracker.ended(CONFIG, failed=False)


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """The scalars of TensorBoard event files: records of a length, its checksum, the data and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value if v.HasField("simple_value")]
            at += length + 16
    return found


@pytest.mark.skipif(importlib.util.find_spec("tensorboardX") is None, reason="tensorboardX is not installed")
def test_tensorboard_gets_each_epoch_once_in_the_studys_folder(watch: Watch) -> None:
    feed(tensorboard_tracker(watch))
    (folder,) = (watch.study.folder / "tensorboard").iterdir()
    assert folder.name.startswith(CONFIG.label)
    accuracy = [(step, value) for tag, step, value in scalars(folder) if tag == "ray/tune/val_accuracy"]
    assert [step for step, _ in accuracy] == [1, 2, 3]
    assert [value for _, value in accuracy] == pytest.approx([0.91, 0.92, 0.93])


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_gets_a_run_per_training(watch: Watch, tmp_path: Path) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    feed(mlflow_tracker(watch, uri))
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.run_name == CONFIG.label and run.info.status == "FINISHED" and run.data.params["lr"] == "0.001"
    history = client.get_metric_history(run.info.run_id, "val_accuracy")
    assert [(m.step, round(m.value, 4)) for m in history] == [(1, 0.91), (2, 0.92), (3, 0.93)]


def test_a_tracker_that_fails_is_told_once_and_left_alone(watch: Watch) -> None:
    class Broken:
        def setup(self) -> None:
            raise ConnectionError("the server\nhas gone")

    tracker = Tracker("MLflow", Broken, watch)
    feed(tracker)
    told = watch.display.console.file.getvalue()  # type: ignore[attr-defined]
    assert told == "warning: MLflow failed and gets no more (ConnectionError: the server has gone)\n"


def test_what_is_missing_or_unreachable_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    find = importlib.util.find_spec
    gone = ("tensorboardX", "mlflow")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else find(name))
    for words, told in {
        ("--tensorboard",): "--tensorboard needs tensorboardX: run `pip install 'tune-mnist[tensorboard]'`",
        ("--mlflow", "http://127.0.0.1:1"): "--mlflow needs mlflow: run `pip install 'tune-mnist[mlflow]'`",
        ("--mlflow", "here"): "`mlflow is a tracking URI` must hold, but got 'here'",
    }.items():
        assert grid(words) == 2
        err = capsys.readouterr().err
        assert told in err and err.startswith("error: ") and err.count("\n") == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="no MLflow server answers at http://127.0.0.1:1 .*: start it, or change"):
        Tracking(mlflow="http://me:secret@127.0.0.1:1").check()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, as Ray's sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="tm-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_prometheus(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A Prometheus with the project's own config, that reads the Ray session in `folder` every second."""
    config = (MONITORING / "prometheus.yml").read_text().replace("/tmp/tune_mnist-USER_ID", str(folder))
    config = re.sub(r"interval: \d+s", "interval: 1s", config)
    (folder / "prometheus.yml").write_text("\n".join(line for line in config.splitlines() if "/tmp/ray/" not in line))
    words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    words.append(f"--web.listen-address=127.0.0.1:{port}")
    with open(folder / "prometheus.log", "wb") as log:
        return subprocess.Popen(["prometheus", *words], stdout=log, stderr=log)


def asked(port: int, query: str) -> list[tuple[dict[str, str], list[float]]]:
    """The series that a range query finds: labels and values."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=10) as answer:
        found = json.load(answer)["data"]["result"]
    return [(series["metric"], [float(value) for _, value in series["values"]]) for series in found]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: Debian's package has it")
def test_prometheus_gets_the_values_of_epochs_csv(tmp_path: Path, short_folder: Path) -> None:
    data = write_folder(tmp_path / "data", random_arrays(train=30000, test=200))
    temporary = short_folder / f"tune_mnist-{os.getuid()}"
    temporary.mkdir(mode=0o700)
    port = free_port()
    words = f"--models SimpleNN --lr 1e-3 1e-2 --batch-size 16 --epochs 6 --data {data} --name seen --tensorboard"
    prometheus = start_prometheus(temporary, port)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "tune_mnist.grid", *words.split()], cwd=tmp_path, capture_output=True, text=True,
            timeout=120, env=os.environ | {"TMPDIR": str(short_folder), "RAY_metrics_report_interval_ms": "1000"},
        )
        assert run.returncode == 0, run.stderr
        window = f"[{math.ceil(time.time() - temporary.stat().st_ctime) + 60}s]"
        series = {name: asked(port, f"{name}{window}") for name in exported_names()}
    finally:
        prometheus.terminate()
        prometheus.wait()
    epochs = pd.read_csv(tmp_path / "ray_results" / "seen" / "epochs.csv")
    for name, column in {"epoch": "epoch", "loss": "train_loss", "accuracy": "val_accuracy"}.items():
        found = series[f"ray_tune_mnist_training_{name}"]
        assert {labels["lr"] for labels, _ in found} == {"0.001", "0.01"}
        for labels, values in found:
            assert labels.items() >= {"study": "seen", "model": "SimpleNN", "batch": "16", "seed": "0"}.items()
            rows = epochs[epochs["lr"] == float(labels["lr"])]
            known = rows[column].to_numpy()
            assert all((abs(known - value) < 1e-9).any() for value in values), (name, values)
            assert len(set(values)) >= 2 or known.min() == known.max()  # accuracies may all be one
    done = sum(values[-1] for _, values in series["ray_tune_mnist_epochs_total"])
    assert 8 <= done <= len(epochs) == 12  # the last second's may not have been scraped
    assert max(max(values) for _, values in series["ray_tune_mnist_best_accuracy"]) in set(epochs["val_accuracy"])
    states = {labels["state"]: values for labels, values in series["ray_tune_mnist_trainings"]}
    assert set(states) == set(STATES) and max(states["running"]) >= 1 and max(states["failed"]) == 0
    assert len(list((tmp_path / "ray_results" / "seen" / "tensorboard").glob("*/events.out.tfevents.*"))) == 2
