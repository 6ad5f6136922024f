"""Tests of exact arithmetic: float32 is float32, whatever the process had set, and its settings come back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from support.slices import evaluation_slice, train_slice
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures
from tune_mnist.training.models import build_model
from tune_mnist.training.steps import autograd, pack
from tune_mnist.training.steps.autograd import AutogradSteps
from tune_mnist.training.steps.base import Steps
from tune_mnist.training.steps.exact import exact_arithmetic
from tune_mnist.training.steps.pack import PackOfOne

CONFIG = TrainingConfig(model="SimpleNN", lr=1e-3, batch_size=8)


def settings() -> tuple[Any, ...]:
    """Of products and of convolutions: is TF32 used; and of convolutions: are they chosen by trial, do bits repeat."""
    cudnn: Any = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):
        tf32 = products.fp32_precision == "tf32", cudnn.conv.fp32_precision == "tf32"
    else:
        tf32 = products.allow_tf32, cudnn.allow_tf32
    return (*tf32, cudnn.benchmark, cudnn.deterministic)


EXACT = (False, False, False, True)
INEXACT = (True, True, True, False)


@contextlib.contextmanager
def asking_for_speed() -> Iterator[None]:
    """A process whose user, or environment, asked for TF32 and for convolutions chosen by trial."""
    cudnn: Any = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    new = hasattr(cudnn, "conv")
    places: list[tuple[Any, str]] = [(products, "fp32_precision"), (cudnn.conv, "fp32_precision")] if new else [
        (products, "allow_tf32"), (cudnn, "allow_tf32"),
    ]
    before = [getattr(place, name) for place, name in places], cudnn.benchmark
    for place, name in places:
        setattr(place, name, "tf32" if new else True)
    cudnn.benchmark = True
    try:
        yield
    finally:
        for (place, name), value in zip(places, before[0], strict=True):
            setattr(place, name, value)
        cudnn.benchmark = before[1]


def test_all_is_exact_inside_and_as_it_was_afterwards() -> None:
    with asking_for_speed():
        assert settings() == INEXACT
        with exact_arithmetic(), exact_arithmetic():
            assert settings() == EXACT
        assert settings() == INEXACT
        with pytest.raises(ZeroDivisionError, match="by zero"), exact_arithmetic():
            assert 1 / 0
        assert settings() == INEXACT


def test_it_stays_exact_until_the_last_thread_is_out() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with exact_arithmetic():
            inside.set()
            leave.wait(10)

    with asking_for_speed():
        thread = threading.Thread(target=other)
        with exact_arithmetic():
            thread.start()
            assert inside.wait(10)
        assert settings() == EXACT
        leave.set()
        thread.join(10)
        assert settings() == INEXACT


@pytest.mark.parametrize("make", [lambda train: AutogradSteps(CONFIG, build_model(CONFIG), train),
                                  lambda train: PackOfOne(CONFIG, train)], ids=["autograd", "pack"])
def test_every_way_to_train_and_evaluate_is_exact(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are retraining, by the first, and scoring, by the second on a GPU."""
    seen = []

    def normalise(pixels: Tensor, dtype: torch.dtype) -> Tensor:
        seen.append(settings())
        return pixels.to(dtype)

    for module in (autograd, pack):
        monkeypatch.setattr(module, "normalise", normalise)
    train: Pictures = train_slice(8)
    with asking_for_speed():
        steps: Steps = make(train)
        steps.train_epoch(1)
        steps.outputs(evaluation_slice(8))
    assert len(seen) == 2 and set(seen) == {EXACT}
