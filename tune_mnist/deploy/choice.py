"""Which config is retrained: a study's cell, one of its trainings, or a spec's only cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_mnist.spec.errors import UserError, require
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig, training_key
from tune_mnist.study.study import Study
from tune_mnist.tables.of_study import tables_of, trainings_of_cell
from tune_mnist.training.dataset import Dataset, load_dataset, training_data


@dataclass(frozen=True)
class Choice:
    """What is to be retrained: one config, with a seed or several, to an epoch, and the folder it lands in."""

    configs: tuple[TrainingConfig, ...]
    epochs: int
    folder: Path

    def folder_of(self, config: TrainingConfig) -> Path:
        """A folder for each seed: the first's is the choice's own."""
        first = config == self.configs[0]
        return self.folder if first else self.folder.with_name(f"{self.folder.name}-seed-{config.seed}")


def choice_of_spec(spec: StudySpec, folder: Path) -> Choice:
    """The spec's only cell, with all its seeds, to land in `folder`; `UserError` if the spec has several cells."""
    cells = sum(len(plan.budgets) for plan in spec.trainings(1))
    remedy = "name a study's folder, or give --models, --lr, --batch-size, --epochs and all else one value each"
    require(cells == 1, "exactly one cell is named", cells, remedy)
    return Choice(tuple(plan.config for plan in spec.trainings()), spec.epochs[0], folder)


def choice_of_study(study: Study, rank: int = 1, key: str | None = None, seeds: int = 1) -> Choice:
    """A study's cell of this rank over its seeds, the best being 1, or its training with this `key`.

    With the config's own first seed; with several `seeds`, 0, 1, …. It lands in the study's best/, rank-N/ or key-KEY/.

    Raises:
        UserError: the folder is no study, or has no such cell or training.
    """
    config, epochs = _training_with_key(study, key) if key else _training_of_rank(study, rank)
    numbers: Sequence[int] = range(seeds) if seeds > 1 else [config.seed]
    configs = tuple(dataclasses.replace(config, seed=seed) for seed in numbers)
    name = f"key-{key}" if key else "best" if rank == 1 else f"rank-{rank}"
    return Choice(configs, epochs, study.folder / name)


def dataset_of(study: Study, *, download: bool = False) -> Dataset:
    """The data set that a study was made on.

    Raises:
        UserError: it is not where it was, or is another now.
    """
    spec, context = study.specs()[0], study.context()
    dataset = load_dataset(spec.dataset, spec.data, download=download)
    sha256 = training_data(dataset, context.protocol).sha256
    rule = f"the data of study {study.name} have SHA-256 {context.data_sha256}"
    require(sha256 == context.data_sha256, rule, sha256, "put its data back")
    return dataset


def _training_with_key(study: Study, key: str) -> tuple[TrainingConfig, int]:
    context = study.context()
    for plan in study.planned():
        if training_key(plan.config, context) == key:
            return plan.config, plan.epochs
    raise UserError(f"study {study.name} has no training with key {key}: see its folder trainings")


def _training_of_rank(study: Study, rank: int) -> tuple[TrainingConfig, int]:
    """The config, with its first seed, and the epochs of the study's cell of this rank."""
    tables = tables_of(study)
    complete = tables.summary[tables.summary["status"] == "complete"]
    require(rank <= len(complete), f"rank <= {len(complete)}, the study's complete cells", rank, "lower --rank")
    return trainings_of_cell(study, tables, complete.iloc[rank - 1])[0]
