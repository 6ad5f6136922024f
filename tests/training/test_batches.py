"""Tests of an epoch's batches: order, augmentation and the sparse form of the pictures."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from support.slices import dense, exact, train_slice
from tune_mnist.spec.training import Recipe, TrainingConfig
from tune_mnist.training import batches
from tune_mnist.training.batches import (
    affine_maps,
    as_tensor,
    epoch_lots,
    epoch_order,
    generator,
    make_pictures,
    normalise,
    transform,
)

N = 100
IDENTITY = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
PICTURES = normalise(torch.from_numpy(train_slice(N).pixels))


def test_an_order_visits_each_picture_once_and_depends_on_seed_and_epoch_only() -> None:
    orders = {(seed, epoch): epoch_order(1000, seed, epoch) for seed in range(3) for epoch in range(1, 4)}
    torch.manual_seed(5)
    for (seed, epoch), order in orders.items():
        assert order.dtype == torch.int64 and order.sort().values.equal(torch.arange(1000))
        assert torch.equal(order, epoch_order(1000, seed, epoch))
    assert len({tuple(order.tolist()) for order in orders.values()}) == 9


def test_generators_of_different_purposes_are_independent() -> None:
    seeds = {
        generator(seed, epoch, purpose).initial_seed()
        for seed in range(20) for epoch in range(1, 21) for purpose in ("order", "augmentation", "dropout")
    }
    assert len(seeds) == 1200
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_drawing_an_order_or_maps_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    epoch_order(10, 0, 1)
    affine_maps(10, Recipe(rotation=5), 0, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_normalised_pixels_go_from_minus_1_to_1() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        values = normalise(pixels, dtype)
        assert values.dtype == dtype and values[0] == -1 and values[-1] == 1
        assert torch.allclose(values.double(), (pixels.double() / 255 - 0.5) / 0.5, atol=1e-6)
    assert torch.equal(pixels, torch.arange(256, dtype=torch.uint8))


def test_the_sparse_form_is_the_height_above_the_background() -> None:
    pictures = train_slice(N)
    assert len(pictures) == N and pictures.labels.dtype == np.int64
    assert pictures.nonzero is not None and pictures.nonzero.dtype == np.float32
    assert pictures.nonzero.nnz == np.count_nonzero(pictures.pixels)
    assert np.abs(pictures.nonzero.toarray() - 1 - PICTURES.numpy()).max() < 1e-6
    scipys = scipy.sparse.csr_matrix(pictures.pixels)
    assert np.array_equal(pictures.nonzero.indices, scipys.indices)
    assert np.array_equal(pictures.nonzero.indptr, scipys.indptr)


def test_dense_pictures_have_no_sparse_form() -> None:
    noise = np.random.default_rng(0).integers(1, 256, (20, 784), dtype=np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    assert make_pictures(noise, labels).nonzero is None
    assert make_pictures(255 - train_slice(N).pixels, train_slice(N).labels).nonzero is None
    assert make_pictures(np.zeros_like(noise), labels).nonzero is not None


@pytest.mark.parametrize("lot", [batches.LOT, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [1, 7, 10, 50, 64, 99, N, N + 1, 5 * N])
def test_lots_are_the_pictures_and_their_batches_transposes(
    batch_size: int, dtype: torch.dtype, lot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LOT", lot)
    pictures = exact(train_slice(N)) if dtype == torch.float64 else train_slice(N)
    config, order, seen, rows = config_of(batch_size), epoch_order(N, 0, 1), 0, []
    for part in epoch_lots(pictures, config, 1, order, dtype):
        assert part.first == seen and part.first % batch_size == 0 and part.dense is None
        assert part.by_picture is not None and part.by_pixel is not None
        seen += part.pictures
        by_picture = _dense(*part.by_picture, width=784)
        assert by_picture.dtype == part.by_pixel.values.dtype == torch.empty(0, dtype=dtype).numpy().dtype
        assert len(part.by_pixel.offsets) == math.ceil(part.pictures / batch_size)
        for i, offsets in enumerate(part.by_pixel.offsets):
            batch = by_picture[i * batch_size : (i + 1) * batch_size]
            transpose = _dense(part.by_pixel.columns, offsets, part.by_pixel.values, width=len(batch))
            assert np.array_equal(transpose.T, batch)
        rows.append(by_picture)
    assert pictures.nonzero is not None
    assert np.array_equal(np.concatenate(rows), pictures.nonzero[order.numpy()].toarray())
    expected = normalise(torch.from_numpy(pictures.pixels)[order], dtype)
    assert torch.allclose(torch.from_numpy(np.concatenate(rows) - 1), expected, atol=1e-6)


def config_of(batch_size: int, **recipe: Any) -> TrainingConfig:
    return TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=batch_size, **recipe)


def _dense(columns: np.ndarray, offsets: np.ndarray, values: np.ndarray, width: int) -> np.ndarray:
    """The matrix (rows, width) whose rows' non-zeros these are."""
    rows = len(offsets) - 1
    return scipy.sparse.csr_matrix(
        (values[offsets[0] : offsets[-1]], columns[offsets[0] : offsets[-1]], offsets - offsets[0]), (rows, width)
    ).toarray()


