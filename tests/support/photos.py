"""Photos of MNIST's training digits on paper: under light and shadow, on a desk, ruled, and in rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from support.slices import mnist
from tune_mnist.deploy.digits.paper import Array

HEIGHT, WIDTH = 400, 300
ROW_TOP = 130
Rng = np.random.Generator


def digit(rng: Rng, side: int) -> tuple[Array, int]:
    """The ink (side, side) in 0…1 of a training digit, and its label."""
    dataset = mnist()
    index = int(rng.integers(len(dataset.train_labels)))
    picture = Image.fromarray(dataset.train_images[index]).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32) / np.float32(255), int(dataset.train_labels[index])


def paper(rng: Rng) -> Array:
    return np.asarray(0.93 + rng.normal(0, 0.012, (HEIGHT, WIDTH)), np.float32)


def written(levels: Array, ink: Array, top: int, left: int, pen: float = 0.14) -> Array:
    """The paper with ink on it."""
    levels = levels.copy()
    place = levels[top : top + len(ink), left : left + ink.shape[1]]
    place += (pen - place) * ink
    return levels


def row(rng: Rng, count: int) -> tuple[Array, list[int]]:
    """A row of digits, and these."""
    side = WIDTH // count
    drawn = [digit(rng, side) for _ in range(count)]
    levels = paper(rng)
    for number, (ink, _) in enumerate(drawn):
        levels = written(levels, ink, ROW_TOP, number * side)
    return levels, [label for _, label in drawn]


def plane(rng: Rng, offset: float = 0.0) -> NDArray[np.float64]:
    """The distance in pixels of each point from a straight line of random direction through the middle."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.cos(angle) * (x - WIDTH / 2) + np.sin(angle) * (y - HEIGHT / 2) + offset


def lines(levels: Array, step: int, across: bool) -> Array:
    levels = levels.copy()
    for y in range(step // 2, HEIGHT, step):
        levels[y : y + 2] *= 0.8
    for x in range(step // 3, WIDTH if across else 0, step):
        levels[:, x : x + 2] *= 0.8
    return levels


def on_desk(levels: Array, rng: Rng) -> Array:
    """A sheet with the desk all around it."""
    desk = np.asarray(0.3 + rng.normal(0, 0.02, levels.shape), np.float32)
    top, left = int(rng.integers(33, 60)), int(rng.integers(27, 43))
    desk[top : HEIGHT - top, left : WIDTH - left] = levels[top : HEIGHT - top, left : WIDTH - left]
    return desk


def with_strip(levels: Array, rng: Rng) -> Array:
    """A scanner's dark strip along one side."""
    levels = levels.copy()
    levels[:, : int(rng.integers(5, 20))] = 0.05
    return levels


def with_thumb(levels: Array, rng: Rng) -> Array:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    thumb = ((x - WIDTH) / rng.uniform(33, 53)) ** 2 + ((y - HEIGHT) / rng.uniform(47, 80)) ** 2 < 1
    return np.where(thumb, np.float32(0.62), levels)


Change = Callable[[Array, Rng], Array]
CHANGES: dict[str, Change] = {
    "plain": lambda levels, rng: levels,
    "hard shadow": lambda levels, rng: np.where(plane(rng, 13) > 0, np.float32(0.45), np.float32(1)) * levels,
    "soft shadow": lambda levels, rng: (levels * (1 - 0.5 / (1 + np.exp(-plane(rng) / 23)))).astype(np.float32),
    "light from a side": lambda levels, rng: (levels * (0.65 + plane(rng) / 800)).astype(np.float32),
    "sheet on a desk": on_desk,
    "corner of a desk": lambda levels, rng: np.where(plane(rng) > 167, np.float32(0.3), levels),
    "scanner's strip": with_strip,
    "thumb": with_thumb,
    "ruled": lambda levels, rng: np.minimum(levels, lines(np.full_like(levels, 0.93), 33, across=False)),
    "squared": lambda levels, rng: np.minimum(levels, lines(np.full_like(levels, 0.93), 24, across=True)),
    "white on black": lambda levels, rng: 1 - levels,
}
"""What may be in a photo, by name."""


def photos(condition: str, count: int, seed: int) -> Iterator[tuple[Array, int]]:
    """Grey levels (h, w) of single digits under a condition, and the digits."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ink, label = digit(rng, 160)
        levels = written(paper(rng), ink, 120, 70)
        yield np.asarray(CHANGES[condition](levels, rng).clip(0, 1), np.float32), label
