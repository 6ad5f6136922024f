"""An epoch's batches: seeded order, augmentation, and the sparse form of the pictures."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from tune_mnist.spec.training import Recipe, TrainingConfig
from tune_mnist.training.dataset import CLASSES, PIXELS
from tune_mnist.training.jit import compiled

# Above this share of non-background pixels the dense first layer is the faster one.
SPARSE_DENSITY = 0.3
# Pictures whose sparse batches are made at once: so few that the heap keeps the memory from one lot to the next.
LOT = 4096


@dataclass(frozen=True)
class Pictures:
    """Resident pictures with labels: pixels uint8 (n, 784), labels int64 (n,) of so many `classes`.

    `nonzero` is a float32 CSR matrix (n, 784) of the normalised pixels' height above the
    background, in [0, 2], or None where too many pixels differ from it to be worth while.
    """

    pixels: np.ndarray
    labels: np.ndarray
    nonzero: scipy.sparse.csr_matrix | None
    classes: int = CLASSES

    def __len__(self) -> int:
        return len(self.labels)


def make_pictures(
    pixels: np.ndarray, labels: np.ndarray, classes: int = CLASSES, *, sparse: bool = True
) -> Pictures:
    """Pictures with their sparse form, if that is asked for and pays: pixels uint8 (n, 784), labels integer (n,)."""
    dense = not sparse or np.count_nonzero(pixels) > SPARSE_DENSITY * pixels.size
    return Pictures(pixels, labels.astype(np.int64), None if dense else _heights(pixels), classes)


def _heights(pixels: np.ndarray) -> scipy.sparse.csr_matrix:
    """The sparse form of pixels (n, 784), as SciPy makes it, but sooner: 0.20 s, not 0.57, for the first 50,000."""
    indices = np.flatnonzero(pixels)  # (non-zeros,), in the flat array
    heights = pixels.reshape(-1)[indices].astype(np.float32) / np.float32(127.5)
    columns = (indices % pixels.shape[1]).astype(np.int32)
    offsets = np.concatenate([[0], np.count_nonzero(pixels, axis=1).cumsum()]).astype(np.int32)  # (n + 1,)
    matrix = scipy.sparse.csr_matrix((heights, columns, offsets), shape=pixels.shape)
    matrix.has_sorted_indices = True
    return matrix


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor on the array's own memory. Arrays from Ray's object store are read-only; nothing here writes to them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)


def normalise(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pixels 0…255 to -1…1: mean 0.5 and standard deviation 0.5 on the 0…1 scale."""
    return pixels.to(dtype).div_(127.5).sub_(1.0)


def generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """A CPU generator that depends on its arguments alone, so that resuming needs no generator state."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The epoch's order of the n training pictures, int64 (n,); the same for every config of this seed."""
    return torch.randperm(n, generator=generator(seed, epoch, "order"))


def affine_maps(n: int, recipe: Recipe, seed: int, epoch: int) -> Tensor:
    """Random affine maps of the epoch's n pictures, float32 (n, 2, 3), from output to input coordinates in -1…1.

    Angles, shears, scales and shifts are uniform up to the recipe's limits.
    """
    uniform = torch.rand(n, 5, generator=generator(seed, epoch, "augmentation")) * 2 - 1
    angle = uniform[:, 0] * math.radians(recipe.rotation)
    shear = torch.tan(uniform[:, 1] * math.radians(recipe.shear))
    scale = 1 / (1 + uniform[:, 2] * recipe.scaling)
    shift = uniform[:, 3:] * (recipe.translation / 14)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [cos, cos * shear - sin, shift[:, 0], sin, sin * shear + cos, shift[:, 1]]
    return torch.stack(rows, dim=1).reshape(n, 2, 3)


def transform(pictures: Tensor, maps: Tensor) -> Tensor:
    """Apply maps (batch, 2, 3) to normalised pictures (batch, 784), bilinearly, background outside."""
    maps = maps.to(pictures.dtype)
    grid = torch.nn.functional.affine_grid(maps, [len(pictures), 1, 28, 28], align_corners=False)
    raised = (pictures + 1).reshape(-1, 1, 28, 28)  # background 0, which is what grid_sample pads with
    return torch.nn.functional.grid_sample(raised, grid, align_corners=False).flatten(1) - 1


