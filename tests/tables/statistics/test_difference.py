"""Differences and contrasts, held against SciPy's t tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from tune_mnist.tables.statistics.difference import Difference, combined, over_seeds

FIRST, SECOND = np.array([0.981, 0.979, 0.982]), np.array([0.978, 0.979, 0.970, 0.977])


def test_a_mean_over_seeds_is_scipy_s_one_sample_test() -> None:
    found, expected = over_seeds(FIRST), ttest_1samp(FIRST, 0.98)
    assert found.p(0.98) == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_a_contrast_of_two_groups_and_a_difference_of_two_means_are_welch_s_test() -> None:
    expected = ttest_ind(FIRST, SECOND, equal_var=False)
    contrast = combined([1, -1], [FIRST, SECOND], "")
    difference = over_seeds(FIRST).less(over_seeds(SECOND), "")
    for found in (contrast, difference):
        assert found.p() == pytest.approx(expected.pvalue)
        assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_one_seed_cannot_be_tested_and_no_noise_decides() -> None:
    assert math.isnan(over_seeds(FIRST[:1]).p()) and math.isnan(over_seeds(FIRST[:1]).interval()[0])
    assert math.isnan(combined([1, -1], [FIRST, SECOND[:1]], "").p())
    sure = Difference(0.1, 0.0, math.inf)
    assert (sure.p(), sure.p(0.1), sure.interval()) == (0, 1, (0.1, 0.1))
