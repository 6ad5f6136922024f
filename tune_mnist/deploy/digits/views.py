"""The ink of a digit to the network's form, as MNIST was made."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from tune_mnist.deploy.digits.paper import Array
from tune_mnist.training.dataset import SIDE
from tune_mnist.training.idx import Bytes

BOX = 20
"""The ink's longer side in MNIST; its centre of mass lies at pixel 14 of each axis."""
CENTRE = 14
WORK_BOX = 8 * BOX  # resolution at which strokes are thickened
THINNEST, THICKENED = 1.5, 2.2  # stroke widths in pixels of the 20 × 20 box; MNIST's are 1.6 to 4.9


def to_view(ink: Array) -> Bytes:
    """The network's view, uint8 (28, 28), 0 background to 255 ink, of a digit's ink (h, w) in 0…1, cropped to it.

    It is scaled into 20 × 20 keeping its aspect, thickened if its strokes are thinner than any of MNIST's,
    and moved so that its centre of mass is MNIST's.
    """
    small = _thickened(_scaled(ink, WORK_BOX), WORK_BOX / BOX)
    return _centred(np.rint(255 * _full_contrast(_scaled(small, BOX))).astype(np.uint8))


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
