"""Checks a study: every checksum, every table against the trainings, one training against a second run of it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.own.model import OwnModel
from tune_mnist.spec.places import shown
from tune_mnist.spec.toml import from_mapping
from tune_mnist.spec.training import PREFIX, Context, TrainingConfig, training_key
from tune_mnist.study.files import Corrupt, read_json
from tune_mnist.study.layout import entries
from tune_mnist.study.own_models import MODELS, models_in, require_known
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder, diverged
from tune_mnist.training.packing import unpack_bits

if TYPE_CHECKING:
    from tune_mnist.training.batches import Pictures


def problems(study: Study) -> Iterator[str]:
    """What is wrong with a study, one line each; reads only.

    Raises:
        UserError: the folder is no study.
    """
    study.storage.refresh_all()
    damaged = list(study.storage.damaged())
    try:
        read_json(study.folder / "study.json")
    except Corrupt as problem:
        damaged.append(str(problem))
    except (FileNotFoundError, NotADirectoryError):
        if not (study.folder / "trainings").is_dir():
            raise UserError(f"{shown(study.path)} is not a study: name a folder that holds a study.json") from None
        damaged.append("study.json is missing")
    damaged += [
        f"{folder.relative_to(study.folder)}: {problem}"
        for folder in sorted(entries(study.folder / "trainings"), key=lambda path: path.name)
        for problem in training_problems(TrainingFolder(folder))
    ]
    # Reading the tables would set damaged files aside, and they would differ anyway.
    yield from damaged or table_problems(study)


def training_problems(training: TrainingFolder) -> Iterator[str]:
    """What is wrong with one training's files, one line each."""
    if not training.folder.is_dir():
        yield "is not a training's folder"
        return
    contents: dict[str, dict[str, Any]] = {}
    for path in sorted(training.folder.glob("*.json")):
        try:
            contents[path.name] = read_json(path)
        except Corrupt as problem:
            yield str(problem)
    for name, content in contents.items():
        if name != "config.json" and content.get("training") != training.key:
            yield f"{name} belongs to training {content.get('training')}"
    yield from _config_problems(training.key, contents.get("config.json"))
    rows = contents.get("history.json", {"epochs": []})["epochs"]
    epochs = [row["epoch"] for row in rows]
    if epochs != list(range(1, len(rows) + 1)):
        yield f"history.json has epochs {', '.join(map(str, epochs))}, not 1 to {len(rows)}"
    if any(diverged([row]) for row in rows[:-1]):
        yield "history.json goes on after an epoch that diverged"
    damaged_states: list[str] = []
    for _ in training.states.intact(lambda path, problem: damaged_states.append(problem)):
        pass
    yield from reversed(damaged_states)


def _config_problems(key: str, content: dict[str, Any] | None) -> Iterator[str]:
    if content is None:
        yield "config.json is missing or damaged"
        return
    config = from_mapping(TrainingConfig, content["config"], f"training {key}")
    key_of_config = training_key(config, Context(**content["context"]))
    if key_of_config != key:
        yield f"config.json is that of training {key_of_config}"


def table_problems(study: Study) -> list[str]:
    """Which of the study's CSV files are not, byte for byte, what its trainings say."""
    from tune_mnist.tables.analyse import write_tables
    from tune_mnist.tables.of_study import tables_of

    differences: list[str] = []

    def compare(path: Path, expected: bytes) -> None:
        stored = path.read_bytes() if path.is_file() else None
        if stored is None:
            differences.append(f"{path.name} is missing")
        elif stored != expected:
            pairs = itertools.zip_longest(stored.splitlines(), expected.splitlines())
            number = next((number for number, (line, wanted) in enumerate(pairs, 1) if line != wanted), 1)
            differences.append(f"{path.name} is not what the trainings say, from line {number} on")

    write_tables(tables_of(study), study.folder, compare)
    return differences


def replay(study: Study, key: str, data: Path | None = None, *, trusted: bool = False) -> list[str]:
    """Train a training again, in this process, and tell where its metrics differ from the stored ones.

    Raises:
        UserError: the study has no such training, its data or device is not here, or it would run code of a model of
            one's own that this user had not run before and that is not `trusted`.
    """
    from tune_mnist.training.loop import Training, fit

    require(re.fullmatch("[0-9a-f]{16}", key) is not None, "replay is 16 hex digits", repr(key), "change --replay")
    folder = study.training(key).folder
    try:
        content = read_json(folder / "config.json")
        rows = read_json(folder / "history.json")["epochs"]
    except (FileNotFoundError, Corrupt) as problem:
        raise UserError(f"cannot replay {key} ({problem}): name a folder in {study.name}/trainings") from None
    config = from_mapping(TrainingConfig, content["config"], f"training {key}")
    context = Context(**content["context"])
    if config.source is not None:
        config = dataclasses.replace(config, source=_own_model(study, config.source, trusted))
    train, evaluation = _pictures(study, context, data)
    training = Training(config, train, evaluation, device=context.device, threads=context.threads)
    replayed = [metrics.row(PREFIX[context.protocol]) for metrics in fit(training, len(rows))]
    return [
        f"trainings/{key}: epoch {row['epoch']}: {_difference(name, value, again.get(name))}"
        for row, again in zip(rows, replayed, strict=True) for name, value in row.items() if value != again.get(name)
    ]


def _own_model(study: Study, source: str, trusted: bool) -> OwnModel:
    """The study's model of one's own with this digest."""
    model = next((model for model in models_in(study.folder) if model.digest == source), None)
    if model is None:
        raise UserError(f"the source of the training's model is not in {study.folder / MODELS}: put it back")
    require_known(model, study.folder / MODELS / model.name, trusted=trusted)
    return model


def _difference(name: str, value: Any, again: Any) -> str:
    """In words how a value of an epoch came out otherwise when trained again."""
    if not name.endswith("_correct") or again is None:
        return f"{name} is {value}, but {again} when trained again"
    bits, bits_again = unpack_bits(value), unpack_bits(again)
    changed = int((bits != bits_again).sum())
    return f"{changed} pictures are told otherwise when trained again: {bits.sum()} are right, then {bits_again.sum()}"


def _pictures(study: Study, context: Context, folder: Path | None) -> tuple[Pictures, Pictures]:
    """The pictures, to train and to evaluate on, whose digest the context names."""
    import torch

    from tune_mnist.training.batches import make_pictures
    from tune_mnist.training.dataset import load_dataset, training_data

    if context.device == "cuda" and not torch.cuda.is_available():
        raise UserError("the training ran on a GPU, and there is none here: replay it where there is one")
    spec = study.specs()[-1]
    data = training_data(load_dataset(spec.dataset, folder or spec.data), context.protocol)
    if data.sha256 != context.data_sha256:
        raise UserError(f"the training's data has SHA-256 {context.data_sha256}, this {data.sha256}: give it by --data")
    return (
        make_pictures(data.train_images, data.train_labels, data.classes, sparse=context.device == "cpu"),
        make_pictures(data.eval_images, data.eval_labels, data.classes, sparse=context.device == "cpu"),
    )


def print_problems(study: Study, lines: Sequence[str], replayed: str | None, *, as_json: bool = False) -> None:
    """Print what `problems` and, of the training `replayed`, `replay` say: a line each, or one JSON object."""
    trainings = sum(1 for _ in entries(study.folder / "trainings"))
    if as_json:
        print(json.dumps({"folder": shown(study.path), "trainings": trainings, "problems": lines}))
        return
    again = f", {replayed} trained again" if replayed else ""
    print("\n".join(lines) or f"{study.name}: nothing is wrong: {trainings} trainings and the tables{again}")
