"""An epoch's numbers as JSON keeps them: packed bits and bytes, and None for what is not finite."""

from __future__ import annotations

import base64
import math
import zlib

import numpy as np
from numpy.typing import NDArray


def pack_bits(flags: NDArray[np.bool_]) -> str:
    """Booleans (n,) as base64 of their zlib-compressed bits."""
    return _packed(np.packbits(flags))


def unpack_bits(packed: str, count: int | None = None) -> NDArray[np.bool_]:
    """The first `count` booleans that `pack_bits` packed; without a count, they are followed by up to 7 False ones."""
    return np.unpackbits(unpack_bytes(packed), count=count).astype(bool)


def pack_bytes(values: NDArray[np.generic]) -> str:
    """Whole numbers (n,) in 0…255 as base64 of their zlib-compressed bytes."""
    return _packed(values.astype(np.uint8))


def unpack_bytes(packed: str) -> NDArray[np.uint8]:
    """The numbers, uint8 (n,), that `pack_bytes` packed."""
    return np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)


def finite_or_none(value: float) -> float | None:
    """`value`, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def _packed(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()
