"""What a run costs besides training: Ray's start, data transfer, trials, reports, checkpoints, each apart."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray
from common import save, show, spread, told
from ray import tune
from rich.console import Console

from tune_mnist.running.resources import Resources
from tune_mnist.running.runner import run_trainings
from tune_mnist.running.session import RAY_ENVIRONMENT, ray_session
from tune_mnist.running.trial import run_pack, wait_for
from tune_mnist.running.trial_data import TrialData
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import FULLY_CONNECTED, Context, PlannedTraining, TrainingConfig, training_key
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder
from tune_mnist.training.batches import Pictures, make_pictures
from tune_mnist.training.dataset import load_dataset, training_data
from tune_mnist.training.loop import Training

BATCHES, LRS, BUDGETS = StudySpec().batch_size, StudySpec().lr, StudySpec().epochs
CONTEXT = Context(protocol="holdout", data_sha256="overhead")


@contextmanager
def stopwatch(into: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes."""
    start = time.perf_counter()
    yield
    into.append(time.perf_counter() - start)


def reports(config: dict[str, int]) -> None:
    """A trainable that only reports."""
    for _ in range(config["reports"]):
        tune.report({"epoch": 1})


def ray_figures(folder: Path, data: TrialData, rounds: int) -> dict[str, list[float]]:
    """Seconds of Ray's start, of putting the data, per tiny training, per report."""
    seconds: dict[str, list[float]] = {"start": [], "put": [], "trial": [], "report": []}
    tiny = TrialData(first(data.train, 600), first(data.evaluation, 100))
    plans = [
        PlannedTraining(TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=128, seed=seed), (1,))
        for seed in range(40)
    ]
    console = Console(quiet=True)
    for number in range(rounds):
        session = ray_session(Resources(), console)
        with stopwatch(seconds["start"]):
            session.__enter__()
        with stopwatch(seconds["put"]):
            ray.put(data)
        (folder / f"study{number}").mkdir()
        study = Study(folder / f"study{number}")
        study.create()
        context = Context(protocol="holdout", data_sha256="tiny")
        walls: list[float] = []
        for count in (2, len(plans)):  # the difference is what further trials on warm actors cost
            with stopwatch(walls):
                run_trainings(plans[:count], tiny, context, study, Resources(), console)
        seconds["trial"].append((walls[1] - walls[0]) / (len(plans) - 2) * 2)
        few, many = (report_seconds(folder / f"reports{number}", n) for n in (10, 310))
        seconds["report"].append((many - few) / 300)
        session.__exit__(None, None, None)
    return seconds


def report_seconds(folder: Path, reports_each: int) -> float:
    """Seconds that one trial of so many reports takes."""
    start = time.perf_counter()
    config = tune.RunConfig(storage_path=str(folder), verbose=0)
    tune.Tuner(reports, param_space={"reports": reports_each}, run_config=config).fit()
    return time.perf_counter() - start


def first(pictures: Pictures, n: int) -> Pictures:
    """The first n pictures."""
    return make_pictures(pictures.pixels[:n], pictures.labels[:n])


def checkpoint_figures(folder: Path, data: TrialData) -> dict[tuple[str, int], dict[str, list[float]]]:
    """Per model and batch size, seconds of an epoch of the lrs' trainings in step, of its checkpoints, and of one save.

    All on one core, and each epoch's checkpoints before the next epoch: what they cost at most, as the job makes them
    while it trains.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    found = {}
    for model, batch in itertools.product(FULLY_CONNECTED, BATCHES):
        configs = [TrainingConfig(model=model, lr=lr, batch_size=batch) for lr in LRS]
        figures: dict[str, list[float]] = {"epoch": [], "checkpoints": [], "save": []}
        own = folder / f"{model}-{batch}"
        for epoch, checkpoints in epoch_and_checkpoints(configs, data, own):
            figures["epoch"].append(epoch)
            figures["checkpoints"].append(checkpoints)
        figures["save"] += saves(configs[0], data, own)
        shutil.rmtree(own)
        found[model, batch] = figures
    os.sched_setaffinity(0, cores)
    return found


def epoch_and_checkpoints(
    configs: Sequence[TrainingConfig], data: TrialData, folder: Path
) -> Iterator[tuple[float, float]]:
    """Seconds of training and evaluating an epoch of trainings in step, and of what else it takes; not of the first."""
    folders = [TrainingFolder(folder / training_key(config, CONTEXT)) for config in configs]
    folder.mkdir()
    before = 0.0
    for rows, saving in run_pack([PlannedTraining(c, BUDGETS) for c in configs], data, CONTEXT, folders):
        wait_for(saving)
        now = time.perf_counter()
        if before:
            epoch = sum(row["train_seconds"] + row["eval_seconds"] for _, row in rows)
            yield epoch, now - before - epoch
        before = now


def saves(config: TrainingConfig, data: TrialData, folder: Path) -> list[float]:
    """Seconds of making and saving a state, alone."""
    kept, seconds = TrainingFolder(folder / training_key(config, CONTEXT)), list[float]()
    training = Training(config, data.train, data.evaluation)
    progress = kept.begin(config, CONTEXT)
    for _ in range(10):
        with stopwatch(seconds):
            progress.state = training.state()
            kept.save(progress)
    return seconds


def share(figures: dict[str, list[float]]) -> float:
    """The time of the checkpoints in the time of the epochs."""
    return sum(figures["checkpoints"]) / sum(figures["epoch"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of what Ray does (5)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    heap = {name: value for name, value in RAY_ENVIRONMENT.items() if name.startswith("MALLOC")}
    if not heap.keys() <= os.environ.keys():  # a worker's, which glibc reads as a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | heap)
    loaded = training_data(load_dataset(), "holdout")
    data = TrialData(
        make_pictures(loaded.train_images, loaded.train_labels), make_pictures(loaded.eval_images, loaded.eval_labels)
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        checkpoints = checkpoint_figures(Path(folder).absolute(), data)
        seconds = ray_figures(Path(folder).absolute(), data, args.rounds)
    show("Seconds, median (min–max)", ["what", "seconds"], [
        ["start Ray on this machine", told(seconds["start"])],
        ["put MNIST into the object store", told(seconds["put"])],
        ["one more tiny trial, slot-seconds", told(seconds["trial"])],
        ["one report", told(seconds["report"])],
    ])
    show(f"An epoch of {len(LRS)} trainings in step on one core, median (min–max)",
         ["model", "batch", "epoch s", "checkpoints ms", "their share", "one save alone, ms"], [
        [*pair, told(f["epoch"]), told([s * 1e3 for s in f["checkpoints"]]), f"{share(f):.2%}",
         told([s * 1e3 for s in f["save"]])]
        for pair, f in checkpoints.items()
    ])
    whole = {name: [s for f in checkpoints.values() for s in f[name]] for name in ("epoch", "checkpoints")}
    print(f"checkpoints over the whole grid: {share(whole):.2%} of its epochs' time")
    save(args.json, {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "checkpoints": {f"{m} {b}": {n: spread(v) for n, v in checkpoints[m, b].items()} for m, b in checkpoints},
        "checkpoint_share": share(whole),
    })


if __name__ == "__main__":
    main()
