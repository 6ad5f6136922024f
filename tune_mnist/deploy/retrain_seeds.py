"""A choice retrained seed after seed, shown meanwhile, and stressed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tune_mnist.deploy.choice import Choice, choice_of_spec, choice_of_study, dataset_of
from tune_mnist.deploy.retraining import Retraining, Stand, Watch, finished_metrics, prepare, retrain
from tune_mnist.deploy.robustness import measure, write_robustness
from tune_mnist.deploy.trained import load_trained
from tune_mnist.spec.errors import require
from tune_mnist.spec.study import STORAGE, StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.study.files import make_folder
from tune_mnist.study.lock import study_lock
from tune_mnist.study.study import Study
from tune_mnist.tables.text import print_table
from tune_mnist.training.dataset import Dataset, load_dataset

LINE_SECONDS = 10.0


@dataclass(frozen=True)
class Manner:
    """How each seed is retrained."""

    checkpoint_every: int = 500
    """Steps between checkpoints."""
    device: str = "cpu"
    threads: int = 1


def run_retrain(
    study: Path | None = None, *, spec: StudySpec | None = None, rank: int = 1, key: str | None = None,
    name: str = "retrain", storage: Path = STORAGE, checkpoint_every: int = 500, device: str = "cpu",
    threads: int = 1, robustness: bool = False, download: bool = False, console: Console | None = None,
) -> list[dict[str, Any]]:
    """Retrain a study's cell (by `rank` or `key`), or a spec's only cell, a seed after the other.

    The arguments are those of `python -m tune_mnist.retrain`; a study's seeds are those of `spec`. Progress goes to
    `console` (stderr).

    Returns:
        For each seed its folder, config and metrics; for the first the robustness table's path too, if asked for.

    Raises:
        UserError: bad input, before anything is written.
        KeyboardInterrupt: stopped by a signal, with how to go on as its text.
    """
    console, spec = console or Console(stderr=True), spec or StudySpec()
    if device == "cuda":
        require(torch.cuda.is_available(), "device cuda has a GPU", "none here", "use --device cpu")
    if study is not None:
        choice = choice_of_study(Study(study), rank, key, spec.seeds)
        dataset = dataset_of(Study(study), download=download)
    else:
        choice = choice_of_spec(spec, storage.absolute() / name / "best")
        dataset = load_dataset(spec.dataset, spec.data, download=download)
    return retrain_choice(choice, dataset, Manner(checkpoint_every, device, threads), console, robustness=robustness)


def retrain_choice(
    choice: Choice, dataset: Dataset, manner: Manner, console: Console, *, robustness: bool = False
) -> list[dict[str, Any]]:
    """Retrain each of the choice's configs in a folder of its own; returns what `run_retrain` does."""
    make_folder(choice.folder.parent, parents=True)
    with study_lock(choice.folder.parent):
        outcomes = []
        for config in choice.configs:
            folder = choice.folder_of(config)
            outcome = _retrained(config, choice.epochs, dataset, folder, manner, console)
            if robustness and config == choice.configs[0]:
                outcome["robustness"] = str(_robustness(config, choice.epochs, dataset, folder, manner, console))
            outcomes.append(outcome)
    return outcomes


def _retrained(
    config: TrainingConfig, epochs: int, dataset: Dataset, folder: Path, manner: Manner, console: Console
) -> dict[str, Any]:
    job = prepare(config, epochs, dataset, folder, device=manner.device, threads=manner.threads)
    metrics = finished_metrics(job)
    if metrics is None:
        told = f"stopped; checkpoints are in {folder}: the same command goes on from the last of them"
        try:
            with _progress(job, console) as watch:
                metrics = retrain(job, manner.checkpoint_every, watch)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(told) from None
    else:
        console.print(f"{config.label}: done already", highlight=False)
    return {"folder": str(folder), "config": dataclasses.asdict(config), "metrics": metrics}


def _robustness(
    config: TrainingConfig, epochs: int, dataset: Dataset, folder: Path, manner: Manner, console: Console
) -> Path:
    """Measure and draw robustness into `folder`; a model that was trained with augmentation gets a twin without."""
    models = {"augmented" if config.augments else "plain": load_trained(folder)}
    if config.augments:
        twin = dataclasses.replace(config, rotation=0.0, translation=0.0, scaling=0.0, shear=0.0)
        _retrained(twin, epochs, dataset, folder / "plain", manner, console)
        models["plain"] = load_trained(folder / "plain")
    console.print("measuring robustness", highlight=False)
    table = measure(models, dataset.test_images, dataset.test_labels)
    return write_robustness(table, folder)


@contextmanager
def _progress(job: Retraining, console: Console) -> Iterator[Watch]:
    """A bar over the steps on a terminal, a line every 10 s elsewhere."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task, shown = bar.add_task(job.config.label, total=job.steps), time.monotonic()

        def watch(stand: Stand) -> None:
            nonlocal shown
            epoch = min(job.epochs, len(stand.losses) + 1)
            loss = f", loss {stand.losses[-1]:.4f}" if stand.losses else ""
            told = f"{job.config.label}: epoch {epoch}/{job.epochs}{loss}"
            bar.update(task, completed=stand.step, description=told)
            if not console.is_terminal and time.monotonic() - shown >= LINE_SECONDS:
                shown = time.monotonic()
                console.print(f"{told}, step {stand.step}/{job.steps}", highlight=False, soft_wrap=True)

        yield watch


def print_outcomes(outcomes: Sequence[dict[str, Any]], *, as_json: bool = False) -> None:
    """Print what `run_retrain` returned: tables of the test metrics, or one JSON array."""
    if as_json:
        print(json.dumps(outcomes))
        return
    names = ("accuracy", "precision", "recall", "f1", "loss")
    rows = [
        {"seed": one["config"]["seed"], **{name: one["metrics"][name] for name in names}, "folder": one["folder"]}
        for one in outcomes
    ]
    table = pd.DataFrame(rows)
    first = outcomes[0]
    print_table(table, f"{first['config']['model']}, {first['metrics']['epochs']} epochs, on the test set")
    if len(table) > 1:
        mean, spread = table["accuracy"].mean(), table["accuracy"].std()
        print(f"mean accuracy {mean:.3%} over {len(table)} seeds, standard deviation {spread:.3%}")
    else:
        print_table(pd.DataFrame(first["metrics"]["per_class"]), "By digit")
    for one in outcomes:
        if "robustness" in one:
            print(f"robustness: {one['robustness']}")
