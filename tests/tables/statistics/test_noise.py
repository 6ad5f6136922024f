"""The seeds' noise, recovered from made cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import polygamma

from tune_mnist.tables.statistics.noise import Noise, estimate, learn_noise, near_leaders


def drawn(means: np.ndarray, deviations: np.ndarray, seeds: int, seed: int = 0) -> np.ndarray:
    luck = np.random.default_rng(seed).normal(size=(len(means), seeds))
    return 1 - (1 - means)[:, None] * np.exp(deviations[:, None] * luck)


def test_noise_is_relative_to_the_error_and_learnt_near_the_leaders_alone() -> None:
    means = np.concatenate([np.linspace(0.98, 0.97, 200), np.linspace(0.8, 0.1, 200)])
    deviations = np.repeat([0.08, 0.3], 200)
    accuracies = drawn(means, deviations, 4)
    noise = learn_noise(accuracies, list(range(400)))
    assert math.sqrt(noise.variance) == pytest.approx(0.08, rel=0.1)
    assert set(noise.by_training) <= set(range(200)) and noise.prior_df > 6
    found = estimate(accuracies, list(range(400)), noise)
    near = near_leaders(accuracies)
    assert found.error[near] == pytest.approx((1 - found.mean[near]) * 0.08 / 2, rel=0.5)
    assert found.error[300] == pytest.approx(accuracies[300].std(ddof=1) / 2) and found.df[300] == 3
    alike = estimate(accuracies, list(range(400)), noise, alike=True)
    assert alike.error[300] == pytest.approx((1 - found.mean[300]) * math.sqrt(noise.variance) / 2)


def test_trainings_that_differ_keep_more_of_their_own_noise() -> None:
    deviations = 0.08 * np.exp(np.random.default_rng(1).normal(size=300))
    noise = learn_noise(drawn(np.full(300, 0.98), deviations, 5), list(range(300)))
    assert noise.prior_df < 10
    moderated = np.array([variance for variance, _ in noise.by_training.values()])
    assert np.corrcoef(np.log(moderated), np.log(deviations[np.array([*noise.by_training])]))[0, 1] > 0.6


@pytest.mark.parametrize("trainings", [8, 30, 200])
def test_trainings_that_seem_alike_are_not_taken_to_be_so_the_less_the_fewer_they_are(trainings: int) -> None:
    prior_df = [
        learn_noise(drawn(np.full(trainings, 0.98), np.full(trainings, 0.08), 3, seed), list(range(trainings))).prior_df
        for seed in range(20)
    ]
    by_chance = float(polygamma(1, 1))  # variance of the logarithm of a variance with 2 degrees of freedom
    half_an_error = 0.5 * by_chance * math.sqrt(2 / (trainings - 1))
    assert polygamma(1, max(prior_df) / 2) == pytest.approx(half_an_error)  # where they differ by no more than chance


def test_the_cells_of_one_training_are_one_witness_as_far_as_they_agree() -> None:
    luck = np.random.default_rng(2).normal(size=(40, 3))
    means = np.repeat(np.linspace(0.98, 0.975, 40), 4)
    trainings = np.repeat(np.arange(40), 4).tolist()
    same = 1 - (1 - means)[:, None] * np.exp(0.08 * np.repeat(luck, 4, axis=0))
    assert learn_noise(same, trainings).df == pytest.approx(80, rel=0.02)
    apart = drawn(means, np.full(160, 0.08), 3)
    assert learn_noise(apart, trainings).df > 250


def test_one_seed_or_no_spread_teaches_nothing() -> None:
    assert math.isnan(learn_noise(np.full((20, 1), 0.9), list(range(20))).variance)
    assert learn_noise(np.full((20, 3), 0.9), list(range(20))).variance == 0


def test_a_training_far_from_the_leaders_has_their_noise_until_its_own_seeds_tell_more() -> None:
    noise = Noise(0.01, prior_df=6.0, df=50.0)
    variances, df = noise.of_another(np.array([0.04, 0.04, 0.04]), np.array([2.0, 6.0, 9.0]))
    assert variances == pytest.approx([0.01, 0.01, (6 * 0.01 + 9 * 0.04) / 15]) and df.tolist() == [6, 6, 15]
    variances, df = Noise(0.01, math.inf, 50.0).of_another(np.array([0.04]), np.array([99.0]))
    assert (variances[0], df[0]) == (0.01, 50)
