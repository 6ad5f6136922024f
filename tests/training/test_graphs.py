"""Tests of captures and streams with a stand-in for CUDA: what a real one cannot show without a GPU."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tune_mnist.training.steps.graphs import captured, capturing, in_time, own_stream, runs_of


class Graph:
    """Stands in for a CUDA graph: notes when a capture begins and ends."""

    def __init__(self) -> None:
        self.log = LOG
        LOG.append("made")

    def register_generator_state(self, generator: Any) -> None:
        self.log.append("generator")

    def capture_begin(self, capture_error_mode: str) -> None:
        self.log.append(capture_error_mode)

    def capture_end(self) -> None:
        self.log.append("end")


LOG: list[str] = []


@pytest.fixture(autouse=True)
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    LOG.clear()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(synchronize=lambda: LOG.append("waited")))


def test_garbage_is_collected_before_a_capture_and_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: LOG.append("collected"))

    def work() -> None:
        assert not gc.isenabled()
        LOG.append("work")

    with capturing():
        captured(work, 2, [torch.Generator()])
    assert LOG == ["collected", "made", "generator", "waited", "thread_local", "work", "work", "end"]
    assert gc.isenabled()


def test_a_capture_that_fails_ends_and_garbage_is_collected_again() -> None:
    def work() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError, match="out of memory"), capturing():
        captured(work, 1, [])
    assert LOG[-1] == "end" and gc.isenabled()


def test_a_caller_without_collection_stays_so() -> None:
    gc.disable()
    try:
        with capturing():
            captured(lambda: None, 1, [])
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_packs_that_live_at_once_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch gives out 32 streams in turn: a pack made after 31 others that died must not share one with the first."""
    given = iter(range(10_000))

    class Stream:
        def __init__(self, device: Any) -> None:
            self.cuda_stream = next(given) % 32

    monkeypatch.setattr(torch.cuda, "Stream", Stream)

    class Pack:
        def __init__(self) -> None:
            self.stream = own_stream(torch.device("cuda"), self)

    first = Pack()
    for _ in range(100):
        assert Pack().stream.cuda_stream != first.stream.cuda_stream
    together = [first, *(Pack() for _ in range(31))]
    assert len({pack.stream.cuda_stream for pack in together}) == 32
    assert Pack().stream.cuda_stream < 32  # there are no more


@pytest.mark.parametrize(
    ("pictures", "batch_size", "longest"),
    [(1000, 32, 8), (1024, 32, 8), (20, 32, 8), (50_000, 16, 8), (1, 1, 8), (96, 32, 1)],
)
def test_an_epochs_runs_are_its_batches_in_their_order(pictures: int, batch_size: int, longest: int) -> None:
    runs = runs_of(pictures, batch_size, longest)
    batches = [size for size, steps in runs for _ in range(steps)]
    assert batches == [min(batch_size, pictures - done) for done in range(0, pictures, batch_size)]
    assert max(steps for _, steps in runs) <= longest and len(set(runs)) <= 3


def test_the_host_runs_ahead_of_the_gpu_but_not_far(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[int] = []
    waited: list[tuple[int, int]] = []

    class Stream:
        def record_event(self, event: Any) -> Any:
            at = len(launched)
            return SimpleNamespace(synchronize=lambda: waited.append((at, len(launched))))

    monkeypatch.setattr(torch.cuda, "Event", lambda blocking: None)
    stream: Any = Stream()
    for run in in_time(range(100), stream):
        launched.append(run)
    assert launched == list(range(100))
    assert waited == [*((n, n + 16) for n in (16, 32, 48, 64, 80)), (100, 100)]  # launched then, and launched now
    assert list(in_time(range(100), None)) == launched
