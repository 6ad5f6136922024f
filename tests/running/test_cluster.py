"""A real cluster of this machine's processes: a node killed, one added, shares of a GPU. Also run as its driver."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_nodes import LocalNodes, local_nodes, wait_for
from rich.console import Console

from support.buckets import KEYS, new_uri
from support.idx import random_arrays, write_folder
from support.plain import plain_study
from tune_mnist.experiment import check_experiment
from tune_mnist.running import runner
from tune_mnist.running.resources import Resources
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Context
from tune_mnist.study.storage.bucket.objects import Bucket
from tune_mnist.study.storage.folder import FolderStorage
from tune_mnist.study.study import Study
from tune_mnist.training.batches import make_pictures

ROOT = Path(__file__).parents[2]

TABLES = ("results.csv", "epochs.csv", "summary.csv", "top3.csv")
WORDS = ["--models", "SimpleNN", "--lr", "1e-3", "3e-3", "--batch-size", "32", "--seeds", "5", "--epochs", "2", "80"]
# A head that notices within two seconds, not half a minute, that a node is gone.
QUICK = {"RAY_health_check_initial_delay_ms": "500", "RAY_health_check_period_ms": "500",
         "RAY_health_check_failure_threshold": "3"}
# Epochs of which a run has enough left for a node that is added in its middle.
SLOW = {"CHAOS": json.dumps({"slow": 0.15}), "PYTHONPATH": str(ROOT / "tests" / "chaos" / "faults")}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalNodes]:
    with local_nodes((), environment={**os.environ, **QUICK, **SLOW}) as nodes:
        nodes.add(cpus=1, gpus=1)
        nodes.add(cpus=1)
        nodes.add(cpus=1)
        yield nodes


def training(raylet: psutil.Process) -> set[int]:
    """The node's workers that are training now."""
    found = set()
    for worker in raylet.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "SimpleNN" in " ".join(worker.cmdline()):
                found.add(worker.pid)
    return found


