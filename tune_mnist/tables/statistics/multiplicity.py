"""What the largest of many differences may be by chance: Tukey's range, Dunnett's maximum, Holm's step-down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr
from scipy.stats import chi2

_Z = np.linspace(-8, 8, 97)
_DENSITY = np.exp(-(_Z**2) / 2) / np.sqrt(2 * np.pi) * (_Z[1] - _Z[0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


def range_p(q: np.ndarray, cells: int, df: np.ndarray) -> np.ndarray:
    """P that the studentised range of `cells` equal cells exceeds q; q and df are float (n,).

    As scipy.stats.studentized_range.sf, to 4 digits, hundreds of times as fast.
    """
    return _p(lambda x: cells * (ndtr(_Z) - ndtr(_Z - x)) ** (cells - 1), q, df)


def best_p(t: np.ndarray, cells: int, df: np.ndarray) -> np.ndarray:
    """P that the largest t of `cells` - 1 equal cells against one more exceeds t, one-sided; t and df are float (n,).

    Dunnett's distribution (JASA 50, 1955), by which Hsu (Annals of Statistics 12, 1984) tells which may be the best.
    """
    return _p(lambda x: ndtr(_Z + np.sqrt(2) * x) ** (cells - 1), t, df)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted by Holm's step-down: rejecting those up to α errs anywhere with probability α at most."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _p(below: Callable[[np.ndarray], np.ndarray], x: np.ndarray, df: np.ndarray) -> np.ndarray:
    """1 less the mean over s of ∫ density(z) below(x · s)(z) dz, where s² df is χ² with df degrees of freedom."""
    x, df = np.broadcast_arrays(np.asarray(x, float), np.asarray(df, float))
    found = np.empty(len(x))
    distinct, which = np.unique(np.minimum(df, 1e6), return_inverse=True)
    deviations = np.sqrt(chi2.ppf((_NODES + 1) / 2, distinct[:, None]) / distinct[:, None])  # (df, 48)
    for start in range(0, len(x), 500):
        rows = slice(start, start + 500)
        scaled = (x[rows, None] * deviations[which[rows]])[:, :, None]  # (500, 48, 1)
        found[rows] = 1 - below(scaled) @ _DENSITY @ _WEIGHTS / 2
    return np.clip(found, 0, 1)
