"""A study folder's tables, figures and page: read from its trainings, written beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tune_mnist.analysis import SWEPT, Tables, analyse, write_tables
from tune_mnist.config import PlannedTraining, TrainingConfig, training_key
from tune_mnist.files import write_atomic
from tune_mnist.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tune_mnist.data import Dataset

Cell = tuple[TrainingConfig, int]


def tables_of(study: Study) -> Tables:
    """The tables of everything the study was asked for so far, with the test scores it has."""
    planned, context = study.planned(), study.context()
    scores = {}
    for config, epochs in _cells(planned):
        score = study.training(training_key(config, context)).score(epochs)
        if score is not None:
            scores[config, epochs] = score
    return analyse(planned, study.records(planned, context), context.protocol, scores)


def winners_to_score(study: Study, tables: Tables | None = None) -> list[Cell]:
    """The three best cells' trainings, each with its epochs, that lack their test score under the holdout protocol.

    `tables` are the study's, if they are at hand. Cells that tie with the third are left alone: the test set is for
    the three. Under the report's protocol, where the selection itself was on the test set, only the best cell is
    taken, for what it predicts.
    """
    planned, context = study.planned(), study.context()
    top3 = (tables or tables_of(study)).top3
    top3 = top3.head(3 if context.protocol == "holdout" else 1)
    names = [name for name in top3 if name in {*SWEPT, *TrainingConfig.__dataclass_fields__, "epochs"}]
    best = {tuple(row) for row in top3[names].itertuples(index=False)}
    return [
        (config, epochs) for config, epochs in _cells(planned)
        if tuple(epochs if name == "epochs" else getattr(config, name) for name in names) in best
        and study.training(training_key(config, context)).score(epochs) is None
    ]


def cell_figures(tables: Tables) -> dict[str, bytes]:
    """The PNGs of the figures that tell of all cells, by name. Test scores do not change them."""
    from tune_mnist.canvas import pngs
    from tune_mnist.plots import figures_of

    return dict(pngs(figures_of(tables)))


def write_results(
    study: Study, tables: Tables, others: Sequence[tuple[str, Tables]] = (), drawn: dict[str, bytes] | None = None,
    dataset: Dataset | None = None,
) -> list[Path]:
    """Write the study's CSV files, figures and report.html; return their paths, the page last.

    `others` are further studies' names and tables, which may supply what this one's claims and figures lack; `drawn`
    and `dataset` are its `cell_figures` and its data, if they are at hand.
    """
    from tune_mnist.canvas import pngs
    from tune_mnist.report import TEMPLATE, report_page

    folder = study.folder / "figures"
    folder.mkdir(exist_ok=True)
    paths = write_tables(tables, study.folder, write_atomic)
    figures = cell_figures(tables) if drawn is None else drawn
    figures |= pngs(_further_figures(study, tables, [other for _, other in others], dataset))
    for name, png in figures.items():
        paths.append(folder / f"{name}.png")
        write_atomic(paths[-1], png)
    page = study.folder / TEMPLATE
    write_atomic(page, report_page(study, tables, figures, others))
    return [*paths, page]


def _further_figures(
    study: Study, tables: Tables, others: Sequence[Tables], dataset: Dataset | None
) -> Iterator[tuple[str, Figure]]:
    """The figures that need more than the study's tables: the CNN's, and the winner's predictions."""
    from tune_mnist.diagnostics import confusion_matrix, training_curves, worst_digits
    from tune_mnist.evidence import cell_name
    from tune_mnist.mistakes import winner_predictions
    from tune_mnist.slices import fully_connected_and_cnn

    curves = fully_connected_and_cnn(tables, others)
    if curves is not None:
        title = "Training loss by epoch: the fully connected best and the CNN"
        yield "fully_connected_and_cnn", training_curves(curves, None, title)
    found = winner_predictions(study, tables, dataset)
    if found is not None:
        winner = cell_name(tables.top3.iloc[0].to_dict())
        yield "confusion_matrix", confusion_matrix(found.confusion(), f"Confusion matrix: {winner}")
        worst = found.surest_mistakes()
        yield "worst_confused", worst_digits(
            found.pictures[worst], found.labels[worst], found.predicted[worst], found.sureness[worst],
            "The winner's surest mistakes",
        )


def _cells(planned: Iterable[PlannedTraining]) -> Iterable[Cell]:
    return ((plan.config, epochs) for plan in planned for epochs in plan.budgets)
