"""Tests of which digits are read in a picture: one, several, or none, whatever lies beside the paper."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from support.photos import CHANGES, HEIGHT, ROW_TOP, WIDTH, digit, paper, photos, row, written
from tune_mnist.deploy.digits.paper import Array
from tune_mnist.deploy.digits.reading import flag_slope, read_digits
from tune_mnist.deploy.digits.views import to_view
from tune_mnist.deploy.trained import PRETRAINED, Trained, load_trained

COUNT = 10


@pytest.fixture(scope="module")
def trained() -> Trained:
    return load_trained(PRETRAINED)


def drawn(strokes: list[list[tuple[float, float]]], width: float = 20) -> Array:
    """Ink (400, 300) in 0…1 of strokes whose points are shares of a box of 150 × 250 pixels in its middle."""
    picture = Image.new("L", (300, 400))
    for stroke in strokes:
        points = [(75 + 150 * x, 75 + 250 * y) for x, y in stroke]
        ImageDraw.Draw(picture).line(points, fill=255, width=round(width), joint="curve")
    return ndimage.gaussian_filter(np.asarray(picture, np.float32) / np.float32(255), 1)


@pytest.mark.slow
@pytest.mark.parametrize("condition", CHANGES)
def test_what_is_beside_the_digit_does_not_matter(condition: str, trained: Trained) -> None:
    pictures, labels = zip(*photos(condition, COUNT, seed=11), strict=True)
    read = read_digits(pictures, trained)
    right = sum([digit.ranking[0] for digit in digits] == [label] for digits, label in zip(read, labels, strict=True))
    assert right >= COUNT - 1, read


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 5])
def test_several_digits_are_read_in_order_each_with_its_place(count: int, trained: Trained) -> None:
    rng = np.random.default_rng(count)
    rows = [row(rng, count) for _ in range(COUNT)]
    read = read_digits([levels for levels, _ in rows], trained)
    read_labels = [[digit.ranking[0] for digit in digits] for digits in read]
    assert sum(got == labels for got, (_, labels) in zip(read_labels, rows, strict=True)) >= 0.8 * COUNT, read_labels
    for digits in read:
        assert all(a.box.left < b.box.left and a.line == b.line == 0 for a, b in itertools.pairwise(digits))
        assert all(ROW_TOP <= digit.box.top < digit.box.bottom <= ROW_TOP + WIDTH // count for digit in digits)


def test_lines_are_read_from_the_top(trained: Trained) -> None:
    rng = np.random.default_rng(3)
    drawings = [digit(rng, 87) for _ in range(4)]
    levels = paper(rng)
    for (ink, _), (top, left) in zip(drawings, [(53, 40), (63, 167), (220, 33), (213, 173)], strict=True):
        levels = written(levels, ink, top, left)
    (digits,) = read_digits([levels], trained)
    assert [digit.ranking[0] for digit in digits] == [label for _, label in drawings]
    assert [digit.line for digit in digits] == [0, 0, 1, 1]


@pytest.mark.parametrize("condition", CHANGES)
def test_an_empty_page_has_no_digit(condition: str, trained: Trained) -> None:
    rng = np.random.default_rng(5)
    pages = [np.asarray(CHANGES[condition](paper(rng), rng).clip(0, 1), np.float32) for _ in range(2)]
    assert not any(digit.sure for digits in read_digits(pages, trained) for digit in digits)


@pytest.mark.slow
def test_most_letters_are_unsure_and_most_digits_sure(trained: Trained) -> None:
    def shown(letter: str) -> Array:
        picture = Image.new("L", (WIDTH, HEIGHT), 235)
        font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 170)
        ImageDraw.Draw(picture).text((WIDTH / 2, HEIGHT / 2), letter, fill=30, font=font, anchor="mm")
        return np.asarray(picture, np.float32) / np.float32(255)

    letters = read_digits([shown(letter) for letter in "AEFHKMNPRWXadekw&@"], trained)
    assert sum(len(digits) == 1 and digits[0].sure for digits in letters) <= 4
    digits = read_digits([levels for levels, _ in photos("plain", 30, seed=7)], trained)
    assert sum(len(found) == 1 and found[0].sure for found in digits) >= 28


@pytest.mark.parametrize(("strokes", "label"), [
    ([[(0.15, 0.3), (0.55, 0), (0.55, 1)]], 1),
    ([[(0.2, 0.25), (0.55, 0), (0.5, 1)]], 1),
    ([[(0.1, 0.03), (0.9, 0), (0.4, 1)], [(0.3, 0.5), (0.85, 0.47)]], 7),
    ([[(0.1, 0.0), (0.9, 0), (0.4, 1)]], 7),
    ([[(0.2, 0.05), (0.1, 0.6), (0.95, 0.6)], [(0.7, 0.05), (0.65, 1)]], 4),
], ids=["1 with a flag", "1 with a flag, leaning", "7 with a bar", "7", "open 4"])
def test_digits_as_europeans_write_them(strokes: list[list[tuple[float, float]]], label: int, trained: Trained) -> None:
    for width in (10, 20):
        ((found,),) = read_digits([0.9 - 0.8 * drawn(strokes, width)], trained)
        assert found.ranking[0] == label


def test_a_flag_hangs_and_a_bar_does_not() -> None:
    assert flag_slope(to_view(_cropped(drawn([[(0.15, 0.3), (0.55, 0), (0.55, 1)]])))) > 0.5
    assert flag_slope(to_view(_cropped(drawn([[(0.1, 0.02), (0.9, 0), (0.4, 1)]])))) < 0.3


def _cropped(ink: Array) -> Array:
    rows, columns = ndimage.find_objects((ink > 0.35).astype(np.int8))[0]
    return ink[rows, columns]
