"""Time of an epoch of each fully connected model and batch size, one core: four ways, interleaved.

loader: DataLoader and torchvision transforms, autograd, torch's default Adam, as scripts are written
(timed on a part of the epoch and scaled). eager: resident tensors, autograd, fused AdamW. ours: the
compiled steps, the epoch's data preparation included. floor: the dense matrix products of a step
alone, at the same shapes. Run with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from as_scripts_do import torchvision_mnist
from common import save, show, spread, told
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from tune_mnist.spec.models import PRESETS
from tune_mnist.spec.training import FULLY_CONNECTED, TrainingConfig
from tune_mnist.training.batches import make_pictures
from tune_mnist.training.dataset import CLASSES, PIXELS, load_dataset, training_data
from tune_mnist.training.models import build_model, widths
from tune_mnist.training.steps.autograd import AutogradSteps
from tune_mnist.training.steps.linear import LinearSteps

BATCHES = (16, 32, 64, 128)
LOADER_PICTURES = 3200


def loader_epoch(config: TrainingConfig, data: Dataset[Any], scale: float) -> Callable[[], float]:
    """Seconds of an epoch as scripts write it, from one over `data`, times `scale`."""
    model = build_model(config)
    optimiser = torch.optim.Adam(model.parameters(), config.lr)
    loader = DataLoader(data, config.batch_size, shuffle=True)

    def run() -> float:
        torch.set_flush_denormal(False)
        start = time.perf_counter()
        for pictures, labels in loader:
            optimiser.zero_grad()
            F.cross_entropy(model(pictures), labels).backward()
            optimiser.step()
        return (time.perf_counter() - start) * scale

    return run


def epoch_of(steps: AutogradSteps | LinearSteps) -> Callable[[], float]:
    """Seconds of an epoch of `steps`, with denormals flushed as `Training` does for ours only."""
    epochs = itertools.count(1)

    def run() -> float:
        torch.set_flush_denormal(isinstance(steps, LinearSteps))
        start = time.perf_counter()
        steps.train_epoch(next(epochs))
        return time.perf_counter() - start

    return run


def floor_epoch(model: str, batch: int, steps: int) -> Callable[[], float]:
    """Seconds of an epoch's dense matrix products: forward, weight gradients, hidden gradients."""
    products = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise((PIXELS, *widths(PRESETS[model]), CLASSES))):
        inputs, weight, delta = torch.randn(batch, n_in), torch.randn(n_in, n_out), torch.randn(batch, n_out)
        products += [(inputs, weight, torch.empty(batch, n_out)), (inputs.t(), delta, torch.empty(n_in, n_out))]
        if i:
            products.append((delta, weight.t(), torch.empty(batch, n_in)))

    def run() -> float:
        start = time.perf_counter()
        for _ in range(steps // 4):
            for left, right, out in products:
                torch.mm(left, right, out=out)
        return (time.perf_counter() - start) * steps / (steps // 4)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions, all ways in turn in each (5)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = training_data(load_dataset(), "holdout")
    train = make_pictures(data.train_images, data.train_labels)
    with tempfile.TemporaryDirectory() as root:
        part = Subset(torchvision_mnist(Path(root)), range(LOADER_PICTURES))
    pairs = [(model, batch) for model in FULLY_CONNECTED for batch in BATCHES]
    ways: dict[tuple[str, int], dict[str, Callable[[], float]]] = {}
    for model, batch in pairs:
        config = TrainingConfig(model=model, lr=1e-3, batch_size=batch)
        linear_model = build_model(config)
        ways[model, batch] = {
            "loader": loader_epoch(config, part, len(train) / LOADER_PICTURES),
            "eager": epoch_of(AutogradSteps(config, build_model(config), train)),
            "ours": epoch_of(LinearSteps(config, linear_model, train)),  # type: ignore[arg-type]
            "floor": floor_epoch(model, batch, -(-len(train) // batch)),
        }
    seconds: dict[tuple[str, int], dict[str, list[float]]] = {
        pair: {way: [] for way in ways[pair]} for pair in pairs
    }
    for pair in pairs:  # warm up: allocations, code, caches
        for way in ("eager", "ours", "floor"):
            ways[pair][way]()
    for _ in range(args.rounds):
        for pair in pairs:
            for way, run in ways[pair].items():
                seconds[pair][way].append(run())
    steps_of = {pair: -(-len(train) // pair[1]) for pair in pairs}
    rows = [
        [*pair, *(told([s / steps_of[pair] * 1e6 for s in seconds[pair][w]]) for w in seconds[pair])] for pair in pairs
    ]
    show("µs per step, median (min–max)", ["model", "batch", "loader", "eager", "ours", "floor"], rows)
    sums = {
        way: [sum(seconds[pair][way][r] for pair in pairs) for r in range(args.rounds)]
        for way in ("loader", "eager", "ours", "floor")
    }
    ratios = {
        f"ours / {way}": [ours / other for ours, other in zip(sums["ours"], sums[way], strict=True)]
        for way in ("loader", "eager", "floor")
    }
    show("Seconds of one epoch of all 12 pairs, by round", ["way", "seconds"], [[w, told(s)] for w, s in sums.items()])
    show("Ratios, round by round", ["ratio", "value"], [[name, told(values)] for name, values in ratios.items()])
    save(args.json, {
        "epoch_seconds": {f"{m} {b}": {w: spread(s) for w, s in seconds[m, b].items()} for m, b in pairs},
        "sum_seconds": {way: spread(s) for way, s in sums.items()},
        "ratios": {name: spread(values) for name, values in ratios.items()},
        "grid_hours_one_core": {way: statistics.median(s) * 60 / 3600 for way, s in sums.items()},
    })


if __name__ == "__main__":
    main()
