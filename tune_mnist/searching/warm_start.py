"""Warm start: the trainings of finished studies entered in a search, and copied into its store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tune_mnist.searching.suggesting import settings_of
from tune_mnist.searching.trials import Trials
from tune_mnist.spec.errors import UserError
from tune_mnist.spec.places import shown
from tune_mnist.spec.training import Context, training_key
from tune_mnist.study.files import make_folder, write_atomic
from tune_mnist.study.storage.opening import storage_at
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder


def check_sources(folders: Sequence[Path], context: Context) -> list[Study]:
    """The studies in `folders`.

    Raises:
        UserError: one is no study, or was made under another protocol or on other data than `context`.
    """
    studies = [Study(storage_at(folder)) for folder in folders]
    for study in studies:
        for name in ("protocol", "data_sha256"):
            theirs, ours = getattr(study.context(), name), getattr(context, name)
            if theirs != ours:
                difference = f"{name} {theirs}, the search {ours}"
                raise UserError(f"{shown(study.path)} has {difference}: name a study of the same for --warm-start")
    return studies


def add_sources(trials: Trials, sources: Sequence[Study], console: Console) -> None:
    """Enter what the search's space has of the sources' trainings, each once, however often this is done.

    A training shorter than the search's epochs enters as stopped early. One that ran in the same way (device,
    threads) is copied into the search's store, so that it is never trained again and can be among the best.
    """
    for source in sources:
        planned, entered = source.planned(), 0
        for record in source.records(planned, source.context()):
            config = record.config
            if record.key == training_key(config, trials.context) and trials.has(config) and record.epochs:
                _copy(source.training(record.key), trials.study.training(record.key))
                trials.study.add(trials.spec.training(settings_of(trials.spec.space, config)), trials.context)
            entered += trials.add_warm(record, source.name)
        line = f"warm start: {entered} of {len(planned)} trainings of {source.name} entered"
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _copy(source: TrainingFolder, target: TrainingFolder) -> None:
    """Copy a training's files that are not there; its history comes before the states that continue it."""
    if (target.folder / "history.json").exists() or not (source.folder / "history.json").exists():
        return
    make_folder(target.folder.parent)
    make_folder(target.folder)
    for path in sorted(path for path in source.folder.iterdir() if path.is_file() and path.name[0] != "."):
        write_atomic(target.folder / path.name, path.read_bytes())
    target.keep_copied()
