"""How many seeds would do, against the power of the t test as SciPy has it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nct, t

from support.studies import made_tables
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.tables.planning import seeds_to_tell
from tune_mnist.tables.statistics.difference import joint
from tune_mnist.tables.statistics.leaders import seeds_needed
from tune_mnist.tables.statistics.multiplicity import range_p
from tune_mnist.tables.statistics.noise import Noise, estimate, learn_noise

SPEC = StudySpec(models=("SimpleNN", "MediumNN"), lr=(1e-4, 1e-3), batch_size=(16, 64), epochs=(2, 4), seeds=3)


def power(gap: float, deviation: float, seeds: int) -> float:
    """Of the two-sided t test of two cells with so many seeds each, at 5%."""
    df = 2 * (seeds - 1)
    return float(nct.sf(t.ppf(0.975, df), df, gap / (deviation * math.sqrt(2 / seeds))))


@pytest.mark.parametrize("gap", [0.001, 0.002, 0.003])
def test_two_cells_need_the_seeds_that_give_their_t_test_four_in_five(gap: float) -> None:
    error, deviation = 0.02, 0.066
    seeds = seeds_needed(gap, error, Noise(deviation**2, math.inf, 2.0))
    by_t_test = next(n for n in range(2, 1000) if power(math.log1p(gap / error), deviation, n) >= 0.8)
    assert seeds is not None and abs(seeds - by_t_test) <= 1


@pytest.mark.parametrize(("gap", "cells"), [(0.001, 2), (0.002, 2), (0.003, 2), (0.003, 12)])
def test_so_many_seeds_tell_them_apart_in_four_of_five_made_studies(gap: float, cells: int) -> None:
    """By brute force: the noise learnt, and a cell told from one that is better by the gap, in study after study."""
    error, deviation = 0.0198, 0.084
    seeds = seeds_needed(gap, error, Noise(deviation**2, math.inf, 100.0), cells=cells)
    assert seeds is not None
    chance = np.random.default_rng(0)
    means = 1 - np.concatenate([np.full(11, error), [error + gap]])
    told_apart = []
    for _ in range(200):
        accuracies = 1 - (1 - means)[:, None] * np.exp(deviation * chance.normal(size=(12, seeds)))
        found = estimate(accuracies, range(12), learn_noise(accuracies, range(12)))
        own, df = joint(*(np.array(each[place]) for place in (0, 11) for each in (found.relative_error, found.df)))
        behind = (found.log_error[11] - found.log_error[0]) / own
        told_apart.append(range_p(np.array([math.sqrt(2) * abs(behind)]), cells, np.array([df]))[0] < 0.05)
    assert 0.72 < np.mean(told_apart) < 0.88


def test_more_cells_or_a_smaller_gap_need_more_seeds_and_none_is_enough_for_no_gap() -> None:
    noise = Noise(0.007, 20.0, 50.0)
    alone, among = (
        [seeds_needed(gap, 0.02, noise, cells=cells) or 1001 for gap in (0.004, 0.002, 0.001)] for cells in (2, 192)
    )
    assert alone[0] < alone[1] < alone[2] and among[0] < among[1] < among[2]
    assert all(few < more for few, more in zip(alone, among, strict=True))
    assert seeds_needed(0.0, 0.02, noise) is None


def test_the_pairs_of_the_leaders_have_the_gaps_of_the_top_three() -> None:
    def alike(config: TrainingConfig, epoch: int) -> float:
        number = [epoch, config.batch_size, round(1e4 * config.lr), len(config.model), config.seed]
        return 0.97 + 0.002 * float(np.random.default_rng(number).normal())

    tables = made_tables(SPEC, alike)
    means = tables.top3["mean"].tolist()
    assert len(means) > 4
    told = seeds_to_tell(tables)
    pairs = [(0, 1), (0, 2), (1, 2), (2, 3), (2, len(means) - 1)]
    gaps = [means[better] - means[worse] for better, worse in pairs]
    np.testing.assert_allclose(told["gap"], gaps)
    assert (told["among_all"].fillna(1001) >= told["alone"].fillna(1001)).all()


def test_one_seed_cannot_plan() -> None:
    assert seeds_to_tell(made_tables(replace(SPEC, seeds=1))).empty
