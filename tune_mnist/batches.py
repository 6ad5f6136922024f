"""An epoch's batches: seeded order, augmentation, and the sparse form of the pictures."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from tune_mnist.config import Recipe

# Above this share of non-background pixels the dense first layer is the faster one.
SPARSE_DENSITY = 0.3
# Pictures whose sparse batches are made at once: so few that the heap keeps the memory from one lot to the next.
LOT = 4096


@dataclass(frozen=True)
class Pictures:
    """Resident pictures with labels: pixels uint8 (n, 784), labels int64 (n,).

    `nonzero` is a float32 CSR matrix (n, 784) of the normalised pixels' height above the
    background, in [0, 2], or None where too many pixels differ from it to be worth while.
    """

    pixels: np.ndarray
    labels: np.ndarray
    nonzero: scipy.sparse.csr_matrix | None

    def __len__(self) -> int:
        return len(self.labels)


def make_pictures(pixels: np.ndarray, labels: np.ndarray) -> Pictures:
    """Pictures with their sparse form, if that pays: pixels uint8 (n, 784), labels integer (n,)."""
    if np.count_nonzero(pixels) > SPARSE_DENSITY * pixels.size:
        nonzero = None
    else:
        nonzero = scipy.sparse.csr_matrix(pixels)
        nonzero.sort_indices()
        nonzero.data = nonzero.data.astype(np.float32) / np.float32(127.5)
    return Pictures(pixels, labels.astype(np.int64), nonzero)


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


class Bags(NamedTuple):
    """A sparse matrix as `torch.embedding_bag` takes it, a bag per row.

    `columns` int32 (non-zeros,) and `values` float (non-zeros,), row by row; `offsets` int32 (rows + 1,), where each
    row begins and the last ends.
    """

    columns: Tensor
    offsets: Tensor
    values: Tensor


class SparseBatch(NamedTuple):
    """One batch, of heights above the background: `by_picture` is (batch, 784), `by_pixel` its transpose."""

    by_picture: Bags
    by_pixel: Bags


def sparse_batches(
    nonzero: scipy.sparse.csr_matrix, batch_size: int, dtype: torch.dtype = torch.float32,
    order: np.ndarray | None = None,
) -> Iterator[SparseBatch]:
    """Cut the CSR rows, taken in `order` int64 (n,) if one is given, into batches with their transposes."""
    size = max(1, LOT // batch_size) * batch_size
    for start in range(0, nonzero.shape[0], size):
        part = slice(start, start + size)
        rows = nonzero[part if order is None else order[part]]
        yield from map(SparseBatch, picture_bags(rows, batch_size, dtype), _pixel_bags(rows, batch_size, dtype))


def picture_bags(
    nonzero: scipy.sparse.csr_matrix, batch_size: int, dtype: torch.dtype = torch.float32
) -> Iterator[Bags]:
    """Cut the CSR rows into batches, a bag per picture."""
    n = nonzero.shape[0]
    starts = np.arange(0, n, batch_size)
    bags = np.minimum(starts[:, None] + np.arange(batch_size + 1), n)
    *whole, last = _bags(nonzero, bags, dtype)
    yield from whole
    yield last._replace(offsets=last.offsets[: n - starts[-1] + 1])


def _pixel_bags(rows: scipy.sparse.csr_matrix, batch_size: int, dtype: torch.dtype) -> Iterator[Bags]:
    """The batches' transposes, made in one pass, as of one matrix whose columns are (batch, pixel) pairs."""
    n, width = rows.shape
    starts = np.arange(0, n, batch_size)
    counts = np.diff(rows.indptr[np.append(starts, n)])
    columns = rows.indices + np.repeat(np.arange(len(starts), dtype=np.int32) * width, counts)
    shape = (n, len(starts) * width)
    by_pixel = scipy.sparse.csr_matrix((rows.data, columns, rows.indptr), shape=shape).tocsc()
    by_pixel.indices -= np.repeat(starts.astype(np.int32), counts)
    return _bags(by_pixel, np.arange(len(starts))[:, None] * width + np.arange(width + 1), dtype)


def _bags(
    matrix: scipy.sparse.csr_matrix | scipy.sparse.csc_matrix, bags: np.ndarray, dtype: torch.dtype
) -> Iterator[Bags]:
    """Cut a compressed matrix into batches: `bags` (batches, bags + 1) has the numbers of each one's bags and the next.

    All batches' views are made at once, which is cheaper than slicing at each step.
    """
    offsets = matrix.indptr[bags]
    counts = (offsets[:, -1] - offsets[:, 0]).tolist()
    values = as_tensor(matrix.data).to(dtype)
    return map(
        Bags, as_tensor(matrix.indices).split(counts), torch.from_numpy(offsets - offsets[:, :1]).unbind(),
        values.split(counts),
    )
