"""Work captured as CUDA graphs, on a stream that nobody else uses.

A graph keeps the addresses of what was there when it was captured, cuBLAS's workspace among it, which torch keeps by
stream and drops with the first graph of that stream that dies (https://github.com/pytorch/pytorch/issues/193402). So
what is captured, replayed and read together has a stream of its own, and its graphs die together.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

Run = TypeVar("Run")

RUNS_AHEAD = 16
"""Graphs that wait for the GPU at least, and twice as many at most."""
STREAMS = 32
"""As many as torch has of a device; from then on it gives out the same again."""

_capturing = threading.Lock()
_taken: set[int] = set()


def own_stream(device: torch.device, owner: object) -> torch.cuda.Stream:
    """A stream for the owner's life, which nobody else who lives got from here, as long as torch has one."""
    stream = torch.cuda.Stream(device)
    for _ in range(STREAMS):
        if stream.cuda_stream not in _taken:
            break
        stream = torch.cuda.Stream(device)
    _taken.add(stream.cuda_stream)
    weakref.finalize(owner, _taken.discard, stream.cuda_stream)  # torch's streams themselves bear no weak references
    return stream


@contextlib.contextmanager
def capturing() -> Iterator[None]:
    """Let this thread alone capture, and collect garbage before and not in the block.

    The end of another graph in a capture would be an error (https://github.com/pytorch/pytorch/issues/161037).
    """
    with _capturing:
        gc.collect()
        enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if enabled:
                gc.enable()


def captured(work: Callable[[], None], times: int, generators: Iterable[torch.Generator]) -> torch.cuda.CUDAGraph:
    """`work`, `times` times one after the other, captured on the current stream, where it has been run before.

    To be called while `capturing`. A replay goes on from the `generators`' own states.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    torch.cuda.current_stream().synchronize()
    graph.capture_begin(capture_error_mode="thread_local")  # other threads may work on
    try:
        for _ in range(times):
            work()
    finally:
        graph.capture_end()
    return graph


def runs_of(pictures: int, batch_size: int, longest: int) -> list[tuple[int, int]]:
    """An epoch's batches, in runs of at most `longest` of one size: the size, and how many."""
    whole, rest = divmod(pictures, batch_size)
    runs = [(batch_size, longest)] * (whole // longest)
    return [*runs, *[(batch_size, whole % longest)] * (whole % longest > 0), *[(rest, 1)] * (rest > 0)]


def in_time(runs: Iterable[Run], stream: torch.cuda.Stream | None) -> Iterator[Run]:
    """The runs, each once the GPU is not too far behind on the stream; at the end the GPU has done them all.

    A launch that finds its stream's queue full keeps a processor busy, and so does waiting for a stream itself: twelve
    packs on an H100 took ten to twenty times the processor time.
    """
    if stream is None:
        yield from runs
        return
    events: list[torch.cuda.Event] = []
    for number, run in enumerate(runs, 1):
        yield run
        if number % RUNS_AHEAD == 0:
            events.append(stream.record_event(torch.cuda.Event(blocking=True)))
            if len(events) > 1:
                events.pop(0).synchronize()
    stream.record_event(torch.cuda.Event(blocking=True)).synchronize()


def pinned_copy(row: Tensor) -> Tensor:
    """A copy on the host of what is on the GPU, which is there once the current stream has come so far."""
    return torch.empty(row.shape, dtype=row.dtype, pin_memory=True).copy_(row, non_blocking=True)
