"""How fast a GPU trains: a step of each pack, and the default grid without Ray and with it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tune_mnist.running.gpu_check.scale import Finding, Scale, configs_of, part_of, run_trial_of
from tune_mnist.running.runner import packed
from tune_mnist.running.trial_data import TrialData, trial_data
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.study.files import read_json
from tune_mnist.study.layout import entries
from tune_mnist.training.dataset import TrainingData
from tune_mnist.training.steps.choose import make_slots
from tune_mnist.training.steps.pack import SLOTS, PackSteps

Numbers = dict[str, tuple[Any, Any]]
"""Of each training and epoch the loss and the accuracy."""


def steps(scale: Scale, data: TrainingData) -> Finding:
    """Microseconds of a pack's step, all its members', alone on the device; median of three epochs."""
    train, figures = part_of(data, scale.pictures, scale.device), {}
    for model, size in itertools.product(scale.models, scale.batch_size):
        pack = make_slots(configs_of(model, size, (0, 0, 0, 0)), train, scale.device)
        pack.train_epoch(1)
        seconds = sorted(_epoch_seconds(pack, epoch) for epoch in (2, 3, 4))
        figures[f"{model} {size}"] = round(1e6 * seconds[1] / pack.steps_per_epoch, 1)
    epoch = sum(us * -(-len(train) // int(name.split()[1])) for name, us in figures.items()) / 1e6
    words = f"µs a step of {SLOTS}: " + ", ".join(f"{name} {us:g}" for name, us in figures.items())
    return Finding("steps", True, words, {"step_us": figures, "epoch_one_by_one_s": round(epoch, 2)})


def job(scale: Scale, data: TrainingData, numbers: Numbers) -> Finding:
    """The default grid's trainings as a trial of Ray's has them, in packs side by side; fills their `numbers` in."""
    plans = StudySpec(models=scale.models, batch_size=scale.batch_size, epochs=_budgets(scale)).trainings()
    whole = trial_data(data, scale.device)
    own = TrialData(part_of(data, scale.pictures, scale.device), whole.evaluation)
    start = time.perf_counter()
    rows = []
    for members in packed(plans, scale.device, 1, whole_gpu=scale.device == "cuda"):
        rows += run_trial_of(members, own, scale.device)
    seconds = time.perf_counter() - start
    numbers |= {f"{row['label']} {row['epoch']}": (row["train_loss"], row["val_accuracy"]) for row in rows}
    last = {row["label"]: row["val_accuracy"] for row in rows}
    training = sum(row["train_seconds"] for row in rows)
    figures = {"job_s": round(seconds, 2), "summed_train_s": round(training, 1), "accuracy": last}
    complete = len(last) == len(plans)
    words = f"{len(last)} trainings of {scale.epochs} epochs in {seconds:.1f} s; best accuracy {max(last.values()):.4f}"
    return Finding("job without Ray", complete, words, figures)


def job_with_ray(scale: Scale, numbers: Numbers, seconds: float) -> Finding:
    """The same by the grid's command: wall time, and the same numbers?"""
    if not scale.ray:
        return Finding("job with Ray", None, "left out")
    with tempfile.TemporaryDirectory() as storage:
        words = [
            sys.executable, "-m", "tune_mnist.grid", "--models", *scale.models,
            "--epochs", *map(str, _budgets(scale)), "--batch-size", *map(str, scale.batch_size),
            "--gpus-per-trial", "1", "--storage", storage, "--name", "check",
        ]
        start = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, timeout=max(10.0, seconds))
        wall = time.perf_counter() - start
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            return Finding("job with Ray", False, f"exit status {done.returncode}: {last}")
        there = dict(_stored(Path(storage) / "check" / "trainings"))
    differing = [name for name, own in numbers.items() if there.get(name) != own]
    same = f"{len(differing)} of {len(numbers)} epochs differ" if differing else "the same numbers"
    return Finding("job with Ray", not differing, f"{wall:.1f} s in all; {same}", {"grid_s": round(wall, 2)})


def _budgets(scale: Scale) -> tuple[int, ...]:
    return tuple(sorted({min(epochs, scale.epochs) for epochs in StudySpec().epochs}))


def _stored(trainings: Path) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for folder in entries(trainings):
        config = TrainingConfig(**read_json(folder / "config.json")["config"])
        for row in read_json(folder / "history.json")["epochs"]:
            yield f"{config.label} {row['epoch']}", (row["train_loss"], row["val_accuracy"])


def _epoch_seconds(pack: PackSteps, epoch: int) -> float:
    start = time.perf_counter()
    pack.train_epoch(epoch)
    return time.perf_counter() - start
