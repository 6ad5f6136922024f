"""Tests of a trial's share of a GPU: every face of out of memory, and nothing that outlives a trial."""

from __future__ import annotations

import contextlib
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tune_mnist.running.gpu import gpu_share, is_out_of_memory


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
], ids=lambda error: str(error)[:50])
def test_every_face_of_out_of_memory_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)
    for other in (raised_from(error), raised_meanwhile(error)):
        assert is_out_of_memory(other)


def raised_from(error: Exception) -> BaseException:
    try:
        raise ValueError("the epoch failed") from error
    except ValueError as behind:
        return behind


def raised_meanwhile(error: Exception) -> BaseException:
    """As a capture does that ends with its own error after the work in it failed."""
    try:
        try:
            raise error
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")
    except RuntimeError as last:
        return last


@pytest.mark.parametrize("error", [
    RuntimeError("CUDA error: an illegal memory access was encountered"), OSError("out of memory"), MemoryError(),
    ValueError("lr"),
], ids=str)
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error) and not is_out_of_memory(raised_from(error))


class Pack:
    """What is to die."""


def fail(found: list[weakref.ref[Pack]]) -> None:
    pack = Pack()
    found.append(weakref.ref(pack))
    raise torch.OutOfMemoryError("CUDA out of memory")


def in_a_thread(found: list[weakref.ref[Pack]]) -> None:
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(fail, found)
        coming.result()


def test_what_an_error_went_through_dies_with_it_and_not_with_the_next_collection() -> None:
    gc.disable()
    try:
        alive = []
        for share in (contextlib.nullcontext(), gpu_share(1.0, "cpu")):
            found: list[weakref.ref[Pack]] = []
            with contextlib.suppress(torch.OutOfMemoryError), share:
                in_a_thread(found)
            alive.append(found[0]() is not None)
        assert alive == [True, False]  # the first shows that there is something to let go
    finally:
        gc.enable()


def test_a_share_is_a_part_of_what_the_contexts_leave_and_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[object] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", log.append)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: log.append("given back"))
    monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS", raising=False)
    with gpu_share(0.5, "cuda"):
        log.append("trained")
    assert log == [0.45, "trained", "given back"]
    with pytest.raises(ValueError, match="failed"), gpu_share(1.0, "cuda"):
        raise ValueError("failed")
    assert log[3:] == ["given back"]
