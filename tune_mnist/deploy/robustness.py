"""How accurate a trained model stays on test pictures that are shifted, turned, scaled, noisy, blurred or inverted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from tune_mnist.deploy.trained import Trained
from tune_mnist.study.files import write_atomic
from tune_mnist.tables.statistics.intervals import wilson
from tune_mnist.tables.statistics.significance import Score, right_of
from tune_mnist.training.batches import transform

Distort = Callable[[np.ndarray, float], np.ndarray]


def shifted(pictures: np.ndarray, pixels: float) -> np.ndarray:
    """Shift each picture by so many pixels to the left, right, top or bottom, by turns."""
    maps = _identity(len(pictures))
    side = torch.arange(len(pictures)) % 4
    step = 2 * pixels / pictures.shape[-1]  # the axes of the maps run from -1 to 1
    maps[:, 0, 2] = step * (side == 0) - step * (side == 1)
    maps[:, 1, 2] = step * (side == 2) - step * (side == 3)
    return _mapped(pictures, maps)


def rotated(pictures: np.ndarray, degrees: float) -> np.ndarray:
    """Turn each picture about its middle, clockwise for positive degrees."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _mapped(pictures, torch.tensor([[cos, sin, 0], [-sin, cos, 0]]).repeat(len(pictures), 1, 1))


def scaled(pictures: np.ndarray, factor: float) -> np.ndarray:
    """Scale each picture about its middle; what leaves the 28×28 is lost."""
    return _mapped(pictures, _identity(len(pictures)) / factor)


def noisy(pictures: np.ndarray, deviation: float) -> np.ndarray:
    """Add to each pixel normal noise, its standard deviation a share of white; the same noise at each call."""
    noise = np.random.default_rng(0).standard_normal(pictures.shape, np.float32)
    return _rounded(pictures + 255 * deviation * noise)


def blurred(pictures: np.ndarray, pixels: float) -> np.ndarray:
    """Blur by a Gaussian of so many pixels' standard deviation."""
    return _rounded(gaussian_filter(pictures.astype(np.float32), (0, pixels, pixels), mode="constant"))


def with_contrast(pictures: np.ndarray, factor: float) -> np.ndarray:
    """Bring each pixel's distance from middle grey to this share of what it was."""
    return _rounded(127.5 + factor * (pictures.astype(np.float32) - 127.5))


def inverted(pictures: np.ndarray, share: float) -> np.ndarray:
    """Dark ink on light ground, for a share of 1; as they were, for 0."""
    return 255 - pictures if share else pictures


DISTORTIONS: dict[str, tuple[Distort, str, tuple[float, ...]]] = {
    "shift": (shifted, "pixels", (0, 1, 2, 3, 4)),
    "rotation": (rotated, "degrees", (-20, -10, 0, 10, 20)),
    "scale": (scaled, "factor", (0.7, 0.85, 1, 1.15, 1.3)),
    "noise": (noisy, "σ, share of white", (0, 0.1, 0.2, 0.4)),
    "blur": (blurred, "σ, pixels", (0, 0.5, 1, 2)),
    "contrast": (with_contrast, "share", (0.25, 0.5, 0.75, 1)),
    "inversion": (inverted, "share", (0, 1)),
}
"""What is done to the pictures, the level's unit, and the levels; the level that does nothing is among them."""


def measure(models: Mapping[str, Trained], pictures: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Accuracy of each of the named models on each distortion of pictures uint8 (n, 28, 28) with labels (n,).

    Returns columns training (the model's name), distortion, level, unit, n, accuracy, and ci_low and ci_high,
    Wilson's 95% interval over the pictures. Every model sees the same pictures.
    """
    rows = []
    for name, (distort, unit, levels) in DISTORTIONS.items():
        for level in levels:
            distorted = distort(pictures, level)
            for training, trained in models.items():
                correct = trained.probabilities(distorted).argmax(1) == labels
                low, high = wilson(Score(correct.mean(), right_of(correct)))
                rows.append({
                    "training": training, "distortion": name, "level": float(level), "unit": unit, "n": len(labels),
                    "accuracy": correct.mean(), "ci_low": low, "ci_high": high,
                })
    return pd.DataFrame(rows)


def write_robustness(table: pd.DataFrame, folder: Path) -> Path:
    """Write `measure`'s table and its figure into `folder`; return the table's path."""
    from tune_mnist.figures.canvas import png
    from tune_mnist.figures.diagnostics import robustness_figure

    path = folder / "robustness.csv"
    write_atomic(folder / "robustness.png", png(robustness_figure(table)))
    write_atomic(path, table.to_csv(index=False, lineterminator="\n").encode())
    return path


def _identity(n: int) -> Tensor:
    return torch.eye(2, 3).repeat(n, 1, 1)


def _mapped(pictures: np.ndarray, maps: Tensor) -> np.ndarray:
    """Apply maps (n, 2, 3) from output to input coordinates, bilinearly, background outside."""
    flat = torch.from_numpy(np.ascontiguousarray(pictures)).flatten(1).float() / 127.5 - 1
    moved = transform(flat, maps)
    return _rounded((moved.reshape(pictures.shape).numpy() + 1) * 127.5)


def _rounded(pixels: np.ndarray) -> np.ndarray:
    return pixels.round().clip(0, 255).astype(np.uint8)
