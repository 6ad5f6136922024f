"""What a run costs besides training: Ray's start, data transfer, trials, reports, checkpoints, each apart."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from common import save, show, spread, told
from ray import tune
from rich.console import Console

from tune_mnist.batches import Pictures, make_pictures
from tune_mnist.cluster import ray_session
from tune_mnist.config import FULLY_CONNECTED, Context, PlannedTraining, TrainingConfig, training_key
from tune_mnist.data import load_dataset, training_data
from tune_mnist.resources import Resources
from tune_mnist.runner import run_trainings
from tune_mnist.store import TrainingFolder
from tune_mnist.study import Study
from tune_mnist.training import Training, fit
from tune_mnist.trial import TrialData, run_training

BATCHES = (16, 32, 64, 128)


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
    """Seconds of an epoch with evaluation, and of making and saving its checkpoint, per model and batch size."""
    found = {}
    context = Context(protocol="holdout", data_sha256="overhead")
    for model, batch in itertools.product(FULLY_CONNECTED, BATCHES):
        config = TrainingConfig(model=model, lr=1e-3, batch_size=batch)
        bare = timed(lambda c=config: fit(Training(c, data.train, data.evaluation), rounds))  # type: ignore[misc]
        kept = TrainingFolder(folder / training_key(config, context))
        plan = PlannedTraining(config, (rounds,))
        saved = timed(lambda p=plan, k=kept: run_training(p, data, context, k))  # type: ignore[misc]
        training = Training(config, data.train, data.evaluation)
        next(fit(training, 1))
        progress = kept.begin(config, context)
        saves: list[float] = []
        for _ in range(10):
            with stopwatch(saves):
                progress.state = training.state()
                kept.save(progress)
        found[model, batch] = {"epoch": bare, "epoch_saved": saved, "save": saves}
    return found


def timed(epochs: Callable[[], Iterator[object]]) -> list[float]:
    """Seconds between the items of an iterator, the first left out as warm-up."""
    marks = [time.perf_counter() for _ in epochs()]
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
        checkpoints = checkpoint_figures(Path(folder).absolute(), data, args.rounds + 1)
        seconds = ray_figures(Path(folder).absolute(), data, args.rounds)
    show("Seconds, median (min–max)", ["what", "seconds"], [
        ["start Ray on this machine", told(seconds["start"])],
        ["put MNIST into the object store", told(seconds["put"])],
        ["one more tiny trial, slot-seconds", told(seconds["trial"])],
        ["one report", told(seconds["report"])],
    ])
    share = {pair: [s / min(f["epoch"]) for s in f["save"]] for pair, f in checkpoints.items()}
    show("Checkpoints, median (min–max)", ["model", "batch", "epoch s", "save ms", "save / epoch"], [
        [*pair, told(f["epoch"]), told([s * 1e3 for s in f["save"]]), told([x * 100 for x in share[pair]], " %")]
        for pair, f in checkpoints.items()
    ])
    medians = {pair: (spread(f["save"])["median"], spread(f["epoch"])["median"]) for pair, f in checkpoints.items()}
    overall = sum(save for save, _ in medians.values()) / sum(epoch for _, epoch in medians.values())
    print(f"checkpoints over the whole grid: {overall:.2%} of its epochs' time")
    save(args.json, {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "checkpoints": {f"{m} {b}": {n: spread(v) for n, v in checkpoints[m, b].items()} for m, b in checkpoints},
        "checkpoint_share": overall,
    })


if __name__ == "__main__":
    main()
