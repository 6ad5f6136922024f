"""A study's tables, figures and page written beside its trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tune_mnist.figures.canvas import pngs
from tune_mnist.figures.diagnostics import confusion_matrix, reliability, training_curves, worst_digits
from tune_mnist.figures.of_study import figures_of
from tune_mnist.reporting.page import SEARCH_TITLES
from tune_mnist.reporting.predictions import Predictions, winner_predictions
from tune_mnist.reporting.render import TEMPLATE, report_page
from tune_mnist.reporting.standing_results import note_results
from tune_mnist.study.files import write_atomic
from tune_mnist.study.study import Study
from tune_mnist.tables.analyse import Tables, write_tables
from tune_mnist.tables.slices import fully_connected_and_cnn
from tune_mnist.training.dataset import Dataset


def cell_figures(tables: Tables) -> dict[str, bytes]:
    """The PNGs of the figures that tell of all cells, by name. Test scores do not change them."""
    return pngs(figures_of(tables))


def write_results(
    study: Study, tables: Tables, others: Sequence[tuple[str, Tables]] = (), drawn: dict[str, bytes] | None = None,
    dataset: Dataset | None = None,
) -> list[Path]:
    """Write the study's CSV files, figures and report.html; return their paths, the page last.

    `others` are further studies' names and tables, which may supply what this one's claims and figures lack; `drawn`
    and `dataset` are its `cell_figures` and its data, if they are at hand.
    """
    folder = study.folder / "figures"
    folder.mkdir(exist_ok=True)
    paths = write_tables(tables, study.folder, write_atomic)
    figures = cell_figures(tables) if drawn is None else drawn
    predictions = winner_predictions(study, tables, dataset)
    figures |= _search_figures(study) | pngs(_further_figures(tables, [other for _, other in others], predictions))
    for name, png in figures.items():
        paths.append(folder / f"{name}.png")
        write_atomic(paths[-1], png)
    page = study.folder / TEMPLATE
    write_atomic(page, report_page(study, tables, figures, others, predictions))
    paths.append(page)
    note_results(study, tables, paths)
    study.storage.keep(paths)
    return paths


def _search_figures(study: Study) -> dict[str, bytes]:
    """The figures that Optuna's storage gave, by name, if the study is a search's: they are kept as they are."""
    if study.search() is None:
        return {}
    study.storage.bring(study.folder / "figures")
    paths = sorted((study.folder / "figures").glob("*.png"))
    return {path.stem: path.read_bytes() for path in paths if path.stem.startswith(tuple(SEARCH_TITLES))}


def _further_figures(
    tables: Tables, others: Sequence[Tables], predictions: Predictions | None
) -> Iterator[tuple[str, Figure]]:
    """The figures that need more than the study's tables: the CNN's, and the winner's predictions."""
    curves = fully_connected_and_cnn(tables, others)
    if curves is not None:
        title = "Training loss by epoch: the fully connected best and the CNN"
        yield "fully_connected_and_cnn", training_curves(curves, None, title)
    if predictions is not None:
        winner = tables.name_of(tables.top3.iloc[0].to_dict())
        yield "confusion_matrix", confusion_matrix(
            predictions.confusion(), f"Confusion matrix: {winner}", predictions.classes
        )
        yield "reliability", reliability(predictions.calibration(), f"Reliability: {winner}")
        worst = predictions.surest_mistakes()
        yield "worst_confused", worst_digits(
            predictions.pictures[worst], predictions.labels[worst], predictions.predicted[worst],
            predictions.sureness[worst], "The winner's surest mistakes", predictions.classes,
        )
