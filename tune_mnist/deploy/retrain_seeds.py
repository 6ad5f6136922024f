"""A choice retrained seed after seed, shown meanwhile, and stressed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tune_mnist.deploy.choice import choice_of_spec, choice_of_study, dataset_of
from tune_mnist.deploy.retraining import OnStep, Retraining, RetrainProgress, finished_metrics, prepare, retrain
from tune_mnist.deploy.robustness import measure, write_robustness
from tune_mnist.deploy.trained import load_trained
from tune_mnist.running.watching.display import LINE_SECONDS
from tune_mnist.shell.process_state import process_state_kept
from tune_mnist.spec.errors import require
from tune_mnist.spec.places import STORAGE, home_expanded, shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.own_models import MODELS, remember, require_known
from tune_mnist.study.ownership import refuse_foreign_model
from tune_mnist.study.storage.base import Storage
from tune_mnist.study.storage.opening import storage_at
from tune_mnist.study.study import Study
from tune_mnist.tables.text import print_table
from tune_mnist.training.dataset import Dataset, load_dataset, training_data
from tune_mnist.training.trying import try_models


@process_state_kept()
def run_retrain(
    study: Path | None = None, *, spec: StudySpec | None = None, rank: int = 1, key: str | None = None,
    name: str = "retrain", storage: Path = STORAGE, checkpoint_every: int = 500, device: str = "cpu",
    threads: int = 1, robustness: bool = False, download: bool = False, trust_code: bool = False,
    console: Console | None = None,
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
    console = console or Console(stderr=True)
    spec = spec or StudySpec()
    require(not spec.adds_seeds, "seeds is a number where one cell is retrained", spec.seeds, "give --seeds a number")
    if device == "cuda":
        require(torch.cuda.is_available(), "device cuda has a GPU", "none here", "use --device cpu")
    place = Study(storage_at(study or home_expanded(storage) / name))
    if study is not None:
        choice = choice_of_study(place, rank, key, spec.first_seeds)
        dataset = dataset_of(place, download=download)
    else:
        choice = choice_of_spec(spec, place.folder / "best")
        dataset = load_dataset(spec.dataset, spec.data, download=download)
    source = choice.configs[0].source
    if source is not None and study is None:
        try_models(choice.configs, training_data(dataset, "report"))
        remember([source])
    elif source is not None and study is not None:
        require_known(source, place.folder / MODELS / source.name, trusted=trust_code)
    place.storage.refuse()
    place.storage.bring(choice.folder)
    for config in choice.configs:
        refuse_foreign_model(choice.folder_of(config))
    with place.storage.hold():
        first = prepare(choice.configs[0], choice.epochs, dataset, choice.folder, device=device, threads=threads)
        outcomes: list[dict[str, Any]] = []
        for config in choice.configs:
            job = dataclasses.replace(first, config=config, folder=choice.folder_of(config))
            outcome = _retrained(job, checkpoint_every, console, place.storage)
            if robustness and not outcomes:
                table = _robustness(job, dataset, checkpoint_every, console, place.storage)
                outcome["robustness"] = shown(place.storage.path_of(table))
            place.storage.mirror(choice.folder)
            outcomes.append(outcome)
    return outcomes


def _retrained(job: Retraining, checkpoint_every: int, console: Console, storage: Storage) -> dict[str, Any]:
    """The outcome of a retraining, run unless its folder holds all of it; checkpoints are kept as they come."""
    place = shown(storage.path_of(job.folder))
    metrics = finished_metrics(job)
    if metrics is None:
        try:
            with _shown_progress(job, console) as show:

                def on_step(progress: RetrainProgress) -> None:
                    show(progress)
                    if progress.step % checkpoint_every == 0:
                        storage.mirror(job.folder)

                metrics = retrain(job, checkpoint_every, on_step)
        except KeyboardInterrupt:
            how = f"stopped; checkpoints are in {place}: the same command goes on from the last of them"
            raise KeyboardInterrupt(how) from None
    else:
        console.print(f"{job.config.label}: done already", highlight=False)
    return {"folder": place, "config": job.config.content(), "metrics": metrics}


def _robustness(
    job: Retraining, dataset: Dataset, checkpoint_every: int, console: Console, storage: Storage
) -> Path:
    """Measure and draw the robustness of a retrained model; one trained with augmentation gets a twin without."""
    models = {"augmented" if job.config.augments else "plain": load_trained(job.folder)}
    if job.config.augments:
        config = dataclasses.replace(job.config, rotation=0.0, translation=0.0, scaling=0.0, shear=0.0)
        twin = dataclasses.replace(job, config=config, folder=job.folder / "plain")
        _retrained(twin, checkpoint_every, console, storage)
        models["plain"] = load_trained(twin.folder)
    console.print("measuring robustness", highlight=False)
    table = measure(models, dataset.test_images, dataset.test_labels)
    return write_robustness(table, job.folder)


@contextmanager
def _shown_progress(job: Retraining, console: Console) -> Iterator[OnStep]:
    """A bar over the steps on a terminal, a line every 10 s elsewhere."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(job.config.label, total=job.steps)
        last_shown = time.monotonic()

        def show(progress: RetrainProgress) -> None:
            nonlocal last_shown
            epoch = min(job.epochs, len(progress.losses) + 1)
            loss = f", loss {progress.losses[-1]:.4f}" if progress.losses else ""
            line = f"{job.config.label}: epoch {epoch}/{job.epochs}{loss}"
            bar.update(task, completed=progress.step, description=line)
            if not console.is_terminal and time.monotonic() - last_shown >= LINE_SECONDS:
                last_shown = time.monotonic()
                console.print(f"{line}, step {progress.step}/{job.steps}", highlight=False, soft_wrap=True)

        yield show


def print_outcomes(outcomes: Sequence[dict[str, Any]], *, as_json: bool = False) -> None:
    """Print what `run_retrain` returned: tables of the test metrics, or one JSON array."""
    if as_json:
        print(json.dumps(outcomes))
        return
    names = ("accuracy", "precision", "recall", "f1", "loss")
    rows = [
        {
            "seed": outcome["config"]["seed"], **{name: outcome["metrics"][name] for name in names},
            "folder": outcome["folder"],
        }
        for outcome in outcomes
    ]
    table = pd.DataFrame(rows)
    first = outcomes[0]
    title = f"{first['config']['model']}, {first['metrics']['epochs']} epochs, on the test set"
    print_table(table, title, width=240)  # a folder's path, which is copied, is not broken
    if len(table) > 1:
        accuracy = table["accuracy"]
        print(f"mean accuracy {accuracy.mean():.3%} over {len(table)} seeds, standard deviation {accuracy.std():.3%}")
    else:
        print_table(pd.DataFrame(first["metrics"]["per_class"]), "By class")
    if "robustness" in first:
        print(f"robustness: {first['robustness']}")
