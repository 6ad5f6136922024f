"""Time of a training's epoch on a device: eager autograd, and its share of a pack's epoch, interleaved.

eager: resident tensors, autograd, fused AdamW, one training. pack: as many trainings as a pack holds, of other lrs, in
one step, which a GPU replays as a CUDA graph; the first epoch, in which it is captured, is not timed. Run with nothing
else on the device.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import save, show, spread, told

from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import MODEL_NAMES, TrainingConfig
from tune_mnist.training.batches import Pictures, make_pictures
from tune_mnist.training.dataset import load_dataset, training_data
from tune_mnist.training.models import build_model
from tune_mnist.training.steps.autograd import AutogradSteps
from tune_mnist.training.steps.choose import make_slots
from tune_mnist.training.steps.pack import SLOTS

BATCHES, LRS = StudySpec().batch_size, StudySpec().lr
WAYS = ("eager", "pack")


def timed(epoch: Callable[[int], object], trainings: int, device: str) -> Callable[[], float]:
    """Seconds of the next epoch, as a training's share; the device's work is waited for."""
    numbers = itertools.count(1)

    def run() -> float:
        start = time.perf_counter()
        epoch(next(numbers))
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / trainings

    return run


def ways_of(model: str, batch: int, train: Pictures, device: str) -> dict[str, Callable[[], float]]:
    """The ways to train one of the model's trainings, warm."""
    configs = [TrainingConfig(model=model, lr=lr, batch_size=batch) for lr in LRS[:SLOTS]]
    eager = AutogradSteps(configs[0], build_model(configs[0]), train, device)
    pack = make_slots(configs, train, device)
    ways = {
        "eager": timed(eager.train_epoch, 1, device),
        "pack": timed(lambda epoch: pack.train_epoch(epoch, range(len(configs))), len(configs), device),
    }
    for run in ways.values():
        run()
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, both ways in turn in each (3)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to train (cuda)")
    parser.add_argument("--pictures", type=int, default=50_000, help="pictures of an epoch (50000)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU is seen: run it where there is one, or pass --device cpu")
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    data = training_data(load_dataset(), "holdout")
    train = make_pictures(data.train_images[: args.pictures], data.train_labels[: args.pictures])
    seconds: dict[tuple[str, int], dict[str, list[float]]] = {}
    for model, batch in itertools.product(MODEL_NAMES, BATCHES):
        ways = ways_of(model, batch, train, args.device)
        rounds = [{way: ways[way]() for way in WAYS} for _ in range(args.rounds)]
        seconds[model, batch] = {way: [one[way] for one in rounds] for way in WAYS}
    show(f"Seconds of an epoch of {len(train)} pictures on {name}, median (min–max)", ["model", "batch", *WAYS], [
        [*pair, *(told(found[way]) for way in WAYS)] for pair, found in seconds.items()
    ])
    sums = {way: [sum(found[way][i] for found in seconds.values()) for i in range(args.rounds)] for way in WAYS}
    ratios = [eager / pack for eager, pack in zip(sums["eager"], sums["pack"], strict=True)]
    print(f"eager / pack, all pairs: {told(ratios)}")
    save(args.json, {
        "device": name, "pictures": len(train), "ratio": spread(ratios),
        "epoch_seconds": {f"{m} {b}": {way: spread(v) for way, v in f.items()} for (m, b), f in seconds.items()},
    })


if __name__ == "__main__":
    main()
