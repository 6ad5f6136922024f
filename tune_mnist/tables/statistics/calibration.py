"""Whether a network's probabilities are what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Predictions in `BINS` bins of equal width by the probability that the network gave its answer."""

    ece: float
    """The expected calibration error: how far the probability and the share right are apart, over all predictions."""
    sureness: np.ndarray
    """Mean probability of the predictions in each bin that has any, float (k,)."""
    right: np.ndarray
    """Share of them that are right, float (k,)."""
    count: np.ndarray
    """How many they are, int (k,)."""


def calibration(sureness: np.ndarray, right: np.ndarray) -> Calibration:
    """The calibration of predictions by their probabilities, float (n,), and whether they are right, bool (n,).

    As Guo et al. define it (ICML 2017, arXiv:1706.04599): 15 bins, the upper bound of each belonging to it.
    """
    from sklearn.calibration import calibration_curve  # half a second, which most commands need not spend

    share_right, mean = calibration_curve(right, sureness, n_bins=BINS)
    _, count = np.unique(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sureness), return_counts=True)
    return Calibration(float(np.average(np.abs(share_right - mean), weights=count)), mean, share_right, count)
