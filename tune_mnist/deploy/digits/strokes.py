"""Grey levels to ink: the pieces of pen stroke on a paper, without desk, thumb, ruled lines and dirt."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tune_mnist.deploy.digits.paper import DARKEST, Array, Contrast, contrasts, otsu
from tune_mnist.deploy.digits.views import stroke_width

LEAST_CONTRAST = 0.04
"""Of ink against paper, on a scale of black to white; less is no ink."""
LEAST_CLARITY = 5.0  # ink against the paper's noise, in the noise's standard deviations
INK = 0.35  # of the full contrast: what counts as ink
ALONG_BORDER = 0.5  # of a piece's length: what lies along the border for more is desk, thumb or a scanner's strip
RULED = 0.02  # a straight line's breadth over its length, as standard deviations
LEAST_PAPER = 0.05  # of the picture: less has no digit on it
LONG = 0.6  # of the picture's shorter side: a straight line's least length
DARKER = 1.3  # so many times must ink stand out as lines do that it cannot be told from by its shape
SLIVER = 0.3  # of the largest stroke within the picture: a smaller one at the border is no digit
MESH = 6  # more places than this where a piece meets the border: a net of lines
LEAST_SIDE, LEAST_SHARE = 6, 0.025  # a piece's longer side in pixels, and as a share of the picture's
ROUNDS = 5  # so often at most is what is no stroke taken away, or the threshold raised above the lines that ink crosses
EDGES = (0, -1, (slice(None), 0), (slice(None), -1))
FAINT = 0.15  # of the full contrast: ink that is connected with darker ink may fade to this
FADED = 0.33  # of the full contrast: where ink fades to this or less, this counts as full
USUAL_SIDE = 32  # pixels a side, at most, on which the usual level is found
USUAL_REACH = 0.7  # of the shorter side: the window that it is usual in
AROUND = np.ones((3, 3), bool)

Labels = NDArray[np.int32]


class Ink(NamedTuple):
    """The ink of a picture."""

    coverage: Array
    """(h, w), how much of each pixel is ink, 0…1."""
    pieces: Labels
    """(h, w), the connected piece that a pixel is of, from 1; 0 is paper."""


def find_ink(levels: Array) -> Ink | None:
    """The ink in grey levels (h, w) in 0…1, dark on light or light on dark; None if there is none."""
    dark, light = map(_ink, contrasts(levels))
    if dark is None or light is None:
        return dark or light
    return dark if _paper_is_light(levels, dark.pieces > 0, light.pieces > 0) else light


def _paper_is_light(levels: Array, dark: NDArray[np.bool_], light: NDArray[np.bool_]) -> bool:
    """Whether the dark pieces stand out more from the level usual around them; the light ones are then gaps in ink."""
    step = math.ceil(max(levels.shape) / USUAL_SIDE)
    sample = levels[::step, ::step]
    usual = ndimage.median_filter(sample, size=max(1, round(USUAL_REACH * min(sample.shape))))
    usual = usual.repeat(step, 0).repeat(step, 1)[: levels.shape[0], : levels.shape[1]]
    distance = np.abs(np.log(np.maximum(levels, DARKEST) / np.maximum(usual, DARKEST)))
    # The area counts a little: a few specks may lie within ink, and a sheet around it.
    return distance[light].mean() * light.sum() ** 0.25 < distance[dark].mean() * dark.sum() ** 0.25


def _ink(contrast: Contrast) -> Ink | None:
    """The ink of one polarity, None if nothing stands out or only what is no pen stroke."""
    values, line_level = contrast.values.clip(0), 0.0
    paper = np.ones(values.shape, bool)  # what is not beside the paper
    threshold = otsu(values)
    for _ in range(ROUNDS):
        marked = values > threshold
        labels, count = ndimage.label(marked, AROUND)
        kinds = _kinds(labels, count)
        beside = np.isin(labels, 1 + np.flatnonzero(kinds == BESIDE))
        if beside.any():  # and again without it, as it may be darker than the ink
            paper &= ~ndimage.binary_dilation(beside, AROUND, 2)
            if paper.mean() < LEAST_PAPER:
                return None
            values = values * paper
            threshold = otsu(values[paper])
            continue
        lines = np.isin(labels, 1 + np.flatnonzero(kinds == LINE))
        strokes = np.isin(labels, 1 + np.flatnonzero(kinds == STROKE))
        noise = contrast.noise(paper)
        line_level = max(line_level, _level_at_border(values, lines))
        if strokes.any():
            full = float(np.percentile(values[strokes], 75))
            if full >= max(LEAST_CONTRAST / contrast.paper, LEAST_CLARITY * noise, DARKER * line_level):
                return _coverage(values, strokes, full, noise)
        if not lines.any():
            return None
        threshold = otsu(values[marked])
    return None


def _level_at_border(values: Array, lines: NDArray[np.bool_]) -> float:
    """How dark lines are where they leave the picture, as no digit crosses them there; 0 without lines."""
    levels = np.concatenate([values[edge][lines[edge]] for edge in EDGES])
    return float(np.percentile(levels, 75)) if len(levels) else 0.0


BESIDE, LINE, DIRT, STROKE = range(4)


def _kinds(labels: Labels, count: int) -> NDArray[np.int8]:
    """What each piece of (h, w) labels is, (count,)."""
    height, width = labels.shape
    kinds = np.full(count, STROKE, np.int8)
    least = max(LEAST_SIDE, LEAST_SHARE * max(labels.shape))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    at_border = np.zeros(count, bool)
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels)):
        inside = labels[rows, columns] == number + 1
        if max(inside.shape) < least:
            kinds[number] = DIRT
            continue
        edges = [
            edge for edge, touches in (
                (inside[0], rows.start == 0), (inside[-1], rows.stop == height),
                (inside[:, 0], columns.start == 0), (inside[:, -1], columns.stop == width),
            ) if touches
        ]
        if max(inside.shape) > LONG * min(labels.shape) and _straightness(inside) < RULED:
            kinds[number] = LINE
        if not edges:
            continue
        at_border[number] = True
        contact = sum(int(edge.sum()) for edge in edges)
        meetings = sum(int((np.diff(edge.astype(np.int8), prepend=0) == 1).sum()) for edge in edges)
        breadth = 2 * float(ndimage.distance_transform_edt(np.pad(inside, 1)).max())
        if contact * breadth > ALONG_BORDER * inside.sum():
            kinds[number] = BESIDE
        elif meetings > MESH:
            kinds[number] = LINE
    strokes = kinds == STROKE
    inside_area = areas[strokes & ~at_border].max(initial=0)
    kinds[strokes & at_border & (areas < SLIVER * inside_area)] = DIRT
    return kinds


def _straightness(inside: NDArray[np.bool_]) -> float:
    """The breadth of a piece over its length, as standard deviations of its pixels."""
    smaller, larger = np.linalg.eigvalsh(np.cov(np.argwhere(inside).T))
    return float(np.sqrt(max(smaller, 0) / larger))


def _coverage(values: Array, strokes: NDArray[np.bool_], full: float, noise: float) -> Ink | None:
    """The ink of strokes and of what faint ink goes on from them, as under a glare."""
    floor, faint = min(2 * noise, 0.2 * full), max(FAINT * full, LEAST_CLARITY * noise)
    grown, count = ndimage.label(strokes | (values > faint), AROUND)
    leaving = np.unique(np.concatenate([(grown * ~strokes)[edge].ravel() for edge in EDGES]))
    known = np.unique(grown[strokes])
    faded = np.isin(grown, np.setdiff1d(known, np.append(leaving, 0))) | strokes
    near = ndimage.binary_dilation(faded, AROUND, 2)
    values = np.where(near, values, np.float32(0))
    reach = 2 * math.ceil(stroke_width(strokes.astype(np.float32))) + 1
    peak = ndimage.maximum_filter(values, reach).clip(max(faint, FADED * full), full)
    coverage = np.asarray(((values - floor) / (peak - floor)).clip(0, 1), np.float32)
    coverage = np.where(near, coverage, np.float32(0))
    pieces, count = ndimage.label(coverage > INK, AROUND)
    return Ink(coverage, pieces) if count else None
