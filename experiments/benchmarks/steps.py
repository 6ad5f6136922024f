"""Time of an epoch of each fully connected model, batch size and lr, one core, several ways.

loader: DataLoader and torchvision transforms, autograd, torch's default Adam, as scripts are written (timed on a part
of the epoch and scaled). eager: resident tensors, autograd, fused AdamW. dense: the dense matrix products of a step
alone, at the same shapes. ours: the compiled steps, the epoch's data preparation included, of networks trained from
their first epoch on. before: the same of other code, in `--before CHECKOUT`, epoch by epoch in turn with ours.

Seconds are the thread's processor time, so that what else runs disturbs through the caches alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from as_scripts_do import torchvision_mnist
from common import save, show, spread, told
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

import tune_mnist
from tune_mnist.spec.models import PRESETS
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import FULLY_CONNECTED, TrainingConfig
from tune_mnist.training.batches import make_pictures
from tune_mnist.training.dataset import CLASSES, PIXELS, load_dataset, training_data
from tune_mnist.training.models import build_model, widths
from tune_mnist.training.steps.autograd import AutogradSteps

LOADER_PICTURES = 3200


class Case(NamedTuple):
    """What is timed by itself."""

    model: str
    batch_size: int
    lr: float


class Child:
    """epochs.py on the code of a checkout, with a training of its own."""

    def __init__(self, checkout: Path) -> None:
        program = [sys.executable, str(Path(__file__).with_name("epochs.py"))]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def epoch(self, case: Case) -> dict[str, float]:
        """Train one more epoch of the case, or the first if it is another than before."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(*case, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("epochs.py ended")
        return json.loads(line)


def loader_epoch(case: Case, data: Dataset[Any]) -> Callable[[], None]:
    """The part of an epoch, as scripts write it, that is over `data`."""
    config = config_of(case)
    model = build_model(config)
    optimiser = torch.optim.Adam(model.parameters(), config.lr)
    loader = DataLoader(data, config.batch_size, shuffle=True)

    def run() -> None:
        for pictures, labels in loader:
            optimiser.zero_grad()
            F.cross_entropy(model(pictures), labels).backward()
            optimiser.step()

    return run


def dense_epoch(case: Case, steps: int) -> Callable[[], None]:
    """A quarter of an epoch's dense matrix products: forward, weight gradients, hidden gradients."""
    products = []
    batch = case.batch_size
    for i, (n_in, n_out) in enumerate(itertools.pairwise((PIXELS, *widths(PRESETS[case.model]), CLASSES))):
        inputs, weight, delta = torch.randn(batch, n_in), torch.randn(n_in, n_out), torch.randn(batch, n_out)
        products += [(inputs, weight, torch.empty(batch, n_out)), (inputs.t(), delta, torch.empty(n_in, n_out))]
        if i:
            products.append((delta, weight.t(), torch.empty(batch, n_in)))

    def run() -> None:
        for _ in range(steps // 4):
            for left, right, out in products:
                torch.mm(left, right, out=out)

    return run


def config_of(case: Case) -> TrainingConfig:
    return TrainingConfig(model=case.model, lr=case.lr, batch_size=case.batch_size)  # type: ignore[arg-type]


def thread_seconds(run: Callable[[], object]) -> float:
    begun = time.thread_time()
    run()
    return time.thread_time() - begun


def sums(figures: dict[Case, dict[str, list[float]]], way: str, cases: Iterable[Case]) -> float:
    """Seconds of the median epoch, over the cases."""
    return sum(statistics.median(figures[case][way]) for case in cases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5, help="how many each network is trained (5)")
    parser.add_argument("--models", nargs="+", default=FULLY_CONNECTED, choices=FULLY_CONNECTED)
    parser.add_argument("--batch-size", nargs="+", default=StudySpec().batch_size, type=int)
    parser.add_argument("--lr", nargs="+", default=StudySpec().lr, type=float)
    parser.add_argument("--before", type=Path, help="a checkout of other code, to compare with")
    parser.add_argument("--only-ours", action="store_true", help="leave out loader, eager and dense")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = training_data(load_dataset(), "holdout")
    train = make_pictures(data.train_images, data.train_labels)
    children = {"ours": Child(Path(tune_mnist.__file__).parents[1])}
    if args.before:
        children["before"] = Child(args.before)
    with tempfile.TemporaryDirectory() as root:
        part = Subset(torchvision_mnist(Path(root)), range(LOADER_PICTURES))
    cases = [Case(*values) for values in itertools.product(args.models, args.batch_size, args.lr)]
    figures: dict[Case, dict[str, list[float]]] = {}
    for case in cases:
        found = figures[case] = {way: [] for way in children} | {"dead": [], "multiplications": []}
        for _ in range(args.epochs):
            answers = {way: child.epoch(case) for way, child in children.items()}
            for way, answer in answers.items():
                found[way].append(answer["seconds"])
            for name in ("dead", "multiplications"):
                found[name].append(answers["ours"][name])
            if len({answer["loss"] for answer in answers.values()}) > 1:
                print(f"{case}: other losses, {answers}", file=sys.stderr)
        seconds = ", ".join(f"{way} {' '.join(f'{s:.2f}' for s in found[way])} s" for way in children)
        print(f"{case.model} {case.batch_size} {case.lr:g}: {seconds}", file=sys.stderr, flush=True)
        if args.only_ours:
            continue
        steps, scale = -(-len(train) // case.batch_size), len(train) / LOADER_PICTURES
        torch.set_flush_denormal(False)
        eager = AutogradSteps(config_of(case), build_model(config_of(case)), train)
        found["loader"] = [scale * thread_seconds(loader_epoch(case, part))]
        found["eager"] = [thread_seconds(lambda eager=eager: eager.train_epoch(1))]
        found["dense"] = [thread_seconds(dense_epoch(case, steps)) * steps / (steps // 4)]
    ways = [way for way in ("loader", "eager", "dense", "before", "ours") if way in figures[cases[0]]]
    tell(args, figures, ways, len(train))


def tell(args: argparse.Namespace, figures: dict[Case, dict[str, list[float]]], ways: list[str], n: int) -> None:
    rows = []
    for case, found in figures.items():
        steps = -(-n // case.batch_size)
        micros = [told([s / steps * 1e6 for s in found[way]]) for way in ways]
        each = [s / steps / work * 1e12 for s, work in zip(found["ours"], found["multiplications"], strict=True)]
        ratio = [a / b for a, b in zip(found["ours"], found["before"], strict=True)] if "before" in found else []
        rows.append([
            case.model, case.batch_size, f"{case.lr:g}", *micros, f"{100 * statistics.median(found['dead']):.0f}%",
            told(each), told(ratio) if ratio else "",
        ])
    columns = ["model", "batch", "lr", *ways, "dead", "ps per alive multiply", "ours / before"]
    show("µs per step, median (min–max) over epochs", columns, rows)
    groups = {f"lr {lr:g}": [case for case in figures if case.lr == lr] for lr in args.lr} | {"all": list(figures)}
    totals = {name: {way: sums(figures, way, cases) for way in ways} for name, cases in groups.items()}
    show(
        "Seconds of the median epoch of every pair, and ours over them", ["lr", *ways, *(f"ours / {w}" for w in ways)],
        [[name, *(f"{total[way]:.3g}" for way in ways), *(f"{total['ours'] / total[way]:.3f}" for way in ways)]
         for name, total in totals.items()],
    )
    save(args.json, {
        "cases": [case._asdict() | {name: spread(values) for name, values in found.items()}
                  for case, found in figures.items()],
        "epoch_seconds": totals,
    })


if __name__ == "__main__":
    main()
