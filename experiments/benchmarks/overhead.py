"""What a run costs besides training: Ray's start, data transfer, trials, reports, checkpoints, each apart."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray
from common import save, show, spread, told
from ray import tune
from rich.console import Console

from tune_mnist.batches import Pictures, make_pictures
from tune_mnist.cluster import ray_session
from tune_mnist.config import FULLY_CONNECTED, Context, PlannedTraining, StudySpec, TrainingConfig, training_key
from tune_mnist.data import load_dataset, training_data
from tune_mnist.resources import Resources
from tune_mnist.runner import run_trainings
from tune_mnist.store import TrainingFolder
from tune_mnist.study import Study
from tune_mnist.training import PackTraining, Training
from tune_mnist.trial import TrialData, ahead, run_pack, wait_for

BATCHES, LRS, EPOCHS = StudySpec().batch_size, StudySpec().lr, 3
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


def checkpoint_figures(folder: Path, data: TrialData, rounds: int) -> dict[tuple[str, int], dict[str, list[float]]]:
    """Per model and batch size, seconds of epochs of the lrs' trainings in step, saved or not, and of one state's save.

    All on one core, as where every core has a trial of its own: what saves takes its time from what trains.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    found = {}
    for model, batch in itertools.product(FULLY_CONNECTED, BATCHES):
        configs = [TrainingConfig(model=model, lr=lr, batch_size=batch) for lr in LRS]
        figures: dict[str, list[float]] = {"bare": [], "saved": [], "save": []}
        for number in range(rounds):
            figures["bare"].append(sum(timed(bare_epochs(configs, data))))
            own = folder / f"{model}-{batch}-{number}"
            figures["saved"].append(sum(timed(saved_epochs(configs, data, own))))
            figures["save"] += saves(configs[0], data, own)
            shutil.rmtree(own)
        found[model, batch] = figures
    os.sched_setaffinity(0, cores)
    return found


def bare_epochs(configs: Sequence[TrainingConfig], data: TrialData) -> Iterator[object]:
    """Epochs of trainings in step, none of them saved."""
    pack = PackTraining(configs, data.train, data.evaluation, device="cpu")
    for epoch in range(1, EPOCHS + 1):
        yield pack.run_epoch(epoch, range(len(configs)))


def saved_epochs(configs: Sequence[TrainingConfig], data: TrialData, folder: Path) -> Iterator[object]:
    """The same epochs as a trial runs them, each once it is saved; nothing is reported."""
    folders = [TrainingFolder(folder / training_key(config, CONTEXT)) for config in configs]
    folder.mkdir()
    for rows, saving in ahead(run_pack([PlannedTraining(c, (EPOCHS,)) for c in configs], data, CONTEXT, folders)):
        wait_for(saving)
        yield rows


def saves(config: TrainingConfig, data: TrialData, folder: Path) -> list[float]:
    """Seconds of making and saving a state, alone."""
    kept, seconds = TrainingFolder(folder / training_key(config, CONTEXT)), list[float]()
    training = Training(config, data.train, data.evaluation)
    progress = kept.begin(config, CONTEXT)
    for _ in range(5):
        with stopwatch(seconds):
            progress.state = training.state()
            kept.save(progress)
    return seconds


def timed(epochs: Iterator[object]) -> list[float]:
    """Seconds between the items of an iterator, the first left out as warm-up."""
    marks = [time.perf_counter() for _ in epochs]
    return [later - earlier for earlier, later in itertools.pairwise(marks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    loaded = training_data(load_dataset(), "holdout")
    data = TrialData(
        make_pictures(loaded.train_images, loaded.train_labels), make_pictures(loaded.eval_images, loaded.eval_labels)
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        checkpoints = checkpoint_figures(Path(folder).absolute(), data, args.rounds)
        seconds = ray_figures(Path(folder).absolute(), data, args.rounds)
    show("Seconds, median (min–max)", ["what", "seconds"], [
        ["start Ray on this machine", told(seconds["start"])],
        ["put MNIST into the object store", told(seconds["put"])],
        ["one more tiny trial, slot-seconds", told(seconds["trial"])],
        ["one report", told(seconds["report"])],
    ])
    shares = {pair: [with_it / bare - 1 for with_it, bare in zip(f["saved"], f["bare"], strict=True)]
              for pair, f in checkpoints.items()}
    whole = [sum(f["saved"][i] for f in checkpoints.values()) / sum(f["bare"][i] for f in checkpoints.values()) - 1
             for i in range(args.rounds)]
    title = f"{EPOCHS - 1} epochs of {len(LRS)} trainings in step on one core, median (min–max)"
    show(title, ["model", "batch", "seconds", "saved, too", "more", "one save alone, ms"], [
        [*pair, told(f["bare"]), told(f["saved"]), told([x * 100 for x in shares[pair]], " %"),
         told([s * 1e3 for s in f["save"]])]
        for pair, f in checkpoints.items()
    ])
    print(f"checkpoints over the whole grid: {told([x * 100 for x in whole], ' %')} more than its epochs alone")
    save(args.json, {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "checkpoints": {f"{m} {b}": {n: spread(v) for n, v in checkpoints[m, b].items()} for m, b in checkpoints},
        "checkpoint_share": spread(whole),
    })


if __name__ == "__main__":
    main()
