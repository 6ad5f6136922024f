"""A study's figures: which there are, of print size and with the same bytes every time."""

from __future__ import annotations

import struct
from dataclasses import replace

import matplotlib
import pytest

from support.figures import SPEC, made
from tune_mnist.figures.canvas import png, pngs
from tune_mnist.figures.of_study import figures_of
from tune_mnist.study.training_folder import Status
from tune_mnist.tables.analyse import Tables

ALL = [
    "accuracy_by_lr", "accuracy_by_epochs", "accuracy_by_batch_size", "heatmap_lr_batch_size",
    "heatmap_epochs_batch_size", "training_curves",
]


def written(tables: Tables) -> dict[str, bytes]:
    content = pngs(figures_of(tables))
    assert content == {name: png(figure) for name, figure in figures_of(tables)}
    return content


@pytest.mark.slow
def test_all_figures_are_written_at_print_size_and_with_the_same_bytes_twice() -> None:
    tables = made(SPEC)
    first = written(tables)
    with matplotlib.rc_context({"font.size": 20, "savefig.facecolor": "red", "lines.linewidth": 9}):  # a user's own
        second = written(tables)
    assert list(first) == ALL
    assert first == second
    for content in first.values():
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">I", content[16:20])[0] == pytest.approx(180 / 25.4 * 200, abs=1)
        assert b"Software" not in content and b"tIME" not in content


@pytest.mark.parametrize(
    ("axis", "left_out"),
    [
        ("lr", {"accuracy_by_lr", "heatmap_lr_batch_size"}),
        ("epochs", {"accuracy_by_epochs", "heatmap_epochs_batch_size"}),
        ("batch_size", {"accuracy_by_batch_size", "heatmap_lr_batch_size", "heatmap_epochs_batch_size"}),
    ],
)
def test_a_figure_along_an_axis_with_one_value_is_left_out(axis: str, left_out: set[str]) -> None:
    spec = replace(SPEC, models=("SimpleNN",))
    spec = replace(spec, **{axis: getattr(spec, axis)[1:2]})
    assert list(written(made(spec))) == [name for name in ALL if name not in left_out]


def test_a_study_without_a_complete_cell_has_no_figures() -> None:
    assert written(made(SPEC, only_lr=7.0)) == {}


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_an_interrupted_or_partly_diverged_study_has_figures(status: Status) -> None:
    assert list(written(made(SPEC, status))) == ALL
    assert list(written(made(SPEC, status, only_lr=1e-3))) == ALL
