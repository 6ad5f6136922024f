"""Exact arithmetic on a GPU: float32 that is float32, and the same bits each time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

_entering = threading.Lock()
_inside = 0
_before: list[tuple[Any, str, Any]] = []


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Products and convolutions on CUDA in float32 where asked for it, not TF32, and by deterministic algorithms.

    Whatever the process or its environment (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE) had set comes back once no thread is
    inside any more: these settings are the whole process's.
    """
    global _inside
    with _entering:
        if not _inside:
            _before[:] = [(place, name, getattr(place, name)) for place, name, _ in _settings()]
            for place, name, value in _settings():
                setattr(place, name, value)
        _inside += 1
    try:
        yield
    finally:
        with _entering:
            _inside -= 1
            if not _inside:
                for place, name, value in _before:
                    setattr(place, name, value)


def _settings() -> Iterator[tuple[Any, str, Any]]:
    """Where each setting is, its name and its exact value. Torch 2.9's precisions and its older flags do not mix."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    yield from ((cudnn, "enabled", True), (cudnn, "benchmark", False), (cudnn, "deterministic", True))
    if hasattr(cudnn, "conv"):
        yield from ((products, "fp32_precision", "ieee"), (cudnn.conv, "fp32_precision", "ieee"))
    else:
        yield from ((products, "allow_tf32", False), (cudnn, "allow_tf32", False))
