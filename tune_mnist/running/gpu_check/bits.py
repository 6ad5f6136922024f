"""Whether packs on a GPU give the same bits in every way that must not matter."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from tune_mnist.running.gpu_check.scale import Finding, Scale, configs_of, digest, digests, part_of, trained
from tune_mnist.spec.training import TrainingConfig
from tune_mnist.training.batches import Pictures
from tune_mnist.training.dataset import TrainingData
from tune_mnist.training.steps.choose import make_slots
from tune_mnist.training.steps.pack import SLOTS, PackOfOne

WILD = 1e30
RECIPE: dict[str, Any] = {
    "rotation": 10.0, "translation": 2.0, "label_smoothing": 0.1, "weight_decay": 0.1, "ema_decay": 0.9, "dropout": 0.3,
}
CASES: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("SimpleNN", 16, {}), ("ComplexNN", 64, {}), ("MediumNN", 32, RECIPE), ("CNN", 64, {"dropout": 0.3}),
)


def bits(scale: Scale, data: TrainingData) -> Finding:
    """Two epochs of packs, in every way that must not matter."""
    train = part_of(data, scale.few_pictures, scale.device)
    packs = {f"{model} {size}": configs_of(model, size, **recipe) for model, size, recipe in CASES[: scale.cases]}
    wrong, expected = [], {}
    for name, configs in packs.items():
        expected[name] = digests(trained(make_slots(configs, train, scale.device)))
        for way, same in _ways(configs, train, scale.device, expected[name]):
            if not same:
                wrong.append(f"{name} {way}")
    if scale.device == "cuda":
        wrong += [f"{name} beside others" for name in _beside(packs, train, scale.device, expected)]
    figures = {"digests": expected, "wrong": wrong}
    ways = "again, alone, resumed, beside a diverging one, beside other packs, and where TF32 is asked for"
    return Finding("bits", not wrong, f"differ: {', '.join(wrong)}" if wrong else f"the same {ways}", figures)


def _ways(
    configs: list[TrainingConfig], train: Pictures, device: str, expected: list[str]
) -> Iterator[tuple[str, bool]]:
    yield "again", digests(trained(make_slots(configs, train, device))) == expected
    alone = PackOfOne(configs[1], train, device, make_slots)
    for epoch in (1, 2):
        alone.train_epoch(epoch)
    yield "alone", digest(alone.state()) == expected[1]
    begun, resumed = make_slots(configs, train, device), make_slots([*configs[1:], configs[0]], train, device)
    begun.train_epoch(1)
    for k in range(SLOTS):
        resumed.load((k - 1) % SLOTS, begun.state(k))
    resumed.train_epoch(2)
    yield "resumed", [digest(resumed.state((k - 1) % SLOTS)) for k in range(SLOTS)] == expected
    wild = [configs[0], dataclasses.replace(configs[1], lr=WILD), *configs[2:]]
    beside = digests(trained(make_slots(wild, train, device)))
    yield "beside a diverging one", [beside[k] for k in (0, 2, 3)] == [expected[k] for k in (0, 2, 3)]
    with _asking_for_tf32():
        yield "where TF32 is asked for", digests(trained(make_slots(configs, train, device))) == expected


def _beside(
    packs: dict[str, list[TrainingConfig]], train: Pictures, device: str, expected: dict[str, list[str]]
) -> list[str]:
    """The packs whose bits differ where all train at once, each in a thread and on a stream of its own."""
    with ThreadPoolExecutor(len(packs)) as threads:
        steps = {name: make_slots(configs, train, device) for name, configs in packs.items()}
        list(threads.map(trained, steps.values()))
    return [name for name, pack in steps.items() if digests(pack) != expected[name]]


@contextlib.contextmanager
def _asking_for_tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
