"""A trial's share of a GPU: taken, found too small, given back."""

from __future__ import annotations

import contextlib
import gc
import os
import traceback
from collections.abc import Iterator

import torch

CUDA_CONTEXTS_SHARE = 0.1
"""Of a GPU's memory, what the CUDA contexts of all its processes get."""
CONNECTIONS = "CUDA_DEVICE_MAX_CONNECTIONS"
"""How many streams reach a GPU apart from each other: 8 unless it is set, at most 32."""
OUT_OF_MEMORY = (
    "out of memory",  # torch's own words, the driver's, and the runtime's at a context's or a graph's creation
    "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED",  # cuBLAS, for want of its workspace
    "CUDNN_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED", "CUSPARSE_STATUS_ALLOC_FAILED",
)


@contextlib.contextmanager
def gpu_share(share: float, device: str) -> Iterator[None]:
    """Hold this process to its share of what the CUDA contexts leave of the GPU's memory, and give all back at the end.

    The process may live on with another trial. Of an error the frames that it went through are emptied.
    """
    if device == "cuda":
        os.environ.setdefault(CONNECTIONS, "32")  # read when the process first uses the GPU
    try:
        if device == "cuda" and share < 1:
            torch.cuda.set_per_process_memory_fraction(share * (1 - CUDA_CONTEXTS_SHARE))
        yield
    except Exception as error:
        let_go(error)
        raise
    finally:
        if device == "cuda":
            gc.collect()  # what torch imports at a process's first step leaves circles that hold the pack
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU's memory was too small: torch, the driver and each library say so in their own way.

    So do errors that were raised because of another, or while another was handled.
    """
    return any(
        isinstance(one, torch.OutOfMemoryError) or (isinstance(one, RuntimeError) and _says_so(str(one)))
        for one in chain(error)
    )


def _says_so(text: str) -> bool:
    return any(words in text for words in OUT_OF_MEMORY)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from or meanwhile, and so on."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def let_go(error: BaseException) -> None:
    """Empty the frames that the error went through: one of them holds the future that holds the error, in a circle.

    What they hold, a pack on the GPU among it, would else live until garbage is collected.
    """
    for one in chain(error):
        traceback.clear_frames(one.__traceback__)