@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_killed_and_one_added_change_no_byte(cluster: LocalNodes, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", random_arrays(train=1200, test=200))
    command = [sys.executable, "-m", "tune_mnist.grid", *WORDS, "--data", str(data), "--name", "three"]
    with open(tmp_path / "log", "wb") as log:
        run = subprocess.Popen([*command, "--address", cluster.address], cwd=tmp_path, env=cluster.environment,
                               stdout=log, stderr=log)
    study = tmp_path / "ray_results" / "three"
    busy: set[int] = set()
    try:
        last = cluster.raylet(2)
        wait_for(lambda: training(last) or run.poll() is not None)
        cluster.kill(2)
        added = cluster.raylet(cluster.add(cpus=2))
        while run.poll() is None:
            busy |= training(added)
            time.sleep(0.2)
    finally:
        run.kill()
    told = (tmp_path / "log").read_text()
    assert run.returncode == 0 and "10/10 trainings" in told, told
    assert "trying again from its last epoch" in told  # so the node died in the middle of its work
    reports = [json.loads(line) for path in study.glob("ray/*/*/result.json") for line in path.read_text().splitlines()]
    assert busy & {report["pid"] for report in reports}  # so the new node trained
    spec = StudySpec(models=("SimpleNN",), lr=(1e-3, 3e-3), batch_size=(32,), seeds=5, epochs=(2, 80), data=data)
    alone = plain_study(spec, tmp_path / "alone")
    assert {name: (study / name).read_bytes() for name in TABLES} == {
        name: (alone.folder / name).read_bytes() for name in TABLES
    }


@pytest.mark.slow
@pytest.mark.cluster
def test_a_study_in_a_bucket_needs_no_folder_that_nodes_share(moto: str, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", random_arrays(train=1200, test=200))
    words = [*WORDS[:-1], "6", "--data", str(data), "--name", "three"]
    folders = {name: tmp_path / name / ("x" * 80) for name in ("driver", "nodes")}  # too long for Ray's own files
    for folder in folders.values():
        folder.mkdir(parents=True)
    reached = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": f"http://{moto}"}
    uri = new_uri()
    with local_nodes((1, 1), environment={**reached, "TMPDIR": str(folders["nodes"])}) as nodes:
        command = [sys.executable, "-m", "tune_mnist.grid", *words, "--storage", uri, "--address", nodes.address]
        environment = nodes.environment | {"TMPDIR": str(folders["driver"])}
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0 and "10/10 trainings" in run.stderr, run.stderr
    assert not list(folders["driver"].glob("*/*/*/trainings/*")) and list(folders["nodes"].glob("*/*/*/trainings/*"))
    spec = StudySpec(models=("SimpleNN",), lr=(1e-3, 3e-3), batch_size=(32,), seeds=5, epochs=(2, 6), data=data)
    alone = plain_study(spec, tmp_path / "alone")
    with pytest.MonkeyPatch.context() as environ:
        for name in (*KEYS, "AWS_ENDPOINT_URL"):
            environ.setenv(name, reached[name])
        for name in TABLES:
            assert Bucket(f"{uri}/three").read(name) == (alone.folder / name).read_bytes()


@pytest.mark.slow
@pytest.mark.cluster
def test_shares_of_a_gpu_and_more_of_it_after_running_out_of_its_memory(cluster: LocalNodes, tmp_path: Path) -> None:
    command = [sys.executable, __file__, cluster.address, str(tmp_path)]
    environment = cluster.environment | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["at once"] == {"0.25": 4, "0.3": 3}
    assert told["statuses"] == ["complete", "complete", "failed"]
    line = "SimpleNN-lr0.001-b32-s0: OutOfMemoryError: CUDA out of memory: trying again with 0.5 of a GPU"
    assert line in told["lines"]
    assert sum("again with 1 of a GPU" in line for line in told["lines"].splitlines()) == 1
    assert told["error"] == "OutOfMemoryError: CUDA out of memory"


def as_driver(address: str, folder: Path) -> dict[str, Any]:
    """How many waiting trials ran at once at each share, and what became of trainings that need more than theirs."""
    from tune_mnist.running.session import ray_session
    from tune_mnist.running.supervisor import Watch
    from tune_mnist.running.watching.display import Display
    from tune_mnist.running.watching.tracking import Tracking
    from tune_mnist.study.progress import RunState

    spec = StudySpec(models=("SimpleNN",), lr=(1e-3,), batch_size=(32,), seeds=6, epochs=(1,),
                     data=write_folder(folder / "data", random_arrays(train=600, test=100)))
    resources = Resources(address=address, cpus_per_trial=0.2)
    ready = check_experiment(spec, resources)
    plans, found = spec.trainings(), {}
    with open(folder / "lines", "w+") as out, ray_session(resources, Console(quiet=True), FolderStorage(folder)):
        for share in (0.25, 0.3):
            study = made(folder / f"share{share}")
            mine = dataclasses.replace(resources, gpus_per_trial=share)
            with Display(RunState(plans, "val_accuracy"), Console(quiet=True)) as display:
                watch = Watch(display, study, Context(protocol="holdout", data_sha256="none"), mine)
                runner._fit(waiting(study.folder, int(1 / share)), plans, watch, Tracking(), at_once=None)
            found[f"{share:g}"] = most_at_once(study.folder)
        runner.run_trial = needing  # type: ignore[attr-defined,assignment]
        study = made(folder / "memory")
        from tune_mnist.running.trial_data import TrialData

        data = TrialData(make_pictures(ready.data.train_images, ready.data.train_labels),
                         make_pictures(ready.data.eval_images, ready.data.eval_labels))
        mine = dataclasses.replace(resources, gpus_per_trial=0.25)
        runner.run_trainings(plans[:3], data, ready.context, study, mine, Console(file=out, width=400))
        records = list(study.records(plans[:3], ready.context))
        out.seek(0)
        return {"at once": found, "lines": out.read(), "statuses": [record.status for record in records],
                "error": records[2].error}


def made(folder: Path) -> Study:
    folder.mkdir()
    study = Study(folder)
    study.create()
    return study


def waiting(folder: Path, expected: int) -> Any:
    """A trainable that waits for `expected` to have started, and a second for more; it notes from when to when."""

    def waits(config: dict[str, Any]) -> None:
        import time

        from ray import tune

        start = time.time()
        (folder / f"started-{config['seed']}").touch()
        while len(list(folder.glob("started-*"))) < expected and time.time() < start + 30:
            time.sleep(0.1)
        time.sleep(1)
        (folder / f"seen-{config['seed']}").write_text(f"{start} {time.time()}")
        tune.report({"key": "", "member": 0, "diverged": False, "epoch": 1, "train_loss": 0.0, "val_accuracy": 0.5})

    return waits


def most_at_once(folder: Path) -> int:
    """The most intervals noted in the folder that overlap."""
    spans = [tuple(map(float, path.read_text().split())) for path in folder.glob("seen-*")]
    assert len(spans) == 6
    ends = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    return max(itertools.accumulate(step for _, step in ends))


def needing(config: dict[str, Any], *, data: Any, context: Any, study: Any) -> None:
    """`run_trial` on a GPU where seed 0 needs half of it, seed 1 a quarter, and seed 2 more than there is."""
    import torch
    from ray import tune

    from tune_mnist.running import trial

    real, share = trial.run_training, tune.get_context().get_trial_resources().required_resources["GPU"]

    def short(*args: Any) -> Iterator[Any]:
        if share < (0.5, 0.25, 2.0)[config["seed"]]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield from real(*args)

    trial.run_training = short  # type: ignore[assignment]
    try:
        trial.run_trial(config, data=data, context=context, study=study)
    finally:
        trial.run_training = real


if __name__ == "__main__":
    print(json.dumps(as_driver(sys.argv[1], Path(sys.argv[2]))))
