"""The figures: what they draw is what the tables say, and the same bytes every time."""

from __future__ import annotations

import struct
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from tune_mnist.figures.accuracy import accuracy_heatmap, accuracy_lines, figures_of
from tune_mnist.figures.canvas import png, pngs
from tune_mnist.figures.diagnostics import training_curves
from tune_mnist.spec.study import StudySpec
from tune_mnist.study.training_folder import Status, TrainingRecord
from tune_mnist.tables.analyse import Tables, analyse
from tune_mnist.tables.slices import best_curves, floor, lr_by_batch

ALL = [
    "accuracy_by_lr", "accuracy_by_epochs", "accuracy_by_batch_size", "heatmap_lr_batch_size",
    "heatmap_epochs_batch_size", "training_curves",
]
SPEC = StudySpec(models=("SimpleNN", "MediumNN"), lr=(1e-4, 1e-3, 1e-1), batch_size=(16, 64), epochs=(2, 10), seeds=2)


def made(spec: StudySpec, status: Status = "complete", only_lr: float | None = None) -> Tables:
    """A study whose lr 0.1 sits at chance while the rest is near 97%; `status` is that of lr 0.1."""
    records = []
    for plan in spec.trainings():
        config = plan.config
        chance = np.random.default_rng([config.seed, config.batch_size, int(config.lr * 1e5)])
        rows = [
            {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 0.1, "val_precision": 0.5, "val_recall": 0.5}
            | {"val_f1": 0.5, "val_accuracy": round((0.1 if config.lr == 0.1 else 0.97) + chance.normal() / 1e3, 4)}
            for epoch in range(1, plan.epochs + 1)
        ]
        if status == "diverged" and config.lr == 0.1:
            rows = rows[:1]
        if only_lr in (None, config.lr):
            records.append(TrainingRecord("", config, status if config.lr == 0.1 else "complete", tuple(rows)))
    return analyse(spec.trainings(), records, spec.protocol)


def written(tables: Tables) -> dict[str, bytes]:
    content = dict(pngs(figures_of(tables)))
    assert content == {name: png(figure) for name, figure in figures_of(tables)}
    return content


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


def test_lines_are_the_summary_s_means_on_a_scale_with_chance_at_its_foot() -> None:
    summary = made(SPEC).summary
    figure = accuracy_lines(summary, "holdout", "lr", "batch_size", "epochs", [10])
    for model, axes in zip(SPEC.models, figure.axes, strict=True):
        table = lr_by_batch(summary, model, 10)
        for drawn, batch_size in zip(axes.containers, SPEC.batch_size, strict=True):
            np.testing.assert_array_equal(drawn[0].get_ydata(), table[batch_size])
        low, high = (axes.transData.transform((0, y))[1] for y in (0.1, 0.97))
        bottom, top = (axes.transAxes.transform((0, y))[1] for y in (0, 1))
        assert bottom < low < bottom + 0.2 * (top - bottom) < high < top
    assert "95% interval" in caption(figure) and "axis compressed" in caption(figure)


def test_heatmap_cells_are_the_summary_s_means_in_one_scale_for_all_panels() -> None:
    summary = made(SPEC).summary
    figure = accuracy_heatmap(summary, "holdout", "lr", 10)
    limits = set()
    for model, axes in zip(SPEC.models, figure.axes, strict=False):
        (mesh,) = (one for one in axes.collections if isinstance(one, QuadMesh))
        table = lr_by_batch(summary, model, 10)
        np.testing.assert_array_equal(np.asarray(mesh.get_array()), table)
        assert [text.get_text() for text in axes.texts] == [f"{100 * mean:.2f}" for mean in table.to_numpy().ravel()]
        limits.add(mesh.get_clim())
    ((low, high),) = limits
    assert 0.9 < low < high < 1


def test_heatmap_says_which_cells_diverged_and_which_are_missing() -> None:
    diverged = accuracy_heatmap(made(SPEC, "diverged").summary, "holdout", "lr", 10)
    assert [text.get_text() for text in diverged.axes[0].texts].count("div.") == 2
    assert "div.:\N{NO-BREAK SPACE}diverged" in raw_caption(diverged)
    missing = accuracy_heatmap(made(SPEC, only_lr=1e-3).summary, "holdout", "lr", 10)
    assert [text.get_text() for text in missing.axes[0].texts].count("–") == 4


def test_a_seed_s_divergence_hides_the_cell_s_mean() -> None:
    summary = made(SPEC).summary.assign(status="diverged")
    figure = accuracy_lines(summary, "holdout", "lr", "batch_size", "epochs", [10])
    assert np.isnan(figure.axes[0].containers[0][0].get_ydata()).all()


def test_curves_are_the_losses_of_the_best_cells() -> None:
    curves = best_curves(made(SPEC))
    figure = training_curves(curves, "holdout")
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == list(SPEC.models)
    line = figure.axes[0].get_lines()[0]
    expected = curves[(curves["model"] == "SimpleNN") & (curves["split"] == "training")].groupby("epoch")["loss"].mean()
    np.testing.assert_allclose(np.asarray(line.get_ydata()), expected.to_numpy())
    assert "range of 2 seeds" in caption(figure)


def test_captions_say_on_what_accuracy_was_measured() -> None:
    summary = made(SPEC).summary
    chosen = summary.rename(columns={"val_loss": "test_loss"})
    assert "on the validation split" in caption(accuracy_heatmap(summary, "holdout", "lr", 10))
    assert "on which the choice was made too" in caption(accuracy_heatmap(chosen, "report", "lr", 10))


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.97, 0.98, 0.975, 0.1, 0.11, 0.09], 0.97),  # chance would crush the rest
        ([0.97, 0.98, 0.96, 0.95], 0.95),  # nothing to leave out
        ([0.9800, 0.9790, 0.9785, 0.9795, 0.9792, 0.9788, 0.85], 0.9785),  # one outlier above 80%
        ([0.1, 0.11, 0.09], 0.09),  # nothing learnt at all
        ([0.98, 0.98, 0.1], 0.1),  # no range to resolve above the outlier
        ([0.5], 0.5),
    ],
)
def test_floor(accuracies: list[float], expected: float) -> None:
    assert floor(pd.Series(accuracies)) == expected


def raw_caption(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def caption(figure: Figure) -> str:
    return raw_caption(figure).replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ")
