"""Cells chosen by their columns, and contrasts between them whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import ttest_ind

from support.specs import changed
from support.studies import made_tables
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.cells import best_p_of, complete, contrast, plain, plain_epochs, versus
from tune_mnist.tables.statistics.significance import accuracies_of

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
    losses = cells.where(epochs=3).by_epoch("train_loss")
    assert losses.shape == (3, 3) and list(losses.loc[1]) == pytest.approx([0.4, 0.2, 0.4 / 3])
    assert cells.where(epochs=3).at_end("train_loss") == pytest.approx([0.4 / 3] * 3)


def test_plain_cells_are_those_of_the_report_s_recipe() -> None:
    helped = changed(SPEC, dropout=0.2)
    assert len(plain(made_tables(SPEC))) == 24 and len(plain(made_tables(helped))) == 0
    assert plain_epochs(made_tables(helped)).empty
    longest = plain_epochs(made_tables(replace(SPEC, independent_epochs=True)))
    assert not longest.duplicated(["model", "lr", "batch_size", "seed", "epoch"]).any()
    assert len(longest) == 3 * 2 * 2 * 3 * 3


def test_a_contrast_is_the_difference_of_mean_accuracies_by_welch_s_test_over_trainings() -> None:
    cells = complete(made_tables(SPEC, by_batch)).where(model="SimpleNN", lr=1e-3)
    small, large = cells.where(batch_size=16), cells.where(batch_size=64)
    found, back = contrast([(1, small), (-1, large)]), contrast([(1, large), (-1, small)])
    assert found.value == pytest.approx(small.rows["mean"].mean() - large.rows["mean"].mean())
    trainings = [accuracies_of(group.samples()).mean(axis=0) for group in (small, large)]  # over both budgets
    assert found.p() == pytest.approx(ttest_ind(*trainings, equal_var=False).pvalue) and found.p() < 0.05
    assert (back.value, back.p()) == pytest.approx((-found.value, found.p()))


def test_one_seed_cannot_be_contrasted() -> None:
    cells = complete(made_tables(replace(SPEC, seeds=1), by_batch))
    tested = contrast([(1, cells.where(batch_size=16)), (-1, cells.where(batch_size=64))])
    assert tested.value == pytest.approx(0.02, abs=0.001) and math.isnan(tested.p())
    assert math.isnan(versus(cells.where(batch_size=16), cells.where(batch_size=64)).p())


def test_versus_compares_the_best_of_each() -> None:
    cells = complete(made_tables(SPEC, by_batch))
    tested = versus(cells.where(batch_size=16), cells.where(batch_size=64))
    expected = cells.where(batch_size=16)["mean"] - cells.where(batch_size=64)["mean"]
    assert tested.value == pytest.approx(expected) and tested.test.startswith("Welch")


def test_two_budgets_of_one_training_far_from_the_leaders_are_paired_by_seed() -> None:
    def slow(config: TrainingConfig, epoch: int) -> float:
        return (0.6 if config.lr == 1e-4 else 0.98) + 0.03 * epoch * (config.lr == 1e-4) + 0.005 * config.seed

    cells = complete(made_tables(SPEC, slow)).where(model="SimpleNN", lr=1e-4, batch_size=16)
    step = versus(cells.where(epochs=3), cells.where(epochs=1))
    assert step.test.startswith("paired") and step.value == pytest.approx(0.06) and step.p() < 1e-6


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"protocol": "report", "head": "logits"}, "protocol"), ({"head": "softmax"}, "head"),
        ({"dropout": 0.2}, "dropout"),
    ],
)
def test_cells_that_are_not_alike_are_refused_unless_that_is_what_is_compared(
    changed: dict[str, Any], name: str
) -> None:
    first, second = (complete(made_tables(spec, by_batch)) for spec in (SPEC, replace(SPEC, **changed)))
    with pytest.raises(ValueError, match=f"differ in {name} cannot be compared"):
        versus(first, second)
    with pytest.raises(ValueError, match=f"differ in {name} cannot be compared"):
        contrast([(1, first), (-1, second)])
    with pytest.raises(ValueError, match=f"differ in {name} cannot be compared"):
        best_p_of([first, second])
    assert versus(first, second, compared=[name]).value == pytest.approx(0, abs=0.002)


def test_cells_of_other_data_are_refused() -> None:
    cells = complete(made_tables(SPEC, by_batch))
    other = complete(replace(cells.tables, data_sha256="0" * 64))
    with pytest.raises(ValueError, match="differ in data cannot be compared"):
        versus(cells, other)
