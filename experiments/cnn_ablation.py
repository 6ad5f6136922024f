"""What each part of the CNN's recipe brings, on held-out training pictures: the table in cnn_best.toml's header.

Each variant is the recipe with one part changed, trained with 3 seeds on the first 10,000 of the holdout
protocol's 50,000 training pictures for the recipe's epochs, and scored on its 10,000 validation pictures; the test
set is not touched. It takes 40 minutes on a core; stopped at any time, it goes on with the missing trainings:

    python experiments/cnn_ablation.py                 # all of it, on one thread
    python experiments/cnn_ablation.py --table         # what there is so far
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tune_mnist.batches import make_pictures
from tune_mnist.config import PlannedTraining
from tune_mnist.data import load_dataset, training_data
from tune_mnist.files import read_json, write_json
from tune_mnist.spec_file import read_spec
from tune_mnist.steps import make_steps
from tune_mnist.training import evaluate

PICTURES, SEEDS = 10_000, 3
VARIANTS: dict[str, dict[str, object]] = {
    "the recipe": {},
    "without augmentation": {"rotation": 0, "translation": 0, "scaling": 0, "shear": 0},
    "without dropout": {"dropout": 0},
    "constant rate, no warm-up": {"schedule": "constant", "warmup_epochs": 0},
    "without EMA": {"ema_decay": 0},
    "label smoothing 0.05": {"label_smoothing": 0.05},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("ray_results/cnn_ablation"))
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if not args.table:
        args.folder.mkdir(parents=True, exist_ok=True)
        run_missing(args.folder)
    print_table(args.folder)


def trainings(folder: Path) -> Iterator[tuple[str, PlannedTraining, Path]]:
    """Every variant with every seed and the file of its result; all variants of a seed before the next seed."""
    spec = dataclasses.replace(read_spec(Path(__file__).with_name("cnn_best.toml")), seeds=SEEDS)
    for plan in spec.trainings():
        for name, values in VARIANTS.items():
            size = f"{PICTURES}-pictures-{plan.epochs}-epochs"
            path = folder / f"{name.replace(' ', '_').replace(',', '')}-{size}-seed-{plan.config.seed}.json"
            config = dataclasses.replace(plan.config, **values)  # type: ignore[arg-type]
            yield name, dataclasses.replace(plan, config=config), path


def run_missing(folder: Path) -> None:
    """Train what has no result yet."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    data = training_data(load_dataset(), "holdout")
    train = make_pictures(data.train_images[:PICTURES], data.train_labels[:PICTURES])
    validation = make_pictures(data.eval_images, data.eval_labels)
    for name, plan, path in trainings(folder):
        if path.exists():
            continue
        start = time.process_time()
        steps = make_steps(plan.config, train)
        losses = [steps.train_epoch(epoch) for epoch in range(1, plan.epochs + 1)]
        seconds = time.process_time() - start
        scored = evaluate(steps.outputs(validation), validation.labels)
        result = {"train_loss": losses, "val_accuracy": scored.accuracy, "val_loss": scored.loss}
        write_json(path, {"config": dataclasses.asdict(plan.config), "cpu_seconds": seconds, **result})
        print(f"{name}, seed {plan.config.seed}: {scored.accuracy:.2%}, {seconds:.0f} s", flush=True)


def print_table(folder: Path) -> None:
    """Validation accuracy per variant over its finished seeds, and the paired difference to the recipe's."""
    found: dict[str, dict[int, float]] = {name: {} for name in VARIANTS}
    for name, plan, path in trainings(folder):
        if path.exists():
            found[name][plan.config.seed] = read_json(path)["val_accuracy"]
    print(f"{'variant':<28}{'n':>2}{'mean':>9}{'std':>8}   difference to the recipe (95%, paired)")
    for name, by_seed in found.items():
        values = list(by_seed.values())
        if len(values) < 2:
            continue
        paired = [accuracy - found["the recipe"][seed] for seed, accuracy in by_seed.items()]
        middle, half = np.mean(paired), half_width(paired)
        told = "" if name == "the recipe" else f"{middle:+.2%} ({middle - half:+.2%} to {middle + half:+.2%})"
        print(f"{name:<28}{len(values):>2}{np.mean(values):>9.2%}{np.std(values, ddof=1):>8.2%}   {told}".rstrip())


def half_width(differences: list[float]) -> float:
    """Half of Student's 95% interval of the mean."""
    from scipy.stats import sem, t

    return float(t.ppf(0.975, len(differences) - 1) * sem(differences))


if __name__ == "__main__":
    main()