@pytest.mark.parametrize("recipe", [{}, {"rotation": 10.0, "translation": 2.0}], ids=["plain", "augmented"])
def test_dense_lots_are_the_normalised_or_augmented_pictures(
    recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LOT", 30)
    config, order = config_of(10, **recipe), epoch_order(N, 0, 2)
    pictures = train_slice(N) if recipe else dense(train_slice(N))
    lots = list(epoch_lots(pictures, config, 2, order, torch.float64))
    assert [lot.first for lot in lots] == [0, 30, 60, 90] and all(lot.by_picture is None for lot in lots)
    expected = normalise(torch.from_numpy(pictures.pixels)[order], torch.float64)
    if recipe:
        expected = transform(expected, affine_maps(N, config, 0, 2))
    found = np.concatenate([lot.dense for lot in lots if lot.dense is not None])
    assert torch.allclose(torch.from_numpy(found), expected, atol=1e-12)


def test_empty_pictures_have_empty_rows() -> None:
    pixels = train_slice(6).pixels.copy()
    pixels[[0, 3, 4]] = 0
    order = epoch_order(6, 0, 1)
    for batch_size in (1, 2, 4):
        lots = epoch_lots(make_pictures(pixels, train_slice(6).labels), config_of(batch_size), 1, order)
        sizes = [size for lot in lots if lot.by_picture for size in np.diff(lot.by_picture.offsets)]
        assert sizes == np.count_nonzero(pixels[order.numpy()], axis=1).tolist()


@pytest.mark.filterwarnings("error")
def test_read_only_pictures_serve_without_a_warning() -> None:
    """As they come from Ray's object store."""
    pictures = train_slice(20)
    assert pictures.nonzero is not None
    pixels, nonzero = pictures.pixels.copy(), pictures.nonzero.copy()
    for array in (pixels, nonzero.data, nonzero.indices, nonzero.indptr):
        array.setflags(write=False)
    torch.set_warn_always(True)  # torch tells of a read-only array only once in a process
    try:
        assert torch.equal(as_tensor(pixels), torch.from_numpy(pictures.pixels))
        order = epoch_order(20, 0, 1)
        read_only = dataclasses.replace(pictures, pixels=pixels, nonzero=nonzero)
        lots = [lot for form in (read_only, dense(read_only)) for lot in epoch_lots(form, config_of(8), 1, order)]
    finally:
        torch.set_warn_always(False)
    expected = [lot for form in (pictures, dense(pictures)) for lot in epoch_lots(form, config_of(8), 1, order)]
    for lot, other in zip(lots, expected, strict=True):
        for found, wanted in ((lot.by_picture, other.by_picture), (lot.by_pixel, other.by_pixel)):
            assert (found is None) == (wanted is None)
            assert found is None or wanted is None or all(map(np.array_equal, found, wanted))
        assert (lot.dense is None) == (other.dense is None)


def test_the_identity_map_changes_nothing() -> None:
    for dtype, most in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        pictures = PICTURES.to(dtype)
        moved = transform(pictures, IDENTITY.expand(N, 2, 3))
        assert moved.dtype == dtype and moved.shape == (N, 784)
        assert (moved - pictures).abs().max() < most
    assert torch.equal(affine_maps(5, Recipe(), 0, 1), IDENTITY.expand(5, 2, 3))


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-3, 0), (2, -5), (14, 14), (-14, 9)])
def test_a_translation_by_whole_pixels_shifts_and_fills_with_background(right: int, down: int) -> None:
    maps = IDENTITY.repeat(N, 1, 1)
    maps[:, 0, 2], maps[:, 1, 2] = -right / 14, -down / 14  # from output to input, in half sides
    padded = torch.nn.functional.pad(PICTURES.reshape(N, 28, 28), (14,) * 4, value=-1)
    expected = padded[:, 14 - down : 42 - down, 14 - right : 42 - right].reshape(N, 784)
    assert (transform(PICTURES, maps) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_a_rotation_by_right_angles_is_numpys(quarters: int) -> None:
    angle = quarters * math.pi / 2
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    rotated = transform(PICTURES, rotation.expand(N, 2, 3)).reshape(N, 28, 28)
    expected = np.rot90(PICTURES.reshape(N, 28, 28).numpy(), quarters, axes=(1, 2))
    assert np.abs(rotated.numpy() - expected).max() < 1e-4


def test_a_scale_below_1_shrinks_the_picture() -> None:
    white = torch.ones(1, 784)
    shrunk = transform(white, 2 * IDENTITY.unsqueeze(0)).reshape(28, 28)
    assert bool((shrunk[7:21, 7:21] == 1).all()) and (shrunk == -1).sum() > 28 * 28 / 2


def parts_of(maps: Tensor) -> dict[str, Tensor]:
    """What the maps are made of, in the recipe's units: angle and shear in degrees, relative size, shift in pixels."""
    maps = maps.double()
    zoom = maps[:, :, 0].norm(dim=1)
    angle = torch.atan2(maps[:, 1, 0], maps[:, 0, 0])
    back = torch.stack([torch.stack([angle.cos(), angle.sin()], 1), torch.stack([-angle.sin(), angle.cos()], 1)], 1)
    sheared = (back @ maps[:, :, :2]) / zoom[:, None, None]  # [[1, tan(shear)], [0, 1]]
    assert torch.allclose(sheared[:, 1], torch.tensor([0.0, 1], dtype=torch.float64).expand(len(maps), 2), atol=1e-5)
    return {
        "rotation": angle.rad2deg(), "shear": sheared[:, 0, 1].atan().rad2deg(), "scaling": 1 / zoom - 1,
        "translation": maps[:, :, 2].flatten() * 14,
    }


LIMITS = {"rotation": 30.0, "shear": 20.0, "scaling": 0.25, "translation": 3.0}


@pytest.mark.parametrize("names", [[name] for name in LIMITS] + [list(LIMITS)])
def test_random_maps_fill_the_recipes_limits_and_only_those(names: list[str]) -> None:
    limits: dict[str, Any] = {name: LIMITS[name] for name in names}
    maps = affine_maps(4000, Recipe(**limits), seed=0, epoch=1)
    assert maps.shape == (4000, 2, 3) and maps.dtype == torch.float32
    for name, values in parts_of(maps).items():
        if name not in names:
            assert values.abs().max() < 1e-4
            continue
        limit = LIMITS[name]
        assert 0.98 * limit < values.max() <= limit * 1.0001 and -0.98 * limit > values.min() >= -limit * 1.0001
        assert values.mean().abs() < 0.05 * limit and values.std() == pytest.approx(limit / math.sqrt(3), rel=0.05)


def test_random_maps_depend_on_seed_and_epoch_only() -> None:
    recipe = Recipe(rotation=10, translation=2)
    maps = {(seed, epoch): affine_maps(50, recipe, seed, epoch) for seed in range(2) for epoch in range(1, 4)}
    torch.manual_seed(6)
    assert all(torch.equal(drawn, affine_maps(50, recipe, *which)) for which, drawn in maps.items())
    drawn = list(maps.values())
    assert not any(torch.equal(drawn[i], drawn[j]) for i in range(6) for j in range(i))


def test_an_augmented_picture_stays_in_range_and_keeps_most_of_its_ink() -> None:
    recipe = Recipe(rotation=10, translation=2, scaling=0.1, shear=5)
    moved = transform(PICTURES, affine_maps(N, recipe, 0, 1))
    assert bool((moved >= -1 - 1e-5).all()) and bool((moved <= 1 + 1e-5).all())
    ink = (moved + 1).sum(1) / (PICTURES + 1).sum(1)
    assert ink.min() > 0.7 and ink.max() < 1.35 and not torch.allclose(moved, PICTURES, atol=0.1)
