"""Intervals of an accuracy: known answers, and that they cover the truth for other seeds and pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, sem, t

from tune_mnist.tables.statistics.intervals import accuracy_interval, interval_of, picture_variance, wilson
from tune_mnist.tables.statistics.significance import Right, Score, right_of


def flags(right: int, wrong: int) -> Right:
    return right_of(np.repeat([True, False], [right, wrong]))


def test_wilson_interval_of_a_known_share() -> None:
    assert wilson(Score(0.9, flags(90, 10))) == pytest.approx((0.8256343, 0.9447709), abs=1e-6)
    assert all(math.isnan(end) for end in (*wilson(Score(0.9, None)), *interval_of({})))
    assert interval_of({3: Score(0.9, flags(90, 10))}) == wilson(Score(0.9, flags(90, 10)))


def test_seeds_and_pictures_count_by_their_variances() -> None:
    chance = np.random.default_rng(0)
    right = chance.random((3, 500)) < chance.beta(9, 1, size=500)
    accuracies, shares = right.mean(axis=1), right.mean(axis=0)
    variances = np.array([sem(accuracies) ** 2, picture_variance(list(accuracies), shares)])
    quantile = np.average([t.ppf(0.975, 2), norm.ppf(0.975)], weights=variances)
    low, high = accuracy_interval(list(accuracies), shares)
    assert (high - low) / 2 == pytest.approx(quantile * math.sqrt(variances.sum())) and variances.min() > 0
    low, high = accuracy_interval(list(accuracies), None)
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, 2) * sem(accuracies))
    assert accuracy_interval([0.5, 0.5], None) == (0.5, 0.5)


def test_the_pictures_component_is_that_of_the_two_way_analysis_of_variance() -> None:
    right = np.random.default_rng(1).random((4, 300)) < 0.8
    seeds, pictures = right.shape
    residual = right - right.mean(axis=0) - right.mean(axis=1, keepdims=True) + right.mean()
    of_residual = (residual**2).sum() / (seeds - 1) / (pictures - 1)
    of_pictures = seeds * right.mean(axis=0).var(ddof=1)
    expected = max(0.0, (of_pictures - of_residual) / seeds / pictures)
    found = picture_variance(list(right.mean(axis=1)), right.mean(axis=0))
    assert found == pytest.approx(expected, abs=2e-6)
