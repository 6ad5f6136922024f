"""Pieces of ink to marks: which pieces may be one digit together, line by line, and the network's view of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tune_mnist.deploy.digits.strokes import AROUND, Ink
from tune_mnist.deploy.digits.views import to_view
from tune_mnist.training.idx import Bytes

SPECK = 0.05  # of the heaviest piece's mass: smaller ones are dirt
STACKED = 0.25  # of the taller one's height: the gap up to which one piece above another is of the same digit
SMALL = 0.4  # of the tallest piece's height in a line: what is smaller is no digit of its own
NEIGHBOURS = 0.4  # of their height: the gap up to which pieces side by side may be of the same digit
MOST_PIECES = 3  # side by side in a digit
MOST_IN_PICTURE = 200  # pieces: more are a texture or a page of text, and none of them is read


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom lie just outside."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left

    def scaled(self, factor: float) -> Box:
        return Box(*(factor * value for value in self))

    def around(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(min(self.left, other.left), min(self.top, other.top),
                   max(self.right, other.right), max(self.bottom, other.bottom))


class Mark(NamedTuple):
    """Neighbouring pieces of a line, read as one digit."""

    first: int
    last: int
    """The pieces' places in the line."""
    box: Box
    small: bool
    """Whether it is too small beside the line's others to be a digit."""
    view: Bytes
    """uint8 (28, 28), 0 background to 255 ink."""


class _Piece(NamedTuple):
    numbers: tuple[int, ...]
    box: Box

    def joined(self, other: _Piece) -> _Piece:
        return _Piece(self.numbers + other.numbers, self.box.around(other.box))


def find_marks(ink: Ink) -> list[list[Mark]]:
    """For each line of writing, from the top, every run of neighbouring pieces that may be one digit."""
    lines = _lines(_stacked(_pieces(ink)))
    return [_runs(ink, line) for line in lines]


def _pieces(ink: Ink) -> list[_Piece]:
    places = ndimage.find_objects(ink.pieces)
    mass = ndimage.sum_labels(ink.coverage, ink.pieces, np.arange(1, len(places) + 1))
    kept = np.flatnonzero(mass >= SPECK * mass.max())
    if len(kept) > MOST_IN_PICTURE:
        return []
    return [
        _Piece((int(number) + 1,), Box(columns.start, rows.start, columns.stop, rows.stop))
        for number in kept for rows, columns in [places[number]]
    ]


def _stacked(pieces: list[_Piece]) -> list[_Piece]:
    """Pieces with those joined that lie above or within each other."""
    pieces = sorted(pieces, key=lambda piece: -piece.box.height)
    joined: list[_Piece] = []
    for piece in pieces:
        partner = next((n for n, other in enumerate(joined) if _is_stacked(piece.box, other.box)), None)
        if partner is None:
            joined.append(piece)
        else:
            joined[partner] = joined[partner].joined(piece)
    return joined if len(joined) == len(pieces) else _stacked(joined)


def _is_stacked(a: Box, b: Box) -> bool:
    across = min(a.right, b.right) - max(a.left, b.left)
    gap = max(a.top, b.top) - min(a.bottom, b.bottom)
    beside = -gap > 0.7 * max(a.height, b.height)  # two digits that overhang each other
    return across >= 0.5 * min(a.width, b.width) and gap <= STACKED * max(a.height, b.height) and not beside


def _lines(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Pieces by line of writing, from the top, each line from the left, the tallest pieces setting the lines."""
    lines: list[tuple[Box, list[_Piece]]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.box.height):
        middle = (piece.box.top + piece.box.bottom) / 2
        line = next((line for box, line in lines if _is_level(middle, box)), None)
        if line is None:
            lines.append((piece.box, [piece]))
        else:
            line.append(piece)
    lines.sort(key=lambda entry: entry[0].top + entry[0].bottom)
    return [sorted(line, key=lambda piece: piece.box.left + piece.box.right) for _, line in lines]


def _is_level(middle: float, box: Box) -> bool:
    reach = STACKED * box.height
    return box.top - reach < middle < box.bottom + reach


def _runs(ink: Ink, line: list[_Piece]) -> list[Mark]:
    tallest = max(piece.box.height for piece in line)
    marks = []
    for first, piece in enumerate(line):
        run = piece
        for last in range(first, min(first + MOST_PIECES, len(line))):
            if last > first:
                if line[last].box.left - run.box.right > NEIGHBOURS * tallest:
                    break
                run = run.joined(line[last])
            marks.append(Mark(first, last, run.box, run.box.height < SMALL * tallest, _view(ink, run)))
    return marks


def _view(ink: Ink, run: _Piece) -> Bytes:
    left, top, right, bottom = map(int, run.box)
    rows, columns = slice(top, bottom), slice(left, right)
    own = ndimage.binary_dilation(np.isin(ink.pieces[rows, columns], run.numbers), AROUND, 2)
    return to_view(np.where(own, ink.coverage[rows, columns], np.float32(0)))
