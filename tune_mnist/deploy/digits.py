"""Grey pixels of a digit on paper to the network's form, as MNIST was made."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tune_mnist.spec.errors import UserError
from tune_mnist.training.dataset import SIDE
from tune_mnist.training.idx import Bytes

BOX = 20
"""The ink's longer side in MNIST; its centre of mass lies at pixel 14 of each axis."""
CENTRE = 14
WORK_BOX = 8 * BOX  # resolution at which strokes are thickened
LEAST_CONTRAST = 0.04
"""Of ink against paper, on a scale of black to white; less is no ink."""
LEAST_CLARITY = 5.0  # ink against the paper's noise, in the noise's standard deviations
INK = 0.35  # of the full contrast: what counts as ink when the digit is cropped
SPECK = 0.05  # of the largest stroke's mass: smaller pieces are dirt
THINNEST, THICKENED = 1.5, 2.2  # stroke widths in pixels of the 20 × 20 box; MNIST's are 1.6 to 4.9
FIT_SIDE = 64  # pixels a side, at most, on which the paper's shade is fitted
FIT_ROUNDS = 20

Array = NDArray[np.float32]


def to_digit(levels: Array) -> Bytes:
    """The network's view, uint8 (28, 28), 0 background to 255 ink, of grey levels (h, w) in 0…1.

    The paper may be dark or light and unevenly lit. Ink is what differs from it to the one side that
    differs most; it is cropped, scaled into 20 × 20 keeping its aspect, thickened if its strokes are
    thinner than any of MNIST's, and moved so that its centre of mass is MNIST's.

    Raises:
        UserError: there is no ink.
    """
    ink = _crop(find_ink(levels))
    small = _scaled(ink, WORK_BOX)
    small = _thickened(small, WORK_BOX / BOX)
    return _centred(np.rint(255 * _full_contrast(_scaled(small, BOX))).astype(np.uint8))


def find_ink(levels: Array) -> Array:
    """How much each pixel is ink, (h, w) in 0…1, whatever the colours; `UserError` if nothing is."""
    difference = levels - paper_shade(levels)
    # The paper is most of the picture and its noise symmetric, so the skew is the ink's.
    skew = float((difference**3).sum())
    difference = difference if skew > 0 else -difference
    noise = 1.4826 * float(np.median(np.abs(difference)))
    threshold = _otsu(difference.clip(0))
    marked = difference[difference > threshold]
    contrast = float(np.percentile(marked, 75)) if len(marked) else 0.0
    if contrast < max(LEAST_CONTRAST, LEAST_CLARITY * noise):
        raise UserError("no ink found: give a picture of a digit that stands out from its paper")
    floor = min(2 * noise, 0.2 * contrast)
    return np.asarray(((difference - floor) / (contrast - floor)).clip(0, 1), np.float32)


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
    weights = start
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


def _otsu(values: Array) -> float:
    """The threshold that separates values into two classes of least variance within."""
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * centres).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nanargmax(np.nan_to_num(between[:-1], nan=-1.0)))])


def _crop(ink: Array) -> Array:
    """The part of (h, w) that holds ink, without specks of dirt."""
    pieces, count = ndimage.label(ink > INK, structure=np.ones((3, 3)))
    if count > 1:
        mass = ndimage.sum_labels(ink, pieces, np.arange(1, count + 1))
        kept = np.flatnonzero(mass >= SPECK * mass.max()) + 1
        mask = np.isin(pieces, kept)
        grown = ndimage.binary_dilation(mask, structure=np.ones((3, 3)), iterations=2)
        ink = np.where(grown, ink, np.float32(0))
    else:
        mask = pieces > 0
    (rows, columns) = ndimage.find_objects(mask.astype(np.int8))[0]
    return ink[rows, columns]


def _scaled(ink: Array, side: int) -> Array:
    """Ink scaled so that its longer side is `side` pixels, averaging where it shrinks."""
    scale = side / max(ink.shape)
    height, width = (max(1, round(n * scale)) for n in ink.shape)
    picture = Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)


def _thickened(ink: Array, per_pixel: float) -> Array:
    """Ink with strokes widened if they are too thin, at `per_pixel` pixels of it for each of the 20 × 20 box."""
    width = stroke_width(ink) / per_pixel
    if width >= THINNEST:
        return ink
    radius = (THICKENED - width) * per_pixel / 2
    reach = math.ceil(radius)
    ink = np.pad(ink, reach)
    distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    return np.asarray(ndimage.grey_dilation(ink, footprint=distance <= radius), np.float32)


def stroke_width(ink: Array) -> float:
    """The mean width of strokes in pixels: twice their area over the length of their outline."""
    padded = np.pad(ink, 1)
    down, across = np.abs(np.diff(padded, axis=0)).sum(), np.abs(np.diff(padded, axis=1)).sum()
    return float(2 * ink.sum() / np.hypot(down, across))


def _full_contrast(ink: Array) -> Array:
    top = float(np.percentile(ink[ink > 0.5 * ink.max()], 75))
    return np.asarray((ink / top).clip(0, 1), np.float32)


def _centred(digit: Bytes) -> Bytes:
    """A digit of at most (20, 20) laid into (28, 28) with its centre of mass nearest to MNIST's."""
    placed = np.zeros((SIDE, SIDE), np.uint8)
    corner = []
    for axis, n in enumerate(digit.shape):
        mass = digit.sum(1 - axis, dtype=np.float64)
        centre = float(mass @ np.arange(n)) / float(mass.sum())
        corner.append(min(max(round(CENTRE - centre), 0), SIDE - n))
    placed[corner[0] : corner[0] + digit.shape[0], corner[1] : corner[1] + digit.shape[1]] = digit
    return placed
