"""The expected calibration error, where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from tune_mnist.tables.statistics.calibration import BINS, calibration


def test_a_known_error() -> None:
    sureness = np.repeat([0.9, 0.6], 100)
    right = np.concatenate([np.arange(100) < 80, np.arange(100) < 63])
    shown = calibration(sureness, right)
    assert shown.ece == pytest.approx((0.1 + 0.03) / 2)
    np.testing.assert_allclose(np.stack([shown.sureness, shown.right]), [[0.6, 0.9], [0.63, 0.8]])
    assert shown.count.tolist() == [100, 100]


def test_it_is_guo_s_sum_over_the_bins() -> None:
    chance = np.random.default_rng(0)
    sureness = chance.integers(20, 256, 5000) / 255  # as kept: some are bounds of the bins
    right = chance.random(5000) < sureness**2
    ece = 0.0
    for low in range(BINS):
        inside = (sureness > low / BINS) & (sureness <= (low + 1) / BINS)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - sureness[inside].mean())
    assert calibration(sureness, right).ece == pytest.approx(ece)


def test_all_right_and_sure_is_calibrated() -> None:
    assert calibration(np.ones(9), np.ones(9, bool)).ece == 0
