"""Ties, bests and what a study can see, on cells whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, studentized_range, t

from tune_mnist.tables.statistics.difference import joint
from tune_mnist.tables.statistics.leaders import against_third, equivalence_p, may_be_best, seeds_needed, smallest_gap
from tune_mnist.tables.statistics.noise import Noise, estimate, learn_noise


def study(chance: np.random.Generator, means: np.ndarray, seeds: int, deviation: float = 0.08) -> np.ndarray:
    drawn = 1 - (1 - means)[:, None] * np.exp(deviation * chance.normal(size=(len(means), seeds)))
    return drawn[np.argsort(-drawn.mean(axis=1))]


def studentised(accuracies: np.ndarray, noise: Noise | None = None, share: float = 1) -> np.ndarray:
    """p of each cell against the third by SciPy's range, in steps, with this noise or the one learnt."""
    trainings = range(len(accuracies))
    noise = learn_noise(accuracies, trainings) if noise is None else noise
    found = estimate(accuracies, trainings, noise, alike=True)
    least = math.sqrt(noise.variance * (1 + 2 * math.sqrt(2 / noise.df)) / accuracies.shape[1])
    error, df = joint(found.relative_error, found.df, np.maximum(found.relative_error[2], least), found.df[2])
    q = math.sqrt(2) * (found.log_error - found.log_error[2]) / error
    told_apart = np.full(len(q), False)
    while True:
        p = studentized_range.sf(q, (~told_apart).sum(), df) / share
        if not ((p <= 0.05) & ~told_apart)[3:].any():
            return p
        told_apart[3:] |= p[3:] <= 0.05


def test_the_p_of_a_tie_is_scipy_s_studentised_range_in_steps() -> None:
    accuracies = study(np.random.default_rng(0), np.linspace(0.98, 0.96, 12), 3)
    trainings = list(range(12))
    noise = Noise(0.08**2, math.inf, 20.0)  # every training's: variance and degrees of freedom
    found = against_third(accuracies, trainings, noise)
    assert np.isnan(found.p[:3]).all()
    log_errors = np.log(1 - accuracies.mean(axis=1))
    of_third = noise.variance * (1 + 2 * math.sqrt(2 / 20))
    q = (log_errors[3:] - log_errors[2]) / math.sqrt((noise.variance + of_third) / 2 / 3)
    df = 20 * (noise.variance + of_third) ** 2 / (noise.variance**2 + of_third**2)
    of_all = studentized_range.sf(q, 12, df)
    left = 3 + int((of_all > 0.05).sum())
    assert 3 < left < 12
    of_rest = studentized_range.sf(q, left, df)
    assert found.p[3:] == pytest.approx(of_rest, abs=1e-3) and ((of_all > 0.05) == (of_rest > 0.05)).all()
    assert found.difference[5] == pytest.approx(accuracies[5].mean() - accuracies[2].mean())


def test_a_cell_whose_every_seed_is_behind_the_third_s_is_told_from_it_though_one_seed_fell() -> None:
    chance = np.random.default_rng(21)
    means = np.array([0.98, 0.98, 0.98, 0.979, 0.975, *np.linspace(0.97, 0.8, 35)])
    accuracies = 1 - (1 - means)[:, None] * np.exp(0.06 * chance.normal(size=(40, 10)))
    accuracies[4, 3] = 0.88
    order = np.argsort(-accuracies.mean(axis=1))
    accuracies, fell = accuracies[order], order.tolist().index(4)
    assert accuracies[fell].max() < accuracies[2].min()
    by_range, found = studentised(accuracies, share=0.8), against_third(accuracies, list(range(40))).p
    assert by_range[fell] > 0.05
    tied = int((by_range[3:] > 0.05).sum())
    pair = mannwhitneyu(accuracies[fell], accuracies[2], alternative="less", method="exact").pvalue
    assert found[fell] == pytest.approx(math.comb(3 + tied, 2) * pair / 0.2) and found[fell] < 0.05


def test_from_eight_seeds_on_the_range_has_four_fifths_of_the_error() -> None:
    accuracies = study(np.random.default_rng(0), np.linspace(0.98, 0.976, 8), 8)
    found = against_third(accuracies, list(range(8))).p[3:]
    assert found == pytest.approx(np.minimum(studentised(accuracies, share=0.8)[3:], 1), abs=1e-3)


@pytest.mark.parametrize("deviations", [np.full(10, 0.08), 0.08 * np.geomspace(0.3, 3, 10)])
def test_equal_cells_are_seldom_told_apart_by_range_or_ranks(deviations: np.ndarray) -> None:
    chance = np.random.default_rng(6)
    told_apart = []
    for _ in range(100):
        trainings = chance.permutation(np.repeat(np.arange(10), 3))
        accuracies = 1 - 0.02 * np.exp(deviations[trainings, None] * chance.normal(size=(30, 10)))
        order = np.argsort(-accuracies.mean(axis=1))
        told_apart.append((against_third(accuracies[order], trainings[order].tolist()).p[3:] <= 0.05).any())
    assert np.mean(told_apart) <= 0.05


def test_equal_cells_without_any_noise_tie_and_others_do_not() -> None:
    accuracies = np.repeat([[0.98], [0.98], [0.98], [0.98], [0.97]], 3, axis=1)
    found = against_third(accuracies, list(range(5)))
    assert found.p[3:] == pytest.approx([1, 0]) and found.equivalent_p[3] == 0


