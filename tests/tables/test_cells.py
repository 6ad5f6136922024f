"""Cells chosen by their columns, and contrasts between them whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from support.studies import made_tables
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Recipe, TrainingConfig
from tune_mnist.tables.cells import complete, contrast, plain, plain_epochs, versus

SPEC = StudySpec(models=("SimpleNN", "ComplexNN"), lr=(1e-4, 1e-3), batch_size=(16, 32, 64), epochs=(1, 3), seeds=3)


def by_batch(config: TrainingConfig, epoch: int) -> float:
    """The smaller the batch the better, 1 point a step; noise from seed to seed that any two rates share."""
    step = {16: 0.02, 32: 0.01, 64: 0.0}[config.batch_size]
    return 0.95 + step + 0.0005 * ((5 * config.seed + config.batch_size + epoch) % 3 - 1)


def test_cells_are_chosen_by_their_columns_and_stay_ranked() -> None:
    cells = complete(made_tables(SPEC, by_batch))
    chosen = cells.where(lr=1e-3, batch_size=[16, 64])
    assert len(cells) == 24 and len(chosen) == 8
    assert set(chosen.rows["lr"]) == {1e-3} and set(chosen.rows["batch_size"]) == {16, 64}
    assert chosen.rows["mean"].is_monotonic_decreasing and chosen["mean"] == chosen.rows["mean"].max()
    others = cells.without(chosen)
    assert len(others) == 16 and not set(others.names()) & set(chosen.names())
    assert chosen.first().names() == chosen.names()[:1] and [*chosen.samples()[0]] == [0, 1, 2]


def test_a_cell_s_epochs_are_those_up_to_its_budget_of_all_its_seeds() -> None:
    cells = complete(made_tables(SPEC, by_batch)).where(model="SimpleNN", lr=1e-4, batch_size=16)
    for budget in (1, 3):
        rows = cells.where(epochs=budget).epochs()
        assert sorted(zip(rows["seed"], rows["epoch"], strict=True)) == [
            (seed, epoch) for seed in range(3) for epoch in range(1, budget + 1)
        ]
    assert list(cells.where(epochs=3).by_epoch("train_loss")) == pytest.approx([0.4, 0.2, 0.4 / 3])


def test_plain_cells_are_those_of_the_report_s_recipe() -> None:
    helped = replace(SPEC, recipe=Recipe(dropout=0.2))
    assert len(plain(made_tables(SPEC))) == 24 and len(plain(made_tables(helped))) == 0
    assert plain_epochs(made_tables(helped)).empty
    longest = plain_epochs(made_tables(replace(SPEC, independent_epochs=True)))
    assert not longest.duplicated(["model", "lr", "batch_size", "seed", "epoch"]).any()
    assert len(longest) == 3 * 2 * 2 * 3 * 3


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_contrast_is_the_difference_of_mean_accuracies(seeds: int) -> None:
    cells = complete(made_tables(replace(SPEC, seeds=seeds), by_batch))
    small, large = cells.where(batch_size=[16, 32]), cells.where(batch_size=64)
    tested = contrast(small, large)
    back = contrast(large, small)
    assert tested["difference"] == pytest.approx(small.rows["mean"].mean() - large.rows["mean"].mean())
    assert tested["difference"] == pytest.approx(0.015, abs=0.001)
    assert tested["ci_low"] < tested["difference"] < tested["ci_high"] and tested["p"] < 0.05
    assert (back["difference"], back["p"]) == pytest.approx((-tested["difference"], tested["p"]))


def test_what_shares_no_seed_or_has_no_predictions_is_not_tested() -> None:
    cells = complete(made_tables(replace(SPEC, seeds=1), by_batch))
    other = complete(made_tables(replace(SPEC, seeds=1), by_batch))
    shifted = {cell: {7: sample[0]} for cell, sample in other.tables.samples.items()}
    apart = replace(other, tables=replace(other.tables, samples=shifted))
    assert all(math.isnan(value) for value in contrast(cells, apart).values())
    unknown = {
        cell: {seed: score._replace(correct=None) for seed, score in sample.items()}
        for cell, sample in other.tables.samples.items()
    }
    blind = replace(other, tables=replace(other.tables, samples=unknown))
    tested = contrast(cells.where(batch_size=16), blind.where(batch_size=64))
    assert tested["difference"] == pytest.approx(0.02, abs=0.001) and np.isnan(tested["p"])


def test_versus_compares_the_best_of_each() -> None:
    cells = complete(made_tables(SPEC, by_batch))
    tested = versus(cells.where(batch_size=16), cells.where(batch_size=64))
    expected = cells.where(batch_size=16)["mean"] - cells.where(batch_size=64)["mean"]
    assert tested["difference"] == pytest.approx(expected) and tested["test"] == "t"