class Rows(NamedTuple):
    """A sparse matrix, row by row: `columns` int32 and `values` float (non-zeros,), and `offsets` int32 (rows + 1,).

    A row's non-zeros begin at its offset and end before the next row's.
    """

    columns: NDArray[np.int32]
    offsets: NDArray[np.int32]
    values: NDArray[np.floating[Any]]


class Lot(NamedTuple):
    """Some successive batches of an epoch, from picture number `first` of its order on; all but the last are full.

    Pictures that have a sparse form are `by_picture`, heights above the background (pictures, 784), and `by_pixel`,
    each batch's transpose, one behind the other: its offsets are (batches, 785), its columns pictures of the batch.
    Others are `dense`, normalised (pictures, 784).
    """

    first: int
    pictures: int
    by_picture: Rows | None = None
    by_pixel: Rows | None = None
    dense: NDArray[np.floating[Any]] | None = None


def epoch_lots(
    pictures: Pictures, config: TrainingConfig, epoch: int, order: Tensor, dtype: torch.dtype = torch.float32
) -> Iterator[Lot]:
    """The epoch's batches in its `order`, augmented if the config says so, some at a time."""
    n, size = len(pictures), max(1, LOT // config.batch_size) * config.batch_size
    maps = affine_maps(n, config, config.seed, epoch) if config.augments else None
    for first in range(0, n, size):
        chosen = order[first : first + size]
        if pictures.nonzero is not None and maps is None:
            by_picture = sparse_rows(pictures.nonzero[chosen.numpy()], dtype)
            yield Lot(first, len(chosen), by_picture, transposes(by_picture, config.batch_size))
        else:
            normalised = normalise(as_tensor(pictures.pixels)[chosen], dtype)
            moved = normalised if maps is None else transform(normalised, maps[first : first + size])
            yield Lot(first, len(chosen), dense=moved.numpy())


def evaluation_lot(pictures: Pictures, dtype: torch.dtype = torch.float32) -> Lot:
    """All pictures in their own order, without the transposes, which only training needs."""
    if pictures.nonzero is not None:
        return Lot(0, len(pictures), by_picture=sparse_rows(pictures.nonzero, dtype))
    return Lot(0, len(pictures), dense=normalise(as_tensor(pictures.pixels), dtype).numpy())


def sparse_rows(matrix: scipy.sparse.csr_matrix, dtype: torch.dtype = torch.float32) -> Rows:
    """A CSR matrix's rows, the values in `dtype`; read-only arrays or not, compiled code is to be the same for both."""
    columns, offsets, values = map(as_tensor, (matrix.indices, matrix.indptr, matrix.data))
    return Rows(columns.numpy(), offsets.numpy(), values.to(dtype).numpy())


def transposes(rows: Rows, batch_size: int, width: int = PIXELS) -> Rows:
    """The transposes of batches of the rows of `width` numbers, one behind the other, as in a `Lot`."""
    batches = -(-(len(rows.offsets) - 1) // batch_size)
    offsets = np.empty((batches, width + 1), np.int32)
    by_pixel = Rows(np.empty_like(rows.columns), offsets, np.empty_like(rows.values))
    _transpose(rows, batch_size, by_pixel)
    return by_pixel


@compiled
def _transpose(rows: Rows, batch_size: int, by_pixel: Rows) -> None:
    n, width = len(rows.offsets) - 1, by_pixel.offsets.shape[1] - 1
    next_place = np.empty(width, np.int64)  # where each pixel's next non-zero goes
    for batch in range(len(by_pixel.offsets)):
        first, last = batch * batch_size, min(n, (batch + 1) * batch_size)
        offsets = by_pixel.offsets[batch]
        offsets[:] = 0
        for k in range(rows.offsets[first], rows.offsets[last]):
            offsets[rows.columns[k] + 1] += 1
        offsets[0] = rows.offsets[first]
        for pixel in range(width):
            offsets[pixel + 1] += offsets[pixel]
            next_place[pixel] = offsets[pixel]
        for picture in range(first, last):
            for k in range(rows.offsets[picture], rows.offsets[picture + 1]):
                place = next_place[rows.columns[k]]
                next_place[rows.columns[k]] = place + 1
                by_pixel.columns[place] = picture - first
                by_pixel.values[place] = rows.values[k]