@pytest.mark.parametrize("cells", [1, 2, 3])
@pytest.mark.parametrize("seeds", [2, 10])
def test_three_cells_and_fewer_are_held_against_none(cells: int, seeds: int) -> None:
    accuracies = study(np.random.default_rng(0), np.linspace(0.98, 0.97, cells), seeds)
    found = against_third(accuracies, list(range(cells)))
    assert found.difference[-1] == 0 and np.isnan(found.p).all() and np.isnan(found.equivalent_p).all()


def test_one_seed_compares_nothing() -> None:
    accuracies = np.linspace(0.98, 0.9, 6)[:, None]
    assert np.isnan(against_third(accuracies, list(range(6))).p).all()
    assert np.isnan(may_be_best(accuracies, list(range(6)))).all()


def test_the_set_of_possible_bests_holds_the_best_and_leaves_out_the_rest() -> None:
    chance = np.random.default_rng(3)
    means = np.array([0.98, 0.9795, 0.97, 0.95, 0.9])
    p = may_be_best(1 - (1 - means)[:, None] * np.exp(0.05 * chance.normal(size=(5, 5))), list(range(5)))
    assert p[:2].min() > 0.05 and p[2:].max() < 0.05 and p[0] > 0.5


def test_the_p_of_a_best_is_the_smallest_of_scipy_s_t_tests_times_the_others() -> None:
    accuracies = study(np.random.default_rng(1), np.linspace(0.98, 0.976, 4), 3)
    noise = Noise(0.08**2, math.inf, 20.0)  # every training's: variance and degrees of freedom
    p = may_be_best(accuracies, list(range(4)), noise)
    log_errors = np.log(1 - accuracies.mean(axis=1))
    behind = (log_errors - log_errors.min()) / math.sqrt(2 * noise.variance / 3)
    assert p == pytest.approx(np.minimum(3 * t.sf(behind, 40), 1)) and p[-1] < p[0] == 1


@pytest.mark.parametrize("deviations", [np.full(10, 0.08), 0.08 * np.geomspace(0.4, 2.5, 10)])
def test_one_of_many_bests_is_seldom_ruled_out_however_unlike_their_noise(deviations: np.ndarray) -> None:
    chance = np.random.default_rng(2)
    ruled_out = []
    for _ in range(150):
        trainings = chance.permutation(np.repeat(np.arange(10), 3))
        drawn = np.exp(deviations[trainings, None] * chance.normal(size=(30, 3)))
        ruled_out.append(may_be_best(1 - 0.02 * drawn, trainings.tolist()) <= 0.05)
    assert np.mean(ruled_out) <= 0.05  # of any one of them


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_who_may_be_best_is_decided_by_the_foremost_as_by_all(seeds: int) -> None:
    chance = np.random.default_rng(seeds)
    means = np.linspace(0.98, 0.9, 60)
    accuracies = 1 - (1 - means)[:, None] * np.exp(0.1 * chance.random((60, 1)) * chance.normal(size=(60, seeds)))
    trainings = [cell // 2 for cell in range(60)]
    noise = learn_noise(accuracies, trainings)
    found = estimate(accuracies, trainings, noise, alike=True)
    error, df = joint(found.relative_error[None], found.df[None], found.relative_error[:, None], found.df[:, None])
    behind = (found.log_error[:, None] - found.log_error) / error
    expected = np.minimum(59 * t.sf(behind, df).min(axis=1), 1)
    np.testing.assert_allclose(may_be_best(accuracies, trainings), expected, rtol=1e-6, atol=1e-12)


def test_equivalence_is_two_one_sided_t_tests() -> None:
    difference, error, df = np.array([0.001, -0.004, 0.02]), np.full(3, 0.001), np.full(3, 10.0)
    expected = [max(t.sf((d + 0.005) / 0.001, 10), t.sf((0.005 - d) / 0.001, 10)) for d in difference]
    assert equivalence_p(difference, error, df) == pytest.approx(expected)


def test_a_gap_of_the_smallest_size_is_seen_four_times_in_five_and_more_seeds_see_less() -> None:
    noise = Noise(0.08**2, math.inf, 200.0, {})
    gap = smallest_gap(0.02, noise, seeds=3, cells=6)  # of which the others are told from the third first
    chance = np.random.default_rng(4)
    seen = []
    for _ in range(200):
        means = np.concatenate([np.full(5, 0.98), [0.98 - gap], np.full(6, 0.9)])  # the third is the median of five
        accuracies = 1 - (1 - means)[:, None] * np.exp(0.08 * chance.normal(size=(12, 3)))
        order = np.argsort(-accuracies.mean(axis=1))
        p = against_third(accuracies[order], order.tolist(), noise).p
        seen.append(p[order == 5][0] < 0.05)
    assert 0.72 < np.mean(seen) < 0.88
    needed = seeds_needed(0.005, 0.02, noise, cells=40)
    assert needed is not None and needed > 3
    assert smallest_gap(0.02, noise, seeds=needed, cells=40) <= 0.005
    assert smallest_gap(0.02, noise, seeds=needed - 1, cells=40) > 0.005
    assert seeds_needed(1e-6, 0.02, noise) is None
