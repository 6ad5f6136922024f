"""Tests of an epoch's numbers as JSON keeps them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tune_mnist.training.packing import finite_or_none, pack_bits, pack_bytes, unpack_bits, unpack_bytes


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 10_000])
def test_packed_bits_come_back(n: int) -> None:
    flags = np.random.default_rng(n).random(n) < 0.9
    packed = pack_bits(flags)
    assert packed.isascii() and np.array_equal(unpack_bits(packed, n), flags)
    assert pack_bits(flags) == packed and len(packed) < 2000


@pytest.mark.parametrize("n", [0, 1, 10_000])
def test_packed_whole_numbers_come_back(n: int) -> None:
    numbers = np.random.default_rng(n).integers(0, 256, n)
    packed = pack_bytes(numbers)
    assert packed.isascii() and unpack_bytes(packed).dtype == np.uint8
    assert np.array_equal(unpack_bytes(packed), numbers)


@pytest.mark.parametrize("value", [0.0, -1.5, 1e308, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_none(value: float) -> None:
    kept = json.loads(json.dumps(finite_or_none(value), allow_nan=False))
    assert kept == (value if math.isfinite(value) else None)
