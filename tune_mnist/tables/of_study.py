"""A study's tables, read from its trainings, and the planned trainings behind a row of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tune_mnist.spec.training import TrainingConfig, training_key
from tune_mnist.study.layout import entries
from tune_mnist.study.storage.opening import storage_at
from tune_mnist.study.study import Study
from tune_mnist.study.training_folder import TrainingFolder, stopped_early
from tune_mnist.tables.analyse import Tables, analyse
from tune_mnist.tables.contention import level_of
from tune_mnist.tables.statistics.difference import LEVEL

Cell = tuple[TrainingConfig, int]
"""A training's config and the epochs at which it is looked at."""


def tables_of(study: Study) -> Tables:
    """The tables of everything the study was asked for so far, with the test scores it has."""
    study.storage.refresh()
    planned, context = study.planned(), study.context()

    def score_of(cell: Cell) -> dict[str, Any] | None:
        config, epochs = cell
        return study.training(training_key(config, context)).score(epochs)

    level = LEVEL
    for spec, rounds in study.rounds():
        seeds = rounds[-1].seeds if rounds else spec.first_seeds
        level = min(level, level_of(seeds, spec.first_seeds, spec.most_seeds))
    records = study.records(planned, context)
    if (study.search() or {}).get("over"):
        records = map(stopped_early, records)
    return analyse(planned, records, context.protocol, score_of, context.data_sha256, level)


def load_study(path: Path | str) -> Tables:
    """The tables of a study, such as ray_results/grid or s3://BUCKET/PREFIX/NAME, read from its trainings.

    Raises:
        UserError: there is no study, or a damaged one.
    """
    return tables_of(Study(storage_at(Path(path))))


def trainings_of_cell(study: Study, tables: Tables, row: pd.Series) -> list[Cell]:
    """The study's trainings, one a seed and the first seed first, behind a `row` of `summary` or `top3`."""
    wanted = {name: None if pd.isna(row[name]) else row[name] for name in tables.cell_columns if name != "epochs"}
    epochs = int(row["epochs"])
    configs = []
    for plan in study.planned():
        if epochs in plan.budgets and all(plan.config.value(name) == value for name, value in wanted.items()):
            configs.append(plan.config)
    return [(config, epochs) for config in sorted(configs, key=lambda config: config.seed)]


def winners_to_score(study: Study, tables: Tables | None = None) -> list[Cell]:
    """The three best cells' trainings, each with its epochs, that lack their test score under the holdout protocol.

    `tables` are the study's, if they are at hand. Cells that tie with the third are left alone: the test set is for
    the three. Under the report's protocol, where the selection itself was on the test set, only the best cell is
    taken, for what it predicts.
    """
    tables = tables or tables_of(study)
    context = study.context()
    winners = tables.top3.head(3 if context.protocol == "holdout" else 1)
    return [
        (config, epochs) for _, row in winners.iterrows() for config, epochs in trainings_of_cell(study, tables, row)
        if study.training(training_key(config, context)).score(epochs) is None
    ]


def test_set_uses(study: Study, tables: Tables) -> list[str]:
    """How often the test set was scored and for what, in words, counted in the study's files."""
    uses = []
    networks = sum(len(TrainingFolder(folder).scored_epochs()) for folder in entries(study.folder / "trainings"))
    if tables.protocol == "report":
        uses.append(
            f"{len(tables.epochs):,} times to choose by, once after each epoch of each training (the protocol report "
            "evaluates on it)"
        )
        if networks:
            uses.append(f"{networks} times more for the winner's predictions, a network each")
    elif networks:
        uses.append(f"{networks} times for the three best, a network each, after they were chosen on validation")
    if (study.folder / "best" / "metrics.json").is_file():
        uses.append("once for the winner retrained on all training pictures")
    return uses or ["never"]
