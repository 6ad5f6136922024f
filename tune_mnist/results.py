"""A study folder's tables and figures: read from its trainings, written beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tune_mnist.analysis import SWEPT, Tables, analyse, write_tables
from tune_mnist.config import PlannedTraining, TrainingConfig, training_key
from tune_mnist.files import write_atomic
from tune_mnist.store import Study

Cell = tuple[TrainingConfig, int]


def tables_of(study: Study) -> Tables:
    """The tables of everything the study was asked for so far, with the test scores it has."""
    planned, context = study.planned(), study.context()
    scores = {}
    for config, epochs in _cells(planned):
        score = study.training(training_key(config, context)).score(epochs)
        if score is not None:
            scores[config, epochs] = {name: value for name, value in score.items() if name != "test_correct"}
    return analyse(planned, study.records(planned, context), context.protocol, scores)


def winners_to_score(study: Study) -> list[Cell]:
    """The top three's trainings, each with its epochs, that lack their test score under the holdout protocol.

    Under the report's protocol there are none: the selection itself was on the test set.
    """
    planned, context = study.planned(), study.context()
    if context.protocol == "report":
        return []
    top3 = analyse(planned, study.records(planned, context), context.protocol).top3
    names = [name for name in top3 if name in {*SWEPT, *TrainingConfig.__dataclass_fields__, "epochs"}]
    best = {tuple(row) for row in top3[names].itertuples(index=False)}
    return [
        (config, epochs) for config, epochs in _cells(planned)
        if tuple(epochs if name == "epochs" else getattr(config, name) for name in names) in best
        and study.training(training_key(config, context)).score(epochs) is None
    ]


def write_results(study: Study, tables: Tables) -> list[Path]:
    """Write the study's CSV files and figures; return their paths."""
    from tune_mnist.plots import write_figures

    figures = study.folder / "figures"
    figures.mkdir(exist_ok=True)
    return write_tables(tables, study.folder, write_atomic) + write_figures(tables, figures, write_atomic)


def _cells(planned: Iterable[PlannedTraining]) -> Iterable[Cell]:
    return ((plan.config, epochs) for plan in planned for epochs in plan.budgets)
