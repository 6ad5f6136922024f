"""The paper's own shade at each pixel, whatever light falls on it, and so how much each pixel is ink."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DARKEST = 0.1  # paper is taken to be at least this light where contrasts are related to it
WIDEST = 0.4  # of the shorter side: what is wider than this is paper or desk, not a stroke
FIT_SIDE = 64  # pixels a side, at most, on which the paper's shade is fitted
FIT_ROUNDS = 20
ROUGH, SMOOTHING = 0.02, (1.0, 1.5, 2.0)  # a dithered picture's roughness; standard deviations of the remedy, pixels

Array = NDArray[np.float32]


class Contrast(NamedTuple):
    """How far each pixel differs from the paper around it to one side, as a share of the paper's level."""

    values: Array
    """(h, w), around 0 on paper."""
    paper: float
    """The paper's usual level, 0 black to 1 white, at least `DARKEST`."""

    def noise(self, where: NDArray[np.bool_]) -> float:
        """The values' standard deviation on the paper, most of what is `where`, (h, w)."""
        return 1.4826 * float(np.median(np.abs(self.values[where])))


def contrasts(levels: Array) -> tuple[Contrast, Contrast]:
    """The contrasts of dark ink and of light ink in grey levels (h, w) in 0…1.

    The paper at a pixel is what remains after everything narrower than `WIDEST` is taken away, by a grey
    closing or opening: the edge of a shadow or of a sheet, straight as it is, stays where it is. Light that
    changes smoothly is evened out first, and also not, as a shadow or a desk misleads that: ink is what
    stands out both ways.
    """
    levels = smoothed(levels)
    shade: Array = np.maximum(paper_shade(levels), np.float32(DARKEST))
    size = (max(3, round(WIDEST * min(levels.shape))),) * 2
    ways: list[tuple[Array, Array]] = [(levels, np.ones_like(shade)), (np.divide(levels, shade), shade)]
    dark = [_relative(even, ndimage.grey_closing(even, size), light) for even, light in ways]
    light = [_relative(even, ndimage.grey_opening(even, size), light) for even, light in ways]
    return _contrast(dark), _contrast(light)


def _relative(even: Array, paper: Array, light: Array) -> tuple[Array, Array]:
    """The difference from the paper as a share of its level, and that level, both (h, w)."""
    level = np.maximum(paper * light, DARKEST)
    values = np.abs(even - paper) * light / level
    # Under noise the paper is the noise's extreme. The desk around a sheet may be more than half of a picture.
    return values - np.percentile(values, 25), level


def _contrast(ways: list[tuple[Array, Array]]) -> Contrast:
    values = np.minimum(ways[0][0], ways[1][0])
    return Contrast(values, float(np.median(ways[0][1])))


def smoothed(levels: Array) -> Array:
    """Levels without the dots of a dithered picture or strong noise, if the picture is large enough to bear it."""
    for deviation in SMOOTHING:
        if min(levels.shape) < 60 or _roughness(levels) < ROUGH:
            break
        levels = ndimage.gaussian_filter(levels, deviation)
    return levels


def _roughness(levels: Array) -> float:
    return float(np.median(np.abs(levels - ndimage.gaussian_filter(levels, 1.0))))


def paper_shade(levels: Array) -> Array:
    """The paper's grey level at each pixel, (h, w): the quadratic surface that most of the pixels follow.

    A fit of least absolute deviations by reweighting. Pixels of the border count as much as all the
    others together, as a digit seldom touches it.
    """
    step = math.ceil(max(levels.shape) / FIT_SIDE)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in levels.shape)
    sample = levels[::step, ::step]
    terms = _quadratic(y[::step], x[::step])
    border = np.ones(sample.shape, bool)
    border[1:-1, 1:-1] = False
    share = border.mean()
    start = np.where(border, 0.5 / share, 0.5 / max(1 - share, 1e-6)).ravel().astype(np.float32)
    target = sample.ravel()
    coefficients = np.zeros(terms.shape[1], np.float32)
    coefficients[0] = np.median(sample[border])
    for _ in range(FIT_ROUNDS):
        weights = start / np.maximum(np.abs(target - terms @ coefficients), 1e-3)
        weighted = terms * weights[:, None]
        ridge = 1e-3 * weights.sum() * np.eye(terms.shape[1], dtype=np.float32)
        ridge[0, 0] = 0
        coefficients = np.linalg.solve(weighted.T @ terms + ridge, weighted.T @ target)
    return np.asarray((_quadratic(y, x) @ coefficients).reshape(levels.shape), np.float32)


def _quadratic(y: Array, x: Array) -> Array:
    """The terms 1, y, x, y², xy, x² at each point of the grid, (len(y) · len(x), 6)."""
    down, across = (axis.ravel() for axis in np.meshgrid(y, x, indexing="ij"))
    return np.stack([np.ones_like(down), down, across, down**2, down * across, across**2], axis=1)


def otsu(values: Array) -> float:
    """The threshold that separates values into two classes of least variance within (Otsu 1979)."""
    counts, edges = np.histogram(values.astype(np.float64), bins=128)  # float32 may be too coarse for 128 bins
    centres = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * centres).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nanargmax(np.nan_to_num(between[:-1], nan=-1.0)))])
