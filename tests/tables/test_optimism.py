"""How much a choice flatters, where that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from support.studies import made_tables
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.optimism import optimism

SPEC = StudySpec(models=("SimpleNN", "ComplexNN"), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2, 4), seeds=2)


def test_a_choice_among_equals_flatters_and_one_of_a_clear_best_does_not() -> None:
    def equal(config: TrainingConfig, epoch: int) -> float:
        return 0.9

    def clear(config: TrainingConfig, epoch: int) -> float:
        return 0.99 if (config.lr, config.batch_size, epoch, config.model) == (1e-3, 16, 4, "SimpleNN") else 0.8

    spec = replace(SPEC, seeds=1)
    flattered, honest = optimism(made_tables(spec, equal)), optimism(made_tables(spec, clear))
    assert flattered is not None and honest is not None
    assert flattered.cells == 16 and flattered.pictures == 1000
    assert flattered.mean > 0.002 and abs(honest.mean) < 0.001
    assert flattered.low < flattered.mean < flattered.high


def test_luck_with_the_seed_counts_where_there_are_seeds() -> None:
    def lucky(config: TrainingConfig, epoch: int) -> float:
        place = [config.seed, config.batch_size, round(1e5 * config.lr), epoch, len(config.model)]
        return 0.9 + 0.02 * float(np.random.default_rng(place).normal())

    one, many = (optimism(made_tables(replace(SPEC, seeds=seeds), lucky)) for seeds in (1, 4))
    assert one is not None and many is not None
    assert (one.seeds, many.seeds) == (1, 4)
    assert many.mean > one.mean + 0.005  # of one seed the lucky networks stay lucky on other pictures


def test_one_cell_is_no_choice() -> None:
    assert optimism(made_tables(replace(SPEC, models=("SimpleNN",), lr=(1e-3,), batch_size=(16,), epochs=(2,)))) is None
