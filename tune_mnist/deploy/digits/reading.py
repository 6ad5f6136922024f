"""Grey levels to digits: what the network says of each mark, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from tune_mnist.deploy.digits.likeness import likenesses
from tune_mnist.deploy.digits.marks import Box, Mark, find_marks
from tune_mnist.deploy.digits.paper import Array
from tune_mnist.deploy.digits.strokes import find_ink
from tune_mnist.deploy.trained import Trained
from tune_mnist.training.dataset import DIGITS
from tune_mnist.training.idx import Bytes

# Of 794 of MNIST's training digits and 140 in ten fonts 98% and 93% reach both, of 518 letters in these fonts 7%.
SURE = 0.85
"""A sure digit's least probability."""
ALIKE = 0.86
"""A sure digit's least likeness to MNIST's training digits of its kind."""
PART = 0.6  # what is less probable than this may be a part of a digit
SMALL_MARK = 0.5  # taken for a small mark's probability of being none
# A 1's long flag hangs, a 7's bar does not. Of 88 drawn 1s with a flag that the network takes for 7s this mends 70%;
# of MNIST's 13,007 training 1s and 7s it mistakes some ten.
HANGING, DOUBTFUL = 0.5, 0.82  # height over width of the flag; a 7 that is more probable than this stays one


@dataclass(frozen=True, eq=False)
class Digit:
    """A digit in a picture: its place, the network's view of it, all probabilities, and whether it is sure."""

    box: Box
    view: Bytes = field(repr=False)
    """uint8 (28, 28), 0 background to 255 ink."""
    probabilities: tuple[float, ...]
    line: int
    """Of writing, from 0."""
    sure: bool = True
    classes: tuple[str, ...] = field(default=DIGITS, repr=False)
    """What the network's classes are called."""

    @cached_property
    def ranking(self) -> list[int]:
        """Digits from the most to the least probable."""
        return sorted(range(len(self.probabilities)), key=lambda digit: -self.probabilities[digit])

    def name(self, place: int = 0) -> int | str:
        """What the most probable class is, or the one at this place after it: a digit, or the class's name."""
        number = self.ranking[place]
        return number if self.classes == DIGITS else self.classes[number]

    @property
    def probability(self) -> float:
        """Of the most probable digit."""
        return self.probabilities[self.ranking[0]]


def read_digits(pictures: Sequence[Array], trained: Trained) -> list[list[Digit]]:
    """The digits in each picture's grey levels (h, w) in 0…1, line by line, each from the left; none if none is found.

    All go through the network as one batch. Several marks of which most are unsure are no digits.
    """
    inks = [find_ink(levels) for levels in pictures]
    marked = [[] if ink is None else find_marks(ink) for ink in inks]
    views = [mark.view for lines in marked for line in lines for mark in line]
    if not views:
        return [[] for _ in pictures]
    rows = iter(trained.probabilities(np.stack(views)).tolist())
    read = [
        [
            replace(digit, classes=trained.classes) for number, line in enumerate(lines)
            for digit in _segmented(line, [next(rows) for _ in line], number, trained.classes == DIGITS)
        ]
        for lines in marked
    ]
    judged = iter(_judged([digit for digits in read for digit in digits]))
    return [_believed([next(judged) for _ in digits]) for digits in read]


def _believed(digits: list[Digit]) -> list[Digit]:
    return digits if len(digits) == 1 or 2 * sum(digit.sure for digit in digits) >= len(digits) else []


def _segmented(marks: list[Mark], rows: list[list[float]], line: int, of_digits: bool = True) -> list[Digit]:
    """The digits of a line whose probabilities' product is the largest, each piece of ink counting once."""
    best: list[tuple[float, list[Digit]]] = [(0.0, [])]  # of the pieces so far
    for last in range(marks[-1].last + 1):
        options = []
        for mark, row in zip(marks, rows, strict=True):
            if mark.last == last:
                score, digits = best[mark.first]
                mended = _flagged(mark.view, row) if of_digits else tuple(row)
                new = [] if mark.small else [Digit(mark.box, mark.view, mended, line)]
                probability = SMALL_MARK if mark.small else max(row)
                doubt = 2 if probability < PART and mark.first == last else 1  # a part of a digit is unlike any
                options.append((score + doubt * (last - mark.first + 1) * math.log(probability), digits + new))
        best.append(max(options, key=lambda option: option[0]))
    return best[-1][1]


def _flagged(view: Bytes, row: list[float]) -> tuple[float, ...]:
    """The probabilities, those of 1 and 7 exchanged if a doubtful 7 has a 1's flag."""
    if sorted(row)[-2:] == [row[1], row[7]] and row[7] < DOUBTFUL and flag_slope(view) >= HANGING:
        row = [row[0], row[7], *row[2:7], row[1], *row[8:]]
    return tuple(row)


def flag_slope(view: Bytes) -> float:
    """How far the upper half of a view's ink falls from its top to its left end, over the width of that."""
    ink = view > 90
    rows = np.flatnonzero(ink.any(1))
    upper = ink[rows[0] : rows[0] + max(4, round(0.5 * np.ptp(rows)))]
    heights = upper[:, upper.any(0)].argmax(0)  # of the upper outline, downwards from the top
    width, middle = int(heights.argmin()), int(heights.argmin()) // 2
    if width < 2:
        return 0.0
    return float(min(heights[0] / width, heights[middle] / (width - middle)))  # a hook at the end is no flag


def _judged(digits: list[Digit]) -> list[Digit]:
    """The digits with `sure` set."""
    if not digits:
        return []
    if digits[0].classes != DIGITS:  # there is nothing to compare them with
        return [replace(digit, sure=digit.probability >= SURE) for digit in digits]
    kinds = np.array([digit.ranking[0] for digit in digits])
    alike = likenesses(np.stack([digit.view for digit in digits]), kinds) >= ALIKE
    return [
        replace(digit, sure=bool(close) and digit.probability >= SURE)
        for digit, close in zip(digits, alike, strict=True)
    ]
