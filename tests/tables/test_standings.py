"""The top three and their ties, from the trainings' predictions to top3.csv."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.studies import made_tables
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.standings import BEST, EQUIVALENT, TIED

FOUR = StudySpec(models=("SimpleNN",), lr=(1e-4, 2e-4, 3e-4, 4e-4, 5e-4), batch_size=(16,), epochs=(1,))


def by_lr(config: TrainingConfig, epoch: int) -> float:
    """Four cells at 98%, the fifth a full 3 points worse, with a little noise from seed to seed."""
    return (0.95 if config.lr == 5e-4 else 0.98) + (0.0005 * ((config.seed * 7 + round(config.lr * 1e5)) % 5 - 2))


@pytest.mark.parametrize(("seeds", "method"), [(1, "McNemar"), (3, "Tukey and Kramer")])
def test_the_fourth_ties_and_the_worse_fifth_does_not(seeds: int, method: str) -> None:
    spec = replace(FOUR, seeds=seeds)
    tables = made_tables(spec, by_lr)
    fourth = EQUIVALENT if seeds == 3 else TIED  # by hundredths of a point from seed to seed
    assert list(tables.top3["standing"]) == [BEST, BEST, BEST, fourth]
    assert 5e-4 not in set(tables.top3["lr"])
    assert tables.top3["p_adjusted"].isna().tolist() == [True, True, True, False]
    assert tables.top3["difference"].iloc[3] <= 0
    assert method in tables.method and "Holm" in tables.method
    assert ("One seed" in tables.method) == (seeds == 1)
    assert tables.summary["ci_low"].lt(tables.summary["mean"]).all()


def test_fewer_than_three_cells_are_all_there_is() -> None:
    two = made_tables(replace(FOUR, lr=(1e-4, 2e-4)), by_lr)
    assert list(two.top3["standing"]) == [BEST, BEST]
